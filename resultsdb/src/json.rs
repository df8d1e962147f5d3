//! JSON as Python reads and prints it, since that is what the clients of ResultsDB have always seen.

use std::fmt::{self, Write as _};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Any JSON value, with the members of objects in the order in which they came.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads one document; nesting is limited by the parser. `None` when it is no JSON.
    pub fn parse(bytes: &[u8]) -> Option<Json> {
        serde_json::from_slice(bytes).ok()
    }

    /// A member of an object.
    pub fn get(&self, name: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => members.iter().find(|(n, _)| n == name).map(|(_, v)| v),
            _ => None,
        }
    }

    /// Whether a text anywhere inside holds a NUL, which no database column takes.
    pub fn has_nul(&self) -> bool {
        match self {
            Json::Null | Json::Bool(_) | Json::Int(_) | Json::Float(_) => false,
            Json::Text(text) => text.contains('\0'),
            Json::List(list) => list.iter().any(Json::has_nul),
            Json::Object(members) => members.iter().any(|(n, v)| n.contains('\0') || v.has_nul()),
        }
    }

    /// What Python's `str()` makes of it: `True`, `None`, `1e+16`, `{'a': 1}`.
    pub fn python(&self) -> String {
        let mut out = String::new();
        match self {
            Json::Text(text) => out.push_str(text),
            other => other.repr(&mut out),
        }
        out
    }

    fn repr(&self, out: &mut String) {
        match self {
            Json::Null => out.push_str("None"),
            Json::Bool(true) => out.push_str("True"),
            Json::Bool(false) => out.push_str("False"),
            Json::Int(n) => write(out, format_args!("{n}")),
            Json::Float(x) => float(*x, out),
            Json::Text(text) => quoted(text, out),
            Json::List(list) => {
                out.push('[');
                for (i, element) in list.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { ", " });
                    element.repr(out);
                }
                out.push(']');
            }
            Json::Object(members) => {
                out.push('{');
                for (i, (name, value)) in members.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { ", " });
                    quoted(name, out);
                    out.push_str(": ");
                    value.repr(out);
                }
                out.push('}');
            }
        }
    }

    /// Writes it as the API's answers are written.
    pub fn write(&self, out: &mut String) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(b) => write(out, format_args!("{b}")),
            Json::Int(n) => write(out, format_args!("{n}")),
            Json::Float(x) => float(*x, out),
            Json::Text(t) => text(t, out),
            Json::List(list) => {
                out.push('[');
                for (i, element) in list.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { "," });
                    element.write(out);
                }
                out.push(']');
            }
            Json::Object(members) => {
                out.push('{');
                for (i, (name, value)) in members.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { "," });
                    text(name, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

fn write(out: &mut String, arguments: fmt::Arguments<'_>) {
    out.write_fmt(arguments).expect("writing to a String cannot fail");
}

/// A JSON text in ASCII.
pub fn text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write(out, format_args!("\\u{unit:04x}"));
                }
            }
        }
    }
    out.push('"');
}

/// A JSON text in ASCII, or `null`.
pub fn optional(value: Option<&str>, out: &mut String) {
    match value {
        Some(value) => text(value, out),
        None => out.push_str("null"),
    }
}

/// A float as Python prints it: the shortest digits, an exponent from 1e16 up and below 1e-4.
fn float(x: f64, out: &mut String) {
    let short = format!("{x:e}");
    let (digits, exponent) = short.split_once('e').expect("the e-format has an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is a number");
    if x == 0.0 || (-4..16).contains(&exponent) {
        write(out, format_args!("{x:?}"));
        if !out.ends_with(|c: char| c.is_ascii_digit()) {
            out.push('0');
        }
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        write(out, format_args!("{digits}e{sign}{:02}", exponent.abs()));
    }
}

/// A text as a Python literal.
fn quoted(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if printable(c) => out.push(c),
            c if (c as u32) < 0x100 => write(out, format_args!("\\x{:02x}", c as u32)),
            c if (c as u32) < 0x1_0000 => write(out, format_args!("\\u{:04x}", c as u32)),
            c => write(out, format_args!("\\U{:08x}", c as u32)),
        }
    }
    out.push(quote);
}

/// What Python prints as it is, but for unassigned and private characters, which a table would be needed for.
fn printable(c: char) -> bool {
    let hidden =
        matches!(c as u32, 0xad | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f | 0xfeff | 0xe000..=0xf8ff);
    c == ' ' || !(c.is_control() || c.is_whitespace() || hidden)
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, b: bool) -> Result<Json, E> {
        Ok(Json::Bool(b))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Json, E> {
        Ok(Json::Int(n.into()))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Json, E> {
        Ok(Json::Int(n.into()))
    }

    fn visit_f64<E>(self, x: f64) -> Result<Json, E> {
        Ok(Json::Float(x))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut members: Vec<(String, Json)> = Vec::new();
        let mut places = std::collections::HashMap::new();
        while let Some((name, value)) = entries.next_entry::<String, Json>()? {
            // The last of several members of one name counts, in the place of the first.
            match places.get(&name) {
                Some(&place) => members[place] = (name, value),
                None => {
                    places.insert(name.clone(), members.len());
                    members.push((name, value));
                }
            }
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_the_text_that_python_prints() {
        for (json, want) in [
            ("true", "True"),
            ("null", "None"),
            ("5", "5"),
            ("1.5", "1.5"),
            ("3.0", "3.0"),
            ("1e16", "1e+16"),
            ("1e15", "1000000000000000.0"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("-0.0", "-0.0"),
            ("2.0477522977382554e30", "2.0477522977382554e+30"),
            ("18446744073709551615", "18446744073709551615"),
            (r#""as it is""#, "as it is"),
            (r#"{"b": 1, "a": [null, "x"]}"#, "{'b': 1, 'a': [None, 'x']}"),
            (r#"["it's", "\"'", "\n\u0001\u00e9\u200b"]"#, r#"["it's", '"\'', '\n\x01é\u200b']"#),
            ("[]", "[]"),
        ] {
            assert_eq!(Json::parse(json.as_bytes()).unwrap().python(), want, "{json}");
        }
    }

    #[test]
    fn answers_are_ascii() {
        let mut out = String::new();
        text("a\"\\\n\u{7f}é😀", &mut out);
        assert_eq!(out, r#""a\"\\\n\u007f\u00e9\ud83d\ude00""#);
    }

    #[test]
    fn deep_nesting_and_lone_surrogates_are_refused() {
        assert!(Json::parse("[".repeat(100_000).as_bytes()).is_none());
        assert!(Json::parse(br#""\ud800""#).is_none());
        let twice = Json::parse(br#"{"a": 1, "b": 2, "a": 3}"#).unwrap();
        assert_eq!(twice.python(), "{'a': 3, 'b': 2}");
    }
}
