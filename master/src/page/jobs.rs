//! The listing of jobs, with the same filters as the API's.

use askama::Template;
use model::operator::JobSummary;
use model::{JobState, Outcome, Time};

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
    pub fn new(query: &JobQuery, jobs: &[JobSummary], next: Option<&str>, now: Time) -> Jobs {
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
            filtered: fields.iter().any(|f| !f.value.is_empty()) || query.state.is_some() || query.outcome.is_some(),
            fields,
            states: JobState::ALL.iter().map(|s| choice(s.name(), &query.state)).collect(),
            outcomes: Outcome::ALL.iter().map(|o| choice(o.name(), &query.outcome)).collect(),
            jobs: JobRow::all(jobs, now),
            next: next.map(|cursor| format!("/jobs?{}", query.continued(cursor))),
        }
    }
}

#[cfg(test)]
impl super::Sample for Jobs {
    fn sample() -> Jobs {
        use super::sample;
        let query = JobQuery { task: Some("<rpmlint>".into()), state: Some("finished".into()), ..JobQuery::default() };
        Jobs::new(&query, &[sample::job()], Some("17"), sample::NOW)
    }
}
