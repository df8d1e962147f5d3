//! How an attempt ended, and what it found. An end belongs to an attempt, an outcome to a result.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Bound;

/// How one attempt at a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum End {
    /// The process ended by itself.
    Exited { code: i32 },
    /// The process was ended by a signal that we did not send.
    Signalled { signal: i32 },
    /// We stopped it for running too long, or for saying nothing for too long.
    TimedOut { quota: Quota },
    /// It used more than a limit allows, and was stopped, or was refused what it needed to go on as it was meant to.
    OverLimit { limit: Bound },
    /// A person, or a rule that a person wrote, stopped it.
    Cancelled,
    /// Its worker stopped it unfinished because the worker itself was told to stop.
    HandedBack,
    /// Its worker was not heard from until the lease had run out.
    Lost,
    /// There was never a process, or its worker could not see it through and gave it up.
    NotStarted { reason: String },
}

/// Which of a task's two clocks ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Quota {
    /// `timeout`
    Total,
    /// `no_output_timeout`
    NoOutput,
}

impl End {
    /// The word that `retry: { on: [...] }` uses for it: `exit:75`, `lost`, `not_started` …
    pub fn word(&self) -> String {
        match self {
            End::Exited { code } => format!("exit:{code}"),
            End::Signalled { signal } => format!("signal:{signal}"),
            End::TimedOut { .. } => "timed_out".into(),
            End::OverLimit { limit } => limit.label(),
            End::Cancelled => "cancelled".into(),
            End::HandedBack => "handed_back".into(),
            End::Lost => "lost".into(),
            End::NotStarted { .. } => "not_started".into(),
        }
    }

    /// Whether the system, not the task, is to blame: such an end is retried from a budget of its own.
    pub fn is_infrastructure(&self) -> bool {
        match self {
            End::Lost | End::NotStarted { .. } | End::HandedBack => true,
            End::Exited { .. }
            | End::Signalled { .. }
            | End::TimedOut { .. }
            | End::OverLimit { .. }
            | End::Cancelled => false,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Exited { code } => write!(f, "exited with {code}"),
            End::Signalled { signal } => write!(f, "ended by signal {signal}"),
            End::TimedOut { quota: Quota::Total } => f.write_str("ran longer than its timeout"),
            End::TimedOut { quota: Quota::NoOutput } => {
                f.write_str("printed nothing for longer than its no-output timeout")
            }
            End::OverLimit { limit } => write!(f, "went over its limit of {limit}"),
            End::Cancelled => f.write_str("cancelled"),
            End::HandedBack => f.write_str("handed back by a worker that was told to stop"),
            End::Lost => f.write_str("its worker was lost"),
            End::NotStarted { reason } => write!(f, "could not be run: {reason}"),
        }
    }
}

/// What a result says of an item; the vocabulary of the results store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Outcome {
    // In order of how much they ask of a person: a job's outcome is the greatest of its results'.
    Passed,
    Info,
    NeedsInspection,
    Failed,
    Error,
}

impl Outcome {
    pub const ALL: [Outcome; 5] =
        [Outcome::Passed, Outcome::Info, Outcome::NeedsInspection, Outcome::Failed, Outcome::Error];

    pub fn name(self) -> &'static str {
        match self {
            Outcome::Passed => "PASSED",
            Outcome::Info => "INFO",
            Outcome::NeedsInspection => "NEEDS_INSPECTION",
            Outcome::Failed => "FAILED",
            Outcome::Error => "ERROR",
        }
    }

    /// Reads an outcome as result files write it, in any case.
    pub fn parse(text: &str) -> Option<Outcome> {
        Outcome::ALL.into_iter().find(|o| o.name().eq_ignore_ascii_case(text.trim()))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One result that a job found; what is absent is the job's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    pub outcome: Outcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub testcase: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Further data of the result: a list of texts for each key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, Vec<String>>,
}

impl Finding {
    pub fn of(outcome: Outcome) -> Finding {
        Finding { outcome, testcase: None, item: None, item_type: None, note: None, data: BTreeMap::new() }
    }
}
