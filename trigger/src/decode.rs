//! A delivery becomes an event, or a reason why it cannot.
//!
//! Pure. Nothing that a publisher can send makes this panic, recurse without bound, or fail for a time: what cannot be
//! read now can never be read, so it is set aside and acknowledged.

use std::fmt;

use model::{DEPTH, Event, is_too_deep};
use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use serde_json::{Map, Value};

use crate::delivery::{Delivery, Form};
use crate::line;

/// How large a message may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a body, or of a line.
    pub size: usize,
    /// Number of headers.
    pub headers: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { size: 8 << 20, headers: 256 }
    }
}

/// Why a delivery is no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    Empty,
    /// The JSON ends too early.
    Truncated,
    NotJson,
    BadUtf8,
    JsonArray,
    JsonNull,
    JsonString,
    JsonNumber,
    JsonBoolean,
    Deep,
    UnknownEncoding,
    TooLarge,
    TooManyHeaders,
    /// A line without a topic.
    NoTopic,
    /// A line whose body is no object.
    NoBody,
    /// We fell over it: a fault of this program, which its log tells.
    Fault,
}

impl Reason {
    pub fn name(self) -> &'static str {
        match self {
            Reason::Empty => "empty",
            Reason::Truncated => "truncated",
            Reason::NotJson => "not-json",
            Reason::BadUtf8 => "bad-utf8",
            Reason::JsonArray => "json-array",
            Reason::JsonNull => "json-null",
            Reason::JsonString => "json-string",
            Reason::JsonNumber => "json-number",
            Reason::JsonBoolean => "json-boolean",
            Reason::Deep => "deep",
            Reason::UnknownEncoding => "unknown-encoding",
            Reason::TooLarge => "too-large",
            Reason::TooManyHeaders => "too-many-headers",
            Reason::NoTopic => "no-topic",
            Reason::NoBody => "no-body",
            Reason::Fault => "fault",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Reads one line of a JSON-lines file as a trigger's source does; `source` is what its event says it came from.
pub fn decode_line(line: Vec<u8>, source: &str, limits: &Limits) -> Result<Event, Reason> {
    decode(&Delivery::line(line, source.into()), limits)
}

/// Reads a delivery.
pub fn decode(delivery: &Delivery, limits: &Limits) -> Result<Event, Reason> {
    if delivery.length > limits.size as u64 {
        return Err(Reason::TooLarge);
    }
    let event = match delivery.form {
        Form::Message => message(delivery)?,
        Form::Line => line::event(object(&delivery.bytes)?, &delivery.source)?,
    };
    if event.headers.len() > limits.headers {
        return Err(Reason::TooManyHeaders);
    }
    if is_too_deep(&event.headers) || is_too_deep(&event.body) {
        return Err(Reason::Deep);
    }
    Ok(event)
}

fn message(delivery: &Delivery) -> Result<Event, Reason> {
    let properties = &delivery.properties;
    let encoding = properties.content_encoding.as_deref().unwrap_or("");
    if !["", "utf-8", "utf8", "ascii", "us-ascii"].iter().any(|known| encoding.eq_ignore_ascii_case(known)) {
        return Err(Reason::UnknownEncoding);
    }
    let body = object(&delivery.bytes)?;
    let sent_at = properties.headers.get("sent-at").and_then(Value::as_str).map(str::to_owned);
    let id = match properties.message_id.as_deref() {
        None | Some("") => Event::hash(&delivery.topic, sent_at.as_deref(), &body),
        Some(id) => id.to_owned(),
    };
    Ok(Event {
        id,
        topic: delivery.topic.clone(),
        sent_at,
        headers: properties.headers.clone(),
        body,
        source: delivery.source.to_string(),
    })
}

/// Reads the one JSON object that the bytes should be.
fn object(bytes: &[u8]) -> Result<Map<String, Value>, Reason> {
    if bytes.trim_ascii().is_empty() {
        return Err(Reason::Empty);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Reason::BadUtf8)?;
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(Value::Array(_)) => Err(Reason::JsonArray),
        Ok(Value::Null) => Err(Reason::JsonNull),
        Ok(Value::String(_)) => Err(Reason::JsonString),
        Ok(Value::Number(_)) => Err(Reason::JsonNumber),
        Ok(Value::Bool(_)) => Err(Reason::JsonBoolean),
        Err(e) => Err(match e.classify() {
            Category::Eof => Reason::Truncated,
            Category::Syntax | Category::Data | Category::Io if opens(text) > DEPTH => Reason::Deep,
            Category::Syntax | Category::Data | Category::Io => Reason::NotJson,
        }),
    }
}

/// The greatest number of brackets that stand open at once, outside of strings.
fn opens(text: &str) -> usize {
    let (mut open, mut most, mut string, mut escaped) = (0usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if string => escaped = true,
            b'"' => string = !string,
            b'{' | b'[' if !string => {
                open += 1;
                most = most.max(open);
            }
            b'}' | b']' if !string => open = open.saturating_sub(1),
            _ => {}
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::delivery::Properties;

    fn sent(bytes: &[u8]) -> Delivery {
        let properties = Properties { message_id: Some("m-1".into()), ..Properties::default() };
        Delivery::message(bytes.to_vec(), "a.b".into(), properties, "amqp:q".into())
    }

    fn read(bytes: &[u8]) -> Result<Event, Reason> {
        decode(&sent(bytes), &Limits::default())
    }

    fn nested(levels: usize) -> Vec<u8> {
        [r#"{"a":"#.repeat(levels).into_bytes(), b"1".to_vec(), b"}".repeat(levels)].concat()
    }

    #[test]
    fn what_cannot_be_read_has_a_reason() {
        let table: &[(&[u8], Reason)] = &[
            (b"{'this': is not json", Reason::NotJson),
            (b"{\"a\": 1} trailing", Reason::NotJson),
            (br#"{"malformed": "truncated", "n""#, Reason::Truncated),
            (b"{", Reason::Truncated),
            (b"", Reason::Empty),
            (b" \n\t", Reason::Empty),
            (b"{\"k\": \"\xff\xfe\xc3(\"}", Reason::BadUtf8),
            (b"[1, 2, 3]", Reason::JsonArray),
            (b"null", Reason::JsonNull),
            (b"\"text\"", Reason::JsonString),
            (b"17", Reason::JsonNumber),
            (b"true", Reason::JsonBoolean),
        ];
        for (bytes, reason) in table {
            assert_eq!(read(bytes).unwrap_err(), *reason, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn depth_is_bounded_below_what_every_reader_can_read() {
        assert!(read(&nested(DEPTH)).is_ok());
        for levels in [DEPTH + 1, 127, 128, 5000] {
            assert_eq!(read(&nested(levels)).unwrap_err(), Reason::Deep, "{levels}");
        }
        let mut delivery = sent(b"{}");
        delivery.properties.headers = serde_json::from_slice(&nested(DEPTH + 1)).unwrap();
        assert_eq!(decode(&delivery, &Limits::default()).unwrap_err(), Reason::Deep);
    }

    #[test]
    fn size_and_number_of_headers_are_bounded() {
        let limits = Limits { size: 100, headers: 2 };
        let mut delivery = sent(&[b' '; 101]);
        assert_eq!(decode(&delivery, &limits).unwrap_err(), Reason::TooLarge);
        delivery = sent(b"{}");
        for name in ["a", "b", "c"] {
            assert!(decode(&delivery, &limits).is_ok());
            delivery.properties.headers.insert(name.into(), Value::Null);
        }
        assert_eq!(decode(&delivery, &limits).unwrap_err(), Reason::TooManyHeaders);
    }

    #[test]
    fn the_encoding_is_checked_and_the_content_type_is_not() {
        let mut delivery = sent(b"{}");
        delivery.properties.content_type = Some("text/plain".into());
        for known in ["utf-8", "UTF8", "us-ascii", ""] {
            delivery.properties.content_encoding = Some(known.into());
            assert!(decode(&delivery, &Limits::default()).is_ok(), "{known}");
        }
        delivery.properties.content_encoding = Some("utf-99".into());
        assert_eq!(decode(&delivery, &Limits::default()).unwrap_err(), Reason::UnknownEncoding);
    }

    #[test]
    fn odd_messages_are_ordinary_events() {
        let event = read(br#"{"k": 1, "k": 2}"#).unwrap();
        assert_eq!(event.body, *json!({"k": 2}).as_object().unwrap());
        let mut delivery = sent(b"{}");
        delivery.properties = Properties::default();
        let event = decode(&delivery, &Limits::default()).unwrap();
        assert_eq!(event.id, Event::hash("a.b", None, &event.body));
        delivery.properties.headers = json!({"sent-at": 7}).as_object().unwrap().clone();
        assert_eq!(decode(&delivery, &Limits::default()).unwrap().sent_at, None);
        delivery.properties.headers = json!({"sent-at": "yesterday"}).as_object().unwrap().clone();
        assert_eq!(decode(&delivery, &Limits::default()).unwrap().sent_at.as_deref(), Some("yesterday"));
    }
}
