//! The shapes in which events stand in JSON-lines files.
//!
//! Ours and datagrepper's `/v2/search` (`id`, `topic`, `headers`, `body`), fedora-messaging's recorder (the same,
//! with `queue` and `priority`), and datagrepper's `/raw` (`msg_id`, `topic`, `msg`, `timestamp`, `headers`).

use model::{Event, Time};
use serde_json::{Map, Value};

use crate::decode::Reason;

/// Reads one object as an event; `source` names the file.
pub fn event(mut object: Map<String, Value>, source: &str) -> Result<Event, Reason> {
    let topic = match object.remove("topic") {
        Some(Value::String(topic)) => topic,
        _ => return Err(Reason::NoTopic),
    };
    let body = match object.remove("body").or_else(|| object.remove("msg")) {
        Some(Value::Object(body)) => body,
        _ => return Err(Reason::NoBody),
    };
    let headers = match object.remove("headers") {
        Some(Value::Object(headers)) => headers,
        _ => Map::new(),
    };
    let sent_at = text(object.get("sent_at"))
        .or_else(|| text(headers.get("sent-at")))
        .or_else(|| object.get("timestamp").and_then(moment));
    let id = [object.get("id"), object.get("msg_id")]
        .into_iter()
        .find_map(text)
        .unwrap_or_else(|| Event::hash(&topic, sent_at.as_deref(), &body));
    Ok(Event { id, topic, sent_at, headers, body, source: source.to_owned() })
}

fn text(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// datagrepper's `timestamp`: seconds since 1970, with or without a fraction, or a text.
fn moment(value: &Value) -> Option<String> {
    if let Some(seconds) = value.as_i64() {
        return Some(Time(seconds.checked_mul(1_000_000)?).to_string());
    }
    match value.as_f64() {
        #[expect(clippy::cast_possible_truncation, reason = "the range is checked; less than a microsecond is cut")]
        Some(seconds) if seconds.abs() < 1e12 => Some(Time((seconds * 1e6).round() as i64).to_string()),
        Some(_) => None,
        None => text(Some(value)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Event, Reason> {
        event(value.as_object().unwrap().clone(), "file:x")
    }

    #[test]
    fn our_own_line_and_its_nulls() {
        let got =
            read(json!({"id": null, "topic": "a.b", "sent_at": null, "headers": null, "body": {"k": 1}})).unwrap();
        assert_eq!(got.id, Event::hash("a.b", None, &got.body));
        let got =
            read(json!({"id": "i", "topic": "a", "sent_at": "2024-01-01", "headers": {"h": 1}, "body": {}})).unwrap();
        assert_eq!((got.id.as_str(), got.sent_at.as_deref()), ("i", Some("2024-01-01")));
        assert_eq!(got.headers["h"], 1);
        assert_eq!(got.source, "file:x");
    }

    #[test]
    fn what_the_recorder_and_search_write() {
        let got = read(json!({
            "id": "i", "topic": "a", "queue": null, "priority": 0,
            "headers": {"sent-at": "2024-01-01T00:00:00+00:00"}, "body": {"k": 1},
        }))
        .unwrap();
        assert_eq!(got.sent_at.as_deref(), Some("2024-01-01T00:00:00+00:00"));
    }

    #[test]
    fn what_raw_writes() {
        let got = read(json!({"msg_id": "2022-x", "topic": "a", "msg": {"k": 1}, "timestamp": 1_344_344_053, "i": 1}))
            .unwrap();
        assert_eq!((got.id.as_str(), got.sent_at.as_deref()), ("2022-x", Some("2012-08-07T12:54:13Z")));
        let got = read(json!({"msg_id": "x", "topic": "a", "msg": {}, "timestamp": 1_344_344_053.5})).unwrap();
        assert_eq!(got.sent_at.as_deref(), Some("2012-08-07T12:54:13.500Z"));
    }

    #[test]
    fn a_line_needs_a_topic_and_a_body() {
        assert_eq!(read(json!({"id": "x", "body": {}})).unwrap_err(), Reason::NoTopic);
        assert_eq!(read(json!({"topic": "x", "body": []})).unwrap_err(), Reason::NoBody);
        assert_eq!(read(json!({"topic": "x"})).unwrap_err(), Reason::NoBody);
    }
}
