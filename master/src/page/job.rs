//! One job: where it stands and why, its attempts, its log, and where it came from.

use askama::Template;
use model::deed::Verb;
use model::operator::{AttemptView, JobDetail};
use model::source::JobSource;
use model::{Artifact, JobState, Time};
use serde_json::Value;

use super::acts::Button;
use super::parts::{JobRow, Moment, Tag, artifact_path, event_path, job_path, readable, results_path};
use crate::logs::Part;

#[derive(Template)]
#[template(path = "job.html")]
pub struct Job {
    id: String,
    item: String,
    item_type: String,
    task: String,
    arch: String,
    state: Tag,
    outcome: Option<Tag>,
    ended: bool,
    why: String,
    queued: Moment,
    started: Option<Moment>,
    finished: Option<Moment>,
    expires: Option<Moment>,
    /// The event that caused it: its id and its page.
    event: Option<(String, String)>,
    rule: String,
    recorder: String,
    generation: u64,
    priority: i32,
    needs: Vec<String>,
    source: Option<JobSource>,
    params: Option<String>,
    attempts: Vec<Attempt>,
    /// Whether it runs nothing, and has made these instead.
    is_search: bool,
    jobs: Vec<JobRow>,
    artifacts: Vec<File>,
    log: Option<Log>,
    results: String,
    /// What the visitor may do to it.
    buttons: Vec<Button>,
}

struct Attempt {
    number: u32,
    worker: String,
    started: Moment,
    finished: Option<Moment>,
    /// When it ended by the worker's clock, where that says something else.
    claimed: Option<Moment>,
    /// In words; `running` while it runs.
    end: String,
    outcome: Option<Tag>,
    note: Option<String>,
    /// What its process was kept within: "memory: …".
    enforced: Vec<String>,
    log_path: String,
    log_size: u64,
}

/// A file that an attempt left.
struct File {
    name: String,
    path: String,
    attempt: u32,
    size: u64,
    removed: Option<Moment>,
}

/// The end of a log, as text.
struct Log {
    attempt: u32,
    text: String,
    path: String,
    /// Where its newer self comes from.
    follow: String,
    /// How many bytes stand before what is shown.
    before: u64,
}

impl Job {
    /// `log` is the end of the newest attempt's; `results_base` is where the results store's pages are, empty here.
    pub fn new(
        detail: &JobDetail,
        artifacts: &[Artifact],
        log: Option<(u32, Part)>,
        results_base: &str,
        may_act: bool,
        now: Time,
    ) -> Job {
        let job = &detail.job;
        let moment = |at| Moment { at, now };
        let log_path = |attempt: u32| format!("{}/log?attempt={attempt}", job_path(job.id));
        Job {
            id: job.id.to_string(),
            item: job.item.clone(),
            item_type: job.item_type.clone(),
            task: job.task.clone(),
            arch: job.arch.clone(),
            state: Tag::state(job.state),
            outcome: job.outcome.map(Tag::outcome),
            ended: job.state.is_end(),
            why: detail.why.clone(),
            queued: moment(job.queued_at),
            started: job.started_at.map(moment),
            finished: job.finished_at.map(moment),
            expires: detail.expires_at.map(moment),
            event: job.event_id.as_ref().map(|id| (id.clone(), event_path(id))),
            rule: job.rule.clone(),
            recorder: detail.recorder.clone(),
            generation: detail.generation,
            priority: detail.priority,
            needs: detail.needs.clone(),
            source: detail.source.clone(),
            params: (!detail.params.is_empty()).then(|| format!("{:#}", Value::Object(detail.params.clone()))),
            attempts: detail.attempts_made.iter().map(|a| Attempt::new(a, log_path(a.attempt), now)).collect(),
            is_search: job.is_search(),
            jobs: JobRow::all(&detail.found, now),
            artifacts: artifacts
                .iter()
                .map(|artifact| File {
                    name: artifact.name.clone(),
                    path: artifact_path(job.id, artifact),
                    attempt: artifact.attempt,
                    size: artifact.size,
                    removed: artifact.removed_at.map(moment),
                })
                .collect(),
            log: log.map(|(attempt, part)| Log {
                attempt,
                text: readable(&part.bytes),
                path: log_path(attempt),
                follow: format!("{}/log/follow?attempt={attempt}", job_path(job.id)),
                before: part.start,
            }),
            results: results_path(results_base, &job.item, &job.item_type),
            buttons: if may_act { buttons(detail) } else { Vec::new() },
        }
    }

    pub fn title(&self) -> String {
        format!("{} {}", self.task, self.item)
    }
}

fn buttons(detail: &JobDetail) -> Vec<Button> {
    let verbs: &[Verb] = match detail.job.state {
        JobState::Waiting if detail.unsettled => &[Verb::Settle, Verb::Cancel],
        JobState::Waiting => &[Verb::Retry, Verb::Priority, Verb::Cancel],
        JobState::Queued => &[Verb::Priority, Verb::Cancel],
        JobState::Running => &[Verb::Cancel],
        JobState::Finished | JobState::Cancelled | JobState::Superseded | JobState::Expired => &[Verb::Rerun],
    };
    verbs.iter().map(|verb| Button::new(*verb, &format!("job={}", detail.job.id))).collect()
}

impl Attempt {
    fn new(attempt: &AttemptView, log_path: String, now: Time) -> Attempt {
        Attempt {
            number: attempt.attempt,
            worker: attempt.worker.clone(),
            started: Moment { at: attempt.started_at, now },
            finished: attempt.finished_at.map(|at| Moment { at, now }),
            claimed: attempt.other_end().map(|at| Moment { at, now }),
            end: attempt.end.as_ref().map_or_else(|| "running".to_owned(), ToString::to_string),
            outcome: attempt.outcome.map(Tag::outcome),
            note: attempt.note.clone(),
            enforced: attempt.enforced.iter().map(|(what, how)| format!("{what}: {how}")).collect(),
            log_path,
            log_size: attempt.log_size,
        }
    }
}

#[cfg(test)]
impl super::Sample for Job {
    fn sample() -> Job {
        use super::sample;
        let part = Part { start: 10, bytes: b"<script>alert(1)</script>\x1b[0m\n".to_vec(), size: 40 };
        Job::new(&sample::job_detail(), &sample::artifacts(), Some((2, part)), "", true, sample::NOW)
    }
}
