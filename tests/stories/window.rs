//! The maintenance window, as the procedure has it: a recorder elsewhere, idle, everything stopped while the bus goes
//! on, everything started, resume, and a replay of exactly what was missed.

use std::process::Command;

use serde_json::{Value, json};

use crate::broker::Publisher;
use crate::fleet::{Fleet, Plan};
use crate::kit::count::{assert_same, keys, text};
use crate::kit::process::Process;
use crate::kit::story::Ran;
use crate::kit::{Story, secs, until};
use crate::ledger;
use crate::site::PATIENCE;

const RULES: &str = r#"
rules:
  - name: each
    topics: [story.each]
    do: [{ tasks: [quick], item: "{{ body.n }}", item_type: number }]
"#;

/// Every third event calls for no job.
const NOTHING: &str = "story.nothing";

struct Window {
    fleet: Fleet,
    publisher: Publisher,
    queue: String,
    published: usize,
}

impl Window {
    fn open() -> Window {
        let story = Story::new();
        story.write("config/rules.yml", RULES);
        let mut fleet = Fleet::new(story, Plan { proxied: false, ..Plan::default() });
        let queue = fleet.queue(0);
        let publisher = Publisher::connect(&fleet.plan.amqp);
        publisher.declare(&queue);
        fleet.start_all();
        Window { fleet, publisher, queue, published: 0 }
    }

    fn publish(&mut self, count: usize) {
        for n in self.published..self.published + count {
            let topic = if n % 3 == 2 { NOTHING } else { "story.each" };
            self.publisher.publish(&self.queue, topic, &format!("m{n}"), &json!({ "n": n }).to_string());
        }
        self.published += count;
    }

    /// The keys of all jobs that must be, of these events.
    fn wanted(&self, events: std::ops::Range<usize>) -> Vec<String> {
        let job = |n: usize| [format!("m{n}"), "quick".into(), "number".into(), n.to_string(), "noarch".into()];
        keys(&self.fleet.story, &events.filter(|n| n % 3 != 2).map(job).collect::<Vec<_>>())
    }

    /// A recorder on a queue of its own, which is there when this returns.
    fn record(&self, name: &str, more: &[&str]) -> Process {
        let mut command = self.fleet.story.taskotron();
        let settings = format!("[trigger.amqp]\nexchange = {:?}\n", self.queue);
        self.fleet.story.write("recorder.toml", settings);
        command.args(["record", "--settings", "recorder.toml", "--config", "config"]);
        command.args(["--amqp", &self.fleet.plan.amqp, "--out", &format!("{name}.csv")]).args(more);
        let mut recorder = self.fleet.story.start(name, command);
        until(PATIENCE, "the recorder to listen", || {
            assert_eq!(recorder.ended(), None, "{}", recorder.err());
            recorder.err().contains("consuming queue").then_some(()).ok_or_else(|| recorder.err())
        });
        recorder
    }

    fn recorded(&self, name: &str, events: usize) {
        let log = self.fleet.story.path(format!("{name}.csv.events.jsonl"));
        until(PATIENCE, &format!("{events} events to be recorded"), || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let found = text.lines().filter(|line| line.contains("\"job_seq\":") && line.contains("\"mark\"")).count();
            if found == events { Ok(()) } else { Err(found) }
        });
    }

    /// Waits until the trigger has forwarded so many events.
    fn forwarded(&self, events: usize) {
        until(PATIENCE, &format!("{events} events to be forwarded"), || {
            let intake = self.fleet.look("/api/v1/status")?["intake"].clone();
            if intake["forwarded"] == events { Ok(()) } else { Err(intake.to_string()) }
        });
    }

    /// Waits until the trigger has told the master that it has all that the bus has now.
    fn caught_up(&self) {
        let now = net::clock::now();
        until(PATIENCE, "the trigger to catch up", || {
            let trigger = self.fleet.look("/api/v1/triggers")?["items"][0].clone();
            let reached = trigger["caught_up"].as_str().and_then(model::Time::parse_loose);
            if reached > Some(now) { Ok(()) } else { Err(trigger.to_string()) }
        });
    }

    /// Runs a command as the operator to its end, whatever that is.
    fn ask(&self, command: Command, arguments: &[&str]) -> Ran {
        let mut command = self.fleet.as_operator(command, 0);
        command.args(arguments);
        self.fleet.story.run(secs(240), command)
    }

    fn missed(&self, since: &str, more: &[&str]) -> Ran {
        let ran = self.ask(self.fleet.story.taskotron(), &[&["missed", "--since", since], more].concat());
        println!("missed: {:?} {}", ran.code, ran.err);
        ran
    }

    /// `jobrunner -` against one of the masters, with these rows on its stdin.
    fn begin_replay(&self, csv: &str, master: usize, name: &str) -> Process {
        self.fleet.story.write("missed.csv", csv);
        let jobrunner = env!("CARGO_BIN_EXE_jobrunner");
        let mut shell = self.fleet.as_operator(self.fleet.story.command("sh"), master);
        shell.args(["-c", &format!("exec {jobrunner} --json - <missed.csv")]);
        self.fleet.story.start(name, shell)
    }

    /// How many rows were there, how many were submitted and how many existed.
    fn replayed(&self, mut runner: Process) -> [u64; 3] {
        assert_eq!(runner.wait(PATIENCE).code(), Some(0), "{}", runner.err());
        let counts: Value = serde_json::from_str(&runner.out()).expect("counts");
        println!("jobrunner: {counts}");
        ["rows", "submitted", "exists"].map(|name| counts[name].as_u64().expect("a count"))
    }

    /// Stops everything, has the bus go on, and starts it again.
    fn outage(&mut self, keep_queue: bool, events: usize) {
        self.fleet.stop_all();
        if !keep_queue {
            self.publisher.delete_queue(&self.queue);
        }
        self.publish(events);
        self.fleet.start_all();
    }

    /// All that was published has one job and one result each, and nothing else is there.
    fn close(mut self) {
        self.fleet.settled(secs(240));
        let wanted = self.wanted(0..self.published);
        let (jobs, results) = (self.fleet.all("jobs"), self.fleet.results());
        assert_same("jobs", wanted.clone(), jobs.iter().map(|job| text(&job["key"])));
        assert_same("results", wanted, results.iter().flat_map(|(job, all)| all.iter().map(|_| job.clone())));
        ledger::assert_accounts(&self.fleet.story, &self.fleet, &jobs, &results);
        self.fleet.stop_all();
        self.fleet.assert_nothing_left();
        self.fleet.assert_sound();
    }
}

fn rows(csv: &str) -> Vec<String> {
    assert_eq!(csv.lines().next(), Some(model::joblog::COLUMNS.join(",").as_str()), "it is a job log: {csv}");
    csv.lines().skip(1).map(|row| row.rsplit(',').next().expect("a key").to_owned()).collect()
}

fn window_of_maintenance(keep_queue: bool) {
    const BEFORE: usize = 12;
    const WHILE_IDLE: usize = 12;
    const WHILE_DOWN: usize = 30;
    let mut window = Window::open();
    let mut recorder = window.record("elsewhere", &[]);
    let since = net::clock::now().to_string();
    window.publish(BEFORE);
    window.forwarded(BEFORE);
    let idle = window.fleet.run(&["idle", "-m", "kernel update", "--finish-queue"]);
    assert!(idle.out.contains("idle"), "{idle:?}");
    window.publish(WHILE_IDLE);
    window.forwarded(BEFORE + WHILE_IDLE);
    window.outage(keep_queue, WHILE_DOWN);

    let here = if keep_queue { BEFORE + WHILE_IDLE + WHILE_DOWN } else { BEFORE + WHILE_IDLE };
    window.forwarded(here);
    window.caught_up();
    let resumed = window.fleet.run(&["resume", "-m", "done"]);
    println!("{}", resumed.out);
    assert!(!resumed.out.contains("DOES NOT ADD UP"), "{resumed:?}");
    let seen = here - BEFORE;
    let sum = format!("{seen} events seen = {} called for jobs + {} matched nothing", seen - seen / 3, seen / 3);
    assert!(resumed.out.contains(&sum), "{sum}: {}", resumed.out);
    assert_eq!(resumed.out.contains("to a queue that was made anew"), !keep_queue, "{}", resumed.out);
    window.publish(6);

    // The recorder is stopped as the procedure says, and leaves a whole file.
    window.recorded("elsewhere", window.published);
    assert_eq!(recorder.stop(PATIENCE).code(), Some(0), "{}", recorder.err());
    let against = ["--against", "elsewhere.csv", "-o", "csv", "--exit-code"];
    let missed = window.missed(&since, &against);
    let lost = if keep_queue { vec![] } else { window.wanted(here..here + WHILE_DOWN) };
    assert_eq!(missed.code, Some(if keep_queue { 0 } else { 10 }), "{missed:?}");
    assert_same("rows to replay", lost.clone(), rows(&missed.out));

    let rows = lost.len() as u64;
    assert_eq!(rows > 0, !keep_queue);
    let first = window.begin_replay(&missed.out, 0, "first");
    assert_eq!(window.replayed(first), [rows, rows, 0]);
    // Again, and twice at once against both masters.
    let again = window.begin_replay(&missed.out, 1, "again");
    assert_eq!(window.replayed(again), [rows, 0, rows]);
    let both = [0, 1].map(|master| window.begin_replay(&missed.out, master, &format!("both{master}")));
    for runner in both {
        assert_eq!(window.replayed(runner), [rows, 0, rows]);
    }
    let after = window.missed(&since, &against);
    assert_eq!((after.code, after.out.lines().count()), (Some(0), 1), "{after:?}");
    let no_jobs = format!("{} more events are not here and call for no job", WHILE_DOWN / 3);
    assert_eq!(after.err.contains(&no_jobs), !keep_queue, "{after:?}");
    // Of itself the master cannot say so much where its queue was made anew.
    let alone = window.missed(&since, &["-o", "csv"]);
    assert_eq!(alone.code, Some(if keep_queue { 0 } else { 6 }), "{alone:?}");
    if !keep_queue {
        assert!(alone.out.is_empty() && alone.err.contains("without a gap only since"), "{alone:?}");
    }
    window.close();
}

#[test]
fn a5_a_job_log_at_both_masters_at_once_and_again_makes_each_job_once() {
    const ROWS: u64 = 400;
    let mut window = Window::open();
    let line = |n| json!({"id": format!("m{n}"), "topic": "story.each", "body": {"n": n}}).to_string() + "\n";
    // The numbers that call for jobs, as `wanted` counts them.
    window.published = ROWS as usize * 3 / 2;
    window.fleet.story.write("in.jsonl", (0..window.published).filter(|n| n % 3 != 2).map(line).collect::<String>());
    window.fleet.run(&["record", "--from", "in.jsonl", "--config", "config", "--out", "a5.csv"]);
    let csv = std::fs::read_to_string(window.fleet.story.path("a5.csv")).expect("it was recorded");
    let both = [0, 1].map(|master| window.begin_replay(&csv, master, &format!("first{master}")));
    let [one, two] = both.map(|runner| window.replayed(runner));
    assert_eq!([one[0], two[0], one[1] + one[2], two[1] + two[2]], [ROWS; 4], "each row has its answer");
    assert_eq!(one[1] + two[1], ROWS, "each row was submitted by exactly one: {one:?} {two:?}");
    for master in [0, 1] {
        let again = window.begin_replay(&csv, master, &format!("again{master}"));
        assert_eq!(window.replayed(again), [ROWS, 0, ROWS]);
    }
    window.close();
}

#[test]
fn a_window_with_the_queue_kept_misses_nothing() {
    window_of_maintenance(true);
}

#[test]
fn a_window_with_the_queue_deleted_misses_what_a_replay_brings_once() {
    window_of_maintenance(false);
}
