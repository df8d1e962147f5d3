//! What is posted, checked field by field: every fault is found, and nothing is stored of what has one.

use std::collections::{BTreeMap, HashSet};

use model::Time;
use uuid::Uuid;

use super::fault::{ApiError, Fault};
use crate::json::Json;
use crate::moment;
use crate::result::{Change, NewGroup, NewResult, NewTestcase};

/// The longest uuid of a group, in characters.
const LONGEST_UUID: usize = 36;

/// Reads the members of one body and collects what is wrong with them.
pub struct Reader<'b> {
    body: &'b Json,
    faults: Vec<Fault>,
}

impl<'b> Reader<'b> {
    pub fn new(body: &'b Json) -> Reader<'b> {
        Reader { body, faults: Vec::new() }
    }

    /// The value, unless something was wrong.
    pub fn done<T>(self, value: T) -> Result<T, ApiError> {
        if self.faults.is_empty() { Ok(value) } else { Err(ApiError::Invalid(self.faults)) }
    }

    /// A member that may be absent or null.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.text_of(name, self.body.get(name)?)
    }

    /// A member that must be there and must not be empty.
    pub fn name(&mut self, name: &'static str) -> String {
        match self.body.get(name) {
            None => self.faults.push(Fault::missing(name, self.body)),
            Some(null @ Json::Null) => self.faults.push(Fault::not_text(name, null)),
            Some(value) => {
                let Some(text) = self.text_of(name, value) else { return String::new() };
                if text.is_empty() {
                    self.faults.push(Fault::empty(name, value));
                }
                return text;
            }
        }
        String::new()
    }

    /// A group's uuid; `None` when it is absent or empty.
    pub fn uuid(&mut self, name: &'static str) -> Option<String> {
        let value = self.body.get(name)?;
        self.text_of(name, value).filter(|uuid| self.fits(name, uuid, value) && !uuid.is_empty())
    }

    fn fits(&mut self, name: &'static str, uuid: &str, value: &Json) -> bool {
        let fits = uuid.chars().count() <= LONGEST_UUID;
        if !fits {
            self.faults.push(Fault::too_long(name, LONGEST_UUID, value));
        }
        fits
    }

    fn text_of(&mut self, name: &'static str, value: &Json) -> Option<String> {
        match value {
            Json::Null => None,
            Json::Text(text) if text.contains('\0') => {
                self.nul(name, value);
                None
            }
            Json::Text(text) => Some(text.clone()),
            other => {
                self.faults.push(Fault::not_text(name, other));
                None
            }
        }
    }

    fn nul(&mut self, name: &'static str, value: &Json) {
        self.faults.push(Fault::value(name, "NUL characters are not allowed", value));
    }

    fn outcome(&mut self, vocabulary: &[String]) -> String {
        match self.body.get("outcome") {
            None => self.faults.push(Fault::missing("outcome", self.body)),
            Some(Json::Text(text)) => {
                let outcome = text.trim().to_uppercase();
                if vocabulary.contains(&outcome) {
                    return outcome;
                }
                let message = format!("must be one of: {}", vocabulary.join(", "));
                self.faults.push(Fault::value("outcome", message, &Json::Text(text.clone())));
            }
            Some(other) => self.faults.push(Fault::not_text("outcome", other)),
        }
        String::new()
    }

    fn testcase(&mut self) -> NewTestcase {
        const FIELD: &str = "testcase";
        let mut testcase = NewTestcase { name: String::new(), ref_url: Change::Keep };
        let Some(value) = self.body.get(FIELD) else {
            self.faults.push(Fault::missing(FIELD, self.body));
            return testcase;
        };
        let name = match value {
            Json::Text(_) => Some(value),
            Json::Object(_) => {
                testcase.ref_url = self.change(FIELD, value, "ref_url");
                value.get("name")
            }
            other => {
                self.faults.push(Fault::not_text(FIELD, other));
                return testcase;
            }
        };
        match name {
            None | Some(Json::Null) => {
                self.faults.push(Fault::value(FIELD, "testcase name must be non-empty", value));
            }
            Some(name) => {
                let Some(name) = self.text_of(FIELD, name) else { return testcase };
                if name.is_empty() {
                    self.faults.push(Fault::value(FIELD, "testcase name must be non-empty", value));
                }
                testcase.name = name;
            }
        }
        testcase
    }

    /// A member of an object inside `field`: kept when absent, set when there, also to null.
    fn change(&mut self, field: &'static str, object: &Json, name: &str) -> Change {
        match object.get(name) {
            None => Change::Keep,
            Some(value) => Change::Set(self.text_of(field, value)),
        }
    }

    fn groups(&mut self, made_up: &mut impl FnMut() -> Uuid) -> Vec<NewGroup> {
        const FIELD: &str = "groups";
        let list = match self.body.get(FIELD) {
            None | Some(Json::Null) => return Vec::new(),
            Some(Json::List(list)) => list,
            Some(other) => {
                self.faults.push(Fault::new(FIELD, "list_type", "Input should be a valid list", other));
                return Vec::new();
            }
        };
        let mut groups: Vec<NewGroup> = Vec::new();
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        for value in list {
            let (uuid, description, ref_url) = match value {
                Json::Text(uuid) if uuid.is_empty() => {
                    self.faults.push(Fault::empty(FIELD, value));
                    continue;
                }
                Json::Text(_) => (Some(value), Change::Keep, Change::Keep),
                Json::Object(_) => (
                    value.get("uuid").filter(|u| !matches!(u, Json::Null)),
                    self.change(FIELD, value, "description"),
                    self.change(FIELD, value, "ref_url"),
                ),
                other => {
                    self.faults.push(Fault::not_text(FIELD, other));
                    continue;
                }
            };
            let uuid = match uuid {
                None => None,
                Some(value) => {
                    let Some(uuid) = self.text_of(FIELD, value) else { continue };
                    if !self.fits(FIELD, &uuid, value) {
                        continue;
                    }
                    Some(uuid).filter(|uuid| !uuid.is_empty())
                }
            };
            let uuid = uuid.unwrap_or_else(|| made_up().to_string());
            match places.get(&uuid) {
                Some(&place) => {
                    groups[place].description.then(&description);
                    groups[place].ref_url.then(&ref_url);
                }
                None => {
                    places.insert(uuid.clone(), groups.len());
                    groups.push(NewGroup { uuid, description, ref_url });
                }
            }
        }
        groups
    }

    fn data(&mut self) -> BTreeMap<String, Vec<String>> {
        const FIELD: &str = "data";
        match self.body.get(FIELD) {
            None | Some(Json::Null) => BTreeMap::new(),
            Some(value @ Json::Object(_)) if value.has_nul() => {
                self.nul(FIELD, &Json::Null);
                BTreeMap::new()
            }
            Some(Json::Object(members)) => (members.iter())
                .map(|(key, value)| {
                    let values = match value {
                        Json::List(list) => list.iter().map(Json::python).collect(),
                        one => vec![one.python()],
                    };
                    (key.clone(), values)
                })
                .collect(),
            Some(other) => {
                self.faults.push(Fault::new(FIELD, "dict_type", "Input should be a valid dictionary", other));
                BTreeMap::new()
            }
        }
    }

    fn submit_time(&mut self, now: Time) -> Time {
        const FIELD: &str = "submit_time";
        let value = match self.body.get(FIELD) {
            None | Some(Json::Null) => return now,
            Some(value) => value,
        };
        let whole = |x: f64| (x.fract() == 0.0 && x.abs() < 1e18).then_some(x as i64);
        let time = match value {
            Json::Text(text) => moment::submitted(text),
            Json::Int(millis) => i64::try_from(*millis).ok().and_then(moment::of_millis),
            Json::Float(millis) => whole(*millis).and_then(moment::of_millis),
            Json::Bool(yes) => moment::of_millis((*yes).into()),
            Json::Null | Json::List(_) | Json::Object(_) => None,
        };
        time.unwrap_or_else(|| {
            let message = format!(
                "Expected timestamp in milliseconds or datetime (in format YYYY-MM-DDTHH:MM:SS.ffffff), got {}",
                Json::List(vec![value.clone()]).python().trim_start_matches('[').trim_end_matches(']')
            );
            self.faults.push(Fault::value(FIELD, message, value));
            now
        })
    }
}

/// The members of `POST /results`, each for itself. `made_up` gives uuids to groups without one.
pub fn members(
    body: &Json,
    vocabulary: &[String],
    now: Time,
    mut made_up: impl FnMut() -> Uuid,
) -> Result<NewResult, ApiError> {
    let mut reader = Reader::new(body);
    let result = NewResult {
        id: None,
        outcome: reader.outcome(vocabulary),
        testcase: reader.testcase(),
        groups: reader.groups(&mut made_up),
        data: reader.data(),
        note: reader.text("note"),
        ref_url: reader.text("ref_url"),
        submit_time: reader.submit_time(now),
        received: now,
        key: None,
        told_at: None,
    };
    reader.done(result)
}

/// A result to be stored, from the members of `POST /results`.
pub fn result(
    body: &Json,
    vocabulary: &[String],
    now: Time,
    made_up: impl FnMut() -> Uuid,
) -> Result<NewResult, ApiError> {
    let result = members(body, vocabulary, now, made_up)?;
    let colons: HashSet<&String> = result.data.keys().filter(|key| key.contains(':')).collect();
    if !colons.is_empty() {
        // In the order of the request.
        let members = if let Some(Json::Object(members)) = body.get("data") { members.as_slice() } else { &[] };
        let keys = members.iter().map(|(key, _)| key).filter(|key| colons.contains(key));
        let keys = Json::List(keys.cloned().map(Json::Text).collect());
        let message = format!("Colon not allowed in key name: {}", keys.python());
        return Err(ApiError::Message(axum::http::StatusCode::BAD_REQUEST, message));
    }
    Ok(result)
}
