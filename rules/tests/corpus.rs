//! Real messages of Fedora's bus, and what an independent program says the rules make of them.

use std::collections::{BTreeMap, HashSet};

use model::{Event, Time};
use rules::Configuration;
use serde_json::Value;

const MESSAGES: &str = include_str!("../../tests/corpus/messages.jsonl");

/// The events of the corpus, each once.
fn events() -> Vec<Event> {
    let mut seen = HashSet::new();
    MESSAGES.lines().map(event).filter(|event| seen.insert((event.id.clone(), event.content()))).collect()
}

fn event(line: &str) -> Event {
    let mut message: Value = serde_json::from_str(line).unwrap();
    let object = |value: Value| value.as_object().cloned().unwrap_or_default();
    let (headers, body) = (object(message["headers"].take()), object(message["body"].take()));
    let topic = message["topic"].as_str().unwrap().to_owned();
    let sent_at = message["sent_at"].as_str().map(str::to_owned);
    let hash = || Event::hash(&topic, sent_at.as_deref(), &body);
    let id = message["id"].as_str().map_or_else(hash, str::to_owned);
    Event { id, topic, sent_at, headers, body, source: "file:messages.jsonl".into() }
}

fn folder(path: &str) -> Configuration {
    let folder = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "yml") {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            files.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
    Configuration::parse(&files).unwrap_or_else(|faults| panic!("{faults}"))
}

/// How often each job is asked for: topic, task, item type, item, arch.
fn jobs(configuration: &Configuration, events: &[Event]) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for event in events {
        for job in configuration.decide(event, Time::default()).jobs {
            let row = [&event.topic, &job.task, &job.item_type, &job.item, &job.arch].map(String::as_str).join("\t");
            *count.entry(row).or_default() += 1;
        }
    }
    count
}

#[test]
fn the_jobs_are_those_that_an_independent_program_counts() {
    let wanted: BTreeMap<String, usize> = include_str!("data/oracle.tsv")
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(count, row)| (row.to_owned(), count.parse().unwrap()))
        .collect();
    let found = jobs(&folder("tests/data/oracle"), &events());
    assert_eq!(wanted.values().sum::<usize>(), 112);
    assert_eq!(found, wanted);
}

#[test]
fn a_verdict_says_the_same_as_the_decision() {
    for path in ["tests/data/oracle", "../examples/config"] {
        let configuration = folder(path);
        for event in events() {
            let decision = configuration.decide(&event, Time::default());
            let verdicts = configuration.verdicts(&event, Time::default());
            let matched: Vec<&String> = verdicts.iter().filter(|v| v.matched).map(|v| &v.rule).collect();
            let jobs: Vec<_> = verdicts.iter().flat_map(|v| v.jobs.clone()).collect();
            assert_eq!((matched, &jobs), (decision.matched.iter().collect(), &decision.jobs));
            assert!(verdicts.iter().all(|v| !v.why.is_empty()), "{verdicts:?}");
        }
    }
}

#[test]
fn the_example_is_lively_and_passes_its_own_tests() {
    let configuration = folder("../examples/config");
    assert_eq!(configuration.check(), []);
    assert!(configuration.cases() >= configuration.rules().len(), "a rule without a test teaches nothing");
    let found = jobs(&configuration, &events());
    let tasks: HashSet<&str> = found.keys().filter_map(|row| row.split('\t').nth(1)).collect();
    assert_eq!(tasks.len(), configuration.tasks().len(), "every task gets a job: {tasks:?}");
    assert!(found.values().sum::<usize>() > 60, "{found:#?}");
    for event in events() {
        for job in configuration.decide(&event, Time::default()).jobs {
            let task = configuration.task(&job.task).unwrap();
            task.check(&job).unwrap();
            task.needs(&job).unwrap();
            task.testcase(&job).unwrap();
        }
    }
}

#[test]
fn the_shipped_kinds_know_the_messages_they_were_written_for() {
    let kinds = rules_for_every_kind();
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for event in events() {
        let decision = kinds.decide(&event, Time::default());
        assert_eq!(decision.unrendered, Vec::<String>::new(), "{}", event.topic);
        for rule in decision.matched {
            *count.entry(rule).or_default() += 1;
        }
    }
    let found: Vec<String> = count.iter().map(|(kind, n)| format!("{kind} {n}")).collect();
    insta::assert_snapshot!(found.join("\n"), @r"
    BodhiUpdatePushed 1
    BodhiUpdateRequested 5
    CiMessage 26
    ComposeFinished 1
    CoprBuildEnded 7
    DistGitCommit 7
    KojiBuildCompleted 6
    KojiTagChanged 13
    PullRequestOpened 5
    UpstreamVersion 21
    ");
}

/// A rule of its own name for every shipped kind.
fn rules_for_every_kind() -> Configuration {
    let none = Configuration::parse(&[]).unwrap();
    let rule = |name: &str| format!("  - {{ name: {name}, kind: {name}, do: [{{ tasks: [noop] }}] }}\n");
    let rules: String = none.kinds().iter().map(|kind| rule(&kind.name)).collect();
    let text = format!("tasks:\n  noop: {{ run: [\"true\"] }}\nrules:\n{rules}");
    Configuration::parse(&[("rules.yml".into(), text)]).unwrap_or_else(|faults| panic!("{faults}"))
}
