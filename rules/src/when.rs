//! `when`: a MongoDB-style query over an event's document, compiled once and matched often.
//!
//! MongoDB's meaning holds: a condition on a list holds if it holds for the list itself or for one of its elements,
//! and the negative operators are the negation of that, so they hold of an absent field.

mod compile;
mod explain;
mod values;

use regex::Regex;
use serde_json::{Map, Value};

pub(crate) use explain::show;
use values::{Type, candidates, ends, equal, holds, order, remainder};

use crate::yaml::Node;

/// A compiled query: all of its clauses must hold.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<Clause>);

/// One entry of a query.
#[derive(Clone, Debug)]
enum Clause {
    Field { path: Path, condition: Condition },
    And(Vec<Query>),
    Or(Vec<Query>),
    Nor(Vec<Query>),
    Not(Query),
}

/// A dotted path.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    pub text: String,
    keys: Vec<Key>,
}

/// One step of a path: a name in a mapping, or where it is a number also a place in a list.
#[derive(Clone, Debug)]
struct Key {
    name: String,
    index: Option<usize>,
}

/// What a field must be.
#[derive(Clone, Debug)]
enum Condition {
    Equals(Value),
    /// All of them hold.
    Operators(Vec<Operator>),
}

#[derive(Clone, Debug)]
enum Operator {
    Eq(Value),
    Ne(Value),
    In(Vec<Value>),
    Nin(Vec<Value>),
    Compare(Comparison, Value),
    Exists(bool),
    Type(Vec<Type>),
    Mod { divisor: i64, remainder: i64 },
    Regex { regex: Regex, written: String },
    All(Vec<Value>),
    Size(u64),
    ElemMatch(Element),
    Not(Box<Condition>),
    And(Vec<Condition>),
    Or(Vec<Condition>),
    Nor(Vec<Condition>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Gt,
    Gte,
    Lt,
    Lte,
}

/// What one element of a list must be: a value that meets a condition, or a mapping that a query matches.
#[derive(Clone, Debug)]
enum Element {
    Value(Condition),
    Mapping(Query),
}

/// A document in two layers: an event, and the fields of a kind that stand beside and before its own.
#[derive(Clone, Copy)]
pub(crate) struct Document<'a> {
    pub event: &'a Map<String, Value>,
    pub fields: Option<&'a Map<String, Value>>,
}

impl<'a> Document<'a> {
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.fields.and_then(|fields| fields.get(name)).or_else(|| self.event.get(name))
    }
}

impl Query {
    /// Compiles a query given as JSON; the error is a sentence.
    pub fn from_json(query: &Value) -> Result<Query, String> {
        Query::compile(&Node::from_json(query)).map_err(|fault| fault.message)
    }

    /// Whether a document meets all clauses.
    pub fn matches(&self, document: &Map<String, Value>) -> bool {
        self.holds(Document { event: document, fields: None })
    }

    /// The first clause that fails and the value it saw; None when the query matches.
    pub fn explain(&self, document: &Map<String, Value>) -> Option<String> {
        self.complaint(Document { event: document, fields: None })
    }

    pub(crate) fn holds(&self, document: Document<'_>) -> bool {
        self.0.iter().all(|clause| clause.holds(document))
    }
}

impl Clause {
    fn holds(&self, document: Document<'_>) -> bool {
        match self {
            Clause::Field { path, condition } => condition.holds(&path.find(document)),
            Clause::And(queries) => queries.iter().all(|q| q.holds(document)),
            Clause::Or(queries) => queries.iter().any(|q| q.holds(document)),
            Clause::Nor(queries) => !queries.iter().any(|q| q.holds(document)),
            Clause::Not(query) => !query.holds(document),
        }
    }
}

impl Path {
    pub fn new(text: &str) -> Path {
        let digits = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
        let key = |name: &str| Key { name: name.to_owned(), index: digits(name).then(|| name.parse().ok()).flatten() };
        Path { text: text.to_owned(), keys: text.split('.').map(key).collect() }
    }

    /// Every value that the path reaches: through mappings, by place into lists, and through lists of mappings.
    fn find<'a>(&self, document: Document<'a>) -> Vec<&'a Value> {
        let mut found = Vec::new();
        let Some((first, rest)) = self.keys.split_first() else { return found };
        if let Some(value) = document.get(&first.name) {
            ends(value, rest, &mut found);
        }
        found
    }

    /// The one value that the path reaches through mappings only.
    pub fn lookup<'a>(&self, document: Document<'a>) -> Option<&'a Value> {
        let (first, rest) = self.keys.split_first()?;
        rest.iter().try_fold(document.get(&first.name)?, |value, key| value.as_object()?.get(&key.name))
    }
}

impl Condition {
    /// `found` is what the field's path reaches; nothing where the field is absent.
    fn holds(&self, found: &[&Value]) -> bool {
        match self {
            Condition::Equals(want) => is(found, want),
            Condition::Operators(operators) => operators.iter().all(|operator| operator.holds(found)),
        }
    }
}

impl Operator {
    fn holds(&self, found: &[&Value]) -> bool {
        match self {
            Operator::Eq(want) => is(found, want),
            Operator::Ne(want) => !is(found, want),
            Operator::In(wanted) => wanted.iter().any(|want| is(found, want)),
            Operator::Nin(wanted) => !wanted.iter().any(|want| is(found, want)),
            Operator::Compare(comparison, want) => {
                candidates(found).any(|value| order(value, want).is_some_and(|o| holds(*comparison, o)))
            }
            Operator::Exists(want) => found.is_empty() != *want,
            Operator::Type(types) => types.iter().any(|wanted| match wanted {
                Type::Array => found.iter().any(|value| value.is_array()),
                other => candidates(found).any(|value| other.is_type_of(value)),
            }),
            Operator::Mod { divisor, remainder: want } => {
                candidates(found).any(|value| remainder(value, *divisor) == Some(*want))
            }
            Operator::Regex { regex, .. } => {
                candidates(found).any(|value| value.as_str().is_some_and(|text| regex.is_match(text)))
            }
            Operator::All(wanted) => wanted.iter().all(|want| is(found, want)),
            Operator::Size(want) => {
                found.iter().any(|value| value.as_array().is_some_and(|list| list.len() as u64 == *want))
            }
            Operator::ElemMatch(element) => found
                .iter()
                .any(|value| value.as_array().is_some_and(|list| list.iter().any(|value| element.holds(value)))),
            Operator::Not(condition) => !condition.holds(found),
            Operator::And(conditions) => conditions.iter().all(|c| c.holds(found)),
            Operator::Or(conditions) => conditions.iter().any(|c| c.holds(found)),
            Operator::Nor(conditions) => !conditions.iter().any(|c| c.holds(found)),
        }
    }
}

impl Element {
    fn holds(&self, value: &Value) -> bool {
        match self {
            Element::Value(condition) => condition.holds(&[value]),
            Element::Mapping(query) => value.as_object().is_some_and(|map| query.matches(map)),
        }
    }
}

/// Equality as a field knows it: the value itself, one of its elements, or null for an absent field.
fn is(found: &[&Value], want: &Value) -> bool {
    (want.is_null() && found.is_empty()) || candidates(found).any(|value| equal(value, want))
}
