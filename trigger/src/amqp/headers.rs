//! What the broker sends beside a body, as JSON: every type that AMQP has. And the way back, for declarations.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use model::{DEPTH, Time};
use serde_json::{Map, Number, Value};

use crate::delivery::Properties;

/// The properties of one delivery.
pub fn properties(from: &BasicProperties, redelivered: bool) -> Properties {
    let text = |value: &Option<lapin::types::ShortString>| value.as_ref().map(ToString::to_string);
    Properties {
        message_id: text(from.message_id()),
        content_type: text(from.content_type()),
        content_encoding: text(from.content_encoding()),
        priority: *from.priority(),
        timestamp: *from.timestamp(),
        headers: from.headers().as_ref().map(|headers| table(headers, 0)).unwrap_or_default(),
        redelivered,
    }
}

fn table(from: &FieldTable, depth: usize) -> Map<String, Value> {
    from.inner().iter().map(|(name, value)| (name.to_string(), json(value, depth + 1))).collect()
}

/// Tables and arrays nest; times are texts; bytes that are no UTF-8 are Base64; a number that JSON has not is null.
/// What lies deeper than the decoder lets pass is left out: it only has to see that it is too deep.
fn json(from: &AMQPValue, depth: usize) -> Value {
    match from {
        AMQPValue::Boolean(b) => Value::Bool(*b),
        AMQPValue::ShortShortInt(n) => Value::from(*n),
        AMQPValue::ShortShortUInt(n) => Value::from(*n),
        AMQPValue::ShortInt(n) => Value::from(*n),
        AMQPValue::ShortUInt(n) => Value::from(*n),
        AMQPValue::LongInt(n) => Value::from(*n),
        AMQPValue::LongUInt(n) => Value::from(*n),
        AMQPValue::LongLongInt(n) => Value::from(*n),
        AMQPValue::Float(n) => Number::from_f64(f64::from(*n)).map_or(Value::Null, Value::Number),
        AMQPValue::Double(n) => Number::from_f64(*n).map_or(Value::Null, Value::Number),
        AMQPValue::DecimalValue(d) => {
            Number::from_f64(f64::from(d.value) / 10f64.powi(i32::from(d.scale))).map_or(Value::Null, Value::Number)
        }
        AMQPValue::ShortString(text) => Value::from(text.as_str()),
        AMQPValue::LongString(text) => bytes(text.as_bytes()),
        AMQPValue::ByteArray(array) => Value::from(BASE64_STANDARD.encode(array.as_slice())),
        AMQPValue::Timestamp(seconds) => time(*seconds),
        AMQPValue::FieldArray(_) | AMQPValue::FieldTable(_) if depth > DEPTH + 1 => Value::Null,
        AMQPValue::FieldArray(list) => list.as_slice().iter().map(|value| json(value, depth + 1)).collect(),
        AMQPValue::FieldTable(inner) => Value::Object(table(inner, depth)),
        AMQPValue::Void => Value::Null,
    }
}

/// JSON as arguments of a declaration.
pub fn arguments(from: &Map<String, Value>) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in from {
        table.insert(name.as_str().into(), argument(value));
    }
    table
}

fn argument(from: &Value) -> AMQPValue {
    match from {
        Value::Null => AMQPValue::Void,
        Value::Bool(b) => AMQPValue::Boolean(*b),
        Value::Number(n) => match (n.as_i64(), n.as_f64()) {
            (Some(n), _) => i32::try_from(n).map_or(AMQPValue::LongLongInt(n), AMQPValue::LongInt),
            (None, n) => AMQPValue::Double(n.unwrap_or_default()),
        },
        Value::String(text) => AMQPValue::LongString(text.as_str().into()),
        Value::Array(list) => AMQPValue::FieldArray(list.iter().map(argument).collect::<Vec<_>>().into()),
        Value::Object(map) => AMQPValue::FieldTable(arguments(map)),
    }
}

fn bytes(from: &[u8]) -> Value {
    match std::str::from_utf8(from) {
        Ok(text) => Value::from(text),
        Err(_) => Value::from(BASE64_STANDARD.encode(from)),
    }
}

/// Seconds since 1970; a number where that is no time of ours.
fn time(seconds: u64) -> Value {
    let micros = i64::try_from(seconds).ok().and_then(|s| s.checked_mul(1_000_000));
    micros.map_or(Value::from(seconds), |micros| Value::from(Time(micros).to_string()))
}

#[cfg(test)]
mod tests {
    use lapin::types::{ByteArray, DecimalValue, FieldArray, LongString};
    use serde_json::json;

    use super::*;

    #[test]
    fn every_type_becomes_json() {
        let mut inner = FieldTable::default();
        inner.insert("uri".into(), AMQPValue::LongString("amqps://x".into()));
        let mut list = FieldArray::default();
        list.push(AMQPValue::FieldTable(inner));
        let mut headers = FieldTable::default();
        for (name, value) in [
            ("bool", AMQPValue::Boolean(true)),
            ("i8", AMQPValue::ShortShortInt(-1)),
            ("u8", AMQPValue::ShortShortUInt(1)),
            ("i16", AMQPValue::ShortInt(-2)),
            ("u16", AMQPValue::ShortUInt(2)),
            ("i32", AMQPValue::LongInt(-3)),
            ("u32", AMQPValue::LongUInt(3)),
            ("i64", AMQPValue::LongLongInt(i64::MIN)),
            ("f32", AMQPValue::Float(0.5)),
            ("nan", AMQPValue::Double(f64::NAN)),
            ("decimal", AMQPValue::DecimalValue(DecimalValue { scale: 2, value: 275 })),
            ("short", AMQPValue::ShortString("s".into())),
            ("bytes", AMQPValue::LongString(LongString::from(&b"\xff\x00"[..]))),
            ("array", AMQPValue::ByteArray(ByteArray::from(&b"ab"[..]))),
            ("time", AMQPValue::Timestamp(1_700_000_000)),
            ("never", AMQPValue::Timestamp(u64::MAX)),
            ("x-received-from", AMQPValue::FieldArray(list)),
            ("void", AMQPValue::Void),
        ] {
            headers.insert(name.into(), value);
        }
        assert_eq!(
            Value::Object(table(&headers, 0)),
            json!({
                "bool": true, "i8": -1, "u8": 1, "i16": -2, "u16": 2, "i32": -3, "u32": 3, "i64": i64::MIN,
                "f32": 0.5, "nan": null, "decimal": 2.75, "short": "s", "bytes": "/wA=", "array": "YWI=",
                "time": "2023-11-14T22:13:20Z", "never": u64::MAX, "x-received-from": [{"uri": "amqps://x"}],
                "void": null,
            })
        );
    }

    #[test]
    fn arguments_go_there_and_come_back() {
        let json = json!({"x-max-priority": 5, "x-message-ttl": 3_000_000_000_i64, "x-queue-type": "quorum",
            "f": 0.5, "b": true, "list": ["a", 1], "table": {"k": null}});
        let Value::Object(map) = json.clone() else { panic!("an object") };
        assert_eq!(Value::Object(table(&arguments(&map), 0)), json);
    }

    #[test]
    fn headers_nested_beyond_reason_are_cut_and_set_aside() {
        let mut value = AMQPValue::Boolean(true);
        for _ in 0..3000 {
            let mut list = FieldArray::default();
            list.push(value);
            value = AMQPValue::FieldArray(list);
        }
        let mut headers = FieldTable::default();
        headers.insert("deep".into(), value);
        let properties = Properties { headers: table(&headers, 0), ..Properties::default() };
        let delivery = crate::delivery::Delivery::message(b"{}".to_vec(), "a".into(), properties, "amqp:q".into());
        let read = crate::decode::decode(&delivery, &crate::decode::Limits::default());
        assert_eq!(read.unwrap_err(), crate::decode::Reason::Deep);
    }
}
