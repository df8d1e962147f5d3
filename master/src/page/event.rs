//! One event: what it said, what each rule said of it, and the jobs it made.

use askama::Template;
use model::Time;
use model::operator::{EventDetail, VerdictView};
use serde_json::Value;

use super::parts::{JobRow, Moment};

#[derive(Template)]
#[template(path = "event.html")]
pub struct EventPage {
    id: String,
    topic: String,
    source: String,
    recorder: String,
    generation: u64,
    sent: Option<String>,
    recorded: Moment,
    why: String,
    /// Where the triggers of a pair differ about it, one sentence each.
    divergences: Vec<String>,
    headers: Option<String>,
    body: String,
    verdicts: Vec<VerdictView>,
    jobs: Vec<JobRow>,
}

impl EventPage {
    /// `why` says in one sentence why it made the jobs it made, or none.
    pub fn new(detail: &EventDetail, why: String, now: Time) -> EventPage {
        let event = &detail.event;
        let mut verdicts = detail.verdicts.clone();
        // What matched is what people look for first.
        verdicts.sort_by_key(|verdict| !verdict.matched);
        EventPage {
            id: event.id.clone(),
            topic: event.topic.clone(),
            source: event.source.clone(),
            recorder: detail.recorder.clone(),
            generation: detail.generation,
            sent: event.sent_at.clone(),
            recorded: Moment { at: detail.recorded_at, now },
            why,
            divergences: detail.divergences.iter().map(|d| format!("Pair {}: {d}.", d.pair)).collect(),
            headers: (!event.headers.is_empty()).then(|| format!("{:#}", Value::Object(event.headers.clone()))),
            body: format!("{:#}", Value::Object(event.body.clone())),
            verdicts,
            jobs: JobRow::all(&detail.jobs, now),
        }
    }
}

#[cfg(test)]
impl super::Sample for EventPage {
    fn sample() -> EventPage {
        use super::sample;
        EventPage::new(&sample::event_detail(), "1 of 2 rules matched".into(), sample::NOW)
    }
}
