//! A trigger is killed at each step between the bus and the master: the event is there once, and so is its job.

use std::fs;
use std::ops::RangeInclusive;

use serde_json::json;

use crate::broker::Publisher;
use crate::fleet::{Fleet, Peer, Plan, Role};
use crate::kit::count::{assert_same, keys, text};
use crate::kit::tmpfs::Tmpfs;
use crate::kit::{Story, secs, until};
use crate::ledger;
use crate::site::PATIENCE;

const RULES: &str = r#"
rules:
  - name: each
    topics: [story.each]
    do: [{ tasks: [quick], item: "{{ body.n }}", item_type: number }]
"#;

const TRIGGER: Role = Role::Trigger(0);

struct Play {
    fleet: Fleet,
    publisher: Publisher,
    queue: String,
    published: usize,
}

impl Play {
    fn open(story: Story) -> Play {
        story.write("config/rules.yml", RULES);
        let mut fleet = Fleet::new(story, Plan::default());
        let queue = fleet.queue(0);
        let publisher = Publisher::connect(&fleet.plan.amqp);
        publisher.declare(&queue);
        fleet.start_all();
        let mut play = Play { fleet, publisher, queue, published: 0 };
        play.publish("");
        play.settled();
        play
    }

    fn publish(&mut self, pad: &str) {
        let n = self.published;
        let body = json!({ "n": n, "pad": pad }).to_string();
        self.publisher.publish(&self.queue, "story.each", &format!("m{n}"), &body);
        self.published += 1;
    }

    /// Waits until the last event stands in the trigger's log.
    fn recorded(&self) {
        let (log, id) = (self.fleet.trigger(0).join("events.jsonl"), format!("\"m{}\"", self.published - 1));
        until(PATIENCE, "the event to be recorded", || {
            fs::read_to_string(&log).is_ok_and(|text| text.contains(&id)).then_some(()).ok_or("not yet")
        });
    }

    fn settled(&self) {
        until(PATIENCE, "all jobs to finish", || {
            let status = self.fleet.look("/api/v1/status")?;
            if status["jobs"]["finished"] == self.published { Ok(()) } else { Err(status.to_string()) }
        });
    }

    /// Each event is there once, with one job and one result; the trigger has seen so many of them twice.
    fn close(mut self, duplicates: RangeInclusive<u64>) {
        self.settled();
        let status = self.fleet.settled(secs(60));
        assert_eq!(status["intake"]["recorded"], self.published);
        let seen = until(PATIENCE, "the trigger to tell what it counted", || {
            let trigger = self.fleet.look("/api/v1/triggers")?["items"][0].clone();
            let counted = trigger["duplicates"].as_u64().is_some_and(|seen| duplicates.contains(&seen));
            if counted { Ok(trigger) } else { Err(trigger.to_string()) }
        });
        assert_eq!(seen["recorded"], self.published, "{seen}");
        let job = |n: usize| [format!("m{n}"), "quick".into(), "number".into(), n.to_string(), "noarch".into()];
        let wanted = keys(&self.fleet.story, &(0..self.published).map(job).collect::<Vec<_>>());
        let (jobs, results) = (self.fleet.all("jobs"), self.fleet.results());
        assert_same("jobs", wanted.clone(), jobs.iter().map(|job| text(&job["key"])));
        assert_same("results", wanted, results.iter().flat_map(|(job, all)| all.iter().map(|_| job.clone())));
        let ids = (0..self.published).map(|n| format!("m{n}"));
        assert_same("events", ids, self.fleet.all("events").iter().map(|event| text(&event["id"])));
        ledger::assert_accounts(&self.fleet.story, &self.fleet, &jobs, &results);
        self.fleet.stop_all();
        assert_eq!(self.publisher.waiting(&self.queue), 0);
        self.fleet.assert_nothing_left();
        self.fleet.assert_sound();
    }
}

#[test]
fn a1_killed_with_a_message_in_hand_it_gets_it_again() {
    let story = Story::new();
    let disk = Tmpfs::mount(&story, "trigger0", 4096);
    let mut play = Play::open(story);
    // The disk is full, so what was delivered cannot be recorded, and is not acknowledged.
    disk.fill();
    play.publish(&"x".repeat(50_000));
    until(PATIENCE, "the trigger to say that it cannot write", || {
        let said = play.fleet.said(TRIGGER);
        if said.contains("cannot write the event log") { Ok(()) } else { Err(said) }
    });
    play.fleet.kill(TRIGGER);
    disk.free();
    play.fleet.start(TRIGGER);
    play.close(0..=0);
}

#[test]
fn a2_killed_between_the_commit_and_the_acknowledgement_it_knows_the_message_again() {
    let mut play = Play::open(Story::new());
    // What goes to the broker is under way for long; and then it never comes.
    play.fleet.proxy(TRIGGER, Peer::Bus).delay(secs(8));
    play.publish("");
    play.recorded();
    play.fleet.proxy(TRIGGER, Peer::Bus).cut();
    play.fleet.kill(TRIGGER);
    play.fleet.heal();
    play.fleet.start(TRIGGER);
    play.close(1..=1);
}

#[test]
fn a3_killed_between_its_log_and_the_master_it_schedules_the_job_once() {
    let mut play = Play::open(Story::new());
    let since = net::clock::now().to_string();
    for master in [0, 1] {
        play.fleet.kill(Role::Master(master));
    }
    play.publish("");
    play.recorded();
    play.fleet.kill(TRIGGER);
    play.fleet.start_all();
    play.settled();
    let missed = play.fleet.run(&["missed", "--since", &since, "-o", "csv", "--exit-code"]);
    assert_eq!(missed.out.lines().count(), 1, "{missed:?}");
    assert!(missed.err.contains("1 events and 1 jobs compared: 0 missed"), "{missed:?}");
    // Whether it was acknowledged before the kill is a matter of chance.
    play.close(0..=1);
}
