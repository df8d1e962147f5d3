//! JSON values as queries see them: where a path leads, what equals what, and what comes before what.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::{Comparison, Key};

/// Adds every value that the rest of a path reaches from `value`.
pub(super) fn ends<'a>(value: &'a Value, path: &[Key], found: &mut Vec<&'a Value>) {
    let Some((key, rest)) = path.split_first() else {
        found.push(value);
        return;
    };
    match value {
        Value::Object(map) => {
            if let Some(value) = map.get(&key.name) {
                ends(value, rest, found);
            }
        }
        Value::Array(list) => {
            if let Some(value) = key.index.and_then(|index| list.get(index)) {
                ends(value, rest, found);
            }
            for value in list.iter().filter(|value| value.is_object()) {
                ends(value, path, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A condition on a list holds of the list itself or of one of its elements.
pub(super) fn candidates<'a>(found: &'a [&'a Value]) -> impl Iterator<Item = &'a Value> {
    found.iter().flat_map(|value| {
        let elements = value.as_array().map(Vec::as_slice).unwrap_or_default();
        std::iter::once(*value).chain(elements)
    })
}

/// Equal in type and value; 1 equals 1.0, and neither equals true.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Number(a), Value::Number(b)) => compare(a, b) == Some(Ordering::Equal),
        _ => a == b,
    }
}

/// The order of two numbers or of two texts; anything else has none.
pub(super) fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare(a, b),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

pub(super) fn holds(comparison: Comparison, order: Ordering) -> bool {
    match comparison {
        Comparison::Gt => order.is_gt(),
        Comparison::Gte => order.is_ge(),
        Comparison::Lt => order.is_lt(),
        Comparison::Lte => order.is_le(),
    }
}

fn compare(a: &Number, b: &Number) -> Option<Ordering> {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        (Some(a), None) => compare_whole(a, b.as_f64()?),
        (None, Some(b)) => compare_whole(b, a.as_f64()?).map(Ordering::reverse),
        (None, None) => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

/// Exact where a float could not hold the whole number.
fn compare_whole(whole: i128, float: f64) -> Option<Ordering> {
    // The cast saturates, and no number of JSON's 64 bits comes near its ends.
    let floor = float.floor();
    match whole.cmp(&(floor as i128)) {
        Ordering::Equal if float > floor => Some(Ordering::Less),
        other => Some(other),
    }
}

/// A number modulo a divisor that is not 0, with the divisor's sign; a float loses its fraction first.
pub(super) fn remainder(value: &Value, divisor: i64) -> Option<i64> {
    let number = value.as_number()?;
    let whole = number.as_i128().or_else(|| number.as_f64().map(|float| float.trunc() as i128))?;
    let divisor = i128::from(divisor);
    i64::try_from((whole % divisor + divisor) % divisor).ok()
}

/// A type that `$type` knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    String,
    Object,
    Array,
    Bool,
    Null,
    Int,
    Double,
    Number,
}

impl Type {
    pub const ALL: [Type; 8] =
        [Type::String, Type::Object, Type::Array, Type::Bool, Type::Null, Type::Int, Type::Double, Type::Number];

    pub fn name(self) -> &'static str {
        match self {
            Type::String => "string",
            Type::Object => "object",
            Type::Array => "array",
            Type::Bool => "bool",
            Type::Null => "null",
            Type::Int => "int",
            Type::Double => "double",
            Type::Number => "number",
        }
    }

    pub fn is_type_of(self, value: &Value) -> bool {
        match self {
            Type::String => value.is_string(),
            Type::Object => value.is_object(),
            Type::Array => value.is_array(),
            Type::Bool => value.is_boolean(),
            Type::Null => value.is_null(),
            Type::Int => value.is_i64() || value.is_u64(),
            Type::Double => value.is_f64(),
            Type::Number => value.is_number(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_compare_by_value_even_where_a_float_is_too_coarse() {
        assert!(equal(&json!(1), &json!(1.0)));
        assert!(equal(&json!(-0.0), &json!(0)));
        assert!(!equal(&json!(9007199254740993_u64), &json!(9007199254740992.0)));
        assert_eq!(order(&json!(2), &json!(2.5)), Some(Ordering::Less));
        assert_eq!(order(&json!(-2.5), &json!(-2)), Some(Ordering::Less));
        assert_eq!(order(&json!(u64::MAX), &json!(1e300)), Some(Ordering::Less));
        assert_eq!(order(&json!(true), &json!(0)), None);
    }

    #[test]
    fn a_remainder_has_the_sign_of_its_divisor() {
        assert_eq!(remainder(&json!(5), 2), Some(1));
        assert_eq!(remainder(&json!(-3), 2), Some(1));
        assert_eq!(remainder(&json!(5.9), 3), Some(2));
        assert_eq!(remainder(&json!(i64::MIN), -1), Some(0));
        assert_eq!(remainder(&json!("5"), 2), None);
    }
}
