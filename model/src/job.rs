//! One order: run this task on this item, on this arch.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use uuid::{Uuid, uuid};

use crate::{Span, Time, canonical};

/// The namespace of job keys (version 5 UUIDs).
const JOB_KEYS: Uuid = uuid!("6f1d1c1e-8f0a-5b7e-9d5c-2f6f0e2b7a11");

/// The arch of a job that runs anywhere.
pub const NOARCH: &str = "noarch";

/// Names an architecture: `x86_64`, `noarch` …
pub type Arch = String;

/// A job's name and its key in one: computed from what caused it, so that asking twice asks once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct JobId(pub Uuid);

impl JobId {
    /// The key of the job that `cause` (an event id, or what a kind's `dedup` says) calls for.
    pub fn of(cause: &str, task: &str, item_type: &str, item: &str, arch: &str) -> JobId {
        let text = canonical(&json!([cause, task, item_type, item, arch]));
        JobId(Uuid::new_v5(&JOB_KEYS, text.as_bytes()))
    }

    /// The key of the job for what this one, a search, has found in a folder of a repository.
    pub fn in_folder(self, folder: &str) -> JobId {
        let text = canonical(&json!(["folder", self.to_string(), folder]));
        JobId(Uuid::new_v5(&JOB_KEYS, text.as_bytes()))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for JobId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<JobId, uuid::Error> {
        Uuid::parse_str(text).map(JobId)
    }
}

/// A job as it is asked for, before a master has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NewJob {
    pub key: JobId,
    pub task: String,
    pub item: String,
    pub item_type: String,
    pub arch: Arch,
    /// The first rule that asked for it; empty for a row made by hand.
    #[serde(default)]
    pub rule: String,
    /// Greater runs earlier; 0 is ordinary.
    #[serde(default)]
    pub priority: i32,
    /// Named texts for the task's templates.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub params: Map<String, Value>,
    /// Past this moment the job is pointless and ends `expired` without having run.
    #[serde(default)]
    pub expires_at: Option<Time>,
    #[serde(default)]
    pub supersede: Option<Supersede>,
}

/// How the jobs of one key get on with each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Supersede {
    pub key: String,
    pub policy: Policy,
    /// So long it waits whether a newer one comes. A job log does not tell: what is in it has been quiet for long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet: Option<Span>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    None,
    /// The newest ends those before it that have not begun.
    KeepLatestQueued,
    /// The newest ends those before it, also those that run.
    CancelPrevious,
    /// One after the other, each in its turn.
    Serial,
}

/// At most so many jobs of its task have this key at once; an empty key is the task as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub key: String,
    /// At least 1.
    pub most: u32,
}

impl Policy {
    pub const ALL: [Policy; 4] = [Policy::None, Policy::KeepLatestQueued, Policy::CancelPrevious, Policy::Serial];

    pub fn name(self) -> &'static str {
        match self {
            Policy::None => "none",
            Policy::KeepLatestQueued => "keep-latest-queued",
            Policy::CancelPrevious => "cancel-previous",
            Policy::Serial => "serial",
        }
    }
}

/// Where a job stands. The last four are ends: a job reaches exactly one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// For a time or for a key; it says which.
    Waiting,
    Queued,
    Running,
    Finished,
    Cancelled,
    Superseded,
    Expired,
}

impl JobState {
    pub const ALL: [JobState; 7] = [
        JobState::Waiting,
        JobState::Queued,
        JobState::Running,
        JobState::Finished,
        JobState::Cancelled,
        JobState::Superseded,
        JobState::Expired,
    ];

    pub fn name(self) -> &'static str {
        match self {
            JobState::Waiting => "waiting",
            JobState::Queued => "queued",
            JobState::Running => "running",
            JobState::Finished => "finished",
            JobState::Cancelled => "cancelled",
            JobState::Superseded => "superseded",
            JobState::Expired => "expired",
        }
    }

    pub fn is_end(self) -> bool {
        match self {
            JobState::Waiting | JobState::Queued | JobState::Running => false,
            JobState::Finished | JobState::Cancelled | JobState::Superseded | JobState::Expired => true,
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("unknown state '{0}': it is waiting, queued, running, finished, cancelled, superseded or expired")]
pub struct UnknownState(String);

impl FromStr for JobState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<JobState, UnknownState> {
        JobState::ALL.into_iter().find(|s| s.name() == text).ok_or_else(|| UnknownState(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_a_function_of_the_cause_and_what_is_asked() {
        let key = JobId::of("2017-1", "rpmlint", "koji_build", "foo-1-1", "x86_64");
        assert_eq!(key, JobId::of("2017-1", "rpmlint", "koji_build", "foo-1-1", "x86_64"));
        assert_ne!(key, JobId::of("2017-1", "rpmlint", "koji_build", "foo-1-1", "noarch"));
        let text = r#"["2017-1","rpmlint","koji_build","foo-1-1","x86_64"]"#;
        assert_eq!(key.0, Uuid::new_v5(&JOB_KEYS, text.as_bytes()));
    }
}
