//! Samples that the pages are rendered with: every text in them is hostile.

use std::collections::BTreeMap;

use model::operator::{
    AttemptView, Differs, Divergence, DivergenceCounts, EventDetail, EventSummary, IntakeCounts, JobCounts, JobDetail,
    JobSummary, Mode, Status, Stop, VerdictView, Warning, WorkerCounts, WorkerState, WorkerView,
};
use model::source::JobSource;
use model::{Artifact, End, Event, JobId, JobState, Outcome, Span, Time};
use serde_json::{Map, json};

pub const NOW: Time = Time(1_700_000_000_000_000);

/// What must never reach a page as it is.
pub const HOSTILE: &str = "<script>alert('x')</script>\"onload=\"y";

fn earlier(seconds: u64) -> Time {
    NOW.minus(Span::seconds(seconds))
}

pub fn job() -> JobSummary {
    let id = JobId::of("e", "t", "koji_build", "i", "noarch");
    JobSummary {
        id,
        key: id,
        state: JobState::Finished,
        end: Some(End::NotStarted { reason: HOSTILE.into() }),
        outcome: Some(Outcome::NeedsInspection),
        task: HOSTILE.into(),
        item: HOSTILE.into(),
        item_type: HOSTILE.into(),
        arch: HOSTILE.into(),
        event_id: Some(HOSTILE.into()),
        rule: HOSTILE.into(),
        search: None,
        attempts: 2,
        queued_at: earlier(900),
        started_at: Some(earlier(60)),
        finished_at: Some(earlier(30)),
    }
}

pub fn job_detail() -> JobDetail {
    let attempt = |attempt, finished_at: Option<Time>| AttemptView {
        attempt,
        worker: HOSTILE.into(),
        started_at: earlier(60),
        finished_at,
        ran: Some(Span::seconds(9)),
        claimed_end: Some(earlier(7000)),
        end: finished_at.map(|_| End::Exited { code: 75 }),
        note: Some(HOSTILE.into()),
        outcome: finished_at.map(|_| Outcome::Failed),
        enforced: BTreeMap::from([(HOSTILE.to_owned(), HOSTILE.to_owned())]),
        log_size: 40,
    };
    JobDetail {
        job: job(),
        priority: 5,
        params: json!({"k": HOSTILE}).as_object().cloned().unwrap_or_default(),
        generation: 3,
        recorder: HOSTILE.into(),
        expires_at: Some(NOW.plus(Span::days(1))),
        needs: vec![HOSTILE.into()],
        source: Some(JobSource {
            git: HOSTILE.into(),
            reference: HOSTILE.into(),
            commit: "0123456789abcdef0123456789abcdef01234567".parse().ok(),
            path: Some(HOSTILE.into()),
        }),
        why: HOSTILE.into(),
        unsettled: true,
        attempts_made: vec![attempt(1, Some(earlier(50))), attempt(2, None)],
        found: vec![job()],
        results_url: None,
    }
}

pub fn artifacts() -> Vec<Artifact> {
    let artifact = |removed_at| Artifact {
        attempt: 1,
        name: HOSTILE.into(),
        size: 40,
        sha256: HOSTILE.into(),
        stored_at: earlier(40),
        removed_at,
    };
    vec![artifact(None), artifact(Some(earlier(10)))]
}

pub fn event_summary() -> EventSummary {
    EventSummary {
        id: HOSTILE.into(),
        topic: HOSTILE.into(),
        sent_at: Some(HOSTILE.into()),
        recorded_at: earlier(5),
        source: HOSTILE.into(),
        recorder: HOSTILE.into(),
        jobs: 1,
    }
}

pub fn event_detail() -> EventDetail {
    let hostile: Map<_, _> = [(HOSTILE.to_owned(), json!(HOSTILE))].into_iter().collect();
    let verdict = |matched| VerdictView { rule: HOSTILE.into(), matched, why: HOSTILE.into() };
    EventDetail {
        event: Event {
            id: HOSTILE.into(),
            topic: HOSTILE.into(),
            sent_at: Some(HOSTILE.into()),
            headers: hostile.clone(),
            body: hostile,
            source: HOSTILE.into(),
        },
        recorded_at: earlier(5),
        recorder: HOSTILE.into(),
        generation: 3,
        matched: vec![HOSTILE.into()],
        verdicts: vec![verdict(false), verdict(true)],
        jobs: vec![job()],
        divergences: vec![Divergence {
            event_id: HOSTILE.into(),
            topic: HOSTILE.into(),
            pair: HOSTILE.into(),
            first: HOSTILE.into(),
            second: HOSTILE.into(),
            at: earlier(3),
            differs: Differs::Unseen,
        }],
    }
}

pub fn worker() -> WorkerView {
    WorkerView {
        name: HOSTILE.into(),
        state: WorkerState::Busy,
        slots: 4,
        running: 1,
        labels: vec![HOSTILE.into()],
        version: HOSTILE.into(),
        host: HOSTILE.into(),
        clock_ahead_ms: Some(7_200_000),
        figures: None,
        last_seen: earlier(2),
        first_seen: earlier(100_000),
    }
}

pub fn status() -> Status {
    Status {
        mode: Mode::Draining,
        site: HOSTILE.into(),
        generation: 1,
        jobs: JobCounts { queued: 3, ..JobCounts::default() },
        workers: WorkerCounts::default(),
        outbox: 2,
        messages: 1,
        intake: IntakeCounts::default(),
        stopped_by: vec![Stop {
            what: HOSTILE.into(),
            by: Some(HOSTILE.into()),
            since: Some(earlier(500)),
            reason: Some(HOSTILE.into()),
            undo: Some("taskotron resume".into()),
        }],
        warnings: vec![Warning {
            what: HOSTILE.into(),
            since: Some(earlier(400)),
            look: Some("taskotron event divergences".into()),
        }],
        divergences: DivergenceCounts::default(),
    }
}
