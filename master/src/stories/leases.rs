//! Workers claim, renew and finish; leases lapse; reports come late.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use base64::Engine as _;
use model::lease::{Hold, LEASE_TOKEN, LogStored, Renewed};
use model::operator::Why;
use model::{End, JobState, Outcome, Role, Span};
use serde_json::json;

use super::house::{House, exited, worker};
use crate::duty::Leases;
use crate::sample;

#[tokio::test]
async fn a_job_is_claimed_finished_and_published_once() {
    let house = House::new().await;
    let w1 = worker("w1", &[]);
    let job = house.submit("noop", "foo-1-1").await;
    let leases = house.claim(&w1, 4, "0s").await;
    assert_eq!((leases.len(), leases[0].job, leases[0].attempt), (1, job, 1));
    assert_eq!(leases[0].task.run, ["true"]);
    assert_eq!(house.job(job).await.job.state, JobState::Running);

    let log = base64::engine::general_purpose::STANDARD.encode("hello\n");
    let report = json!({
        "token": leases[0].token, "end": exited(0), "ran": "1s", "findings": [{"outcome": "PASSED"}],
        "log_size": 6, "log": {"offset": 0, "bytes": log},
    });
    let finish = json!({"worker": w1, "reports": [report]});
    for _ in 0..2 {
        let reply = house.post(Role::Worker, "/api/v1/finish", finish.clone()).await;
        assert_eq!((reply.status, reply.text().as_str()), (StatusCode::OK, r#"{"reports":["accepted"]}"#));
    }
    let detail = house.job(job).await;
    assert_eq!((detail.job.state, detail.job.outcome), (JobState::Finished, Some(Outcome::Passed)));
    assert_eq!(detail.attempts_made.len(), 1);
    assert_eq!(house.status().await.outbox, 1);
    assert_eq!(house.get(&format!("/api/v1/jobs/{job}/log")).await.text(), "hello\n");
}

#[tokio::test]
async fn a_lapsed_lease_is_given_to_another_and_a_late_report_is_gone() {
    let house = House::new().await;
    let (w1, w2) = (worker("w1", &[]), worker("w2", &[]));
    let job = house.submit("noop", "foo-1-1").await;
    let lost = house.claim(&w1, 1, "0s").await;
    let mut leases = Leases::default();
    // The first look after a start gives every lease a full term.
    assert_eq!(leases.tick(house.app()).await.unwrap().lost, 0);
    house.advance(Span::seconds(61));
    assert_eq!(leases.tick(house.app()).await.unwrap().lost, 1);

    let renew = json!({"worker": w1, "tokens": [lost[0].token]});
    let renewed: Renewed = house.post(Role::Worker, "/api/v1/renew", renew).await.json();
    assert_eq!(renewed.leases, [Hold::Gone]);
    let second = house.claim(&w2, 1, "0s").await;
    assert_eq!((second[0].job, second[0].attempt), (job, 2));
    let late = house.finish(&w1, &lost[0].token, exited(0), json!([{"outcome": "FAILED"}])).await;
    assert_eq!((late.status, late.text().as_str()), (StatusCode::GONE, r#"{"reports":["gone"]}"#));
    house.finish(&w2, &second[0].token, exited(0), json!([{"outcome": "PASSED"}])).await;
    let detail = house.job(job).await;
    assert_eq!(detail.job.outcome, Some(Outcome::Passed));
    assert_eq!(detail.attempts_made[0].end, Some(End::Lost));
}

/// No master serves for ten minutes: it is restarted, or it stands still, or its database does.
#[tokio::test]
async fn over_an_outage_of_ten_minutes_no_running_job_is_lost_or_run_twice() {
    for restarted in [true, false] {
        let house = House::new().await;
        let (w1, w2) = (worker("w1", &[]), worker("w2", &[]));
        for item in ["foo-1-1", "foo-2-1"] {
            house.submit("noop", item).await;
        }
        let running = house.claim(&w1, 2, "0s").await;
        let mut leases = Leases::default();
        leases.tick(house.app()).await.unwrap();

        let outage = Span::minutes(10);
        house.advance(outage);
        if restarted {
            leases = Leases::default();
        } else {
            leases.stood_still(outage);
        }
        assert_eq!(leases.tick(house.app()).await.unwrap().lost, 0);
        assert!(house.claim(&w2, 4, "0s").await.is_empty(), "it is not given to another");
        // One worker is slow to come back, and has a whole term for it. What it did meanwhile counts.
        house.advance(Span::seconds(59));
        assert_eq!(leases.tick(house.app()).await.unwrap().lost, 0);
        house.finish(&w1, &running[0].token, exited(0), json!([{"outcome": "PASSED"}])).await;
        let renew = json!({"worker": w1, "tokens": [running[1].token]});
        let renewed: Renewed = house.post(Role::Worker, "/api/v1/renew", renew).await.json();
        assert_eq!(renewed.leases, [Hold::Held]);
        house.advance(Span::seconds(59));
        assert_eq!(leases.tick(house.app()).await.unwrap().lost, 0);
        house.finish(&w1, &running[1].token, exited(0), json!([{"outcome": "PASSED"}])).await;
        for lease in &running {
            let detail = house.job(lease.job).await;
            assert_eq!((detail.job.outcome, detail.attempts_made.len()), (Some(Outcome::Passed), 1));
        }
        // Of one that did not come back the lease runs out as ever.
        let gone = house.submit("noop", "foo-3-1").await;
        house.claim(&w1, 1, "0s").await;
        house.advance(Span::seconds(61));
        assert_eq!(leases.tick(house.app()).await.unwrap().lost, 1);
        assert_eq!(house.claim(&w2, 1, "0s").await[0].job, gone);
    }
}

#[tokio::test]
async fn a_held_claim_is_answered_within_milliseconds_of_new_work() {
    let house = House::new().await;
    let w1 = worker("w1", &[]);
    let (leases, asked) = tokio::join!(house.claim(&w1, 1, "20s"), async {
        // Long enough for the claim to be held; should it not be, it is answered at once, and the test holds too.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let asked = Instant::now();
        house.submit("noop", "foo-1-1").await;
        asked
    });
    assert_eq!(leases.len(), 1);
    assert!(asked.elapsed() < Duration::from_secs(1), "woken after {:?}", asked.elapsed());
}

#[tokio::test]
async fn a_task_that_an_older_configuration_had_is_judged_by_what_it_said_then() {
    let house = House::new().await;
    let definition = sample::task("noop", "retry: never").definition();
    let old = house.app().store.task_version("noop", &definition).await.unwrap();
    assert!(house.app().tasks.known(old).is_none());
    house.app().tasks.catch_up().await.unwrap();
    assert_eq!(house.app().tasks.known(old).unwrap().definition(), definition);
}

#[tokio::test]
async fn tasks_are_read_whatever_numbers_are_left_out_and_whatever_cannot_be_read() {
    let house = House::new().await;
    let app = house.app();
    let sql = "INSERT INTO tasks (id, name, definition, hash) VALUES (77, 'torn', '{', randomblob(32)),
                   (78, 'newer', '{\"run\": 7}', randomblob(32))";
    db::on_write!(app.store.db(), |pool| {
        sqlx::query(sql).execute(pool).await.unwrap();
    });
    let definition = sample::task("noop", "retry: never").definition();
    let last = app.store.task_version("noop", &definition).await.unwrap();
    assert_eq!(last, 79);
    app.tasks.catch_up().await.unwrap();
    assert_eq!(app.tasks.known(last).unwrap().definition(), definition);
    for unreadable in [77, 78] {
        assert!(app.tasks.version(unreadable).await.unwrap().is_none());
    }
    // Nor does a version that is stored later under a number before keep away.
    db::on_write!(app.store.db(), |pool| {
        let sql = "INSERT INTO tasks (id, name, definition, hash)
                   SELECT 60, name, definition, randomblob(32) FROM tasks WHERE id = 79";
        sqlx::query(sql).execute(pool).await.unwrap();
    });
    app.tasks.catch_up().await.unwrap();
    assert!(app.tasks.known(60).is_some());
}

#[tokio::test]
async fn a_retry_waits_and_says_so() {
    let house = House::new().await;
    let w1 = worker("w1", &[]);
    let job = house.submit("flaky", "foo-1-1").await;
    let leases = house.claim(&w1, 1, "0s").await;
    house.finish(&w1, &leases[0].token, exited(75), json!([{"outcome": "FAILED"}])).await;
    let why: Why = house.get(&format!("/api/v1/why/job/{job}")).await.json();
    assert!(why.why.starts_with("waits until ") && why.why.ends_with("(retry 1 of 1 after exit:75)"), "{}", why.why);
    assert!(house.claim(&w1, 1, "0s").await.is_empty());
    house.advance(Span::seconds(31));
    assert_eq!(Leases::default().tick(house.app()).await.unwrap().promoted, 1);
    let leases = house.claim(&w1, 1, "0s").await;
    assert_eq!(leases[0].attempt, 2);
    house.finish(&w1, &leases[0].token, exited(75), json!([{"outcome": "FAILED"}])).await;
    assert_eq!(house.job(job).await.job.outcome, Some(Outcome::Failed));
}

#[tokio::test]
async fn a_running_job_that_is_cancelled_is_stopped_by_its_worker() {
    let house = House::new().await;
    let w1 = worker("w1", &[]);
    let job = house.submit("noop", "foo-1-1").await;
    let leases = house.claim(&w1, 1, "0s").await;
    let path = format!("/api/v1/jobs/{job}/cancel");
    assert_eq!(house.post(Role::Operator, &path, json!({"reason": " "})).await.status, StatusCode::BAD_REQUEST);
    let reply = house.post(Role::Operator, &path, json!({"reason": "wrong item"})).await;
    assert!(reply.text().contains("is being stopped on w1"), "{}", reply.text());
    let renew = json!({"worker": w1, "tokens": [leases[0].token]});
    let renewed: Renewed = house.post(Role::Worker, "/api/v1/renew", renew).await.json();
    assert!(matches!(&renewed.leases[0], Hold::Cancel { reason } if reason.contains("wrong item")), "{renewed:?}");
    house.finish(&w1, &leases[0].token, json!({"how": "cancelled"}), json!([])).await;
    assert_eq!(house.job(job).await.job.state, JobState::Cancelled);
    assert_eq!(house.status().await.outbox, 0, "a cancelled job publishes nothing");
    let again = house.post(Role::Operator, &path, json!({"reason": "again"})).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    let audit = house.get("/api/v1/audit").await.text();
    assert!(audit.contains("the-operator") && audit.contains("wrong item"), "{audit}");
}

async fn put(house: &House, token: &str, offset: u64, bytes: &str) -> (StatusCode, String) {
    let request = Request::builder()
        .method(Method::PUT)
        .uri(format!("/api/v1/log?offset={offset}"))
        .header(header::AUTHORIZATION, "Bearer worker")
        .header(LEASE_TOKEN, token)
        .body(Body::from(bytes.to_owned()))
        .unwrap();
    let reply = house.send(request).await;
    (reply.status, reply.text())
}

#[tokio::test]
async fn a_log_grows_by_pieces_and_is_served_by_parts() {
    let house = House::new().await;
    let w1 = worker("w1", &[]);
    let job = house.submit("noop", "foo-1-1").await;
    let token = house.claim(&w1, 1, "0s").await[0].token.clone();
    let stored = |size| (StatusCode::OK, serde_json::to_string(&LogStored { size }).unwrap());
    assert_eq!(put(&house, &token, 0, "<b>one").await, stored(6));
    assert_eq!(put(&house, &token, 3, "one two").await, stored(10));
    assert_eq!(put(&house, &token, 99, "beyond").await, stored(10));
    let foreign = token.replace(&job.to_string(), "6f1d1c1e-8f0a-5b7e-9d5c-2f6f0e2b7a11");
    assert_eq!(put(&house, &foreign, 0, "x").await.0, StatusCode::GONE);

    let path = format!("/api/v1/jobs/{job}/log");
    let whole = house.get(&path).await;
    assert_eq!(whole.text(), "<b>one two");
    assert_eq!(whole.headers[header::CONTENT_TYPE], "text/plain; charset=utf-8");
    assert_eq!(whole.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    assert!(whole.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().contains("sandbox"));
    let part = Request::get(&path).header(header::AUTHORIZATION, "Bearer reader").header(header::RANGE, "bytes=3-5");
    let part = house.send(part.body(Body::empty()).unwrap()).await;
    assert_eq!((part.status, part.text().as_str()), (StatusCode::PARTIAL_CONTENT, "one"));
    assert_eq!(part.headers[header::CONTENT_RANGE], "bytes 3-5/10");
    assert_eq!(house.get(&format!("{path}?attempt=2")).await.status, StatusCode::NOT_FOUND);

    house.finish(&w1, &token, exited(0), json!([{"outcome": "PASSED"}])).await;
    assert_eq!(put(&house, &token, 10, "!").await, stored(11), "the end of a log may come after its report");
}

#[tokio::test]
async fn a_log_is_written_by_its_own_attempt_only() {
    let house = House::new().await;
    let (w1, w2) = (worker("w1", &[]), worker("w2", &[]));
    let job = house.submit("noop", "foo-1-1").await;
    let lost = house.claim(&w1, 1, "0s").await[0].token.clone();
    let mut leases = Leases::default();
    leases.tick(house.app()).await.unwrap();
    house.advance(Span::seconds(61));
    leases.tick(house.app()).await.unwrap();
    assert_eq!(put(&house, &lost, 0, "late").await.0, StatusCode::GONE, "nobody is told what a lost attempt did");

    let token = house.claim(&w2, 1, "0s").await[0].token.clone();
    let (right, _) = token.rsplit_once('.').unwrap();
    let guessed = format!("{right}.{}", "0".repeat(32));
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let report = |token: &str, text: &str| {
        let log = json!({"offset": 0, "bytes": encode(text)});
        let report = json!({"token": token, "end": exited(0), "ran": "1s", "findings": [{"outcome": "PASSED"}],
            "log_size": text.len(), "log": log});
        json!({"worker": w2, "reports": [report]})
    };
    for forged in [&lost, &guessed] {
        assert_eq!(put(&house, forged, 0, "forged").await.0, StatusCode::GONE);
        let reply = house.post(Role::Worker, "/api/v1/finish", report(forged, "forged")).await;
        assert_eq!(reply.status, StatusCode::GONE, "{}", reply.text());
    }
    for attempt in [1, 2] {
        assert_eq!(house.get(&format!("/api/v1/jobs/{job}/log?attempt={attempt}")).await.text(), "");
    }
    // Also where another master gave the lease out, and when the answer to the report was lost.
    house.app().forget([job]);
    assert_eq!(put(&house, &token, 0, "one ").await.0, StatusCode::OK);
    for text in ["one two", "one two three"] {
        let reply = house.post(Role::Worker, "/api/v1/finish", report(&token, text)).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    }
    assert_eq!(put(&house, &guessed, 13, " forged").await.0, StatusCode::GONE);
    assert_eq!(house.get(&format!("/api/v1/jobs/{job}/log")).await.text(), "one two three");
}
