//! Events over HTTP: `POST /events`, answered when everything that was sent is on disk.
//!
//! A body is one event in a form that a JSON-lines file may have, an array of them, or one after the other. What is JSON
//! and no event goes to quarantine, as from any source, and the answer says so; what is no JSON is refused whole, and
//! nothing of it is kept. Sending again is safe: an event that is there already is a duplicate.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use model::Role;
use model::intake::{Became, Taken};
use net::{Caller, Problem, Tokens, guard};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::delivery::Delivery;
use crate::front::Front;
use crate::intake::{MOST, MOST_BYTES};

/// The most events of one request.
const EVENTS: usize = 10_000;

/// How long a sender waits while the log cannot be written.
const PATIENCE: Duration = Duration::from_secs(25);

/// `[trigger.webhook]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where a trigger that runs alone listens.
    pub listen: SocketAddr,
    /// Bytes of a request; each event in it has the trigger's limits.
    pub size: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { listen: SocketAddr::from(([127, 0, 0, 1], 8081)), size: 16 << 20 }
    }
}

#[derive(Clone)]
struct Hook {
    front: Front,
    size: usize,
}

pub fn routes(front: &Front, settings: &crate::Settings, tokens: &Tokens) -> Router {
    let size = settings.webhook.clone().unwrap_or_default().size;
    let events = Router::new().route("/events", post(take));
    guard(events, tokens, Role::Submitter).with_state(Hook { front: front.clone(), size })
}

async fn take(State(hook): State<Hook>, caller: Caller, body: Body) -> Result<axum::Json<Taken>, Problem> {
    let bytes = axum::body::to_bytes(body, hook.size).await.map_err(|_| {
        let what = format!("the body does not come whole, or is over {} bytes; send it in parts", hook.size);
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, what)
    })?;
    let source: std::sync::Arc<str> = format!("webhook:{}", caller.name).into();
    let events = events(&bytes).map_err(Problem::bad_request)?;
    let deliveries = events.into_iter().map(|event| Delivery::line(event.get().into(), source.clone())).collect();
    let became = tokio::time::timeout(PATIENCE, hand(&hook.front, deliveries)).await.map_err(|_| {
        Problem::unavailable("the event log cannot be written at the moment; send it again, which adds nothing twice")
    })??;
    Ok(axum::Json(Taken::of(became)))
}

/// Hands everything over, in batches, and waits until all of it is on disk.
async fn hand(front: &Front, deliveries: Vec<Delivery>) -> Result<Vec<Became>, Problem> {
    let gone = || Problem::unavailable("the trigger is stopping; send it again, which adds nothing twice");
    let intake = front.intake()?;
    let (mut receipts, mut became) = (Vec::new(), Vec::new());
    for batch in batches(deliveries) {
        receipts.push(intake.hand(batch).await.ok_or_else(gone)?);
    }
    for receipt in receipts {
        became.extend(receipt.await.map_err(|_| gone())?);
    }
    Ok(became)
}

fn batches(deliveries: Vec<Delivery>) -> Vec<Vec<Delivery>> {
    let (mut batches, mut bytes) = (vec![Vec::new()], 0);
    for delivery in deliveries {
        let last = batches.last_mut().expect("there is one from the beginning");
        if last.len() < MOST && bytes < MOST_BYTES {
            bytes += delivery.bytes.len();
            last.push(delivery);
        } else {
            bytes = delivery.bytes.len();
            batches.push(vec![delivery]);
        }
    }
    batches.retain(|batch| !batch.is_empty());
    batches
}

/// Cuts a body into its events, without looking into them.
fn events(bytes: &[u8]) -> Result<Vec<&RawValue>, String> {
    let text = std::str::from_utf8(bytes).map_err(|e| format!("the body is not UTF-8: {e}"))?;
    let fault = |e: serde_json::Error| format!("the body is not JSON, and nothing of it is taken: {e}");
    if text.trim_ascii_start().starts_with('[') {
        return serde_json::from_str(text).map(|Array(events)| events).map_err(fault);
    }
    let mut events = Vec::new();
    for event in serde_json::Deserializer::from_str(text).into_iter() {
        events.push(event.map_err(fault)?);
        if events.len() > EVENTS {
            return Err(too_many());
        }
    }
    if events.is_empty() {
        return Err("the body is empty: send an event, an array of events, or one event a line".into());
    }
    Ok(events)
}

fn too_many() -> String {
    format!("there are more than {EVENTS} events; send them in parts")
}

/// An array that stops at too many before it has them all in memory.
struct Array<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Array<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Array<'de>, D::Error> {
        struct Events;
        impl<'de> Visitor<'de> for Events {
            type Value = Array<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of events")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Array<'de>, A::Error> {
                let mut events = Vec::new();
                while let Some(event) = list.next_element()? {
                    events.push(event);
                    if events.len() > EVENTS {
                        return Err(serde::de::Error::custom(too_many()));
                    }
                }
                Ok(Array(events))
            }
        }
        deserializer.deserialize_seq(Events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_one_event_an_array_or_one_after_the_other() {
        let texts = |body: &str| {
            events(body.as_bytes()).map(|events| events.iter().map(|event| event.get().to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(texts("{\"a\":\n 1}\n").unwrap(), ["{\"a\":\n 1}"]);
        assert_eq!(texts(" [{\"a\": 1}, {}, 7]").unwrap(), ["{\"a\": 1}", "{}", "7"]);
        assert_eq!(texts("{\"a\": 1}\n{}\n\n{}").unwrap(), ["{\"a\": 1}", "{}", "{}"]);
        assert_eq!(texts("[]").unwrap(), Vec::<String>::new());
        let deep = "[".repeat(5000) + &"]".repeat(5000);
        assert_eq!(texts(&format!("[{deep}]")).unwrap(), [deep]);
        for (body, named) in [
            ("", "is empty"),
            ("{\"a\": 1", "line 1 column 7"),
            ("{}\n{\n{}", "is not JSON"),
            ("[{}] {}", "trailing"),
            ("topic=a", "is not JSON"),
        ] {
            let error = texts(body).unwrap_err();
            assert!(error.contains(named), "{body}: {error}");
        }
        for body in [format!("[{}{{}}]", "{},".repeat(EVENTS)), "{}".repeat(EVENTS + 1)] {
            assert!(texts(&body).unwrap_err().contains("more than 10000"));
        }
        assert!(events(b"\xff").unwrap_err().contains("not UTF-8"));
    }

    #[test]
    fn batches_are_of_a_size_that_one_commit_takes() {
        let line = |bytes: usize| Delivery::line(vec![b' '; bytes], "webhook:x".into());
        let sizes = |deliveries: Vec<Delivery>| batches(deliveries).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(vec![]), Vec::<usize>::new());
        assert_eq!(sizes((0..MOST + 2).map(|_| line(1)).collect()), [MOST, 2]);
        assert_eq!(sizes((0..3).map(|_| line(MOST_BYTES)).collect()), [1, 1, 1]);
    }
}
