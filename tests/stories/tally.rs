//! What is true of a fleet that has come to rest, whatever has happened before: every job that had to be is there, once.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fleet::Fleet;
use crate::kit::count::{assert_same, keys, text};
use crate::kit::{secs, until};
use crate::ledger;

/// How long everything may take to come to rest: a debug build, on a busy machine, that has to find out which
/// connections are dead and waits between the attempts at unlucky jobs.
const REST: Duration = secs(240);

/// How often processes may end by themselves: those that cannot start while their database is away do.
const REVIVALS: usize = 100;

/// Waits until this many events are with the master and nothing is left to do, with whoever has ended by itself started
/// again. Returns the status.
#[track_caller]
pub fn rest(fleet: &mut Fleet, events: usize) -> Value {
    let mut revivals = 0;
    until(REST, "everything to come to rest", || {
        revivals += fleet.revive().len();
        assert!(revivals < REVIVALS, "processes end again and again");
        let status = fleet.look("/api/v1/status")?;
        let open = ["waiting", "queued", "running"].iter().any(|state| status["jobs"][state] != 0);
        let arrived = ["recorded", "forwarded"].iter().all(|count| status["intake"][count] == events);
        if open || !arrived || status["outbox"] != 0 { Err(status.to_string()) } else { Ok(status) }
    })
}

/// Proves that of events m0, m1 … these jobs have come and no others, that each has ended once, with one result, by the
/// attempt that ended it, and that nothing else ran. Returns what there was to count.
#[track_caller]
pub fn assert_each_once(fleet: &Fleet, wanted: &[[String; 5]], events: usize, status: &Value) -> String {
    let wanted = keys(&fleet.story, wanted);
    let jobs = fleet.all("jobs");
    assert_same("jobs", wanted.clone(), jobs.iter().map(|job| text(&job["key"])));
    let ended = json!({"waiting": 0, "queued": 0, "running": 0, "finished": wanted.len(), "cancelled": 0,
        "superseded": 0, "expired": 0});
    assert_eq!(status["jobs"], ended);
    assert_eq!(status["intake"], json!({"recorded": events, "forwarded": events, "quarantined": 0}));
    let ids: Vec<_> = (0..events).map(|n| format!("m{n}")).collect();
    assert_same("events", ids, fleet.all("events").iter().map(|event| text(&event["id"])));
    let rows = fs::read_to_string(fleet.trigger(0).join("jobs.csv")).expect("the trigger's job log");
    let column = |row: &str| row.rsplit(',').next().unwrap_or_default().to_owned();
    assert_same("rows of jobs.csv", wanted.clone(), rows.lines().skip(1).map(column));
    let results = fleet.results();
    assert_same("results", wanted, results.iter().flat_map(|(job, all)| all.iter().map(|_| job.clone())));
    let attempts = attempts(fleet);
    ledger::assert_accounts_of(&fleet.story, &jobs, &results, &attempts);

    let late: i64 = fleet.connect().query_one("SELECT count(*) FROM stale_reports", &[]).expect("a count").get(0);
    let tries: usize = attempts.values().map(Vec::len).sum();
    format!("{} jobs, {tries} attempts, {late} late reports", jobs.len())
}

/// The attempts of each job, as they stand in the database: number and worker.
fn attempts(fleet: &Fleet) -> BTreeMap<String, Vec<String>> {
    let mut attempts: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let rows = fleet.connect().query(
        "SELECT j.id::text, a.attempt || ' ' || a.worker FROM attempts a JOIN jobs j ON j.seq = a.job
         ORDER BY j.seq, a.attempt",
        &[],
    );
    for row in rows.expect("the database answers") {
        attempts.entry(row.get(0)).or_default().push(row.get(1));
    }
    attempts
}
