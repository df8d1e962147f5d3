//! Masters, or their database, are away for many times the term of a lease: what runs goes on, is neither lost nor run
//! twice, and what must never overlap is ended in time.

use std::fs;

use serde_json::json;

use crate::fleet::{Peer, Plan, Role};
use crate::held::{self, gone, in_state, let_go, runs, settle, submit, ticks};
use crate::kit::{pass, secs, until};
use crate::site::PATIENCE;

const TERM: &str = "5s";

/// A dozen terms.
#[test]
fn over_a_minute_without_masters_no_running_job_is_lost_or_run_twice() {
    let mut fleet = held::fleet(Plan { lease_term: TERM, ..Plan::default() });
    fleet.start_all();
    // Two a worker run, and one waits.
    submit(&fleet, 0, "held", &["a", "b", "c", "d"]);
    let jobs = ["a", "b", "c", "d"].map(|item| runs(&fleet, item, 1));
    submit(&fleet, 1, "held", &["waits"]);

    // With one of two away, the other serves all the while.
    for (master, item) in [(0, "a"), (1, "b")] {
        fleet.kill(Role::Master(master));
        pass(secs(12));
        let_go(&fleet.story, item, 1);
        in_state(&fleet, &jobs[if item == "a" { 0 } else { 1 }].0, "finished");
        fleet.start_all();
    }
    let waits = runs(&fleet, "waits", 1);

    for master in [0, 1] {
        fleet.kill(Role::Master(master));
    }
    pass(secs(30));
    // One ends meanwhile, and its report waits.
    let_go(&fleet.story, "c", 1);
    pass(secs(30));
    fleet.start_all();
    in_state(&fleet, &jobs[2].0, "finished");
    for item in ["d", "waits"] {
        let_go(&fleet.story, item, 1);
    }
    let ends: Vec<_> = jobs.iter().chain([&waits]).map(|(job, worker)| (&**job, format!("1 {worker}"))).collect();
    let ends: Vec<_> = ends.iter().map(|(job, of)| (*job, &**of)).collect();
    settle(&mut fleet, &ends);
    let ran = fs::read_to_string(fleet.story.path("ledger")).unwrap().lines().count();
    assert_eq!((ran, ticks(&fleet.story).len()), (5, 5), "each was begun once");
    for (job, _) in ends {
        assert_eq!(held::late_reports(&fleet, job), 0);
    }
}

/// Every renewal is answered, and every answer is an error.
#[test]
fn b4_renewals_that_fail_are_a_loss_of_authority_at_the_end_of_the_lease() {
    let mut fleet = held::fleet(Plan { lease_term: "6s", workers: 1, ..Plan::default() });
    fleet.start_all();
    submit(&fleet, 0, "alone", &["alone"]);
    submit(&fleet, 0, "held", &["other"]);
    let [alone, other] = ["alone", "other"].map(|item| runs(&fleet, item, 1).0);
    for master in [0, 1] {
        fleet.proxy(Role::Master(master), Peer::Database).refuse();
    }
    let refused = uptime();
    gone(&fleet, Role::Worker(0), &alone, 1);
    let last = ticks(&fleet.story)[&(alone.clone(), 1)].1;
    assert!(last < refused + 600, "it ran on {} s after its lease can have been renewed last", (last - refused) / 100);
    // What may overlap goes on without authority: the fence is enough.
    let before = ticks(&fleet.story)[&(other.clone(), 1)].1;
    until(PATIENCE, "the other to go on", || ticks(&fleet.story)[&(other.clone(), 1)].1 > before.max(refused + 600));
    assert!(fleet.said(Role::Worker(0)).contains("cannot renew leases, jobs go on"));
    fleet.heal();
    runs(&fleet, "alone", 2);
    let_go(&fleet.story, "alone", 2);
    let_go(&fleet.story, "other", 1);
    in_state(&fleet, &other, "finished");
    in_state(&fleet, &alone, "finished");
    assert_eq!(held::assert_never_at_once(&fleet.story, &alone), 2);
    let made = fleet.get(&format!("/api/v1/jobs/{alone}"))["attempts_made"].clone();
    assert_eq!(made[0]["end"], json!({"how": "handed_back"}), "{made}");
    settle(&mut fleet, &[(&alone, "2 worker0"), (&other, "1 worker0")]);
}

/// In hundredths of a second, as `ticks` counts.
fn uptime() -> u64 {
    let text = fs::read_to_string("/proc/uptime").expect("/proc is mounted");
    text.split(' ').next().expect("a number").replace('.', "").parse().expect("hundredths of a second")
}
