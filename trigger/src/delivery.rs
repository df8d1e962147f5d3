//! What a source hands over: bytes and what came with them, not yet understood.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One message or line in hand. Its source acknowledges it only when the log has it on disk.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub bytes: Vec<u8>,
    /// How many bytes there were; greater than `bytes.len()` where a source cut off what was over the limit.
    pub length: u64,
    /// The routing key; empty for a line, which names its topic itself.
    pub topic: String,
    pub properties: Properties,
    /// `amqp:QUEUE`, `file:NAME` …
    pub source: Arc<str>,
    pub form: Form,
}

/// How the bytes are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The bytes are the body.
    Message,
    /// The bytes are one line of JSON that holds id, topic, headers and body.
    Line,
}

/// What stands beside the body of a message on the bus, whatever the bus.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Properties {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<u64>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub headers: Map<String, Value>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redelivered: bool,
}

impl Delivery {
    /// One line of JSON from `source`.
    pub fn line(bytes: Vec<u8>, source: Arc<str>) -> Delivery {
        Delivery {
            length: bytes.len() as u64,
            bytes,
            topic: String::new(),
            properties: Properties::default(),
            source,
            form: Form::Line,
        }
    }

    /// One message of a bus.
    pub fn message(bytes: Vec<u8>, topic: String, properties: Properties, source: Arc<str>) -> Delivery {
        Delivery { length: bytes.len() as u64, bytes, topic, properties, source, form: Form::Message }
    }
}
