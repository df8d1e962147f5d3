//! A rule: a condition on an event, and the tasks to run when it holds.

use model::{Policy, Span};

use crate::case::Case;
use crate::fault::{Place, Problems, hint};
use crate::kind;
use crate::section::{self, Section};
use crate::template::Template;
use crate::topic::Pattern;
use crate::when::{Path, Query};
use crate::yaml::{Node, Tree};

const KEYS: [&str; 11] =
    ["name", "kind", "topics", "when", "do", "priority", "expires", "supersede", "quiet", "params", "tests"];
const DO_KEYS: [&str; 5] = ["tasks", "for_each", "item", "item_type", "arches"];

/// A condition and what to do when it holds.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name; no other rule has it.
    pub name: String,
    pub(crate) source: Source,
    pub(crate) when: Query,
    pub(crate) orders: Vec<Order>,
    /// Its jobs' priority; the task's where it says nothing.
    pub(crate) priority: Option<i32>,
    pub(crate) expires: Option<Span>,
    pub(crate) supersede: Option<Superseding>,
    pub(crate) params: Vec<(String, Template)>,
    pub(crate) tests: Vec<Case>,
    pub(crate) place: Place,
}

/// Which events a rule looks at.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Topics(Vec<Pattern>),
    /// The number is the kind's place in the configuration, once all of it is read.
    Kind {
        name: String,
        number: Option<usize>,
        place: Place,
    },
}

/// How its jobs get on with others of the same key.
#[derive(Clone, Debug)]
pub(crate) struct Superseding {
    pub key: Template,
    pub policy: Policy,
    /// So long its jobs wait whether a newer one comes.
    pub quiet: Option<Span>,
}

/// One entry of a rule's `do`.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub tasks: Vec<(String, Place)>,
    /// Leads to a list: one job for each element.
    pub for_each: Option<Path>,
    /// The kind's where it is not said here.
    pub item: Option<Template>,
    pub item_type: Option<Template>,
    /// Empty for `noarch`.
    pub arches: Vec<Template>,
    pub place: Place,
}

impl Rule {
    pub(crate) fn read(node: &Node, problems: &mut Problems) -> Option<Rule> {
        let section = Section::open(node, "a rule", &KEYS, problems)?;
        let name = section.need("name", problems).and_then(|n| section::name(n, "the name of a rule", problems));
        let source = source(&section, problems);
        let when = kind::when(&section, problems);
        let orders = section.need("do", problems).and_then(|n| section::list(n, "do", problems)).unwrap_or_default();
        let orders = orders.iter().filter_map(|n| Order::read(n, problems)).collect();
        let tests = section.get("tests").map(|n| Case::read_all(n, problems)).unwrap_or_default();
        Some(Rule {
            name: name?,
            source: source?,
            when,
            orders,
            priority: section.get("priority").and_then(|n| section::integer(n, "priority", problems)),
            expires: section.get("expires").and_then(|n| section::span(n, "expires", problems)),
            supersede: supersede(&section, problems),
            params: section.get("params").map(|n| kind::templates(n, "params", problems)).unwrap_or_default(),
            tests,
            place: section.place,
        })
    }
}

fn source(section: &Section<'_>, problems: &mut Problems) -> Option<Source> {
    match (section.get("kind"), section.get("topics")) {
        (Some(kind), None) => {
            let name = section::name(kind, "kind", problems)?;
            Some(Source::Kind { name, number: None, place: kind.place })
        }
        (None, Some(topics)) => Some(Source::Topics(kind::topics(topics, problems))),
        (Some(_), Some(_)) => {
            problems.add(section.key("topics"), "a rule has a kind or topics, not both; a kind has its own topics");
            None
        }
        (None, None) => {
            problems.add(section.place, "a rule needs 'kind' or 'topics'");
            None
        }
    }
}

/// None where the policy is none.
fn supersede(section: &Section<'_>, problems: &mut Problems) -> Option<Superseding> {
    let quiet = section.get("quiet").and_then(|node| section::span(node, "quiet", problems));
    let policy = section.get("supersede").and_then(|node| policy(node, quiet, problems));
    match policy.as_ref().map(|supersede| supersede.policy) {
        Some(Policy::KeepLatestQueued | Policy::CancelPrevious) => {}
        Some(Policy::Serial | Policy::None) | None => {
            if section.get("quiet").is_some() {
                let message = "quiet waits whether a newer job comes for the same key: it needs supersede with a key \
                               and the policy keep-latest-queued or cancel-previous";
                problems.add(section.key("quiet"), message);
            }
        }
    }
    policy
}

fn policy(node: &Node, quiet: Option<Span>, problems: &mut Problems) -> Option<Superseding> {
    let inner = Section::open(node, "supersede", &["key", "policy"], problems)?;
    let key = inner.get("key").map(|node| section::template(node, "key", problems));
    let node = inner.need("policy", problems)?;
    let name = section::text(node, "policy", problems)?;
    let names = Policy::ALL.map(Policy::name);
    let policy = Policy::ALL.into_iter().find(|policy| policy.name() == name);
    match (policy, key) {
        (Some(Policy::None), _) => None,
        (Some(Policy::KeepLatestQueued | Policy::CancelPrevious | Policy::Serial), None) => {
            let what = "what jobs must have in common, such as \"{{ name }}\"";
            problems.add(inner.place, format!("the policy {name} needs a key: {what}"));
            None
        }
        (Some(policy @ (Policy::KeepLatestQueued | Policy::CancelPrevious | Policy::Serial)), Some(key)) => {
            Some(Superseding { key: key?, policy, quiet })
        }
        (None, _) => {
            let near = hint(&name, names);
            problems.add(node.place, format!("unknown policy '{name}': the policies are {}{near}", names.join(", ")));
            None
        }
    }
}

impl Order {
    fn read(node: &Node, problems: &mut Problems) -> Option<Order> {
        let section = Section::open(node, "an entry of do", &DO_KEYS, problems)?;
        let tasks = section.need("tasks", problems).and_then(|n| section::list(n, "tasks", problems));
        let tasks = tasks.unwrap_or_default().iter();
        let tasks = tasks.filter_map(|n| Some((section::name(n, "a task", problems)?, n.place))).collect();
        // One that is wrong is still there, so that nobody is told that it is missing.
        let mut template = |key| section.get(key).map(|n| section::template(n, key, problems).unwrap_or_default());
        let (item, item_type) = (template("item"), template("item_type"));
        let arches = section.get("arches").and_then(|n| section::list(n, "arches", problems)).unwrap_or_default();
        Some(Order {
            tasks,
            for_each: section.get("for_each").and_then(|n| path(n, problems)),
            item,
            item_type,
            arches: arches.iter().filter_map(|n| section::template(n, "an arch", problems)).collect(),
            place: section.place,
        })
    }
}

fn path(node: &Node, problems: &mut Problems) -> Option<Path> {
    let text = section::text(node, "for_each", problems)?;
    if text.contains(['{', ' ']) {
        let message = "for_each is the dotted path of a list, such as body.update.builds, not a template";
        problems.add(node.place, message);
        return None;
    }
    Some(Path::new(&text))
}

impl Node {
    /// Nothing at all, or an empty list or mapping.
    pub(crate) fn is_empty(&self) -> bool {
        match &self.tree {
            Tree::Null => true,
            Tree::List(list) => list.is_empty(),
            Tree::Map(map) => map.is_empty(),
            Tree::Bool(_) | Tree::Number(_) | Tree::Text(_) => false,
        }
    }
}
