//! The listing of events, newest first.

use askama::Template;
use model::Time;
use model::operator::EventSummary;

use super::parts::EventRow;
use crate::api::EventQuery;

#[derive(Template)]
#[template(path = "events.html")]
pub struct Events {
    topic: String,
    recorder: String,
    with_jobs: bool,
    without_jobs: bool,
    events: Vec<EventRow>,
    /// The address of the next page.
    next: Option<String>,
}

impl Events {
    pub fn new(query: &EventQuery, events: &[EventSummary], next: Option<&str>, now: Time) -> Events {
        Events {
            topic: query.topic.clone().unwrap_or_default(),
            recorder: query.recorder.clone().unwrap_or_default(),
            with_jobs: query.with_jobs == Some(true),
            without_jobs: query.with_jobs == Some(false),
            events: events.iter().map(|event| EventRow::new(event, &[], now)).collect(),
            next: next.map(|cursor| format!("/events?{}", query.continued(cursor))),
        }
    }
}

#[cfg(test)]
impl super::Sample for Events {
    fn sample() -> Events {
        use super::sample;
        Events::new(&EventQuery::default(), &[sample::event_summary()], Some("9"), sample::NOW)
    }
}
