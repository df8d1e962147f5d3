//! A rule's own test cases: an event, and the jobs that the rule must make of it.

use std::fmt;

use model::{Event, NewJob, Time};
use serde_json::{Map, Value};

use crate::configuration::Configuration;
use crate::decide::named;
use crate::fault::{Place, Problems};
use crate::rule::Rule;
use crate::section::{self, Section};
use crate::seen::Seen;
use crate::yaml::{Node, Tree};

const EVENT_KEYS: [&str; 6] = ["topic", "body", "headers", "id", "sent_at", "source"];
const JOB_KEYS: [&str; 4] = ["task", "item", "item_type", "arch"];

/// One entry of a rule's `tests`.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    event: Event,
    jobs: Vec<Expected>,
    place: Place,
}

/// A job that a case wants; what it does not say may be anything.
#[derive(Clone, Debug)]
struct Expected {
    task: String,
    item: String,
    item_type: Option<String>,
    arch: Option<String>,
}

/// A test case of a rule that found something else than it wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestFailure {
    /// The rule's name.
    pub rule: String,
    /// Which of its cases, from 1.
    pub case: usize,
    /// The file that holds it.
    pub file: String,
    /// The case's first line, from 1.
    pub line: usize,
    /// What it wants and what was found.
    pub message: String,
}

impl fmt::Display for TestFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TestFailure { rule, case, file, line, message } = self;
        write!(f, "{file}:{line}: rule {rule}, test {case}: {message}")
    }
}

impl Case {
    pub fn read_all(node: &Node, problems: &mut Problems) -> Vec<Case> {
        let list = section::list(node, "tests", problems).unwrap_or_default();
        list.iter().filter_map(|node| Case::read(node, problems)).collect()
    }

    fn read(node: &Node, problems: &mut Problems) -> Option<Case> {
        let section = Section::open(node, "a test", &["event", "jobs"], problems)?;
        let event = section.need("event", problems).and_then(|node| event(node, problems));
        let jobs = section.need("jobs", problems)?;
        let Tree::List(list) = &jobs.tree else {
            problems.add(jobs.place, format!("jobs is a list ([] for none), not {}", jobs.sort()));
            return None;
        };
        let jobs = list.iter().filter_map(|node| Expected::read(node, problems)).collect();
        Some(Case { event: event?, jobs, place: section.place })
    }

    /// What a rule does otherwise than the case wants.
    fn failure(&self, configuration: &Configuration, rule: &Rule) -> Option<String> {
        let seen = Seen::new(&self.event, configuration.kinds().len());
        let found = configuration.wish(rule, &seen, Time::default());
        let (mut jobs, mut notes) = found.map(|wish| (wish.jobs, wish.unrendered)).unwrap_or_default();
        if jobs.is_empty() {
            let all = configuration.verdicts(&self.event, Time::default()).into_iter();
            notes = all.filter(|v| v.rule == rule.name).map(|v| v.why).collect();
        }
        let mut missing = Vec::new();
        for expected in &self.jobs {
            match jobs.iter().position(|job| expected.fits(job)) {
                Some(at) => drop(jobs.remove(at)),
                None => missing.push(expected.to_string()),
            }
        }
        let unexpected: Vec<String> = jobs.iter().map(named).collect();
        let mut parts = Vec::new();
        if !missing.is_empty() {
            parts.push(format!("wants {}, which was not made", missing.join(", ")));
        }
        if !unexpected.is_empty() {
            parts.push(format!("made {}, which it does not want", unexpected.join(", ")));
        }
        if parts.is_empty() {
            return None;
        }
        parts.extend(notes);
        Some(parts.join("; "))
    }
}

impl Expected {
    fn read(node: &Node, problems: &mut Problems) -> Option<Expected> {
        let section = Section::open(node, "a job of a test", &JOB_KEYS, problems)?;
        let mut need = |key| section.need(key, problems).and_then(|node| scalar(node, key, problems));
        let (task, item) = (need("task"), need("item"));
        let mut other = |key| section.get(key).and_then(|node| scalar(node, key, problems));
        let (item_type, arch) = (other("item_type"), other("arch"));
        Some(Expected { task: task?, item: item?, item_type, arch })
    }

    fn fits(&self, job: &NewJob) -> bool {
        let same = |want: &Option<String>, found: &String| want.as_ref().is_none_or(|want| want == found);
        self.task == job.task
            && self.item == job.item
            && same(&self.item_type, &job.item_type)
            && same(&self.arch, &job.arch)
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.task, self.item)?;
        match (&self.item_type, &self.arch) {
            (None, None) => Ok(()),
            (Some(only), None) | (None, Some(only)) => write!(f, " ({only})"),
            (Some(item_type), Some(arch)) => write!(f, " ({item_type}, {arch})"),
        }
    }
}

/// A text as it is written, or the text of a number or boolean.
fn scalar(node: &Node, what: &str, problems: &mut Problems) -> Option<String> {
    section::template(node, what, problems).map(|template| template.source().to_owned())
}

fn event(node: &Node, problems: &mut Problems) -> Option<Event> {
    let section = Section::open(node, "the event of a test", &EVENT_KEYS, problems)?;
    let topic = section.need("topic", problems).and_then(|node| section::name(node, "topic", problems));
    let body = section.need("body", problems).and_then(|node| object(node, "body", problems));
    let mut text = |key| section.get(key).and_then(|node| section::text(node, key, problems));
    let (id, sent_at, source) = (text("id"), text("sent_at"), text("source"));
    let headers = section.get("headers").and_then(|node| object(node, "headers", problems)).unwrap_or_default();
    let id = id.unwrap_or_else(|| "a-test".into());
    Some(Event { id, topic: topic?, sent_at, headers, body: body?, source: source.unwrap_or_else(|| "test".into()) })
}

fn object(node: &Node, what: &str, problems: &mut Problems) -> Option<Map<String, Value>> {
    match node.to_json() {
        Value::Object(map) => Some(map),
        _ => {
            problems.add(node.place, format!("{what} is a mapping, not {}", node.sort()));
            None
        }
    }
}

impl Configuration {
    /// Runs the test cases of all rules; each case looks at its own rule only.
    pub fn check(&self) -> Vec<TestFailure> {
        let cases = self.rules().iter().flat_map(|rule| rule.tests.iter().enumerate().map(move |c| (rule, c)));
        cases
            .filter_map(|(rule, (number, case))| {
                let message = case.failure(self, rule)?;
                let file = self.file(case.place).to_owned();
                Some(TestFailure { rule: rule.name.clone(), case: number + 1, file, line: case.place.line, message })
            })
            .collect()
    }

    /// How many test cases the rules have.
    pub fn cases(&self) -> usize {
        self.rules().iter().map(|rule| rule.tests.len()).sum()
    }
}
