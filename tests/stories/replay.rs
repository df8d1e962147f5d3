//! What was missed is replayed, what runs is waited for, and what a person stopped stays stopped: job logs, idling and
//! stopping, each while the same events come over the bus or a job is in the middle of its work.

use std::collections::BTreeSet;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::broker::Publisher;
use crate::installation::{Installation, PATIENCE};
use crate::kit::process::Process;
use crate::kit::{Story, secs, servers, until};

const CONFIG: &str = r#"
rules:
  - name: check
    topics: [story.check]
    do: [{ tasks: [check], item: "{{ body.n }}", item_type: number }]
  - name: wait
    topics: [story.wait]
    do: [{ tasks: [wait], item: "{{ body.n }}", item_type: number }]
tasks:
  check: { run: ["true"] }
  wait: { run: [sh, -c, "until [ -e $GATE ]; do sleep 0.05; done"] }
"#;

/// A site that consumes a queue of its own, with jobs of task `wait` that go on until the gate is opened.
struct Play {
    site: Installation,
    publisher: Publisher,
    queue: String,
}

impl Play {
    fn open() -> Play {
        let story = Story::new();
        let publisher = Publisher::connect(&servers::shared_amqp());
        let queue = format!("replay-{}", story.folder().file_name().unwrap().to_string_lossy());
        publisher.declare(&queue);
        story.write("config/all.yml", CONFIG);
        let settings = format!(
            "[trigger.amqp]\nurls = [{:?}]\nqueue = {queue:?}\nexchange = {queue:?}\n\
             [worker]\nslots = 3\nenvironment = {{ GATE = {:?} }}\nwritable = [{:?}]\n",
            servers::shared_amqp(),
            story.path("gate"),
            story.folder(),
        );
        Play { site: Installation::new(story, &settings), publisher, queue }
    }

    fn publish(&self, topic: &str, n: usize) {
        self.publisher.publish(&self.queue, topic, &format!("m{n}"), &json!({ "n": n }).to_string());
    }

    fn open_gate(&self) {
        self.site.story.write("gate", "");
    }

    /// The job of an item, once it is in `state`, as the listing shows it.
    fn job(&self, item: usize, state: &str) -> Value {
        until(PATIENCE, &format!("the job of {item} to be {state}"), || {
            let jobs = self.site.look(&format!("/api/v1/jobs?item={item}"))?;
            let job = jobs["items"][0].clone();
            if job["state"] == state { Ok(job) } else { Err(jobs.to_string()) }
        })
    }

    /// Starts a command of the operator that goes on while the story does.
    fn begin(&self, name: &str, command: Command) -> Process {
        self.site.story.start(name, self.site.as_operator(command))
    }

    fn jobrunner(&self, name: &str) -> Process {
        let mut command = self.site.story.jobrunner();
        command.args(["--json", "--receipt", &format!("{name}.receipt.json"), "newjobs.csv"]);
        self.begin(name, command)
    }

    fn status(&self) -> Value {
        self.site.get("/api/v1/status")
    }

    /// Stops it all and counts: `items` each had one job, and one result.
    fn close(mut self, items: impl Iterator<Item = usize>) {
        let status = self.site.settled(secs(300));
        let wanted: BTreeSet<String> = items.map(|n| n.to_string()).collect();
        let jobs = self.site.all("jobs");
        let found: BTreeSet<String> = jobs.iter().map(|job| job["item"].as_str().unwrap().to_owned()).collect();
        assert_eq!(found, wanted);
        assert_eq!(jobs.len(), wanted.len(), "a job was made twice");
        assert!(jobs.iter().all(|job| job["state"] == "finished" && job["outcome"] == "PASSED"), "{jobs:#?}");
        assert_eq!(status["jobs"]["finished"], wanted.len());
        let results = self.site.results();
        assert_eq!(results.len(), wanted.len());
        assert!(results.values().all(|of_job| of_job.len() == 1), "a result was made twice");
        assert_eq!(self.site.stop(PATIENCE).code(), Some(0));
        assert_eq!(self.publisher.waiting(&self.queue), 0);
        self.site.assert_nothing_left();
        self.site.assert_sound();
    }
}

#[test]
fn a6_a_job_log_is_replayed_twice_at_once_and_while_its_events_come_again() {
    const RECORDED: usize = 120;
    const PUBLISHED: std::ops::Range<usize> = 80..140;
    let mut play = Play::open();
    let line = |n| json!({"id": format!("m{n}"), "topic": "story.check", "body": {"n": n}}).to_string() + "\n";
    play.site.story.write("messages.jsonl", (0..RECORDED).map(line).collect::<String>());
    let mut record = play.site.story.taskotron();
    record.args(["record", "--from", "messages.jsonl", "--config", "config", "--out", "newjobs.csv"]);
    let ran = play.site.story.run(PATIENCE, record);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let rows = std::fs::read_to_string(play.site.story.path("newjobs.csv")).unwrap();
    assert_eq!(rows.lines().count(), 1 + RECORDED);

    play.site.start_ready();
    let mut both = [play.jobrunner("one"), play.jobrunner("two")];
    for n in PUBLISHED {
        play.publish("story.check", n);
    }
    let counts = |runner: &mut Process| -> [u64; 3] {
        assert_eq!(runner.wait(PATIENCE).code(), Some(0), "{}", runner.err());
        let counts: Value = serde_json::from_str(&runner.out()).expect("counts");
        let nothing_else = ["expired", "refused", "invalid", "left"].iter().all(|name| counts[name] == 0);
        assert!(nothing_else, "{counts}");
        ["rows", "submitted", "exists"].map(|name| counts[name].as_u64().unwrap())
    };
    let [one, two] = both.each_mut().map(counts);
    assert_eq!([one[0], two[0]], [RECORDED as u64; 2]);
    assert_eq!([one[1] + one[2], two[1] + two[2]], [RECORDED as u64; 2], "each row has its answer");
    // What only the file asks for was submitted once, by one of the two.
    let only_recorded = PUBLISHED.start as u64;
    assert!((only_recorded..=RECORDED as u64).contains(&(one[1] + two[1])), "{one:?} {two:?}");
    play.job(PUBLISHED.end - 1, "finished");
    assert_eq!(counts(&mut play.jobrunner("again")), [RECORDED as u64, 0, RECORDED as u64]);
    play.close(0..PUBLISHED.end);
}

#[test]
fn idle_waits_for_what_runs_and_holds_what_comes_until_it_is_resumed() {
    let mut play = Play::open();
    play.site.start_ready();
    play.publish("story.wait", 0);
    play.job(0, "running");
    let mut idle = play.site.story.taskotron();
    idle.args(["idle", "-m", "maintenance"]);
    let mut idle = play.begin("idle", idle);
    until(PATIENCE, "the drain to begin", || play.status()["mode"] == "draining");
    for n in 1..6 {
        play.publish("story.check", n);
    }
    let queued = |count: usize| {
        until(PATIENCE, &format!("{count} jobs to be queued"), || {
            let status = play.status();
            if status["jobs"]["queued"] == count { Ok(status) } else { Err(status.to_string()) }
        })
    };
    assert_eq!(queued(5)["jobs"]["running"], 1, "what runs goes on, and nothing else begins");
    assert_eq!(idle.ended(), None, "{}", idle.err());

    play.open_gate();
    assert_eq!(idle.wait(PATIENCE).code(), Some(0), "{}", idle.err());
    let status = play.status();
    assert_eq!(
        (&status["mode"], &status["jobs"]["running"], &status["outbox"]),
        (&json!("idle"), &json!(0), &json!(0))
    );
    assert_eq!(status["jobs"]["finished"], 1);
    // Rows are accepted while it is idle; and it stays idle whatever becomes of the process.
    play.site.story.write("newjobs.csv", "item,item_type,task,arch\n6,number,check,noarch\n");
    let mut runner = play.jobrunner("by-hand");
    assert_eq!(runner.wait(PATIENCE).code(), Some(0), "{}", runner.err());
    play.site.kill();
    play.site.start_ready();
    play.publish("story.check", 7);
    let status = until(PATIENCE, "the last event to be queued", || {
        let status = play.site.look("/api/v1/status")?;
        if status["jobs"]["queued"] == 7 { Ok(status) } else { Err(status.to_string()) }
    });
    assert_eq!((&status["mode"], &status["jobs"]["running"]), (&json!("idle"), &json!(0)));
    assert_eq!(status["stopped_by"][0]["reason"], "maintenance");

    let resumed = play.site.taskotron(&["resume", "-m", "done"]);
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    let backlog: Vec<Vec<&str>> = resumed.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(backlog.contains(&vec!["check", "check", "6"]), "{resumed:?}");
    play.close(0..8);
}

#[test]
fn a_signal_lets_what_runs_end_and_a_second_one_hands_it_back() {
    let mut play = Play::open();
    play.site.start_ready();
    play.publish("story.wait", 0);
    play.job(0, "running");
    play.site.up().signal(Signal::SIGTERM);
    until(PATIENCE, "the worker to stop taking jobs", || play.site.up().err().contains("takes no more work"));
    assert_eq!(play.job(0, "running")["attempts"], 1);
    play.open_gate();
    assert_eq!(play.site.up().wait(PATIENCE).code(), Some(0));
    play.site.assert_nothing_left();
    play.site.start_ready();
    assert_eq!(play.job(0, "finished")["attempts"], 1);

    std::fs::remove_file(play.site.story.path("gate")).unwrap();
    play.publish("story.wait", 1);
    let job = play.job(1, "running");
    play.site.up().signal(Signal::SIGTERM);
    until(PATIENCE, "the first signal to be heard", || play.site.up().err().matches("takes no more work").count() == 2);
    play.site.up().signal(Signal::SIGTERM);
    assert_eq!(play.site.up().wait(PATIENCE).code(), Some(0));
    play.site.assert_nothing_left();
    play.site.start_ready();
    let again = play.job(1, "running");
    assert_eq!((&again["id"], &again["attempts"]), (&job["id"], &json!(2)));
    play.open_gate();
    play.job(1, "finished");
    let made = play.site.get(&format!("/api/v1/jobs/{}", job["id"].as_str().unwrap()))["attempts_made"].clone();
    let ends: Vec<_> = made.as_array().unwrap().iter().map(|attempt| attempt["end"].clone()).collect();
    println!("{}", json!(ends));
    assert!(ends[0].to_string().contains("handed_back") && ends.len() == 2, "{made}");
    play.close(0..2);
}
