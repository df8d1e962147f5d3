//! Fedora's own library publishes real messages, some of them twice and some of them broken, and the broker dies
//! meanwhile: the jobs are those that an independent program counted, each once, and what cannot be read is kept.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::broker::Publisher;
use crate::installation::{Installation, PATIENCE};
use crate::kit::{Rabbit, Story, secs, until};

/// Messages of the corpus, all different.
const GOOD: usize = 596;
const DUPLICATES: usize = 50;
/// Broken messages: each kind of publish.py once. Half of the kinds are ordinary events to us.
const KINDS: usize = 16;

fn at_root(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn real_messages_over_a_broker_that_dies_make_the_jobs_that_were_counted() {
    let story = Story::new();
    for name in ["kinds.yml", "rules.yml", "tasks.yml"] {
        let text = std::fs::read(at_root("rules/tests/data/oracle").join(name)).unwrap();
        story.write(format!("config/{name}"), text);
    }
    let rabbit = Rabbit::start();
    Publisher::connect(rabbit.url()).declare_queue("amq.topic", "taskotron");
    rabbit.settle();
    let settings = format!("[trigger.amqp]\nurls = [{:?}]\nqueue = \"taskotron\"\n", rabbit.url());
    let mut site = Installation::new(story, &settings);
    site.start_ready();

    let mut publish = publish(&site.story, &rabbit);
    publish.arg(at_root("tests/corpus/messages.jsonl"));
    publish.args(["--duplicates", &DUPLICATES.to_string(), "--broken", &KINDS.to_string()]);
    let mut publishing = site.story.start("publish", publish);
    // The broken ones come first: then none of them is under way when the broker dies, to be delivered again.
    until(PATIENCE, "half of the messages to arrive", || {
        assert_eq!(publishing.ended(), None, "it ended too soon: {}", publishing.err());
        let intake = site.look("/api/v1/status")?["intake"].clone();
        if intake["recorded"].as_u64() >= Some(GOOD as u64 / 2) { Ok(()) } else { Err(intake.to_string()) }
    });
    rabbit.kill();
    rabbit.start_again();
    assert_eq!(publishing.wait(secs(240)).code(), Some(0), "{}", publishing.err());
    let sent: Value = serde_json::from_str(&publishing.out()).expect("counts");
    println!("{sent}");
    assert_eq!([&sent["good"], &sent["duplicate"], &sent["broken"]], [GOOD, DUPLICATES, KINDS]);

    // The rest of the broken ones, and behind them all a message that tells that the consumer lives.
    let mut publish = self::publish(&site.story, &rabbit);
    publish.args(["--broken", &KINDS.to_string(), "--from", &KINDS.to_string()]);
    let ran = site.story.run(PATIENCE, publish);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let publisher = Publisher::connect(rabbit.url());
    publisher.publish("amq.topic", "story.last", "last", "{}");
    until(PATIENCE, "the last message", || site.look("/api/v1/events/last"));
    let status = site.settled(secs(300));

    let events = GOOD + KINDS + 1;
    assert_eq!(status["intake"], json!({"recorded": events, "forwarded": events, "quarantined": KINDS}));
    let reasons = ["bad-utf8", "deep", "empty", "json-array", "json-null", "not-json", "truncated", "unknown-encoding"];
    assert_eq!(quarantined(&site), BTreeMap::from(reasons.map(|reason| (reason.to_owned(), 2))));
    let counted = jobs_that_were_counted();
    let (made, keys) = jobs_that_were_made(&site);
    assert_eq!(made, counted);
    let jobs: Vec<_> = site.all("jobs").iter().map(|job| job["key"].as_str().unwrap().to_owned()).collect();
    assert_eq!(sorted(jobs), keys, "the master has the jobs of the job log");
    assert_eq!(status["jobs"]["finished"], keys.len());
    let results = site.results();
    assert_eq!(results.keys().collect::<Vec<_>>(), keys.iter().collect::<Vec<_>>());
    assert!(results.values().all(|of_job| of_job.len() == 1), "every job has one result");

    assert_eq!(site.stop(PATIENCE).code(), Some(0));
    assert_eq!(publisher.waiting("taskotron"), 0);
    site.assert_nothing_left();
    site.assert_sound();
}

fn publish(story: &Story, rabbit: &Rabbit) -> std::process::Command {
    let mut python = story.python();
    python.arg(at_root("tests/clients/publish.py")).arg(rabbit.url());
    python
}

/// How often each reason stands in the quarantine.
fn quarantined(site: &Installation) -> BTreeMap<String, usize> {
    let text = std::fs::read_to_string(site.data("trigger/quarantine.jsonl")).unwrap();
    let mut count = BTreeMap::new();
    for line in text.lines() {
        let entry: Value = serde_json::from_str(line).expect("a line is JSON");
        *count.entry(entry["reason"].as_str().expect("a reason").to_owned()).or_default() += 1;
    }
    count
}

/// How often each job (topic, task, item type, item, arch) was asked for, as an independent program says.
fn jobs_that_were_counted() -> BTreeMap<Vec<String>, usize> {
    let text = std::fs::read_to_string(at_root("rules/tests/data/oracle.tsv")).unwrap();
    let rows = text.lines().filter_map(|line| line.split_once('\t'));
    rows.map(|(count, job)| (job.split('\t').map(str::to_owned).collect(), count.parse().unwrap())).collect()
}

/// The same from the job log, and the keys, sorted.
fn jobs_that_were_made(site: &Installation) -> (BTreeMap<Vec<String>, usize>, Vec<String>) {
    let (mut count, mut keys) = (BTreeMap::new(), Vec::new());
    let mut rows = csv::Reader::from_path(site.data("trigger/jobs.csv")).unwrap();
    for row in rows.deserialize::<BTreeMap<String, String>>() {
        let row = row.unwrap();
        let job = ["topic", "task", "item_type", "item", "arch"].map(|column| row[column].clone());
        *count.entry(job.to_vec()).or_default() += 1;
        keys.push(row["job_key"].clone());
    }
    (count, sorted(keys))
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}
