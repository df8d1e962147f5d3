//! What was done is not done again because its answer was lost: at each seam between an attempt's end and its result.

use serde_json::json;

use crate::fleet::{Fleet, Peer, Plan, Role};
use crate::held::{self, in_state, let_go, runs, settle, submit};
use crate::kit::{secs, until};
use crate::site::PATIENCE;

/// Long enough for what was asked to be seen done before its answer comes.
const LATE: std::time::Duration = secs(3);

const WORKER: Role = Role::Worker(0);

/// One master, one worker, and leases that outlast late answers.
fn begin() -> Fleet {
    let mut fleet = held::fleet(Plan { masters: 1, workers: 1, lease_term: "60s", ..Plan::default() });
    fleet.start_all();
    fleet
}

/// A job whose report has reached the master, and whose answer is still on its way to the worker.
fn taken_and_not_yet_answered(fleet: &mut Fleet, item: &str) -> String {
    submit(fleet, 0, "held", &[item]);
    let (job, _) = runs(fleet, item, 1);
    fleet.proxy(WORKER, Peer::Master(0)).delay(LATE);
    let_go(&fleet.story, item, 1);
    in_state(fleet, &job, "finished");
    job
}

#[test]
fn b5_a_report_whose_answer_was_lost_counts_once() {
    let mut fleet = begin();
    // The connection breaks off: the worker sends it again.
    let cut = taken_and_not_yet_answered(&mut fleet, "cut");
    fleet.proxy(WORKER, Peer::Master(0)).cut();
    fleet.heal();
    submit(&fleet, 0, "held", &["next"]);
    let (next, _) = runs(&fleet, "next", 1);
    let_go(&fleet.story, "next", 1);
    in_state(&fleet, &next, "finished");

    // The master dies: what it has committed is there.
    let dead_master = taken_and_not_yet_answered(&mut fleet, "master");
    fleet.kill(Role::Master(0));
    fleet.heal();
    fleet.start(Role::Master(0));
    fleet.ready();

    // The worker dies: the next one knows nothing of it. (Last, since a claim that the dead one left may still take a job,
    // and cost it an attempt.)
    let died = taken_and_not_yet_answered(&mut fleet, "died");
    fleet.kill(WORKER);
    fleet.heal();
    fleet.start(WORKER);

    let jobs = [cut, next, dead_master, died];
    let ends: Vec<_> = jobs.iter().map(|job| (&**job, "1 worker0")).collect();
    settle(&mut fleet, &ends);
    for job in &jobs {
        assert_eq!(held::late_reports(&fleet, job), 0);
    }
}

#[test]
fn b5_a_result_whose_receipt_was_lost_is_stored_once() {
    let mut fleet = begin();
    let mut jobs = Vec::new();
    for (item, dies) in [("cut", None), ("master", Some(Role::Master(0))), ("results", Some(Role::Results))] {
        submit(&fleet, 0, "held", &[item]);
        let (job, _) = runs(&fleet, item, 1);
        fleet.proxy(Role::Master(0), Peer::Results).delay(LATE);
        let_go(&fleet.story, item, 1);
        until(PATIENCE, "the results store to have it", || fleet.results().contains_key(&job));
        assert_eq!(fleet.get("/api/v1/status")["outbox"], json!(1), "its receipt has come before it was lost");
        match dies {
            Some(role) => fleet.kill(role),
            None => fleet.proxy(Role::Master(0), Peer::Results).cut(),
        }
        fleet.heal();
        fleet.start_all();
        until(PATIENCE, "it to be delivered", || fleet.look("/api/v1/status").is_ok_and(|s| s["outbox"] == 0));
        jobs.push(job);
    }
    let ends: Vec<_> = jobs.iter().map(|job| (&**job, "1 worker0")).collect();
    settle(&mut fleet, &ends);
}
