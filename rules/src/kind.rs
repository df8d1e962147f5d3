//! A kind: a named family of events, with the fields and the item that its events have.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::fault::{Place, Problems};
use crate::section::{self, Section};
use crate::seen::Seen;
use crate::template::Template;
use crate::topic::Pattern;
use crate::when::{Document, Query};
use crate::yaml::{Node, Tree};

const KEYS: [&str; 5] = ["name", "topics", "when", "fields", "dedup"];

/// A family of events, defined as data.
#[derive(Clone, Debug)]
pub struct Kind {
    /// Its name, as rules use it.
    pub name: String,
    pub(crate) topics: Vec<Pattern>,
    pub(crate) when: Query,
    /// Names that it adds to an event's document; they do not see each other.
    pub(crate) fields: Vec<(String, Template)>,
    /// Prints what caused a job, where that is more than one message (a build and its state).
    pub(crate) dedup: Option<Template>,
    pub(crate) place: Place,
}

/// What a kind makes of one event that is of it.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    pub fields: Arc<Map<String, Value>>,
    /// What `dedup` printed; an error where it could not be printed and the event's id stands in for it.
    pub cause: Option<Result<String, String>>,
}

impl Kind {
    pub(crate) fn read(node: &Node, problems: &mut Problems) -> Option<Kind> {
        let section = Section::open(node, "a kind", &KEYS, problems)?;
        let name = section.need("name", problems).and_then(|n| section::name(n, "the name of a kind", problems));
        let topics = section.need("topics", problems).map(|n| topics(n, problems)).unwrap_or_default();
        let when = when(&section, problems);
        let fields = section.get("fields").map(|n| templates(n, "fields", problems)).unwrap_or_default();
        let dedup = section.get("dedup").and_then(|n| section::template(n, "dedup", problems));
        Some(Kind { name: name?, topics, when, fields, dedup, place: section.place })
    }

    /// Whether it says what an item is.
    pub(crate) fn has(&self, field: &str) -> bool {
        self.fields.iter().any(|(name, _)| name == field)
    }

    /// The fields of an event of this kind, or why it is none.
    pub(crate) fn apply(&self, seen: &Seen<'_>) -> Result<Applied, NotOfIt> {
        if !self.topics.iter().any(|pattern| pattern.matches_words(seen.topic())) {
            return Err(NotOfIt::Topic);
        }
        let document = Document { event: seen.document(), fields: None };
        if !self.when.holds(document) {
            return Err(NotOfIt::When);
        }
        let context = seen.context(None, None);
        let mut fields = Map::new();
        for (name, template) in &self.fields {
            let text = template.render(&context).map_err(|why| NotOfIt::Field(name.clone(), why))?;
            fields.insert(name.clone(), text.into());
        }
        let fields = Arc::new(fields);
        let cause = self.dedup.as_ref().map(|template| template.render(&seen.context(Some(&fields), None)));
        Ok(Applied { fields, cause })
    }

    /// Why an event is not of this kind, as a sentence.
    pub(crate) fn complaint(&self, seen: &Seen<'_>, why: &NotOfIt) -> String {
        let why = match why {
            NotOfIt::Topic => wrong_topic(&seen.event.topic, &self.topics),
            NotOfIt::When => {
                let document = Document { event: seen.document(), fields: None };
                self.when.complaint(document).unwrap_or_default()
            }
            NotOfIt::Field(name, why) => format!("cannot render {name}: {why}"),
        };
        format!("not of kind {}: {why}", self.name)
    }
}

/// Why an event is not of a kind.
#[derive(Clone, Debug)]
pub(crate) enum NotOfIt {
    Topic,
    When,
    Field(String, String),
}

/// "topic is a.b, wants c.*".
pub(crate) fn wrong_topic(topic: &str, wanted: &[Pattern]) -> String {
    let wanted: Vec<&str> = wanted.iter().map(Pattern::as_str).collect();
    format!("topic is {topic}, wants {}", wanted.join(" or "))
}

pub(crate) fn topics(node: &Node, problems: &mut Problems) -> Vec<Pattern> {
    let list = section::list(node, "topics", problems).unwrap_or_default();
    list.iter().filter_map(|n| section::name(n, "a topic", problems)).map(|text| Pattern::new(&text)).collect()
}

pub(crate) fn when(section: &Section<'_>, problems: &mut Problems) -> Query {
    let Some(node) = section.get("when") else { return Query::default() };
    Query::compile(node).unwrap_or_else(|fault| {
        problems.add(fault.place, fault.message);
        Query::default()
    })
}

/// A mapping of names to templates.
pub(crate) fn templates(node: &Node, what: &str, problems: &mut Problems) -> Vec<(String, Template)> {
    if matches!(&node.tree, Tree::Null) {
        return Vec::new();
    }
    let entries = section::named(node, what, problems).iter();
    entries.filter_map(|(key, node)| Some((key.name.clone(), section::template(node, &key.name, problems)?))).collect()
}
