//! What people do to jobs, one or many at a time, and what became of it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Arch, JobId, JobState, Outcome};

/// What a person does to jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Cancel,
    Rerun,
    Priority,
    Retry,
    Settle,
}

impl Verb {
    pub const ALL: [Verb; 5] = [Verb::Cancel, Verb::Rerun, Verb::Priority, Verb::Retry, Verb::Settle];

    pub fn name(self) -> &'static str {
        match self {
            Verb::Cancel => "cancel",
            Verb::Rerun => "rerun",
            Verb::Priority => "priority",
            Verb::Retry => "retry",
            Verb::Settle => "settle",
        }
    }

    /// The states in which there is anything to do: a filter looks for jobs in no other.
    pub fn states(self) -> &'static [JobState] {
        match self {
            Verb::Cancel => &[JobState::Waiting, JobState::Queued, JobState::Running],
            Verb::Priority => &[JobState::Waiting, JobState::Queued],
            Verb::Retry | Verb::Settle => &[JobState::Waiting],
            Verb::Rerun => &[JobState::Finished, JobState::Cancelled, JobState::Superseded, JobState::Expired],
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a person makes of a job that waits for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Settlement {
    /// `requeue`: another attempt.
    Requeue,
    /// `passed`, `failed`, `error` …: it has ended, with one result that says so.
    Ended(Outcome),
}

impl fmt::Display for Settlement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Settlement::Requeue => f.write_str("requeue"),
            Settlement::Ended(outcome) => f.write_str(&outcome.name().to_ascii_lowercase()),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("'{0}' settles nothing: it is requeue, passed, info, needs_inspection, failed or error")]
pub struct NoSettlement(String);

impl FromStr for Settlement {
    type Err = NoSettlement;

    fn from_str(text: &str) -> Result<Settlement, NoSettlement> {
        match text {
            "requeue" => Ok(Settlement::Requeue),
            _ => Outcome::parse(&text.to_ascii_uppercase())
                .map(Settlement::Ended)
                .ok_or_else(|| NoSettlement(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Settlement {
    type Error = NoSettlement;

    fn try_from(text: String) -> Result<Settlement, NoSettlement> {
        text.parse()
    }
}

impl From<Settlement> for String {
    fn from(settlement: Settlement) -> String {
        settlement.to_string()
    }
}

/// `POST /api/v1/jobs/VERB`: to these jobs, or to the next of those that a filter finds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JobsAct {
    /// Why; only a dry run needs none.
    pub reason: String,
    /// Whole ids, at most 1000.
    pub jobs: Vec<JobId>,
    /// The parameters of `GET /api/v1/jobs`, by name, with the `cursor` at which to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<BTreeMap<String, String>>,
    /// With `priority`: what it is from now on; greater runs earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// With `settle`: what is made of it.
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub settlement: Option<Settlement>,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Also where a filter finds more jobs than the master's `max_unasked`.
    pub yes: bool,
}

/// What became of it: planned = done + skipped + failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Acted {
    /// How many jobs this answer is about.
    pub planned: u64,
    pub done: u64,
    pub skipped: u64,
    pub failed: u64,
    pub jobs: Vec<ActedJob>,
    /// The filter finds more: the same again with this as its `cursor`.
    #[serde(default)]
    pub next: Option<String>,
}

impl Acted {
    /// An answer about these jobs.
    pub fn new(jobs: Vec<ActedJob>, next: Option<String>) -> Acted {
        let mut acted = Acted { planned: jobs.len() as u64, next, ..Acted::default() };
        for job in &jobs {
            match job.did {
                Did::Done => acted.done += 1,
                Did::Skipped => acted.skipped += 1,
                Did::Failed => acted.failed += 1,
            }
        }
        Acted { jobs, ..acted }
    }
}

/// What became of one job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ActedJob {
    pub id: JobId,
    pub task: String,
    pub item: String,
    pub arch: Arch,
    /// The state that it was in before.
    pub state: JobState,
    pub did: Did,
    /// What was done, or why not.
    pub note: String,
    /// The job that was ordered anew.
    #[serde(default)]
    pub new_job: Option<JobId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Did {
    Done,
    /// There was nothing to do.
    Skipped,
    /// It could not be done.
    Failed,
}

impl Did {
    pub fn name(self) -> &'static str {
        match self {
            Did::Done => "done",
            Did::Skipped => "skipped",
            Did::Failed => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settlement_is_one_word_on_the_wire() {
        for word in ["requeue", "passed", "needs_inspection", "error"] {
            assert_eq!(word.parse::<Settlement>().unwrap().to_string(), word);
        }
        let act: JobsAct = serde_json::from_str(r#"{"reason": "x", "as": "failed"}"#).unwrap();
        assert_eq!(act.settlement, Some(Settlement::Ended(Outcome::Failed)));
        let wrong = serde_json::from_str::<JobsAct>(r#"{"as": "done"}"#).unwrap_err().to_string();
        assert!(wrong.contains("it is requeue, passed"), "{wrong}");
    }
}
