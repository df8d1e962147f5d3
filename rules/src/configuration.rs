//! A whole configuration: read from all of its files at once, and taken whole or not at all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use crate::fault::{Faults, Place, Problems, hint};
use crate::kind::Kind;
use crate::rule::{Rule, Source};
use crate::section::{self, Section};
use crate::task::Task;
use crate::topic::Pattern;
use crate::yaml::{Node, Tree};

/// Fedora's kinds, which are there without being written.
const SHIPPED: &str = include_str!("kinds.yml");
const SHIPPED_NAME: &str = "kinds.yml (shipped)";

const SECTIONS: [&str; 5] = ["kinds", "rules", "tasks", "schedules", "pools"];

/// Kinds, rules and tasks that fit together.
#[derive(Clone, Debug)]
pub struct Configuration {
    kinds: Vec<Kind>,
    rules: Vec<Rule>,
    tasks: BTreeMap<String, Task>,
    files: Vec<String>,
}

/// What was read so far.
#[derive(Default)]
struct Parts {
    kinds: Vec<Kind>,
    rules: Vec<Rule>,
    tasks: Vec<(Task, Place)>,
    /// The names of all tasks, also of those that could not be read.
    task_names: BTreeSet<String>,
}

impl Configuration {
    /// Reads (file name, text) pairs, in the order of their names. All faults are found in one go.
    pub fn parse(files: &[(String, String)]) -> Result<Configuration, Faults> {
        let mut files: Vec<&(String, String)> = files.iter().collect();
        // By folder, then by file, as a walk over the folder would give them.
        files.sort_by_key(|(name, _)| Path::new(name));
        let mut problems = Problems::default();
        let mut parts = Parts::default();
        for (name, text) in &files {
            parts.read(name, text, &mut problems);
        }
        let mut shipped = Parts::default();
        shipped.read(SHIPPED_NAME, SHIPPED, &mut problems);

        once(parts.kinds.iter().map(|kind| (kind.name.as_str(), kind.place)), "kind", &mut problems);
        once(parts.rules.iter().map(|rule| (rule.name.as_str(), rule.place)), "rule", &mut problems);
        once(parts.tasks.iter().map(|(task, place)| (task.name(), *place)), "task", &mut problems);
        let own = parts.kinds.len();
        for kind in shipped.kinds {
            // A kind of the configuration replaces the shipped one of its name whole.
            if !parts.kinds[..own].iter().any(|k| k.name == kind.name) {
                parts.kinds.push(kind);
            }
        }
        for rule in &mut parts.rules {
            if let Source::Kind { name, number, .. } = &mut rule.source {
                *number = parts.kinds.iter().position(|kind| kind.name == *name);
            }
        }
        let configuration = Configuration {
            kinds: parts.kinds,
            rules: parts.rules,
            tasks: parts.tasks.into_iter().map(|(task, _)| (task.name().to_owned(), task)).collect(),
            files: files.iter().map(|(name, _)| name.clone()).chain([SHIPPED_NAME.to_owned()]).collect(),
        };
        configuration.fits_together(&parts.task_names, &mut problems);
        problems.finish().map(|()| configuration)
    }

    /// Every name that a rule uses is there, and every job of it can have an item.
    fn fits_together(&self, task_names: &BTreeSet<String>, problems: &mut Problems) {
        for rule in &self.rules {
            let mut kind = None;
            if let Source::Kind { name, number, place } = &rule.source {
                kind = number.map(|number| &self.kinds[number]);
                if kind.is_none() {
                    let near = hint(name, self.kinds.iter().map(|kind| kind.name.as_str()));
                    problems.add(*place, format!("rule {} names the unknown kind '{name}'{near}", rule.name));
                    continue;
                }
            }
            for order in &rule.orders {
                for (task, place) in order.tasks.iter().filter(|(task, _)| !task_names.contains(task)) {
                    let near = hint(task, task_names.iter().map(String::as_str));
                    problems.add(*place, format!("rule {} names the unknown task '{task}'{near}", rule.name));
                }
                for (what, template) in [("item", &order.item), ("item_type", &order.item_type)] {
                    if template.is_none() && !kind.is_some_and(|kind| kind.has(what)) {
                        problems.add(order.place, format!("rule {} needs '{what}' here: no kind names one", rule.name));
                    }
                }
            }
        }
    }

    /// The rules, in the order of files and lines.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The kinds: the configuration's own, then the shipped ones that it does not replace.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// The tasks, by name.
    pub fn tasks(&self) -> &BTreeMap<String, Task> {
        &self.tasks
    }

    /// The task of a name.
    pub fn task(&self, name: &str) -> Option<&Task> {
        self.tasks.get(name)
    }

    /// The known task's name that an unknown one most likely means.
    pub fn nearest_task(&self, name: &str) -> Option<&str> {
        crate::fault::nearest(name, self.tasks.keys().map(String::as_str))
    }

    /// The topics that its rules look at, as a broker's binding keys, each once.
    pub fn topics(&self) -> Vec<&str> {
        let patterns = self.rules.iter().flat_map(|rule| match &rule.source {
            Source::Topics(topics) => topics.as_slice(),
            Source::Kind { number, .. } => number.map(|n| self.kinds[n].topics.as_slice()).unwrap_or_default(),
        });
        let mut topics: Vec<&str> = patterns.map(Pattern::as_str).collect();
        topics.sort_unstable();
        topics.dedup();
        topics
    }

    /// The name of the file of a place.
    pub(crate) fn file(&self, place: Place) -> &str {
        self.files.get(place.file).map_or("", String::as_str)
    }
}

impl Parts {
    fn read(&mut self, name: &str, text: &str, problems: &mut Problems) {
        let file = problems.file(name, text);
        let Some(node) = Node::read(text, file, problems) else { return };
        // A file of comments is a file.
        if matches!(node.tree, Tree::Null) {
            return;
        }
        let Some(section) = Section::open(&node, "a configuration", &SECTIONS, problems) else { return };
        if let Some(node) = section.get("kinds").filter(|node| !node.is_empty()) {
            let list = section::list(node, "kinds", problems).unwrap_or_default();
            self.kinds.extend(list.iter().filter_map(|node| Kind::read(node, problems)));
        }
        if let Some(node) = section.get("rules").filter(|node| !node.is_empty()) {
            let list = section::list(node, "rules", problems).unwrap_or_default();
            self.rules.extend(list.iter().filter_map(|node| Rule::read(node, problems)));
        }
        if let Some(node) = section.get("tasks").filter(|node| !node.is_empty()) {
            for (key, node) in section::named(node, "tasks", problems) {
                self.task_names.insert(key.name.clone());
                self.tasks.extend(Task::read(key, node, problems).map(|task| (task, key.place)));
            }
        }
        for (key, message) in [
            ("schedules", "schedules are not yet supported: leave them out, and start such jobs by jobrunner"),
            ("pools", "pools are not yet supported: leave them out, and name labels in a task's needs"),
        ] {
            if section.get(key).is_some_and(|node| !node.is_empty()) {
                section.not_yet(key, message, problems);
            }
        }
    }
}

/// Reports every name that stands there a second time.
fn once<'a>(names: impl Iterator<Item = (&'a str, Place)>, what: &str, problems: &mut Problems) {
    let mut first: HashMap<&str, Place> = HashMap::new();
    let mut twice = Vec::new();
    for (name, place) in names {
        match first.get(name) {
            Some(before) => twice.push((name, place, *before)),
            None => drop(first.insert(name, place)),
        }
    }
    for (name, place, before) in twice {
        let file = problems.name(before);
        problems.add(place, format!("there is another {what} '{name}' at {file}:{}", before.line));
    }
}
