//! A worker whose connections are half open: what either end sends vanishes, and neither is told.

use serde_json::json;

use crate::fleet::{Peer, Plan, Role};
use crate::held::{self, gone, let_go, runs, settle, submit};

const WORKER: Role = Role::Worker(0);

#[test]
fn b9_a_drain_and_a_stop_complete_although_a_worker_is_half_open() {
    let mut fleet = held::fleet(Plan { workers: 1, ..Plan::default() });
    fleet.start_all();
    submit(&fleet, 0, "held", &["x"]);
    let (job, _) = runs(&fleet, "x", 1);
    for master in [0, 1] {
        fleet.proxy(WORKER, Peer::Master(master)).half_open();
    }
    // Its lease ends, so it is known that nothing with a right to run runs: the command returns, with 0.
    fleet.run(&["idle", "-m", "a cable"]);
    let status = fleet.get("/api/v1/status");
    assert_eq!(
        (&status["mode"], &status["jobs"]["queued"], &status["jobs"]["running"]),
        (&json!("idle"), &json!(1), &json!(0))
    );
    // Its claim and its reports are still held open at the masters.
    for role in [Role::Master(0), Role::Master(1), Role::Results] {
        let ended = fleet.stop(role);
        assert!(ended.success(), "{role}: {ended}");
    }
    // They come back as after an update, while the worker believes in its old connections for ever.
    for master in [0, 1] {
        fleet.proxy(WORKER, Peer::Master(master)).forget();
    }
    fleet.start_all();
    assert_eq!(fleet.get("/api/v1/status")["mode"], "idle");
    gone(&fleet, WORKER, &job, 1);
    fleet.run(&["resume", "-m", "mended"]);
    assert_eq!(runs(&fleet, "x", 2).1, WORKER.to_string());
    let_go(&fleet.story, "x", 2);
    settle(&mut fleet, &[(&job, "2 worker0")]);
    assert_eq!(held::late_reports(&fleet, &job), 1);
}

/// The worker is told to stop while nobody hears it: it does not wait for ever.
#[test]
fn b9_a_half_open_worker_stops() {
    let worker = "control_loss_grace = \"4s\"".to_owned();
    let mut fleet = held::fleet(Plan { workers: 1, worker, ..Plan::default() });
    fleet.start_all();
    submit(&fleet, 0, "held", &["x"]);
    let (job, _) = runs(&fleet, "x", 1);
    for master in [0, 1] {
        fleet.proxy(WORKER, Peer::Master(master)).half_open();
    }
    let ended = fleet.stop(WORKER);
    assert!(ended.success(), "{ended}");
    gone(&fleet, WORKER, &job, 1);
    fleet.heal();
    // The next one brings the report that this one could not: too late by now, or in time.
    fleet.start(WORKER);
    runs(&fleet, "x", 2);
    let_go(&fleet.story, "x", 2);
    settle(&mut fleet, &[(&job, "2 worker0")]);
}
