//! The listing of jobs, with the same filters as the API's.

use askama::Template;
use model::deed::Verb;
use model::operator::JobSummary;
use model::{JobState, Outcome, Time};

use super::acts::Button;
use super::encoded;
use super::parts::JobRow;
use crate::api::JobQuery;

#[derive(Template)]
#[template(path = "jobs.html")]
pub struct Jobs {
    fields: Vec<Field>,
    states: Vec<Choice>,
    outcomes: Vec<Choice>,
    jobs: Vec<JobRow>,
    /// The address of the next page.
    next: Option<String>,
    filtered: bool,
    /// What the visitor may do to all that the filter finds.
    buttons: Vec<Button>,
}

/// A filter that is typed.
struct Field {
    name: &'static str,
    value: String,
}

/// A filter that is chosen.
struct Choice {
    name: &'static str,
    chosen: bool,
}

impl Jobs {
    pub fn new(query: &JobQuery, jobs: &[JobSummary], next: Option<&str>, may_act: bool, now: Time) -> Jobs {
        let field = |name, value: &Option<String>| Field { name, value: value.clone().unwrap_or_default() };
        let fields = vec![
            field("item", &query.item),
            field("task", &query.task),
            field("arch", &query.arch),
            field("rule", &query.rule),
            field("event", &query.event),
            field("worker", &query.worker),
        ];
        let choice = |name: &'static str, now: &Option<String>| Choice { name, chosen: now.as_deref() == Some(name) };
        Jobs {
            filtered: !query.says_nothing(),
            buttons: if may_act { buttons(query) } else { Vec::new() },
            fields,
            states: JobState::ALL.iter().map(|s| choice(s.name(), &query.state)).collect(),
            outcomes: Outcome::ALL.iter().map(|o| choice(o.name(), &query.outcome)).collect(),
            jobs: JobRow::all(jobs, now),
            next: next.map(|cursor| format!("/jobs?{}", query.continued(cursor))),
        }
    }
}

/// One for each thing that can be done to some of what is found; none where everything is.
fn buttons(query: &JobQuery) -> Vec<Button> {
    let Ok(filter) = query.filter() else { return Vec::new() };
    if query.says_nothing() {
        return Vec::new();
    }
    let possible = |verb: &Verb| {
        let states = verb.states();
        let state = filter.states.is_empty() || filter.states.iter().all(|state| states.contains(state));
        let outcome = filter.outcome.is_none() || *verb == Verb::Rerun;
        let unsettled =
            if filter.unsettled { *verb != Verb::Rerun && *verb != Verb::Retry } else { *verb != Verb::Settle };
        state && outcome && unsettled
    };
    let pairs = query.parameters().into_iter().map(|(name, value)| format!("{name}={}", encoded(&value)));
    let text = pairs.collect::<Vec<_>>().join("&");
    Verb::ALL.into_iter().filter(possible).map(|verb| Button::new(verb, &text)).collect()
}

#[cfg(test)]
impl super::Sample for Jobs {
    fn sample() -> Jobs {
        use super::sample;
        let query = JobQuery { task: Some("<rpmlint>".into()), state: Some("finished".into()), ..JobQuery::default() };
        Jobs::new(&query, &[sample::job()], Some("17"), true, sample::NOW)
    }
}
