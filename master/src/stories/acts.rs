//! What operators do to jobs, one or many at a time.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use model::deed::{Acted, Did};
use model::operator::Why;
use model::{JobId, JobState, Outcome, Role};
use serde_json::{Value, json};

use super::house::{House, Reply, exited, worker};

impl House {
    async fn act(&self, verb: &str, body: Value) -> Reply {
        self.post(Role::Operator, &format!("/api/v1/jobs/{verb}"), body).await
    }

    /// The same under a name.
    async fn act_as(&self, key: &str, verb: &str, body: &Value) -> Reply {
        let request = Request::post(format!("/api/v1/jobs/{verb}"))
            .header(header::AUTHORIZATION, "Bearer operator")
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", key)
            .body(Body::from(body.to_string()));
        self.send(request.unwrap()).await
    }

    /// A job of the task `once` whose worker could not start it.
    async fn lost(&self, item: &str) -> JobId {
        let job = self.submit("once", item).await;
        let w1 = worker("w1", &[]);
        let lease = self.claim(&w1, 1, "0s").await.remove(0);
        self.finish(&w1, &lease.token, json!({"how": "not_started", "reason": "no disk"}), json!([])).await;
        job
    }
}

#[tokio::test]
async fn a_filter_goes_chunk_by_chunk_and_its_sums_add_up() {
    let house = House::with(|settings| settings.max_unasked = 20).await;
    let rows: String = (0..450).map(|n| format!("foo-{n},koji_build,noop,\n")).collect();
    house.csv("/api/v1/jobs", &format!("item,item_type,task,arch\n{rows}")).await;
    let other = house.submit("again", "foo").await;

    let unasked = house.act("cancel", json!({"reason": "wrong", "filter": {"task": "noop"}})).await;
    assert_eq!(unasked.status, StatusCode::PRECONDITION_REQUIRED);
    assert!(unasked.detail().starts_with("more than 20 jobs are found"), "{}", unasked.detail());
    for dry_run in [true, false] {
        let (mut sums, mut cursor) = ((0, 0), String::new());
        loop {
            let filter = json!({"task": "noop", "cursor": cursor});
            let reply = house
                .act("cancel", json!({"reason": "wrong", "filter": filter, "dry_run": dry_run, "yes": !dry_run}))
                .await;
            let acted: Acted = reply.json();
            assert_eq!(acted.planned, acted.done + acted.skipped + acted.failed);
            assert!(acted.planned <= 200 && acted.jobs.len() as u64 == acted.planned);
            sums = (sums.0 + acted.planned, sums.1 + acted.done);
            match acted.next {
                Some(next) => cursor = next,
                None => break,
            }
        }
        assert_eq!(sums, (450, 450));
        let status = house.status().await.jobs;
        let want = if dry_run { (451, 0) } else { (1, 450) };
        assert_eq!((status.queued, status.cancelled), want);
    }
    assert_eq!(house.job(other).await.job.state, JobState::Queued);
    let again: Acted = house.act("cancel", json!({"reason": "wrong", "filter": {"task": "noop"}})).await.json();
    assert_eq!(again, Acted::default(), "there is nothing left to do");
    // What has ended is found for a re-run only, and by its time.
    let since = house.app().store.now().await.unwrap();
    let none = json!({"reason": "x", "filter": {"task": "noop", "since": since.to_string()}});
    assert_eq!(house.act("rerun", none).await.json::<Acted>().planned, 0);
    let some = json!({"reason": "x", "dry_run": true, "filter": {"task": "noop", "until": since.to_string()}});
    assert_eq!(house.act("rerun", some).await.json::<Acted>().done, 200);
}

#[tokio::test]
async fn what_is_asked_wrongly_changes_nothing_and_says_what_to_write() {
    let house = House::new().await;
    let job = house.submit("noop", "foo").await;
    for (verb, body, says) in [
        ("cancel", json!({"jobs": [job]}), "the reason is empty"),
        ("cancel", json!({"reason": "x"}), "say which jobs"),
        ("cancel", json!({"reason": "x", "filter": {}}), "for all of them write state waiting,queued,running"),
        ("cancel", json!({"reason": "x", "filter": {"colour": "red"}}), "unknown field `colour`"),
        ("cancel", json!({"reason": "x", "filter": {"since": "yesterday"}}), "'yesterday' is not a time"),
        ("cancel", json!({"reason": "x", "filter": {"state": "finished"}}), "waiting, queued, running, not finished"),
        ("cancel", json!({"reason": "x", "filter": {"outcome": "FAILED"}}), "only what has ended has an outcome"),
        (
            "cancel",
            json!({"reason": "x", "jobs": [job], "filter": {"task": "noop"}}),
            "either by 'jobs' or by 'filter'",
        ),
        ("cancel", json!({"reason": "x", "jobs": [job], "priority": 3}), "'priority' is for priority"),
        ("priority", json!({"reason": "x", "jobs": [job]}), "'priority' is missing"),
        ("settle", json!({"reason": "x", "jobs": [job]}), "'as' is missing"),
        ("retry", json!({"reason": "x", "jobs": [job], "why": "y"}), "unknown field `why`"),
        ("settle", json!({"reason": "x", "jobs": [job], "as": "fine"}), "it is requeue, passed"),
        ("cancel", json!({"reason": "x", "jobs": ["6f1d1c1e-8f0a-5b7e-9d5c-2f6f0e2b7a11", job]}), "there is no job"),
    ] {
        let reply = house.act(verb, body.clone()).await;
        assert!(reply.status.is_client_error(), "{verb} {body}: {}", reply.status);
        assert!(reply.detail().contains(says), "{verb} {body}: {}", reply.detail());
    }
    assert_eq!(house.job(job).await.job.state, JobState::Queued);
    assert_eq!(house.get("/api/v1/audit").await.json::<Value>()["items"], json!([]));
}

#[tokio::test]
async fn a_lost_answer_is_given_again_and_a_job_is_ordered_anew_once() {
    let house = House::new().await;
    let job = house.submit("noop", "foo").await;
    house.run_one(&worker("w1", &[])).await;
    let body = json!({"reason": "the mirror was stale", "jobs": [job]});
    let first: Acted = house.act_as("k1", "rerun", &body).await.json();
    let again: Acted = house.act_as("k1", "rerun", &body).await.json();
    assert_eq!((first.done, &first), (1, &again));
    let new = first.jobs[0].new_job.unwrap();
    let why: Why = house.get(&format!("/api/v1/why/job/{new}")).await.json();
    assert_eq!(why.facts["rerun_of"], job.to_string());
    let other = json!({"reason": "another", "jobs": [job]});
    assert_eq!(house.act_as("k1", "rerun", &other).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let audit: Value = house.get("/api/v1/audit").await.json();
    assert_eq!(audit["items"].as_array().unwrap().len(), 1);
    let act = &audit["items"][0];
    assert_eq!((&act["actor"], &act["object"]), (&json!("the-operator"), &json!(format!("job {job}"))));
    assert_eq!((&act["after"]["job"], &act["reason"]), (&json!(new), &json!("the mirror was stale")));
}

#[tokio::test]
async fn no_job_is_ordered_anew_that_the_audit_does_not_know_of() {
    let house = House::new().await;
    let job = house.submit("noop", "foo").await;
    house.run_one(&worker("w1", &[])).await;
    let rerun = async || house.act_as("k1", &format!("{job}/rerun"), &json!({"reason": "again"})).await;
    let rename = async |sql: &'static str| {
        db::on_write!(house.app().store.db(), |pool| {
            sqlx::query(sql).execute(pool).await.unwrap();
        });
    };
    rename("ALTER TABLE audit RENAME TO mislaid").await;
    assert!(rerun().await.status.is_server_error());
    rename("ALTER TABLE mislaid RENAME TO audit").await;
    assert_eq!(house.status().await.jobs.queued, 0);

    let made: Value = rerun().await.json();
    assert_eq!((house.status().await.jobs.queued, &rerun().await.json::<Value>()), (1, &made));
    let audit: Value = house.get("/api/v1/audit").await.json();
    assert_eq!((audit["items"].as_array().unwrap().len(), &audit["items"][0]["after"]["job"]), (1, &made["job"]));
}

#[tokio::test]
async fn a_job_that_is_never_tried_again_waits_for_a_person_who_settles_it() {
    let house = House::new().await;
    let (job, second) = (house.lost("foo").await, house.lost("bar").await);
    let why: Why = house.get(&format!("/api/v1/why/job/{job}")).await.json();
    assert!(why.why.starts_with("waits for a person: attempt 1 could not be run: no disk"), "{}", why.why);
    assert!(why.why.contains(&format!("taskotron job settle {job} --as requeue")), "{}", why.why);
    assert_eq!(house.status().await.warnings[0].what, "2 jobs wait for a person to settle them");
    assert_eq!(house.status().await.outbox, 0, "nothing is published before a person has spoken");

    let body = json!({"reason": "its log is whole", "filter": {"unsettled": "true", "item": "foo"}, "as": "passed"});
    let settled: Acted = house.act("settle", body).await.json();
    assert_eq!((settled.planned, settled.jobs[0].did, settled.jobs[0].id), (1, Did::Done, job));
    let detail = house.job(job).await;
    assert_eq!((detail.job.state, detail.job.outcome), (JobState::Finished, Some(Outcome::Passed)));
    assert!(detail.why.ends_with("settled as PASSED by the-operator: its log is whole"), "{}", detail.why);
    assert_eq!(house.status().await.outbox, 1);

    house.act("settle", json!({"reason": "harmless", "jobs": [second], "as": "requeue"})).await;
    let w2 = worker("w2", &[]);
    let lease = house.claim(&w2, 1, "0s").await.remove(0);
    assert_eq!((lease.job, lease.attempt), (second, 2));
    // Its own failure is no business of a person's: `never` gives it no other attempt.
    house.finish(&w2, &lease.token, exited(75), json!([{"outcome": "FAILED"}])).await;
    assert_eq!(house.job(second).await.job.outcome, Some(Outcome::Failed));
    assert!(house.status().await.warnings.is_empty());
}
