//! Two masters over one database: whoever is away, the other goes on.

use serde_json::json;

use crate::broker::Publisher;
use crate::fleet::{Fleet, Peer, Plan, Role};
use crate::held;
use crate::kit::count::{assert_same, keys, text};
use crate::kit::{Story, http, secs, until};
use crate::ledger;
use crate::site::PATIENCE;

const RULES: &str = r#"
rules:
  - name: each
    topics: [story.each]
    do: [{ tasks: [quick], item: "{{ body.n }}", item_type: number }]
"#;

#[test]
fn with_either_of_two_masters_away_events_become_results() {
    let story = Story::new();
    story.write("config/rules.yml", RULES);
    let mut fleet = Fleet::new(story, Plan::default());
    let queue = fleet.queue(0);
    let publisher = Publisher::connect(&fleet.plan.amqp);
    publisher.declare(&queue);
    let publish = |n: usize| publisher.publish(&queue, "story.each", &format!("m{n}"), &json!({ "n": n }).to_string());
    let finished = |fleet: &Fleet, count: usize| {
        until(PATIENCE, &format!("{count} jobs to finish"), || {
            let status = fleet.look("/api/v1/status")?;
            if status["jobs"]["finished"] == count { Ok(()) } else { Err(status.to_string()) }
        });
    };
    fleet.start_all();

    (0..5).for_each(publish);
    finished(&fleet, 5);
    for master in [0, 1] {
        fleet.kill(Role::Master(master));
        let first = 5 + master * 10;
        (first..first + 5).for_each(publish);
        finished(&fleet, first + 5);
        fleet.start_all();
        // One that nobody reaches is as good as away.
        for role in [Role::Trigger(0), Role::Worker(0), Role::Worker(1)] {
            fleet.proxy(role, Peer::Master(master)).refuse();
        }
        (first + 5..first + 10).for_each(publish);
        finished(&fleet, first + 10);
        fleet.heal();
    }

    let status = fleet.settled(secs(60));
    let wanted: Vec<_> = (0..25)
        .map(|n: usize| [format!("m{n}"), "quick".into(), "number".into(), n.to_string(), "noarch".into()])
        .collect();
    let wanted = keys(&fleet.story, &wanted);
    let (jobs, results) = (fleet.all("jobs"), fleet.results());
    assert_same("jobs", wanted.clone(), jobs.iter().map(|job| text(&job["key"])));
    assert_same("results", wanted, results.iter().flat_map(|(job, all)| all.iter().map(|_| job.clone())));
    assert_eq!(status["intake"], json!({"recorded": 25, "forwarded": 25, "quarantined": 0}));
    ledger::assert_accounts(&fleet.story, &fleet, &jobs, &results);
    fleet.stop_all();
    assert_eq!(publisher.waiting(&queue), 0);
    fleet.assert_nothing_left();
    fleet.assert_sound();
}

#[test]
fn a_connection_to_the_database_that_goes_silent_holds_up_nobody_for_ever() {
    let story = Story::new();
    story.write("config/rules.yml", RULES);
    let mut fleet = Fleet::new(story, Plan { masters: 1, workers: 1, ..Plan::default() });
    let queue = fleet.queue(0);
    let publisher = Publisher::connect(&fleet.plan.amqp);
    publisher.declare(&queue);
    let publish = |n: usize| publisher.publish(&queue, "story.each", &format!("m{n}"), &json!({ "n": n }).to_string());
    fleet.start_all();
    publish(0);
    fleet.settled(secs(60));

    let ways = [(Role::Master(0), Peer::Database), (Role::Results, Peer::Database)];
    for (from, to) in ways {
        fleet.proxy(from, to).half_open();
    }
    publish(1);
    until(PATIENCE, "the master to feel it", || fleet.look("/readyz").is_err());
    for (from, to) in ways {
        fleet.proxy(from, to).forget();
    }
    until(secs(180), "both events to be jobs, and their results to be there", || {
        let status = fleet.look("/api/v1/status")?;
        let over = status["jobs"]["finished"] == 2 && status["outbox"] == 0;
        if over { Ok(()) } else { Err(status.to_string()) }
    });
    fleet.stop_all();
    fleet.assert_nothing_left();
    fleet.assert_sound();
}

/// What a worker says of one job goes now to one master and now to the other, and each is killed once in between.
#[test]
fn one_job_is_seen_to_its_end_by_masters_in_turn_and_its_log_is_whole() {
    let mut fleet = held::fleet(Plan { workers: 1, lease_term: "4s", ..Plan::default() });
    fleet.start_all();
    held::submit(&fleet, 0, "wordy", &["x"]);
    let (job, _) = held::runs(&fleet, "x", 1);
    let worker = Role::Worker(0);
    for turn in 0..12 {
        let (away, there) = (turn % 2, (turn + 1) % 2);
        fleet.proxy(worker, Peer::Master(away)).refuse();
        if turn == 4 || turn == 7 {
            fleet.kill(Role::Master(away));
        }
        // It has spoken with the other when that has more of the log.
        let master = fleet.masters[there].clone();
        let size = |fleet: &Fleet| {
            let seen = fleet.look_at(&master, &format!("/api/v1/jobs/{job}"))?;
            seen["attempts_made"][0]["log_size"].as_u64().ok_or_else(|| seen.to_string())
        };
        let before = until(PATIENCE, "the size of the log", || size(&fleet));
        until(PATIENCE, "the log to grow", || match size(&fleet)? {
            now if now > before => Ok(()),
            now => Err(format!("{now}, turn {turn}")),
        });
        fleet.start_all();
        fleet.heal();
    }
    held::let_go(&fleet.story, "x", 1);
    held::in_state(&fleet, &job, "finished");
    let said = std::fs::read_to_string(fleet.story.path("said")).unwrap();
    let token = std::fs::read_to_string(&fleet.token_file).unwrap();
    for master in &fleet.masters {
        let log = http::get(&format!("{master}/api/v1/jobs/{job}/log")).bearer(&token).send().expect("it answers");
        assert_eq!(log.text(), format!("attempt 1 begins\n{said}attempt 1 ends\n"));
    }
    held::settle(&mut fleet, &[(&job, "1 worker0")]);
}

#[test]
fn a_deadline_queues_again_only_what_may_be_interrupted_and_waits_for_the_rest() {
    let mut fleet = held::fleet(Plan { workers: 1, ..Plan::default() });
    fleet.start_all();
    held::submit(&fleet, 0, "held", &["held"]);
    held::submit(&fleet, 1, "again", &["again"]);
    let [patient, again] = ["held", "again"].map(|item| held::runs(&fleet, item, 1).0);
    let mut idle = fleet.as_operator(fleet.story.taskotron(), 1);
    idle.args(["idle", "-m", "an update", "--deadline", "1s", "--on-deadline", "requeue"]);
    let mut idle = fleet.story.start("idle", idle);
    held::in_state(&fleet, &again, "queued");
    held::gone(&fleet, Role::Worker(0), &again, 1);
    until(PATIENCE, "it to say what it waits for", || {
        let said = idle.err();
        let waits = said.contains("1 job runs; 1 of those that run is not interruptible: it is waited for");
        if waits { Ok(()) } else { Err(said) }
    });
    held::in_state(&fleet, &patient, "running");
    assert_eq!(idle.ended(), None);
    held::let_go(&fleet.story, "held", 1);
    assert_eq!(idle.wait(PATIENCE).code(), Some(0));
    assert_eq!(fleet.get("/api/v1/status")["mode"], "idle");
    fleet.run(&["resume", "-m", "updated"]);
    held::runs(&fleet, "again", 2);
    held::let_go(&fleet.story, "again", 2);
    held::settle(&mut fleet, &[(&patient, "1 worker0"), (&again, "2 worker0")]);
}
