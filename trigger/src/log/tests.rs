//! The event log on a real folder.

use serde_json::{Map, json};

use model::Event;

/// An event like others, with its own id and content.
pub fn event(n: u64) -> Event {
    Event {
        id: format!("e-{n}"),
        topic: "a.b".into(),
        sent_at: Some("2024-01-01T00:00:00Z".into()),
        headers: Map::new(),
        body: json!({"n": n}).as_object().unwrap().clone(),
        source: "test".into(),
    }
}
