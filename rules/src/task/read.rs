//! A task as it is written in a configuration.

use std::collections::{BTreeMap, BTreeSet};

use model::lease::ResultFormat;
use model::{Bounds, Sandbox, Size, Span};

use super::{Concurrency, NAMES, Stage, Task, form, source};
use crate::fault::{Problems, hint};
use crate::retry::{RetryPolicy, check_word};
use crate::section::{self, Section};
use crate::template::Template;
use crate::yaml::{Key, Node, Tree};

const KEYS: [&str; 19] = [
    "source",
    "run",
    "needs",
    "timeout",
    "no_output_timeout",
    "grace",
    "retry",
    "interruptible",
    "exclusive",
    "results",
    "artifacts",
    "limits",
    "network",
    "sandbox",
    "secrets",
    "testcase",
    "priority",
    "publish",
    "concurrency",
];

/// Bytes of log, and of artifacts, that are kept where a task says nothing.
const LOG_LIMIT: u64 = 50 << 20;
const ARTIFACT_LIMIT: u64 = 1 << 30;

impl Task {
    pub(crate) fn read(key: &Key, node: &Node, problems: &mut Problems) -> Option<Task> {
        if key.name.is_empty() || key.name.chars().any(|c| c.is_whitespace() || c.is_control()) {
            problems.add(key.place, format!("the name of a task has a blank in it: '{}'", key.name));
        }
        let section = Section::open(node, "a task", &KEYS, problems)?;
        let (run, usual) = match section.need("run", problems) {
            Some(node) if matches!(node.tree, Tree::Map(_)) => form::read(node, problems),
            Some(node) => (run(node, problems), default_results()),
            None => Default::default(),
        };
        let mut span = |key| section.get(key).and_then(|node| section::span(node, key, problems));
        let (timeout, no_output_timeout, grace) = (span("timeout"), span("no_output_timeout"), span("grace"));
        let mut flag = |key| section.get(key).and_then(|node| section::boolean(node, key, problems));
        let (interruptible, exclusive) = (flag("interruptible"), flag("exclusive").unwrap_or(false));
        let (bounds, kept) = bounds(&section, problems);
        Some(Task {
            name: key.name.clone(),
            source: section.get("source").and_then(|node| source::read(node, problems)),
            run,
            needs: section.get("needs").map(|node| needs(node, problems)).unwrap_or_default(),
            timeout: timeout.unwrap_or(Span::minutes(60)),
            no_output_timeout,
            grace: grace.unwrap_or(Span::seconds(10)),
            retry: section.get("retry").and_then(|node| retry(node, problems)),
            interruptible,
            exclusive,
            results: section.get("results").map_or(usual, |node| results(node, problems)),
            log_limit: kept.log.unwrap_or(LOG_LIMIT),
            artifacts: section.get("artifacts").map_or_else(default_artifacts, |node| artifacts(node, problems)),
            artifact_limit: kept.artifacts.unwrap_or(ARTIFACT_LIMIT),
            bounds,
            testcase: section.get("testcase").and_then(|node| of_a_job(node, "testcase", problems)),
            secrets: section.get("secrets").map(|node| secrets(&key.name, node, problems)).unwrap_or_default(),
            priority: section.get("priority").and_then(|n| section::integer(n, "priority", problems)).unwrap_or(0),
            publish: section.get("publish").map(|node| publish(node, problems)).unwrap_or_default(),
            concurrency: section.get("concurrency").and_then(|node| concurrency(node, problems)),
        })
    }
}

/// A template that sees a job, and nothing else.
pub(super) fn of_a_job(node: &Node, what: &str, problems: &mut Problems) -> Option<Template> {
    let template = section::template(node, what, problems)?;
    for name in template.names().iter().filter(|name| !NAMES.contains(&name.as_str())) {
        let near = hint(name, NAMES);
        problems.add(node.place, format!("unknown name '{name}': a task sees {}{near}", NAMES.join(", ")));
    }
    Some(template)
}

fn run(node: &Node, problems: &mut Problems) -> Vec<Template> {
    if let Tree::Text(line) = &node.tree {
        let program = line.split_whitespace().next().unwrap_or("true");
        let message = format!(
            "run is a list of arguments, not a shell's line: write [{program}, ARGUMENT, …], or [sh, -c, LINE] where a shell is meant"
        );
        problems.add(node.place, message);
        return Vec::new();
    }
    let arguments = section::list(node, "run", problems).unwrap_or_default();
    if let Some(first) = arguments.first().filter(|first| matches!(&first.tree, Tree::Text(t) if t.is_empty())) {
        problems.add(first.place, "the first argument of run is the program, and it is empty");
    }
    arguments.iter().filter_map(|node| of_a_job(node, "an argument of run", problems)).collect()
}

fn needs(node: &Node, problems: &mut Problems) -> BTreeMap<String, Template> {
    let mut needs = BTreeMap::new();
    for (key, node) in section::named(node, "needs", problems) {
        if key.name.is_empty() || key.name.chars().any(|c| c.is_whitespace() || ":,".contains(c)) {
            problems.add(key.place, format!("'{}' is no label's name: no blank, colon or comma", key.name));
        }
        if let Some(template) = of_a_job(node, &key.name, problems) {
            needs.insert(key.name.clone(), template);
        }
    }
    needs
}

fn retry(node: &Node, problems: &mut Problems) -> Option<RetryPolicy> {
    if let Tree::Text(text) = &node.tree {
        if text == "never" {
            return Some(RetryPolicy::Never);
        }
        problems.add(node.place, "retry is never, or a mapping such as { on: [exit:75], attempts: 3, delay: 30s }");
        return None;
    }
    let section = Section::open(node, "retry", &["on", "attempts", "delay"], problems)?;
    let mut words = Vec::new();
    for key in ["attempts", "delay"].into_iter().filter(|key| section.get(key).is_some()) {
        if section.get("on").is_none() {
            problems.add(section.key(key), format!("{key} needs 'on': the ends that are retried, such as [exit:75]"));
        }
    }
    let on = section.get("on").and_then(|node| section::list(node, "on", problems)).unwrap_or_default();
    for node in on {
        let Some(word) = section::text(node, "an end", problems) else { continue };
        if let Err(message) = check_word(&word) {
            problems.add(node.place, message);
        }
        words.push(word);
    }
    let RetryPolicy::On { mut attempts, mut delay, .. } = RetryPolicy::default() else { return None };
    if let Some(node) = section.get("attempts") {
        match section::integer(node, "attempts", problems).map(u32::try_from) {
            Some(Ok(n)) if n > 0 => attempts = n,
            Some(_) => problems.add(node.place, "attempts is at least 1: the first attempt counts"),
            None => {}
        }
    }
    if let Some(node) = section.get("delay") {
        // No delay at all is a fair wish here.
        let none =
            matches!(&node.tree, Tree::Text(text) if text.parse::<Span>().is_ok_and(|span| span == Span::default()));
        delay = if none { Span::default() } else { section::span(node, "delay", problems).unwrap_or(delay) };
    }
    Some(RetryPolicy::On { words, attempts, delay })
}

/// Names of secrets; each is the name of a file, and the task's stands beside it in a label.
fn secrets(task: &str, node: &Node, problems: &mut Problems) -> Vec<String> {
    if task.contains(',') {
        problems.add(node.place, format!("a task with secrets has no comma in its name: '{task}'"));
    }
    let mut names: Vec<String> = Vec::new();
    for node in section::list(node, "secrets", problems).unwrap_or_default() {
        let Some(name) = section::text(node, "a secret", problems) else { continue };
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(plain) {
            let message =
                format!("'{name}' is no secret's name: letters, digits, '_', '-' and '.'; it is a file's name");
            problems.add(node.place, message);
        } else if names.contains(&name) {
            problems.add(node.place, format!("secret '{name}' is asked for twice"));
        } else {
            names.push(name);
        }
    }
    names
}

fn publish(node: &Node, problems: &mut Problems) -> BTreeSet<Stage> {
    let mut stages = BTreeSet::new();
    for node in section::list(node, "publish", problems).unwrap_or_default() {
        match section::text(node, "what is published", problems).as_deref() {
            Some("queued") => drop(stages.insert(Stage::Queued)),
            Some("running") => drop(stages.insert(Stage::Running)),
            Some(other) => {
                let near = hint(other, ["queued", "running"]);
                let message = format!("'{other}' is not published: write queued, running or both{near}");
                problems.add(node.place, message);
            }
            None => {}
        }
    }
    stages
}

/// A number, or `{ limit: 1, key: "{{ item }}" }`.
fn concurrency(node: &Node, problems: &mut Problems) -> Option<Concurrency> {
    let (number, key) = match &node.tree {
        Tree::Number(_) => (node, None),
        _ => {
            let section = Section::open(node, "concurrency", &["limit", "key"], problems)?;
            let key = section.get("key").map(|node| of_a_job(node, "concurrency.key", problems));
            (section.need("limit", problems)?, key)
        }
    };
    match section::integer(number, "concurrency.limit", problems).map(u32::try_from)? {
        Ok(limit) if limit > 0 => Some(Concurrency { limit, key: key.flatten() }),
        Ok(_) | Err(_) => {
            problems.add(number.place, "the limit is at least 1; to run none of a task, take it out of the rules");
            None
        }
    }
}

fn default_results() -> Vec<ResultFormat> {
    vec![ResultFormat::ResultYaml, ResultFormat::ExitCode]
}

fn results(node: &Node, problems: &mut Problems) -> Vec<ResultFormat> {
    let list = section::list(node, "results", problems).unwrap_or_default();
    list.iter().filter_map(|node| result_format(node, problems)).collect()
}

/// The formats, each with the files in which it is looked for where a task names none.
const FORMATS: [(&str, &str); 5] = [
    ("results.yml", ""),
    ("junit", "junit.xml"),
    ("tap", "results.tap"),
    ("tmt", "**/execute/results.yaml"),
    ("exit_code", ""),
];

/// A format by its name, or `{ junit: PATTERN }` with one pattern or a list of them.
fn result_format(node: &Node, problems: &mut Problems) -> Option<ResultFormat> {
    let (name, place, files) = match &node.tree {
        Tree::Map(entries) => match &entries[..] {
            [(key, files)] => (key.name.clone(), key.place, Some(files)),
            _ => {
                problems.add(node.place, "a result format with files is a mapping of one key: { junit: PATTERN }");
                return None;
            }
        },
        _ => (section::text(node, "a result format", problems)?, node.place, None),
    };
    let Some((_, default)) = FORMATS.iter().find(|(known, _)| *known == name) else {
        let names = FORMATS.map(|(name, _)| name);
        let near = hint(&name, names);
        problems.add(place, format!("unknown result format '{name}': the formats are {}{near}", names.join(", ")));
        return None;
    };
    let patterns = match files {
        None => vec![(*default).to_owned()],
        Some(files) if default.is_empty() => {
            problems.add(files.place, format!("{name} has no files to name: write only {name}"));
            return None;
        }
        Some(files) => patterns(files, problems),
    };
    Some(match name.as_str() {
        "junit" => ResultFormat::Junit(patterns),
        "tap" => ResultFormat::Tap(patterns),
        "tmt" => ResultFormat::Tmt(patterns),
        "exit_code" => ResultFormat::ExitCode,
        _ => ResultFormat::ResultYaml,
    })
}

/// One pattern of file names, or a list of them.
fn patterns(node: &Node, problems: &mut Problems) -> Vec<String> {
    let nodes = match &node.tree {
        Tree::List(nodes) if !nodes.is_empty() => &nodes[..],
        _ => std::slice::from_ref(node),
    };
    let mut patterns = Vec::with_capacity(nodes.len());
    for node in nodes {
        let Some(text) = section::text(node, "a pattern of files", problems) else { continue };
        let wrong = globset::Glob::new(&text).err().map(|e| e.kind().to_string());
        let leaves = || text.split('/').any(|part| ["", ".", ".."].contains(&part));
        let wrong = wrong.or_else(|| leaves().then(|| "it is relative to the working folder, and stays in it".into()));
        match wrong {
            Some(why) => problems.add(node.place, format!("'{text}' is no pattern of files: {why}")),
            None => patterns.push(text),
        }
    }
    patterns
}

fn default_artifacts() -> Vec<String> {
    vec!["artifacts/**".to_owned()]
}

/// Patterns of paths in the workspace; an empty list keeps nothing.
fn artifacts(node: &Node, problems: &mut Problems) -> Vec<String> {
    if matches!(&node.tree, Tree::List(list) if list.is_empty()) {
        return Vec::new();
    }
    let mut patterns = Vec::new();
    for node in section::list(node, "artifacts", problems).unwrap_or_default() {
        let Some(pattern) = section::text(node, "a pattern of artifacts", problems) else { continue };
        if pattern.starts_with('/') || pattern.split('/').any(|part| matches!(part, "" | "." | "..")) {
            let message = format!("'{pattern}' leads out of the workspace: write a path in it, as in artifacts/**");
            problems.add(node.place, message);
        } else if let Err(error) = globset::Glob::new(&pattern) {
            problems.add(node.place, format!("'{pattern}' is no pattern: {}", error.kind()));
        } else {
            patterns.push(pattern);
        }
    }
    patterns
}

/// How many bytes are kept, where a task says it.
#[derive(Default)]
struct Kept {
    log: Option<u64>,
    artifacts: Option<u64>,
}

/// What its jobs are kept within, and how many bytes are kept of their logs and artifacts.
fn bounds(task: &Section<'_>, problems: &mut Problems) -> (Bounds, Kept) {
    let mut bounds = Bounds {
        network: task.get("network").and_then(|node| section::boolean(node, "network", problems)),
        sandbox: task.get("sandbox").and_then(|node| sandbox(node, problems)),
        ..Bounds::default()
    };
    let Some(node) = task.get("limits") else { return (bounds, Kept::default()) };
    let known = ["memory", "cpus", "processes", "files", "disk", "log", "artifacts"];
    let Some(limits) = Section::open(node, "limits", &known, problems) else { return (bounds, Kept::default()) };
    let mut size = |key: &str| limits.get(key).and_then(|node| section::size(node, &format!("limits.{key}"), problems));
    (bounds.memory, bounds.disk) = (size("memory"), size("disk"));
    let kept = Kept { log: size("log"), artifacts: size("artifacts") };
    if bounds.memory.is_some_and(|bytes| bytes < Bounds::LEAST_MEMORY) {
        let least = Size(Bounds::LEAST_MEMORY);
        problems.add(limits.key("memory"), format!("limits.memory is {least} at least: in less no program starts"));
    }
    let mut count =
        |key: &str| limits.get(key).and_then(|node| section::count(node, &format!("limits.{key}"), problems));
    (bounds.processes, bounds.files) = (count("processes"), count("files"));
    bounds.cpus = limits.get("cpus").and_then(|node| cpus(node, problems));
    (bounds, kept)
}

/// Fewer than a hundredth of a processor is less than the kernel measures out.
fn cpus(node: &Node, problems: &mut Problems) -> Option<f64> {
    let cpus = match &node.tree {
        Tree::Number(number) => number.as_f64().filter(|n| (0.01..=4096.0).contains(n)),
        Tree::Null | Tree::Bool(_) | Tree::Text(_) | Tree::List(_) | Tree::Map(_) => None,
    };
    if cpus.is_none() {
        problems.add(node.place, "limits.cpus is a number of processors such as 2 or 0.5");
    }
    cpus
}

fn sandbox(node: &Node, problems: &mut Problems) -> Option<Sandbox> {
    match section::text(node, "sandbox", problems)?.parse() {
        Ok(sandbox) => Some(sandbox),
        Err(error) => {
            problems.add(node.place, error.to_string());
            None
        }
    }
}
