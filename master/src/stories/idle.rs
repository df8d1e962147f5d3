//! An operator makes the system idle for maintenance, and resumes it.

use axum::http::StatusCode;
use model::lease::{Hold, Renewed};
use model::missed::Triggers;
use model::operator::{JobSummary, Mode, ModeView, Page, Resumed, Why};
use model::{JobState, Outcome, Role, Span};
use serde_json::json;

use super::house::{House, batch, exited, record, worker};
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
async fn a_backlog_is_planned_and_then_let_go_at_the_rate_that_was_asked_for() {
    let house = House::with(|settings| settings.resume.rate = 6).await;
    house.post(Role::Operator, "/api/v1/idle", json!({"reason": "update"})).await;
    assert_eq!(watch_mode(house.app()).await.unwrap(), Mode::Idle);
    house
        .post(Role::Trigger, "/api/v1/intake", batch(vec![record(1, "noop"), record(2, "noop"), record(3, "nop")]))
        .await;
    let resume = |body: serde_json::Value| house.post(Role::Operator, "/api/v1/resume", body);
    let plan: Resumed = resume(json!({"reason": "", "dry_run": true})).await.json();
    assert_eq!((plan.release.held, plan.release.rate, plan.backlog[0].jobs), (1, 6, 2));
    let fast: Resumed = resume(json!({"reason": "", "dry_run": true, "rate": 0})).await.json();
    assert_eq!((fast.release.held, fast.release.rate), (0, 0));
    let window = plan.window.unwrap();
    assert!(window.adds_up, "{window:?}");
    assert_eq!((window.seen, window.made, window.nothing, window.refused), (3, 2, 0, 1));
    assert_eq!((window.sources[0].from, window.sources[0].to), (1, 3));

    let resumed: Resumed = resume(json!({"reason": "done"})).await.json();
    assert_eq!((resumed.release.held, resumed.window.unwrap().seen), (1, 3));
    let status = house.status().await;
    assert_eq!((status.jobs.queued, status.jobs.waiting), (1, 1));
    let w1 = worker("w1", &[]);
    house.run_one(&w1).await;
    let waiting: Page<JobSummary> = house.get("/api/v1/jobs?state=waiting").await.json();
    let why: Why = house.get(&format!("/api/v1/why/job/{}", waiting.items[0].id)).await.json();
    assert!(why.why.contains("the-operator lets go at 6 jobs a minute"), "{}", why.why);
    // Nobody has idled since: there is no window to close.
    let again: Resumed = resume(json!({"reason": "again"})).await.json();
    assert_eq!((again.release.held, again.window), (0, None));
}

#[tokio::test]
async fn a_trigger_that_went_away_for_good_is_forgotten_and_idle_waits_for_it_no_more() {
    let house = House::new().await;
    house.post(Role::Trigger, "/api/v1/intake", batch(vec![record(1, "nop")])).await;
    let forget = async |name: &str| {
        let path = format!("/api/v1/triggers/{name}/forget");
        house.post(Role::Operator, &path, json!({"reason": "its machine is gone"})).await
    };
    let refused = forget("t1").await;
    assert_eq!(refused.status, StatusCode::PRECONDITION_FAILED, "{}", refused.text());
    assert!(refused.detail().contains("stop it first"), "{}", refused.text());
    assert_eq!(forget("t2").await.status, StatusCode::NOT_FOUND);

    house.advance(Span::minutes(10));
    house.post(Role::Operator, "/api/v1/idle", json!({"reason": "update"})).await;
    let mode: ModeView = house.get("/api/v1/mode").await.json();
    assert!(mode.waiting_for[0].contains("'taskotron trigger forget t1'"), "{:?}", mode.waiting_for);
    let left: Triggers = forget("t1").await.json();
    assert!(left.items.is_empty());
    assert_eq!(watch_mode(house.app()).await.unwrap(), Mode::Idle);
    let audit = house.get("/api/v1/audit").await.text();
    assert!(audit.contains("trigger.forget"), "{audit}");
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
