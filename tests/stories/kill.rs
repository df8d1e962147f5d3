//! `up` is killed again and again, at moments that a seed chooses, while messages flow: and each job that they call
//! for still ends once, with one result, of the attempt that ended it.
//!
//! With each kill, what the trigger had written and not synced is lost. A second worker is stopped for longer than its
//! leases hold, so that its reports come too late. `TASKOTRON_KILLS` and `TASKOTRON_SEED` choose how often and when.

use std::process::Command;
use std::sync::mpsc;
use std::thread;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::broker::Publisher;
use crate::installation::{Installation, PATIENCE};
use crate::kit::chance::{self, number};
use crate::kit::count::{assert_same, keys, text};
use crate::kit::process::Process;
use crate::kit::{Chance, Story, pass, secs, servers, until};
use crate::ledger;

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
        ledger::write_tasks(&story);
        let settings = format!(
            "[master]\nlease_term = \"2s\"\n\
             [trigger.amqp]\nurls = [{:?}]\nqueue = {queue:?}\nexchange = {queue:?}\nprefetch = 40\n\
             [worker]\nname = \"inside\"\nslots = 2\n{}",
            servers::shared_amqp(),
            ledger::environment(&story, "inside"),
        );
        let site = Installation::new(story, &settings).with_power_cuts();
        Play { outside: None, site, chance: Chance::new(seed), publisher, queue, told: Told::default(), late: 0 }
    }

    /// Starts the second worker, once `up` has made its token.
    fn start_outside(&mut self) {
        let story = &self.site.story;
        let settings = format!(
            "[worker]\nmaster = {:?}\ntoken_file = {:?}\nname = \"outside\"\nslots = 2\ndir = {:?}\n{}",
            self.site.url(),
            self.site.data("worker.token"),
            story.path("outside"),
            ledger::environment(story, "outside"),
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

fn publish(publisher: &Publisher, exchange: &str, topic: &str, n: usize) {
    publisher.publish(exchange, topic, &format!("m{n}"), &json!({ "n": n }).to_string());
}

#[test]
fn killed_at_any_moment_it_makes_every_job_once() {
    let kills = number("TASKOTRON_KILLS").map_or(KILLS, |n| n as usize);
    let seed = chance::seed();
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
    assert_same("jobs", wanted.clone(), jobs.iter().map(|job| text(&job["key"])));
    let ended = json!({"waiting": 0, "queued": 0, "running": 0, "finished": wanted.len(), "cancelled": 0,
        "superseded": 0, "expired": 0});
    assert_eq!(status["jobs"], ended);
    let events: Vec<_> = site.all("events").iter().map(|event| text(&event["id"])).collect();
    let ids: Vec<_> = (0..messages).map(|n| format!("m{n}")).collect();
    assert_same("events", ids, events);
    assert_eq!(status["intake"], json!({"recorded": messages, "forwarded": messages, "quarantined": 0}));
    let rows = std::fs::read_to_string(site.data("trigger/jobs.csv")).unwrap();
    let column = |row: &str| row.rsplit(',').next().unwrap_or_default().to_owned();
    assert_same("rows of jobs.csv", wanted.clone(), rows.lines().skip(1).map(column));

    let results = site.results();
    assert_same("results", wanted.clone(), results.iter().flat_map(|(job, all)| all.iter().map(|_| job.clone())));
    ledger::assert_accounts(&site.story, site, &jobs, &results);
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
