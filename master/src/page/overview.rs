//! The first page: what stops work, how much there is, and what just happened.

use askama::Template;
use model::Time;
use model::operator::{EventSummary, JobSummary, Status, Stop, Warning, WorkerView};

use super::parts::{EventRow, JobRow, Moment, Tag, WorkerRow};

#[derive(Template)]
#[template(path = "overview.html")]
pub struct Overview {
    site: String,
    mode: Tag,
    stops: Vec<StopRow>,
    warnings: Vec<WarningRow>,
    numbers: Vec<Number>,
    events: Vec<EventRow>,
    ended: Vec<JobRow>,
    workers: Vec<WorkerRow>,
}

/// One thing that stops work.
struct StopRow {
    what: String,
    by: Option<String>,
    since: Option<Moment>,
    reason: Option<String>,
    undo: Option<String>,
}

/// One thing that should be looked at.
struct WarningRow {
    what: String,
    since: Option<Moment>,
    look: Option<String>,
}

struct Number {
    value: u64,
    name: &'static str,
    path: &'static str,
}

impl Overview {
    /// `events` are the newest, each with the first of its jobs; `ended` are the jobs that ended last.
    pub fn new(
        status: &Status,
        events: &[(EventSummary, Vec<JobSummary>)],
        ended: &[JobSummary],
        workers: &[WorkerView],
        now: Time,
    ) -> Overview {
        Overview {
            site: status.site.clone(),
            mode: Tag::word(status.mode.name()),
            stops: status.stopped_by.iter().map(|stop| StopRow::new(stop, now)).collect(),
            warnings: status.warnings.iter().map(|warning| WarningRow::new(warning, now)).collect(),
            numbers: numbers(status),
            events: events.iter().map(|(event, jobs)| EventRow::new(event, jobs, now)).collect(),
            ended: JobRow::all(ended, now),
            workers: workers.iter().map(|worker| WorkerRow::new(worker, now)).collect(),
        }
    }
}

impl StopRow {
    fn new(stop: &Stop, now: Time) -> StopRow {
        StopRow {
            what: stop.what.clone(),
            by: stop.by.clone(),
            since: stop.since.map(|at| Moment { at, now }),
            reason: stop.reason.clone(),
            undo: stop.undo.clone(),
        }
    }
}

impl WarningRow {
    fn new(warning: &Warning, now: Time) -> WarningRow {
        let Warning { what, since, look } = warning.clone();
        WarningRow { what, since: since.map(|at| Moment { at, now }), look }
    }
}

fn numbers(status: &Status) -> Vec<Number> {
    let number = |value, name, path| Number { value, name, path };
    vec![
        number(status.jobs.queued, "queued", "/jobs?state=queued"),
        number(status.jobs.waiting, "waiting", "/jobs?state=waiting"),
        number(status.jobs.running, "running", "/jobs?state=running"),
        number(status.jobs.finished, "finished", "/jobs?state=finished"),
        number(status.workers.ready + status.workers.busy, "workers connected", "/workers"),
        number(status.outbox, "to publish", "/results"),
        number(status.intake.recorded, "events recorded", "/events"),
    ]
}

#[cfg(test)]
impl super::Sample for Overview {
    fn sample() -> Overview {
        use super::sample;
        Overview::new(
            &sample::status(),
            &[(sample::event_summary(), vec![sample::job()])],
            &[sample::job()],
            &[sample::worker()],
            sample::NOW,
        )
    }
}
