//! Results, testcases and groups, as they are posted and as they are read.

use std::collections::BTreeMap;

use model::Time;
use uuid::Uuid;

use crate::json;

/// A result to be stored; everything in it has been checked.
#[derive(Clone, Debug)]
pub struct NewResult {
    /// The id that it has had elsewhere; none: it gets the next.
    pub id: Option<i64>,
    pub outcome: String,
    pub testcase: NewTestcase,
    /// Each uuid once.
    pub groups: Vec<NewGroup>,
    pub data: BTreeMap<String, Vec<String>>,
    pub note: Option<String>,
    pub ref_url: Option<String>,
    pub submit_time: Time,
    /// When it came in, by our clock.
    pub received: Time,
    /// The term of an idempotency key: posted again under it, the result is the one that is there already.
    pub key: Option<Uuid>,
    /// What links to this store begin with, where the bus is to be told of the result; none: it is not told.
    pub told_at: Option<String>,
}

/// The testcase of a new result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTestcase {
    pub name: String,
    pub ref_url: Change,
}

/// A group of a new result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewGroup {
    pub uuid: String,
    pub description: Change,
    pub ref_url: Change,
}

/// What becomes of a text of something that may exist already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Change {
    #[default]
    Keep,
    Set(Option<String>),
}

impl Change {
    pub fn sets(&self) -> bool {
        match self {
            Change::Keep => false,
            Change::Set(_) => true,
        }
    }

    /// The new text; none also where the old one is kept.
    pub fn text(&self) -> Option<&str> {
        match self {
            Change::Keep | Change::Set(None) => None,
            Change::Set(Some(text)) => Some(text),
        }
    }

    /// As if `later` came after this change.
    pub fn then(&mut self, later: &Change) {
        if later.sets() {
            *self = later.clone();
        }
    }
}

/// A result as it stands in the store.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredResult {
    pub id: i64,
    pub outcome: String,
    /// Microseconds since 1970.
    pub submit_time: i64,
    pub note: Option<String>,
    pub ref_url: Option<String>,
    /// A JSON object of lists of texts, as the API prints it.
    pub data: String,
    /// A JSON list of uuids, as the API prints it.
    pub groups: String,
    pub testcase: String,
    pub testcase_ref_url: Option<String>,
}

impl StoredResult {
    pub fn data(&self) -> BTreeMap<String, Vec<String>> {
        // What is not as this program writes it shows as empty; the listing it stands in is worth more.
        serde_json::from_str(&self.data).unwrap_or_default()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Testcase {
    pub name: String,
    pub ref_url: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Group {
    pub uuid: String,
    pub description: Option<String>,
    pub ref_url: Option<String>,
    pub results_count: i64,
}

/// The data of a result as it is stored and printed. A key without values is left out.
pub fn data_json(data: &BTreeMap<String, Vec<String>>) -> String {
    let mut out = String::from("{");
    for (key, values) in data.iter().filter(|(_, values)| !values.is_empty()) {
        if out.len() > 1 {
            out.push(',');
        }
        json::text(key, &mut out);
        out.push(':');
        list_json(values.iter().map(String::as_str), &mut out);
    }
    out.push('}');
    out
}

/// A JSON list of texts.
pub fn list_json<'t>(texts: impl Iterator<Item = &'t str>, out: &mut String) {
    out.push('[');
    for (i, text) in texts.enumerate() {
        if i > 0 {
            out.push(',');
        }
        json::text(text, out);
    }
    out.push(']');
}
