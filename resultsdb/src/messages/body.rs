//! The messages of one result. Pure, and but for the time of sending the same each time that it is asked.

use bus::Telegram;
use model::Time;
use serde_json::json;
use uuid::Uuid;

use super::Messages;
use crate::api::{Address, result_json};
use crate::store::Untold;

/// As fedora-messaging counts: information.
const INFO: i32 = 20;

/// Both of them are older than classes that check messages.
const SCHEMA: &str = "base.message";

/// `resultsdb.result.new`: the result as the API answers it.
pub fn new_result(of: &Untold, to: &Messages, now: Time) -> Telegram {
    let mut body = String::new();
    result_json(&of.result, &Address::at(&of.root), &mut body);
    telegram(of.id, to.outlet.topic("resultsdb.result.new"), body, now)
}

/// `taskotron.result.new`: the outcome is another than the one before it.
pub fn changed_outcome(of: &Untold, before: Option<&str>, to: &Messages, now: Time) -> Telegram {
    const TOPIC: &str = "taskotron.result.new";
    let result = &of.result;
    let data = result.data();
    // Several values of one key are one to these readers.
    let first = |key: &str| data.get(key).and_then(|values| values.last());
    let mut task = json!({"name": result.testcase});
    for key in ["item", "type"] {
        if let Some(value) = first(key) {
            task[key] = json!(value);
        }
    }
    let body = json!({
        "task": task,
        "result": {
            "id": result.id,
            "submit_time": format!("{} UTC", Time(result.submit_time).to_seconds()),
            "prev_outcome": before,
            "outcome": result.outcome,
            "log_url": result.ref_url,
        },
    });
    telegram(Uuid::new_v5(&of.id, TOPIC.as_bytes()), to.outlet.topic(TOPIC), body.to_string(), now)
}

fn telegram(id: Uuid, topic: String, body: String, now: Time) -> Telegram {
    let sent_at = format!("{}+00:00", now.to_seconds().replace(' ', "T"));
    Telegram { id: id.to_string(), topic, schema: SCHEMA, severity: INFO, sent_at, about: Vec::new(), body }
}
