//! What an operator's monitoring sees: a check that names what is wrong, and never says that all is well when it cannot
//! tell.

use std::fs;

use serde_json::json;

use crate::broker::Publisher;
use crate::fleet::{Fleet, Plan, Role};
use crate::gate;
use crate::kit::{Story, until};
use crate::ledger;
use crate::site::PATIENCE;

const RULES: &str = r#"
rules:
  - name: held
    topics: [story.held]
    do: [{ tasks: [held], arches: [s390x], item: "{{ body.n }}", item_type: number }]
"#;

/// The check ends with this code and says this.
#[track_caller]
fn says(fleet: &Fleet, name: &str, code: i32, what: &str) {
    until(PATIENCE, &format!("check {name} to say {code}, {what}"), || {
        let ran = fleet.ask(&["check", name]);
        if ran.code == Some(code) && ran.out.contains(what) { Ok(()) } else { Err(format!("{ran:?}")) }
    });
}

#[test]
fn b13_when_all_workers_of_a_label_are_lost_their_jobs_are_queued_and_the_label_is_named() {
    let story = Story::new();
    story.write("config/rules.yml", RULES);
    gate::write_task(&story, r#"{ arch: "{{ arch }}" }"#);
    let mut fleet = Fleet::new(story, Plan { proxied: false, ..Plan::default() });
    let own = fleet.story.path("worker1.toml");
    let settings = fs::read_to_string(&own).unwrap();
    fs::write(&own, format!("{settings}labels = [\"arch:s390x\"]\n")).unwrap();
    let queue = fleet.queue(0);
    let publisher = Publisher::connect(&fleet.plan.amqp);
    publisher.declare(&queue);
    fleet.start_all();
    says(&fleet, "workers", 0, "2 of 2 workers connected");
    for n in 0..3 {
        publisher.publish(&queue, "story.held", &format!("m{n}"), &json!({ "n": n }).to_string());
    }
    until(PATIENCE, "two jobs to run and one to wait", || {
        let status = fleet.look("/api/v1/status")?;
        let jobs = &status["jobs"];
        if (&jobs["running"], &jobs["queued"]) == (&json!(2), &json!(1)) { Ok(()) } else { Err(status.to_string()) }
    });

    fleet.kill(Role::Worker(1));
    let lacking = "needs arch:s390x; no connected worker offers it";
    says(&fleet, "workers", 2, &format!("{lacking} (3 queued jobs), worker1 lost since"));
    let status = fleet.run(&["status"]).out;
    assert!(status.contains(&format!("! 3 queued jobs: {lacking}")), "{status}");
    for job in fleet.all("jobs") {
        let why = fleet.get(&format!("/api/v1/why/job/{}", job["id"].as_str().unwrap()));
        assert_eq!(why["why"], lacking);
        if job["attempts"] == 1 {
            assert_eq!(why["facts"]["last_end"], "its worker was lost");
        }
    }

    gate::open(&fleet.story);
    fleet.start(Role::Worker(1));
    fleet.settled(PATIENCE);
    says(&fleet, "workers", 0, "2 of 2 workers connected");
    let (jobs, results) = (fleet.all("jobs"), fleet.results());
    assert_eq!(jobs.iter().filter(|job| job["attempts"] == 2).count(), 2, "the two that ran");
    ledger::assert_accounts(&fleet.story, &fleet, &jobs, &results);
}

#[test]
fn a_check_that_cannot_tell_says_so_in_time() {
    let mut fleet = Fleet::new(Story::new(), Plan { masters: 1, workers: 0, proxied: false, ..Plan::default() });
    // Nobody there; nothing that can be asked for; a trigger that was never there.
    let cannot = |fleet: &Fleet, arguments: &[&str], says: &str| {
        let ran = fleet.ask(arguments);
        assert_eq!(ran.code, Some(3), "{arguments:?}: {ran:?}");
        assert!(format!("{}{}", ran.out, ran.err).contains(says), "{arguments:?}: {ran:?}");
    };
    cannot(&fleet, &["check", "mode"], "MODE UNKNOWN - cannot tell: ");
    cannot(&fleet, &["check", "moods"], "invalid value 'moods'");
    cannot(&fleet, &["check", "mode", "-w", "x"], "'x' is no range");
    cannot(&fleet, &["check", "all", "-c", "5"], "ALL UNKNOWN - cannot tell: -w and -c are for one check");
    fleet.start(Role::Results);
    fleet.start(Role::Master(0));
    fleet.ready();
    cannot(&fleet, &["check", "intake"], "INTAKE UNKNOWN - no trigger has been heard from");
    says(&fleet, "mode", 0, "MODE OK - active | 'not_active'=0s;14400;86400");
    let ran = fleet.ask(&["check", "mode", "-c", "@0:0"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(2), "MODE CRITICAL - active | 'not_active'=0s;14400;@0:0\n"));

    let publisher = Publisher::connect(&fleet.plan.amqp);
    publisher.declare(&fleet.queue(0));
    fleet.start(Role::Trigger(0));
    publisher.publish(&fleet.queue(0), "story.any", "m1", "{}");
    says(&fleet, "intake", 0, "INTAKE OK - last event ");
    let all = fleet.ask(&["check", "all"]);
    assert_eq!(all.out.lines().count(), 7, "{all:?}");
    assert_eq!(all.code, Some(1), "there is no worker: {all:?}");
    assert!(all.out.starts_with("WORKERS WARNING - no worker is connected"), "the worst comes first: {all:?}");

    fleet.pause(Role::Master(0));
    cannot(&fleet, &["check", "all", "-t", "1"], "ALL UNKNOWN - cannot tell: no answer within 1s");
    fleet.resume(Role::Master(0));
    says(&fleet, "intake", 0, "INTAKE OK");
}
