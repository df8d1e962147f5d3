//! All that `taskotron check` judges, in one body: a check is one question, and cannot get half an answer.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::operator::{Mode, Status, Warning, WorkerView};
use crate::{Span, Time};

/// `GET /api/v1/vitals`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Vitals {
    /// By the database's clock, as every time here.
    pub now: Time,
    /// By how much the wall clock of the master that answers is ahead of the database's, in milliseconds.
    pub master_ahead_ms: i64,
    pub status: Status,
    pub mode: ModeSince,
    /// A trigger that was not heard from for so long is silent.
    pub silence: Span,
    /// Those that should be there: one that was silent for a day has been taken away.
    pub triggers: Vec<TriggerVitals>,
    pub workers: Vec<WorkerView>,
    /// Jobs that wait or run, and for which no connected worker is there.
    pub unserved: Vec<Unserved>,
    /// When the oldest job of the queue was asked for.
    pub oldest_queued: Option<Time>,
    /// When the job ended of which the results wait longest to be delivered.
    pub oldest_result: Option<Time>,
    /// When the job moved of which the bus waits longest to be told.
    #[serde(default)]
    pub oldest_message: Option<Time>,
    /// Reports that came too late, in the last day.
    pub stale_reports: u64,
    #[serde(default)]
    pub mirrors: MirrorVitals,
}

/// The repositories of tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MirrorVitals {
    pub repositories: u64,
    /// Those that could not be fetched when that was last tried.
    pub failed: u64,
    /// What somebody should look at; each stands among the status's warnings too.
    pub warnings: Vec<Warning>,
}

/// The mode, and since when and how long it is meant to be.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ModeSince {
    pub mode: Mode,
    pub by: String,
    pub reason: String,
    pub since: Time,
    #[serde(default)]
    pub deadline: Option<Time>,
}

/// A trigger as it was last heard.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TriggerVitals {
    pub recorder: String,
    pub last_heard: Time,
    /// When it last sent an event.
    #[serde(default)]
    pub last_event: Option<Time>,
    /// Events in its log that are not yet here.
    pub behind: u64,
    pub quarantined: u64,
    /// What keeps it from taking events in, as it has told, one sentence each.
    #[serde(default)]
    pub troubles: Vec<String>,
}

/// Jobs of one set of needs that no connected worker meets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unserved {
    pub needs: Vec<String>,
    pub queued: u64,
    pub running: u64,
    /// What is missing, in words: `needs arch:s390x; no connected worker offers it`.
    pub why: String,
}
