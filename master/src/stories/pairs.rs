//! Two triggers of a pair that differ: the status, the event, the listing and the numbers say so.

use axum::http::StatusCode;
use model::Role;
use model::operator::{Divergence, Page, Why};
use serde_json::{Value, json};

use super::house::{House, batch, record};

/// What one of the pair sends, with all its counts.
fn of(member: &str, records: Vec<Value>) -> Value {
    let mut body = batch(records);
    body["recorder"] = json!(format!("{member}-log"));
    body["pair"] = json!({"name": "fedora", "member": member});
    body
}

#[tokio::test]
async fn a_divergence_is_told_wherever_somebody_looks() {
    let house = House::new().await;
    let send = async |body: Value| {
        assert_eq!(house.post(Role::Trigger, "/api/v1/intake", body).await.status, StatusCode::OK);
    };
    send(of("a", vec![record(1, "noop"), record(2, "noop")])).await;
    assert_eq!(house.status().await.warnings[0].what, "pair fedora has one trigger only, a: nothing is compared");
    send(of("b", vec![record(1, "rpmlint"), record(2, "noop")])).await;

    let status = house.status().await;
    assert_eq!(status.warnings.len(), 1);
    assert_eq!(status.warnings[0].what, "pair fedora: b decided 1 event differently than a");
    assert_eq!((status.divergences.decided, status.divergences.unseen), (1, 0));
    assert!(house.get("/metrics").await.text().contains("taskotron_divergences{state=\"decided\"} 1"));

    let says =
        "a (generation 1) asks for 1 job that b (generation 1) does not ask for, and b for 1 job that a does not";
    let listed: Page<Divergence> = house.get("/api/v1/divergences?limit=1").await.json();
    assert_eq!((listed.items[0].event_id.as_str(), listed.items[0].to_string().as_str()), ("event-1", says));
    let why: Why = house.get("/api/v1/why/event/event-1").await.json();
    assert_eq!(why.facts["pair fedora"], says);
    let page = house.get("/events/event-1").await.text();
    assert!(page.contains("Pair fedora: a (generation 1) asks for 1 job"), "{page}");
    assert!(house.get("/").await.text().contains("pair fedora: b decided 1 event differently than a"));
}
