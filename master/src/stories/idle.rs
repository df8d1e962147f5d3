//! An operator makes the system idle for maintenance, and resumes it.

use axum::http::StatusCode;
use model::lease::{Hold, Renewed};
use model::operator::{Mode, ModeView, Resumed, Why};
use model::{JobState, Outcome, Role, Span};
use serde_json::json;

use super::house::{House, exited, worker};
use crate::duty::watch_mode;

#[tokio::test]
async fn idle_is_reached_when_all_is_done_and_only_a_person_ends_it() {
    let house = House::new().await;
    let w1 = worker("w1", &[]);
    let job = house.submit("noop", "foo-1-1").await;
    let leases = house.claim(&w1, 1, "0s").await;
    let queued = house.submit("noop", "foo-2-1").await;

    let no_reason = house.post(Role::Operator, "/api/v1/idle", json!({"reason": ""})).await;
    assert_eq!(no_reason.status, StatusCode::BAD_REQUEST);
    let mode: ModeView = house.post(Role::Operator, "/api/v1/idle", json!({"reason": "kernel update"})).await.json();
    assert_eq!((mode.mode, mode.by.as_str()), (Mode::Draining, "the-operator"));
    assert!(!mode.waiting_for.is_empty());
    assert!(house.claim(&w1, 4, "0s").await.is_empty(), "nothing is given out while draining");
    let why: Why = house.get(&format!("/api/v1/why/job/{queued}")).await.json();
    assert!(why.why.starts_with("the system is draining since") && why.why.ends_with("kernel update"), "{}", why.why);

    house.finish(&w1, &leases[0].token, exited(0), json!([{"outcome": "PASSED"}])).await;
    assert_eq!(watch_mode(house.app()).await.unwrap(), Mode::Draining, "a result is unsent");
    let due = house.app().store.publications_due(10).await.unwrap();
    house.app().store.delivered(&[due[0].seq]).await.unwrap();
    assert_eq!(watch_mode(house.app()).await.unwrap(), Mode::Idle);
    assert!(house.claim(&w1, 4, "0s").await.is_empty());
    let status = house.status().await;
    assert_eq!((status.mode, status.jobs.queued, status.jobs.finished), (Mode::Idle, 1, 1));
    assert_eq!(status.stopped_by[0].what, "the system is idle");
    assert_eq!(status.stopped_by[0].by.as_deref(), Some("the-operator"));
    assert!(status.stopped_by[0].undo.as_deref().unwrap().starts_with("taskotron resume"));

    let plan: Resumed =
        house.post(Role::Operator, "/api/v1/resume", json!({"reason": "", "dry_run": true})).await.json();
    assert_eq!((plan.mode.mode, plan.backlog[0].jobs), (Mode::Idle, 1));
    let resumed: Resumed = house.post(Role::Operator, "/api/v1/resume", json!({"reason": "done"})).await.json();
    assert_eq!(resumed.mode.mode, Mode::Active);
    assert_eq!(house.run_one(&w1).await, queued);
    assert_ne!(job, queued);
    let audit = house.get("/api/v1/audit").await.text();
    assert!(audit.contains("\"idle\"") && audit.contains("\"resume\""), "{audit}");
}

#[tokio::test]
async fn a_large_backlog_is_let_go_only_when_a_person_says_yes() {
    let house = House::with(|settings| settings.resume.max_backlog = 1).await;
    house.post(Role::Operator, "/api/v1/idle", json!({"reason": "update"})).await;
    house.submit("noop", "foo-1-1").await;
    house.submit("noop", "foo-2-1").await;
    let refused = house.post(Role::Operator, "/api/v1/resume", json!({"reason": "done"})).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.detail().starts_with("2 jobs would be let go, more than the 1"), "{}", refused.text());
    assert_eq!(house.status().await.mode, Mode::Idle);
    let resumed = house.post(Role::Operator, "/api/v1/resume", json!({"reason": "done", "yes": true})).await;
    assert_eq!(resumed.json::<Resumed>().mode.mode, Mode::Active);
}

#[tokio::test]
async fn at_its_deadline_an_idle_stops_what_runs_if_it_was_told_to() {
    let house = House::new().await;
    let w1 = worker("w1", &[]);
    house.submit("again", "foo-1-1").await;
    let leases = house.claim(&w1, 1, "0s").await;
    let idle = json!({"reason": "update", "deadline": "0s", "on_deadline": "requeue"});
    house.post(Role::Operator, "/api/v1/idle", idle).await;
    assert_eq!(watch_mode(house.app()).await.unwrap(), Mode::Draining);
    let renew = json!({"worker": w1, "tokens": [leases[0].token]});
    let renewed = house.post(Role::Worker, "/api/v1/renew", renew).await.text();
    assert!(renewed.contains("\"cancel\"") && renewed.contains("deadline"), "{renewed}");
    house.finish(&w1, &leases[0].token, json!({"how": "cancelled"}), json!([])).await;
    assert_eq!(watch_mode(house.app()).await.unwrap(), Mode::Idle);
    assert_eq!(house.status().await.jobs.queued, 1, "it is queued again, not cancelled");
}

#[tokio::test]
async fn an_operators_body_with_an_unknown_field_is_refused() {
    let house = House::new().await;
    let reply = house.post(Role::Operator, "/api/v1/idle", json!({"reason": "x", "dedline": "5m"})).await;
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(reply.detail().contains("dedline"), "{}", reply.text());
}

#[tokio::test]
async fn a_deadline_stops_only_what_may_be_interrupted_and_says_what_it_waits_for() {
    let house = House::new().await;
    let w1 = worker("w1", &[]);
    for task in ["noop", "again"] {
        house.submit(task, "foo-1-1").await;
    }
    let leases = house.claim(&w1, 2, "0s").await;
    let request = json!({"reason": "update", "deadline": "5m", "on_deadline": "requeue"});
    let asked: ModeView = house.post(Role::Operator, "/api/v1/idle", request).await.json();
    let waits = "1 of those that run is not interruptible: it is waited for, also after the deadline";
    assert_eq!(asked.waiting_for, ["2 jobs run", waits]);
    house.advance(Span::minutes(5));
    watch_mode(house.app()).await.unwrap();
    let tokens: Vec<_> = leases.iter().map(|lease| &lease.token).collect();
    let renew = json!({"worker": w1, "tokens": tokens});
    let renewed: Renewed = house.post(Role::Worker, "/api/v1/renew", renew).await.json();
    for (lease, hold) in leases.iter().zip(&renewed.leases) {
        assert_eq!(*hold == Hold::Held, lease.task.name == "noop", "{hold:?} of {}", lease.task.name);
    }
    let (again, noop): (Vec<_>, Vec<_>) = leases.iter().partition(|lease| lease.task.name == "again");
    house.finish(&w1, &again[0].token, json!({"how": "cancelled"}), json!([])).await;
    assert_eq!(house.job(again[0].job).await.job.state, JobState::Queued);
    let mode: ModeView = house.get("/api/v1/mode").await.json();
    assert_eq!(mode.waiting_for, ["1 job runs", waits]);
    house.finish(&w1, &noop[0].token, exited(0), json!([{"outcome": "PASSED"}])).await;
    assert_eq!(house.job(noop[0].job).await.job.outcome, Some(Outcome::Passed));
}
