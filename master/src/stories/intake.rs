//! A trigger sends what it recorded, again and out of place.

use axum::http::{Method, StatusCode};
use model::Role;
use model::intake::{IntakeAnswer, JobAnswer};
use model::operator::{EventDetail, EventSummary, Page, Why};
use serde_json::json;

use super::house::{House, batch, record};

#[tokio::test]
async fn records_are_stored_once_and_the_cursor_says_where_to_go_on() {
    let house = House::new().await;
    let cursor = house.call(Some(Role::Trigger), Method::GET, "/api/v1/intake/t1", None).await;
    assert_eq!(cursor.json::<IntakeAnswer>().next, 1);

    let first = batch(vec![record(1, "noop"), record(2, "nope"), record(3, "noop")]);
    let answer: IntakeAnswer = house.post(Role::Trigger, "/api/v1/intake", first.clone()).await.json();
    assert_eq!(answer.next, 4);
    assert!(matches!(answer.jobs[0], JobAnswer::Submitted { .. }));
    assert_eq!(answer.jobs[1], JobAnswer::Refused { reason: "unknown task 'nope'; did you mean 'noop'?".into() });
    assert!(matches!(answer.jobs[2], JobAnswer::Submitted { .. }), "one bad job does not hold up the others");

    let again = house.post(Role::Trigger, "/api/v1/intake", first).await;
    assert_eq!((again.status, again.json::<IntakeAnswer>().next), (StatusCode::OK, 4));
    let ahead = house.post(Role::Trigger, "/api/v1/intake", batch(vec![record(9, "noop")])).await;
    assert_eq!((ahead.status, ahead.json::<IntakeAnswer>().next), (StatusCode::OK, 4));
    let gap = house.post(Role::Trigger, "/api/v1/intake", batch(vec![record(4, "noop"), record(6, "noop")])).await;
    assert_eq!(gap.status, StatusCode::BAD_REQUEST);
    assert_eq!(gap.detail(), "record 6 follows record 4: there is a gap");

    let status = house.status().await;
    assert_eq!((status.jobs.queued, status.intake.recorded), (2, 3));
}

#[tokio::test]
async fn what_was_recorded_beyond_the_horizon_is_expired_however_old_the_event_is() {
    let house = House::new().await;
    let mut old = record(1, "noop");
    old["recorded_at"] = json!("2020-01-01T00:00:00Z");
    let mut of_old = record(2, "noop");
    of_old["event"]["sent_at"] = json!("1999-01-01T00:00:00Z");
    let answer: IntakeAnswer = house.post(Role::Trigger, "/api/v1/intake", batch(vec![old, of_old])).await.json();
    assert_eq!(answer.jobs[0], JobAnswer::Expired);
    assert!(matches!(answer.jobs[1], JobAnswer::Submitted { .. }));
}

#[tokio::test]
async fn an_event_tells_what_every_rule_says_of_it_and_which_jobs_it_made() {
    let house = House::new().await;
    let mut quiet = record(2, "noop");
    quiet["event"]["body"]["state"] = json!("open");
    quiet["matched"] = json!([]);
    quiet["jobs"] = json!([]);
    house.post(Role::Trigger, "/api/v1/intake", batch(vec![record(1, "noop"), quiet])).await;

    let made: EventDetail = house.get("/api/v1/events/event-1").await.json();
    assert_eq!((made.jobs.len(), made.verdicts[0].matched), (1, true));
    let why: Why = house.get("/api/v1/why/event/event-1").await.json();
    assert_eq!(why.why, "made 1 job, asked for by on-build");
    let why: Why = house.get("/api/v1/why/event/event-2").await.json();
    assert_eq!(why.why, "made no job: none of 1 rule matched");
    assert!(why.facts["rule on-build"].contains("body.state"), "{why:?}");

    let with: Page<EventSummary> = house.get("/api/v1/events?with_jobs=true").await.json();
    assert_eq!(with.items.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), ["event-1"]);
    assert_eq!(house.get("/api/v1/events/event-9").await.status, StatusCode::NOT_FOUND);
}
