//! How deep what strangers send may be nested.

use serde_json::{Map, Value};

/// How many levels an event's body or headers, or a job's params, may have. serde_json reads 128, and the texts that they
/// stand in, a batch on its way to the master or the leases of a worker, add some of their own.
pub const DEPTH: usize = 100;

/// Whether it has more levels than [`DEPTH`]; it is one itself.
pub fn is_too_deep(map: &Map<String, Value>) -> bool {
    map.values().any(|value| deeper_than(value, DEPTH - 1))
}

fn deeper_than(value: &Value, levels: usize) -> bool {
    match value {
        Value::Object(_) | Value::Array(_) if levels == 0 => true,
        Value::Object(map) => map.values().any(|value| deeper_than(value, levels - 1)),
        Value::Array(list) => list.iter().any(|value| deeper_than(value, levels - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
