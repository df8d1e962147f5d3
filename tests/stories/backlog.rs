//! A large backlog: printed and refused before it is let go, let go slowly, and no hindrance to live events.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::broker::Publisher;
use crate::fleet::{Fleet, Plan, Role};
use crate::kit::process::Process;
use crate::kit::story::Ran;
use crate::kit::{Story, secs, until};
use crate::site::PATIENCE;

const RULES: &str = r#"
rules:
  - name: live
    topics: [story.live]
    do: [{ tasks: [quick], item: "live-{{ body.n }}", item_type: number }]
"#;

const BACKLOG: usize = 100_000;

/// A debug build takes its time for so many rows.
const LONG: Duration = secs(600);

struct Play {
    fleet: Fleet,
    publisher: Publisher,
    queue: String,
}

impl Play {
    fn open() -> Play {
        let story = Story::new();
        story.write("config/rules.yml", RULES);
        let mut fleet = Fleet::new(story, Plan { proxied: false, lease_term: "10s", ..Plan::default() });
        let queue = fleet.queue(0);
        let publisher = Publisher::connect(&fleet.plan.amqp);
        publisher.declare(&queue);
        fleet.start_all();
        Play { fleet, publisher, queue }
    }

    fn jobs(&self) -> Value {
        self.fleet.get("/api/v1/status")["jobs"].clone()
    }

    fn begin(&self, command: Command, master: usize, arguments: &[&str], name: &str) -> Process {
        let mut command = self.fleet.as_operator(command, master);
        command.args(arguments);
        self.fleet.story.start(name, command)
    }

    fn ask(&self, arguments: &[&str]) -> Ran {
        let mut command = self.fleet.as_operator(self.fleet.story.taskotron(), 1);
        command.args(arguments);
        self.fleet.story.run(LONG, command)
    }

    /// A live event becomes a result while nearly all of the backlog waits.
    fn live(&self, n: usize) {
        self.publisher.publish(&self.queue, "story.live", &format!("live-{n}"), &json!({ "n": n }).to_string());
        until(PATIENCE, "the live event's job to finish", || {
            let jobs = self.fleet.look(&format!("/api/v1/jobs?item=live-{n}"))?["items"].clone();
            if jobs[0]["state"] == "finished" { Ok(()) } else { Err(jobs.to_string()) }
        });
        let jobs = self.jobs();
        assert!(jobs["waiting"].as_u64() > Some(BACKLOG as u64 - 10_000), "{jobs}");
    }
}

fn cells(table: &str) -> Vec<Vec<&str>> {
    table.lines().map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn a13_a_backlog_of_100000_is_refused_then_let_go_slowly_and_live_events_go_first() {
    let play = Play::open();
    play.fleet.run(&["idle", "-m", "kernel update"]);
    let mut rows = String::from("item,item_type,task,arch,rule\n");
    for n in 0..BACKLOG {
        let rule = if n % 10 < 7 { "mass-rebuild" } else { "updates" };
        writeln!(rows, "{n},number,quick,noarch,{rule}").expect("a String takes every write");
    }
    // Half of it by each of the two masters.
    let half = rows.lines().skip(1).take(BACKLOG / 2).last().map(|line| rows.find(line).unwrap() + line.len() + 1);
    let (first, second) = rows.split_at(half.expect("there are rows"));
    play.fleet.story.write("first.csv", first);
    play.fleet.story.write("second.csv", ["item,item_type,task,arch,rule\n", second].concat());
    let mut both = [("first", 0), ("second", 1)].map(|(name, master)| {
        let jobrunner = play.fleet.story.jobrunner();
        play.begin(jobrunner, master, &["--json", &format!("{name}.csv")], name)
    });
    for runner in &mut both {
        assert_eq!(runner.wait(LONG).code(), Some(0), "{}", runner.err());
        let counts: Value = serde_json::from_str(&runner.out()).expect("counts");
        assert_eq!(counts["submitted"], BACKLOG / 2, "{counts}");
    }

    let refused = play.ask(&["resume", "-m", "done"]);
    assert_eq!(refused.code, Some(3), "{refused:?}");
    let table = cells(&refused.out);
    assert!(table.contains(&vec!["mass-rebuild", "quick", "70000"]), "{refused:?}");
    assert!(table.contains(&vec!["updates", "quick", "30000"]), "{refused:?}");
    let status = play.fleet.get("/api/v1/status");
    assert_eq!((&status["mode"], &status["jobs"]["queued"]), (&json!("idle"), &json!(BACKLOG)), "nothing was changed");

    let rate = ["resume", "-m", "done", "--yes", "--rate", "120/min"];
    let resumed = play.ask(&rate);
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    println!("{}", resumed.out.lines().last().unwrap_or_default());
    assert!(resumed.out.contains("jobs of the backlog are let go at 120 a minute"), "{resumed:?}");
    play.live(0);
    // The masters go in the middle, and the backlog goes on after them.
    let mut play = play;
    for master in [0, 1] {
        play.fleet.kill(Role::Master(master));
    }
    play.fleet.start_all();
    let before = play.jobs()["finished"].as_u64();
    until(PATIENCE, "more of the backlog to be let go", || {
        let jobs = play.fleet.look("/api/v1/status")?["jobs"].clone();
        if jobs["finished"].as_u64() > before { Ok(()) } else { Err(jobs.to_string()) }
    });
    play.live(1);

    // Idle again in the middle of it: nothing runs, and all of it is still there.
    let idle = play.ask(&["idle", "-m", "once more"]);
    assert_eq!(idle.code, Some(0), "{idle:?}");
    let jobs = play.jobs();
    let sum: u64 = ["waiting", "queued", "running", "finished"].iter().filter_map(|state| jobs[state].as_u64()).sum();
    assert_eq!((sum, jobs["running"].as_u64()), (BACKLOG as u64 + 2, Some(0)), "{jobs}");
    assert_eq!(play.ask(&rate).code, Some(0));
    play.live(2);
    let idle = play.ask(&["idle", "-m", "the end"]);
    assert_eq!(idle.code, Some(0), "{idle:?}");
    play.fleet.stop_all();
    play.fleet.assert_nothing_left();
    play.fleet.assert_sound();
}
