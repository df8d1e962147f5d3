//! One decoded message of the bus.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::{Time, canonical};

/// One decoded message. What came without an id has one made from its content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// The bus message id, opaque text.
    pub id: String,
    /// The AMQP routing key: dot-separated words.
    pub topic: String,
    /// The publisher's own time, as it wrote it.
    #[serde(default)]
    pub sent_at: Option<String>,
    #[serde(default)]
    #[schema(value_type = Object)]
    pub headers: Map<String, Value>,
    /// Always an object.
    #[schema(value_type = Object)]
    pub body: Map<String, Value>,
    /// Where it came from: `amqp:QUEUE`, `file:NAME`, `cron:SCHEDULE` …
    #[serde(default)]
    pub source: String,
}

/// A fingerprint of what a message says: SHA-256 over its topic and body, without the time at which it was sent.
///
/// A publisher that repeats itself stamps the repetition anew, so the time is no part of the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Content(pub [u8; 32]);

impl Event {
    /// The hash that names an event without an id: SHA-256 over the canonical JSON `[topic, sent_at, body]`, in hex.
    pub fn hash(topic: &str, sent_at: Option<&str>, body: &Map<String, Value>) -> String {
        hex::encode(Sha256::digest(canonical(&json!([topic, sent_at, body]))))
    }

    pub fn content(&self) -> Content {
        Content(Sha256::digest(canonical(&json!([self.topic, self.body]))).into())
    }

    /// The id of an event whose bus id another event with other content already has: `ID~` and 8 hex digits.
    pub fn id_beside_another(&self) -> String {
        let hash = Event::hash(&self.topic, self.sent_at.as_deref(), &self.body);
        format!("{}~{}", self.id, &hash[..8])
    }

    /// The publisher's time as a moment, where it can be read as one.
    pub fn time(&self) -> Option<Time> {
        Time::parse_loose(self.sent_at.as_deref()?)
    }

    /// The document that `when` and the templates see; a kind's fields are added beside these.
    pub fn document(&self) -> Map<String, Value> {
        let mut doc = Map::new();
        doc.insert("id".into(), self.id.clone().into());
        doc.insert("topic".into(), self.topic.clone().into());
        doc.insert("time".into(), self.sent_at.clone().into());
        doc.insert("source".into(), self.source.clone().into());
        doc.insert("headers".into(), Value::Object(self.headers.clone()));
        doc.insert("body".into(), Value::Object(self.body.clone()));
        doc
    }
}
