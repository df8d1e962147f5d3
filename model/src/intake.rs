//! What a trigger sends to a master, and what it is answered.
//!
//! The master owns the cursor: a trigger asks where to go on, sends from there, and is told the next place.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Event, JobId, JobState, NewJob, Time};

/// One event as a trigger recorded it, with the jobs it decided from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Record {
    /// The place in its recorder's event log: 1, 2, 3 … without a gap.
    pub seq: u64,
    /// The place in the recorder's job log of the first of these jobs: 1, 2, 3 … without a gap over all records.
    pub job_seq: u64,
    pub recorded_at: Time,
    /// The number of the configuration that decided.
    pub generation: u64,
    pub event: Event,
    /// The rules that matched, in the order of the configuration.
    #[serde(default)]
    pub matched: Vec<String>,
    #[serde(default)]
    pub jobs: Vec<NewJob>,
}

/// `POST /api/v1/intake`: records in order of `seq`, without a gap.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Intake {
    /// Names the event log that the records come from; a new log is a new recorder.
    pub recorder: String,
    pub records: Vec<Record>,
    /// What the trigger has counted since its log began.
    pub counts: TriggerCounts,
    /// The configuration that the trigger runs now.
    pub generation: u64,
    /// Where another trigger is to see the same events.
    #[serde(default)]
    pub pair: Option<Pair>,
    /// What keeps it from taking events in now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<Trouble>,
}

/// Two triggers that see the same events, each on a queue of its own: the master tells where they differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pair {
    /// The same for both.
    pub name: String,
    /// The trigger's own name in it, also when its log begins anew.
    pub member: String,
}

/// Something that keeps a trigger from its work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Trouble {
    /// What goes on behind the trigger's name: `takes nothing from queue 'taskotron' …`, with the reason.
    pub what: String,
    pub since: Time,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TriggerCounts {
    /// Events in the log.
    pub recorded: u64,
    /// Events that the master has acknowledged.
    pub forwarded: u64,
    /// Deliveries that could not be read.
    pub quarantined: u64,
    /// Deliveries of an event that the log already had.
    #[serde(default)]
    pub duplicates: u64,
    /// Since when its log lacks nothing of what the bus sent; none where it listens to no bus.
    #[serde(default)]
    pub listening_since: Option<Time>,
    /// Whatever the bus had for it by then is in its log; 1970 where it has never reached its bus.
    #[serde(default)]
    pub caught_up: Option<Time>,
}

/// The answer to `POST /events` of a trigger. When it comes, everything is on the trigger's disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Taken {
    pub recorded: u64,
    pub duplicates: u64,
    pub quarantined: u64,
    /// What became of each event, in the order of the request.
    pub events: Vec<Became>,
}

/// What became of one event that was handed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "answer", rename_all = "lowercase")]
pub enum Became {
    /// It is new, and in the event log at this place.
    Recorded { id: String, seq: u64 },
    /// It was there already.
    Duplicate { id: String },
    /// It cannot be read as an event, and is kept aside.
    Quarantined { reason: String },
}

impl Taken {
    pub fn of(events: Vec<Became>) -> Taken {
        let mut taken = Taken { recorded: 0, duplicates: 0, quarantined: 0, events: Vec::new() };
        for event in &events {
            match event {
                Became::Recorded { .. } => taken.recorded += 1,
                Became::Duplicate { .. } => taken.duplicates += 1,
                Became::Quarantined { .. } => taken.quarantined += 1,
            }
        }
        Taken { events, ..taken }
    }
}

/// The answer to a batch, and to `GET /api/v1/intake/RECORDER`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct IntakeAnswer {
    /// The `seq` that the master wants next from this recorder.
    pub next: u64,
    /// One answer for each job of the batch, in its order.
    #[serde(default)]
    pub jobs: Vec<JobAnswer>,
}

/// What became of one job that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "answer", rename_all = "lowercase")]
pub enum JobAnswer {
    /// It was made.
    Submitted { job: JobId },
    /// A job of this key was there already.
    Exists { job: JobId, state: JobState },
    /// It was recorded too long ago to know whether it ran.
    Expired,
    /// It cannot be run; the reason says what to change.
    Refused { reason: String },
}
