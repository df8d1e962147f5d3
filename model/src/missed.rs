//! What `missed` asks of masters: what one of them has seen, and what became of it at another.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::intake::{Record, TriggerCounts};
use crate::joblog::Row;
use crate::{JobId, JobState, NewJob, Time};

/// One event as a master or a recorder has it, with the jobs that were decided from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Seen {
    pub id: String,
    pub topic: String,
    pub event_time: Option<Time>,
    pub recorder: String,
    pub recorded_at: Time,
    pub generation: u64,
    pub jobs: Vec<NewJob>,
    /// How many more of its jobs were refused there.
    #[serde(default)]
    pub refused: u64,
}

impl Seen {
    pub fn of(recorder: &str, record: Record) -> Seen {
        Seen {
            event_time: record.event.time(),
            id: record.event.id,
            topic: record.event.topic,
            recorder: recorder.to_owned(),
            recorded_at: record.recorded_at,
            generation: record.generation,
            jobs: record.jobs,
            refused: 0,
        }
    }

    /// One of its jobs as a row of a job log. Its number in the recorder's own is not known here.
    pub fn row(&self, job: &NewJob) -> Row {
        Row {
            seq: None,
            recorder: self.recorder.clone(),
            recorded_at: Some(self.recorded_at),
            event_id: self.id.clone(),
            event_time: self.event_time,
            topic: self.topic.clone(),
            generation: Some(self.generation),
            job: job.clone(),
            key_given: true,
        }
    }
}

/// `POST /api/v1/known`: what has become of these events and jobs here?
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Question {
    pub events: Vec<Asked>,
}

/// An event by its id, with the keys of its jobs.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Asked {
    pub id: String,
    pub jobs: Vec<JobId>,
}

/// The answer: one for each event, in order.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Answer {
    pub events: Vec<Known>,
}

/// Whether an event is here, and what became of each of its jobs, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Known {
    pub here: bool,
    pub jobs: Vec<Fate>,
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "fate", rename_all = "lowercase")]
pub enum Fate {
    /// There is none of this key.
    Missing,
    /// It waits or runs, or its result is on its way.
    Open { state: JobState },
    /// It finished, and its result is delivered.
    Done,
    /// It ended otherwise than finished.
    Ended { state: JobState, reason: String },
    /// It finished, and the results store does not take its result.
    Undelivered { error: String },
}

/// One trigger, as `GET /api/v1/triggers` lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TriggerView {
    pub recorder: String,
    /// The number of the event that the master wants next.
    pub next: u64,
    pub last_heard: Time,
    pub generation: u64,
    #[serde(flatten)]
    pub counts: TriggerCounts,
    /// Events that it sent and that were stored before.
    pub repeated: u64,
    pub state: TriggerState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TriggerState {
    /// Heard from of late.
    Heard,
    /// Not heard from: what it has recorded is not known.
    Silent,
    /// Not heard from for so long that nobody waits for it.
    Away,
}

impl TriggerState {
    pub fn name(self) -> &'static str {
        match self {
            TriggerState::Heard => "heard",
            TriggerState::Silent => "silent",
            TriggerState::Away => "away",
        }
    }
}

/// `GET /api/v1/triggers`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Triggers {
    pub items: Vec<TriggerView>,
    /// The master's clock.
    pub now: Time,
}
