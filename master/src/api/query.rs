//! The filters of the listings, the same for programs and for pages.

use std::collections::BTreeMap;

use model::{JobState, Outcome, Time};
use net::Problem;
use serde::de::value::MapDeserializer;
use serde::{Deserialize, Deserializer};
use utoipa::IntoParams;

use crate::page::encoded;
use crate::store::{Cursor, EventFilter, JobFilter};

/// How many rows a listing shows where it is not said.
const ROWS: u32 = 50;

/// The most rows that a listing shows.
const MOST_ROWS: u32 = 1000;

/// Which jobs to list. An empty text filters nothing.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct JobQuery {
    /// One state, or several with commas between.
    #[serde(deserialize_with = "given")]
    pub state: Option<String>,
    #[serde(deserialize_with = "given")]
    pub outcome: Option<String>,
    #[serde(deserialize_with = "given")]
    pub task: Option<String>,
    #[serde(deserialize_with = "given")]
    pub item: Option<String>,
    #[serde(deserialize_with = "given")]
    pub arch: Option<String>,
    #[serde(deserialize_with = "given")]
    pub rule: Option<String>,
    /// An event's id.
    #[serde(deserialize_with = "given")]
    pub event: Option<String>,
    #[serde(deserialize_with = "given")]
    pub worker: Option<String>,
    /// Made at or after this moment.
    #[serde(deserialize_with = "moment")]
    #[param(value_type = Option<String>, format = DateTime)]
    pub since: Option<Time>,
    /// Made before this moment.
    #[serde(deserialize_with = "moment")]
    #[param(value_type = Option<String>, format = DateTime)]
    pub until: Option<Time>,
    /// Only those that wait for a person.
    #[serde(deserialize_with = "flag")]
    #[param(value_type = Option<bool>)]
    pub unsettled: Option<bool>,
    /// The `next` of the page before.
    #[serde(deserialize_with = "given")]
    pub cursor: Option<String>,
    /// At most 1000.
    pub limit: Option<u32>,
}

/// Which events to list. An empty text filters nothing.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// A topic, or how one begins, with `*` at the end.
    #[serde(deserialize_with = "given")]
    pub topic: Option<String>,
    #[serde(deserialize_with = "given")]
    pub recorder: Option<String>,
    /// Only those that made jobs, or only those that made none.
    #[serde(deserialize_with = "flag")]
    #[param(value_type = Option<bool>)]
    pub with_jobs: Option<bool>,
    /// The `next` of the page before.
    #[serde(deserialize_with = "given")]
    pub cursor: Option<String>,
    /// At most 1000.
    pub limit: Option<u32>,
}

/// A listing without filters.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// The `next` of the page before.
    #[serde(deserialize_with = "given")]
    pub cursor: Option<String>,
    /// At most 1000.
    pub limit: Option<u32>,
}

/// A form sends its empty fields too.
fn given<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    Ok(Some(String::deserialize(d)?).filter(|text| !text.is_empty()))
}

fn flag<'de, D: Deserializer<'de>>(d: D) -> Result<Option<bool>, D::Error> {
    match String::deserialize(d)?.as_str() {
        "" => Ok(None),
        "true" => Ok(Some(true)),
        "false" => Ok(Some(false)),
        other => Err(serde::de::Error::custom(format!("it is true or false, not '{other}'"))),
    }
}

fn moment<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Time>, D::Error> {
    match String::deserialize(d)?.as_str() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}

/// Where a listing goes on, and how many rows it shows.
pub fn place(cursor: Option<&str>, limit: Option<u32>) -> Result<(Cursor, u32), Problem> {
    let at = match cursor {
        None => None,
        Some(text) => Some(
            text.parse().map_err(|_| Problem::bad_request(format!("cursor '{text}' is none that was given out")))?,
        ),
    };
    match limit.unwrap_or(ROWS) {
        limit @ 1..=MOST_ROWS => Ok((at, limit)),
        other => Err(Problem::bad_request(format!("limit is 1 to {MOST_ROWS}, not {other}"))),
    }
}

impl JobQuery {
    pub fn filter(&self) -> Result<JobFilter, Problem> {
        let states = self.state.iter().flat_map(|states| states.split(','));
        let states = states.map(|state| state.trim().parse::<JobState>());
        let outcome = self
            .outcome
            .as_deref()
            .map(|text| Outcome::parse(text).ok_or_else(|| Problem::bad_request(format!("unknown outcome '{text}'"))));
        Ok(JobFilter {
            states: states.collect::<Result<_, _>>().map_err(|e| Problem::bad_request(e.to_string()))?,
            task: self.task.clone(),
            item: self.item.clone(),
            rule: self.rule.clone(),
            event: self.event.clone(),
            arch: self.arch.clone(),
            worker: self.worker.clone(),
            outcome: outcome.transpose()?,
            since: self.since,
            until: self.until,
            unsettled: self.unsettled == Some(true),
        })
    }

    /// A query from its parameters by name, as they stand in an address.
    pub fn of(parameters: &BTreeMap<String, String>) -> Result<JobQuery, Problem> {
        if parameters.contains_key("limit") {
            return Err(Problem::bad_request("'limit' is no filter: leave it out"));
        }
        let pairs = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let query = JobQuery::deserialize(MapDeserializer::<_, serde::de::value::Error>::new(pairs));
        query.map_err(|error| Problem::bad_request(format!("the filter cannot be read: {error}")))
    }

    /// Its parameters by name, without the place where it goes on.
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let text = |text: &Option<String>| text.clone();
        let all = [
            ("state", text(&self.state)),
            ("outcome", text(&self.outcome)),
            ("task", text(&self.task)),
            ("item", text(&self.item)),
            ("arch", text(&self.arch)),
            ("rule", text(&self.rule)),
            ("event", text(&self.event)),
            ("worker", text(&self.worker)),
            ("since", self.since.map(|at| at.to_string())),
            ("until", self.until.map(|at| at.to_string())),
            ("unsettled", self.unsettled.filter(|only| *only).map(|_| "true".to_owned())),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// Whether it finds every job.
    pub fn says_nothing(&self) -> bool {
        self.parameters().is_empty()
    }

    pub fn place(&self) -> Result<(Cursor, u32), Problem> {
        place(self.cursor.as_deref(), self.limit)
    }

    /// The same query, from `cursor` on.
    pub fn continued(&self, cursor: &str) -> String {
        let parameters = self.parameters();
        let mut given: Vec<_> = parameters.iter().map(|(name, value)| (*name, Some(value.as_str()))).collect();
        given.push(("cursor", Some(cursor)));
        query(&given)
    }
}

impl EventQuery {
    pub fn filter(&self) -> EventFilter {
        EventFilter { topic: self.topic.clone(), recorder: self.recorder.clone(), with_jobs: self.with_jobs }
    }

    pub fn place(&self) -> Result<(Cursor, u32), Problem> {
        place(self.cursor.as_deref(), self.limit)
    }

    /// The same query, from `cursor` on.
    pub fn continued(&self, cursor: &str) -> String {
        let with_jobs = self.with_jobs.map(|with| if with { "true" } else { "false" });
        query(&[
            ("topic", self.topic.as_deref()),
            ("recorder", self.recorder.as_deref()),
            ("with_jobs", with_jobs),
            ("cursor", Some(cursor)),
        ])
    }
}

fn query(parameters: &[(&str, Option<&str>)]) -> String {
    let given = parameters.iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded((*value)?))));
    given.collect::<Vec<_>>().join("&")
}
