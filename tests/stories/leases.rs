//! Workers that are cut off or stand still for longer than their leases hold: their jobs run again elsewhere, and what
//! they say of them afterwards changes nothing.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::fleet::{Fleet, Peer, Plan, Role};
use crate::held::{self, gone, in_state, job_of, let_go, runs, settle, submit, ticks};
use crate::kit::{http, until};
use crate::site::PATIENCE;

/// A way for a worker to be away, and back.
struct Away {
    leave: fn(&mut Fleet, Role),
    come_back: fn(&mut Fleet, Role),
}

/// What it says and what it is told vanishes.
const CUT_OFF: Away = Away {
    leave: |fleet, worker| (0..fleet.plan.masters).for_each(|n| fleet.proxy(worker, Peer::Master(n)).half_open()),
    come_back: |fleet, _| fleet.heal(),
};

/// Nobody answers where its masters were.
const REFUSED: Away = Away {
    leave: |fleet, worker| (0..fleet.plan.masters).for_each(|n| fleet.proxy(worker, Peer::Master(n)).refuse()),
    come_back: |fleet, _| fleet.heal(),
};

/// SIGSTOP.
const STOPPED: Away = Away { leave: Fleet::pause, come_back: Fleet::resume };

const W1: Role = Role::Worker(0);
const W2: Role = Role::Worker(1);

/// Everybody but the second worker.
fn begin(plan: Plan) -> Fleet {
    let mut fleet = held::fleet(plan);
    for role in [Role::Results, Role::Master(0), Role::Master(1), W1] {
        fleet.start(role);
    }
    fleet.ready();
    fleet
}

/// One job is done by the time its worker is back, the other still runs.
fn late_reports_change_nothing(away: &Away) {
    let mut fleet = begin(Plan::default());
    submit(&fleet, 0, "held", &["done", "on"]);
    let jobs = ["done", "on"].map(|item| {
        let (job, worker) = runs(&fleet, item, 1);
        assert_eq!(worker, W1.to_string());
        job
    });
    (away.leave)(&mut fleet, W1);
    fleet.start(W2);
    let_go(&fleet.story, "done", 1);
    for item in ["done", "on"] {
        assert_eq!(runs(&fleet, item, 2).1, W2.to_string());
    }
    (away.come_back)(&mut fleet, W1);
    // It is told, and kills what it still runs; and its report is too late.
    gone(&fleet, W1, &jobs[1], 1);
    until(PATIENCE, "both late reports to be refused", || {
        let said = fleet.said(W1);
        if said.matches("the lease was lost before the report came").count() == 2 { Ok(()) } else { Err(said) }
    });
    for (item, job) in ["done", "on"].iter().zip(&jobs) {
        assert_eq!(fleet.get(&format!("/api/v1/jobs/{job}"))["state"], "running", "the late report of {item} counted");
        let_go(&fleet.story, item, 2);
    }
    settle(&mut fleet, &[(&jobs[0], "2 worker1"), (&jobs[1], "2 worker1")]);
    for job in &jobs {
        assert_eq!(held::late_reports(&fleet, job), 1);
    }
}

#[test]
fn b1_what_a_worker_that_was_cut_off_reports_too_late_is_kept_and_not_published() {
    late_reports_change_nothing(&CUT_OFF);
}

#[test]
fn b2_what_a_worker_that_stood_still_reports_too_late_is_kept_and_not_published() {
    late_reports_change_nothing(&STOPPED);
}

#[test]
fn b3_a_worker_that_gets_its_job_again_while_it_still_runs_works_on_two_attempts() {
    let mut fleet = begin(Plan { lease_term: "4s", ..Plan::default() });
    submit(&fleet, 0, "stubborn", &["x"]);
    let (job, _) = runs(&fleet, "x", 1);
    let first = lease_of(&fleet, &job);
    (CUT_OFF.leave)(&mut fleet, W1);
    in_state(&fleet, &job, "queued");
    (CUT_OFF.come_back)(&mut fleet, W1);
    assert_eq!(runs(&fleet, "x", 2), (job.clone(), W1.to_string()));
    let second = lease_of(&fleet, &job);
    assert_ne!(first.token, second.token);
    // Whatever is said in the name of the first attempt, by any master, touches nothing of the second.
    for master in &fleet.masters {
        let as_first = |method, path: &str, body: &Value| {
            let token = std::fs::read_to_string(fleet.story.path("worker.token")).unwrap();
            let mut request = http::post(&format!("{master}{path}"), "application/json", body.to_string());
            if method == "PUT" {
                request = http::put(&format!("{master}{path}"), "forged\n");
            }
            request.header("lease-token", &first.token).bearer(&token).send().expect("the master answers")
        };
        let worker =
            json!({"name": "worker0", "incarnation": first.incarnation, "slots": 2, "labels": [], "version": ""});
        let renewed = as_first("POST", "/api/v1/renew", &json!({"worker": worker, "tokens": [first.token]}));
        assert_eq!((renewed.status, &renewed.json()["leases"]), (200, &json!([{"lease": "gone"}])));
        assert_eq!(as_first("PUT", "/api/v1/log?offset=0", &Value::Null).status, 410);
        let report = json!({"token": first.token, "end": {"how": "exited", "code": 0}, "ran": "1s", "log_size": 0,
            "findings": [{"outcome": "FAILED"}]});
        assert_eq!(as_first("POST", "/api/v1/finish", &json!({"worker": worker, "reports": [report]})).status, 410);
    }
    assert_eq!(lease_of(&fleet, &job).token, second.token);
    // The first runs on beside it, ends, and is refused.
    let (before, story) = (ticks(&fleet.story), &fleet.story);
    until(PATIENCE, "both to run", || {
        [1, 2].iter().all(|n| ticks(story)[&(job.clone(), *n)].1 > before[&(job.clone(), *n)].1)
    });
    let_go(&fleet.story, "x", 1);
    until(PATIENCE, "the report of the first to be refused", || {
        fleet.said(W1).contains("the lease was lost before the report came")
    });
    gone(&fleet, W1, &job, 1);
    assert_eq!(lease_of(&fleet, &job).token, second.token);
    let_go(&fleet.story, "x", 2);
    in_state(&fleet, &job, "finished");
    let log = http::get(&format!("{}/api/v1/jobs/{job}/log?attempt=2", fleet.masters[0]));
    let token = std::fs::read_to_string(&fleet.token_file).unwrap();
    let log = log.bearer(&token).send().expect("the master answers");
    assert_eq!(log.text(), "attempt 2 begins\nattempt 2 ends\n", "{log:?}");
    settle(&mut fleet, &[(&job, "2 worker0")]);
}

/// A lease as the database has it.
struct Lease {
    token: String,
    incarnation: String,
}

#[track_caller]
fn lease_of(fleet: &Fleet, job: &str) -> Lease {
    let sql = "SELECT l.attempt, encode(l.secret, 'hex'), l.incarnation::text
               FROM leases l JOIN jobs j ON j.seq = l.job WHERE j.id = $1::text::uuid";
    let row = fleet.connect().query_one(sql, &[&job]).expect("the job runs");
    let (attempt, secret): (i32, String) = (row.get(0), row.get(1));
    Lease { token: format!("{job}.{attempt}.{secret}"), incarnation: row.get(2) }
}

/// By the task's own record, whatever keeps its worker from renewing the lease.
#[test]
fn an_exclusive_task_never_runs_twice_at_once() {
    let mut fleet = begin(Plan { lease_term: "6s", slots: 1, ..Plan::default() });
    fleet.start(W2);
    let mut jobs = BTreeSet::new();
    for (away, item) in [(CUT_OFF, "cut-off"), (REFUSED, "refused"), (STOPPED, "stopped")] {
        submit(&fleet, 1, "alone", &[item]);
        let (job, first) = runs(&fleet, item, 1);
        let (first, other) = if first == W1.to_string() { (W1, W2) } else { (W2, W1) };
        (away.leave)(&mut fleet, first);
        assert_eq!(runs(&fleet, item, 2), (job.clone(), other.to_string()));
        (away.come_back)(&mut fleet, first);
        until(PATIENCE, "its late report to be refused", || {
            let said = fleet.said(first);
            if said.contains(&job) && said.contains("the lease was lost before the report came") {
                Ok(())
            } else {
                Err(said)
            }
        });
        let_go(&fleet.story, item, 2);
        in_state(&fleet, &job, "finished");
        assert_eq!(held::assert_never_at_once(&fleet.story, &job), 2);
        jobs.insert((job, format!("2 {other}")));
    }
    let jobs: Vec<(&str, &str)> = jobs.iter().map(|(job, of)| (&**job, &**of)).collect();
    settle(&mut fleet, &jobs);
    for (job, _) in jobs {
        assert_eq!(held::late_reports(&fleet, job), 1);
    }
}

/// SIGKILL to a worker leaves nothing behind, although its jobs hear no TERM and have left their groups.
#[test]
fn nothing_of_its_jobs_outlives_a_killed_worker() {
    let mut fleet = begin(Plan::default());
    submit(&fleet, 0, "held", &["x"]);
    submit(&fleet, 0, "alone", &["y"]);
    let jobs = ["x", "y"].map(|item| runs(&fleet, item, 1).0);
    fleet.kill(W1);
    fleet.start(W2);
    for (item, job) in ["x", "y"].iter().zip(&jobs) {
        gone(&fleet, W1, job, 1);
        runs(&fleet, item, 2);
        let_go(&fleet.story, item, 2);
    }
    held::assert_never_at_once(&fleet.story, &job_of(&fleet, "y"));
    settle(&mut fleet, &[(&jobs[0], "2 worker1"), (&jobs[1], "2 worker1")]);
}
