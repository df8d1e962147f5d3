//! `up` is killed again and again, at moments that a seed chooses, while messages flow: and each job that they call
//! for still ends once, with one result, of the attempt that ended it.
//!
//! With each kill, what the trigger had written and not synced is lost. A second worker is stopped for longer than its
//! leases hold, so that its reports come too late. `TASKOTRON_KILLS` and `TASKOTRON_SEED` choose how often and when.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::hash::{BuildHasher as _, RandomState};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::broker::Publisher;
use crate::installation::{Installation, PATIENCE};
use crate::kit::process::Process;
use crate::kit::{Story, secs, servers, until};

const KILLS: usize = 12;

/// How many messages come with each kill: 600 in 12, 2,000 in 50.
const MESSAGES: usize = 2000;
const AT_LEAST: usize = 40;

const RULES: &str = r#"
rules:
  - name: one
    topics: [story.one]
    do: [{ tasks: [quick], item: "{{ body.n }}", item_type: number }]
  - name: two
    topics: [story.two]
    do:
      - { tasks: [quick, other], item: "{{ body.n }}", item_type: number }
      - { tasks: [quick], item: "{{ body.n }}", item_type: number }
  - name: late
    topics: [story.late]
    priority: 10
    do: [{ tasks: [slow], item: "{{ body.n }}", item_type: number, arches: [x86_64] }]
  - name: none
    topics: [story.none]
    when: { body.n: { $lt: 0 } }
    do: [{ tasks: [quick], item: never, item_type: number }]
"#;

/// Every run of a job leaves a line in the ledger, and says in its result which attempt it was and whose.
const TASKS: &str = r#"
tasks:
  quick: { run: [sh, -c, "echo $TASKOTRON_JOB_ID $TASKOTRON_ATTEMPT $WHO >>$LEDGER; $REPORT"] }
  other: { run: [sh, -c, "echo $TASKOTRON_JOB_ID $TASKOTRON_ATTEMPT $WHO >>$LEDGER; sleep 0.1; $REPORT"] }
  slow: { run: [sh, -c, "echo $TASKOTRON_JOB_ID $TASKOTRON_ATTEMPT $WHO >>$LEDGER; sleep 1.5; $REPORT"] }
"#;

const REPORT: &str = r#"#!/bin/sh
printf 'results:\n  - { outcome: PASSED, note: "%s %s" }\n' "$TASKOTRON_ATTEMPT" "$WHO" >"$TASKOTRON_RESULTS"
"#;

/// SplitMix64.
struct Chance(u64);

impl Chance {
    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }

    /// A time from 0 to `end` milliseconds.
    fn millis(&mut self, end: usize) -> Duration {
        Duration::from_millis(self.below(end) as u64)
    }
}

/// What was published: (topic, number), and so what has to come of it.
#[derive(Default)]
struct Told(Vec<(&'static str, usize)>);

impl Told {
    /// The next message.
    fn next(&mut self, topic: &'static str) -> (&'static str, usize) {
        let message = (topic, self.0.len());
        self.0.push(message);
        message
    }

    /// (event, task, arch) of every job that must be.
    fn jobs(&self) -> Vec<[String; 5]> {
        let job = |n: usize, task: &str, arch: &str| {
            [format!("m{n}"), task.to_owned(), "number".into(), n.to_string(), arch.to_owned()]
        };
        let mut jobs = Vec::new();
        for (topic, n) in &self.0 {
            match *topic {
                "story.one" => jobs.push(job(*n, "quick", "noarch")),
                "story.two" => jobs.extend([job(*n, "quick", "noarch"), job(*n, "other", "noarch")]),
                "story.late" => jobs.push(job(*n, "slow", "x86_64")),
                _ => {}
            }
        }
        jobs
    }
}

/// The keys of jobs, by the definition and by no code of ours.
fn keys(story: &Story, jobs: &[[String; 5]]) -> Vec<String> {
    story.write("jobs.json", json!(jobs).to_string());
    let mut python = story.python();
    python.args([
        "-c",
        "import json, uuid\n\
         namespace = uuid.UUID('6f1d1c1e-8f0a-5b7e-9d5c-2f6f0e2b7a11')\n\
         for job in json.load(open('jobs.json')):\n\
         \x20   print(uuid.uuid5(namespace, json.dumps(job, separators=(',', ':'))))",
    ]);
    let ran = story.run(PATIENCE, python);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let mut keys: Vec<String> = ran.out.lines().map(str::to_owned).collect();
    keys.sort();
    keys
}

struct Play {
    outside: Option<Process>,
    site: Installation,
    chance: Chance,
    publisher: Publisher,
    queue: String,
    told: Told,
    /// How many reports were made to come too late.
    late: usize,
}

impl Play {
    fn open(seed: u64) -> Play {
        let story = Story::new();
        let publisher = Publisher::connect(&servers::shared_amqp());
        let queue = format!("kill-{}", story.folder().file_name().unwrap().to_string_lossy());
        publisher.declare(&queue);
        story.write("config/rules.yml", RULES);
        story.write("config/tasks.yml", TASKS);
        let report = story.write("report", REPORT);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&report, mode).unwrap();
        let settings = format!(
            "[master]\nlease_term = \"2s\"\n\
             [trigger.amqp]\nurls = [{:?}]\nqueue = {queue:?}\nexchange = {queue:?}\nprefetch = 40\n\
             [worker]\nname = \"inside\"\nslots = 2\n{}",
            servers::shared_amqp(),
            environment(&story, "inside"),
        );
        let site = Installation::new(story, &settings).with_power_cuts();
        Play { outside: None, site, chance: Chance(seed), publisher, queue, told: Told::default(), late: 0 }
    }

    /// Starts the second worker, once `up` has made its token.
    fn start_outside(&mut self) {
        let story = &self.site.story;
        let settings = format!(
            "[worker]\nmaster = {:?}\ntoken_file = {:?}\nname = \"outside\"\nslots = 2\ndir = {:?}\n{}",
            self.site.url(),
            self.site.data("worker.token"),
            story.path("outside"),
            environment(story, "outside"),
        );
        story.write("outside.toml", settings);
        let mut worker: Command = story.taskotron();
        worker.args(["worker", "--settings", "outside.toml"]);
        self.outside = Some(story.start("outside", worker));
    }

    fn outside(&mut self) -> &mut Process {
        self.outside.as_mut().expect("it was started")
    }

    /// Publishes `count` messages, and kills when one of them, seeded, was just taken by the broker, or a bit later.
    fn kill_while_messages_flow(&mut self, count: usize) {
        let messages: Vec<_> = (0..count)
            .map(|_| {
                let topic = ["story.one", "story.one", "story.two", "story.none"][self.chance.below(4)];
                self.told.next(topic)
            })
            .collect();
        let (at, later) = (self.chance.below(count), self.chance.millis(60));
        let (reached, moment) = mpsc::channel();
        thread::scope(|scope| {
            let (publisher, queue) = (&self.publisher, &self.queue);
            scope.spawn(move || {
                for (i, (topic, n)) in messages.into_iter().enumerate() {
                    publish(publisher, queue, topic, n);
                    if i == at {
                        let _ = reached.send(());
                    }
                }
            });
            moment.recv().expect("the publisher goes on to the end");
            pass(later);
            self.site.kill();
        });
    }

    /// Stops the second worker while it runs a job, until another has begun the job anew: its report is too late then.
    fn make_a_late_report(&mut self) {
        for _ in 0..6 {
            let (topic, n) = self.told.next("story.late");
            publish(&self.publisher, &self.queue, topic, n);
        }
        let of_outside = "/api/v1/jobs?state=running&task=slow&worker=outside";
        let job = until(PATIENCE, "the second worker to run a slow job", || {
            let held = self.site.look(of_outside)?;
            let Some(_) = held["items"][0]["id"].as_str() else {
                return Err(format!("none yet: {}", self.site.look("/api/v1/status")?));
            };
            self.outside().signal(Signal::SIGSTOP);
            // What it runs now it keeps, unless its report was under way.
            let held = self.site.look(of_outside);
            let job =
                held.and_then(|held| held["items"][0]["id"].as_str().map(str::to_owned).ok_or("done by now".into()));
            job.inspect_err(|_| self.outside().signal(Signal::SIGCONT))
        });
        let begun_anew = until(PATIENCE, "the job to be lost and begun anew", || {
            let job = self.site.look(&format!("/api/v1/jobs/{job}"))?;
            let attempts = job["attempts_made"].as_array().expect("attempts");
            match attempts.last() {
                Some(last) if attempts.len() > 1 && last["worker"] == "inside" => Ok(true),
                // The report was in the master's hands when its sender was stopped: it came in time.
                Some(_) if job["state"] == "finished" => Ok(false),
                _ => Err(job.to_string()),
            }
        });
        self.outside().signal(Signal::SIGCONT);
        if begun_anew {
            self.late += 1;
        } else {
            self.make_a_late_report();
        }
    }
}

fn environment(story: &Story, who: &str) -> String {
    let (ledger, report) = (story.path("ledger"), story.path("report"));
    format!("environment = {{ WHO = {who:?}, LEDGER = {ledger:?}, REPORT = {report:?} }}\n")
}

fn publish(publisher: &Publisher, exchange: &str, topic: &str, n: usize) {
    publisher.publish(exchange, topic, &format!("m{n}"), &json!({ "n": n }).to_string());
}

/// A moment in time is the thing waited for.
fn pass(time: Duration) {
    let begin = Instant::now();
    until(time + secs(10), "the moment", || begin.elapsed() >= time);
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

#[test]
fn killed_at_any_moment_it_makes_every_job_once() {
    let kills = number("TASKOTRON_KILLS").map_or(KILLS, |n| n as usize);
    let seed = number("TASKOTRON_SEED").unwrap_or_else(|| RandomState::new().hash_one("seed"));
    println!("TASKOTRON_SEED={seed} TASKOTRON_KILLS={kills}");
    let each = (MESSAGES / kills.max(1)).clamp(AT_LEAST, 50);
    let mut play = Play::open(seed);

    play.site.start_ready();
    play.start_outside();
    for kill in 0..kills {
        if kill > 0 {
            play.site.start();
        }
        match kill % 6 {
            // While it starts, with messages waiting for it.
            4 => pass(play.chance.millis(1500)),
            5 => {
                play.site.ready();
                play.make_a_late_report();
            }
            _ => play.site.ready(),
        }
        play.kill_while_messages_flow(each);
    }
    play.site.start_ready();
    let (_, last) = play.told.next("story.one");
    publish(&play.publisher, &play.queue, "story.one", last);
    until(secs(120), "the last message to arrive", || {
        let jobs = play.site.look(&format!("/api/v1/jobs?item={last}"))?;
        jobs["items"]
            .as_array()
            .filter(|items| !items.is_empty())
            .map(|_| ())
            .ok_or_else(|| format!("{:?}", play.site.look("/api/v1/status")))
    });
    let status = play.site.settled(secs(600));
    assert_all_is_there_once(&play, &status);

    assert_eq!(play.outside().stop(PATIENCE).code(), Some(0));
    assert_eq!(play.site.stop(PATIENCE).code(), Some(0));
    assert_eq!(play.publisher.waiting(&play.queue), 0, "messages that were never acknowledged");
    play.site.assert_nothing_left();
    play.site.assert_sound();
    let late = late_reports(&play);
    println!("{} messages, {} jobs, {late} late reports", play.told.0.len(), play.told.jobs().len());
    assert!(late >= play.late, "{late} reports came late, of {} that were made to", play.late);
}

fn assert_all_is_there_once(play: &Play, status: &Value) {
    let site = &play.site;
    let wanted = keys(&site.story, &play.told.jobs());
    let messages = play.told.0.len();

    let jobs = site.all("jobs");
    assert_same("jobs", &wanted, jobs.iter().map(|job| text(&job["key"])));
    let ended = json!({"waiting": 0, "queued": 0, "running": 0, "finished": wanted.len(), "cancelled": 0,
        "superseded": 0, "expired": 0});
    assert_eq!(status["jobs"], ended);
    let events: Vec<_> = site.all("events").iter().map(|event| text(&event["id"])).collect();
    let mut ids: Vec<_> = (0..messages).map(|n| format!("m{n}")).collect();
    ids.sort();
    assert_same("events", &ids, events.into_iter());
    assert_eq!(status["intake"], json!({"recorded": messages, "forwarded": messages, "quarantined": 0}));
    let rows = std::fs::read_to_string(site.data("trigger/jobs.csv")).unwrap();
    let column = |row: &str| row.rsplit(',').next().unwrap_or_default().to_owned();
    assert_same("rows of jobs.csv", &wanted, rows.lines().skip(1).map(column));

    let results = site.results();
    assert_same("results", &wanted, results.iter().flat_map(|(job, all)| all.iter().map(|_| job.clone())));
    let ledger = std::fs::read_to_string(site.story.path("ledger")).unwrap();
    let mut runs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (job, run) in ledger.lines().filter_map(|line| line.split_once(' ')) {
        runs.entry(job).or_default().push(run);
    }
    let mut seen = BTreeSet::new();
    for job in &jobs {
        let id = text(&job["id"]);
        assert_eq!((&job["state"], &job["outcome"]), (&json!("finished"), &json!("PASSED")), "{job}");
        let made = site.get(&format!("/api/v1/jobs/{id}"))["attempts_made"].clone();
        let made = made.as_array().expect("attempts");
        assert_eq!(job["attempts"], made.len(), "{job}");
        let known: Vec<_> =
            made.iter().map(|a| format!("{} {}", a["attempt"], a["worker"].as_str().unwrap())).collect();
        let last = known.last().expect("a job that has ended has an attempt");
        assert_eq!(results[&id][0]["note"], **last, "a result is of the attempt that ended its job: {job}");
        for run in &runs[&*id] {
            assert!(known.iter().any(|attempt| attempt == run), "run {run} is no attempt of {job}, only {known:?}");
            assert!(seen.insert((id.clone(), *run)), "attempt {run} ran twice: {job}");
        }
        assert!(runs[&*id].contains(&&**last), "{last} of {job} has a result and did not run");
    }
    assert_eq!(runs.len(), jobs.len(), "something ran that is no job");
}

/// `wanted` is sorted.
fn assert_same(what: &str, wanted: &[String], found: impl Iterator<Item = String>) {
    let mut found: Vec<String> = found.collect();
    found.sort();
    if found == wanted {
        return;
    }
    let missing: Vec<_> = wanted.iter().filter(|one| found.binary_search(one).is_err()).take(5).collect();
    let unwanted: Vec<_> = found.iter().filter(|one| wanted.binary_search(one).is_err()).take(5).collect();
    let twice: Vec<_> = found.windows(2).filter(|two| two[0] == two[1]).map(|two| &two[0]).take(5).collect();
    panic!(
        "{what}: expected {}, found {}; missing {missing:?}, unwanted {unwanted:?}, twice {twice:?}",
        wanted.len(),
        found.len()
    );
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn late_reports(play: &Play) -> usize {
    let jobs = keys(&play.site.story, &play.told.jobs());
    play.site.with_store(async |store| {
        let mut late = 0;
        for job in &jobs {
            late += store.stale_reports(job.parse().unwrap()).await.unwrap().len();
        }
        late
    })
}
