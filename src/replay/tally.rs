//! What became of the rows, counted. The counts add up to the rows by construction: `left` is what no answer is known of.

use std::collections::BTreeMap;
use std::fmt;

use model::intake::JobAnswer;
use model::{JobId, JobState};
use serde::Serialize;

use crate::exit::Exit;

/// What became of one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "answer", rename_all = "lowercase")]
pub enum Answer {
    Submitted {
        job: JobId,
    },
    Exists {
        job: JobId,
        state: JobState,
    },
    Expired,
    Refused {
        reason: String,
    },
    Invalid {
        reason: String,
    },
    /// It was not asked for.
    Left {
        reason: String,
    },
}

impl From<JobAnswer> for Answer {
    fn from(answer: JobAnswer) -> Answer {
        match answer {
            JobAnswer::Submitted { job } => Answer::Submitted { job },
            JobAnswer::Exists { job, state } => Answer::Exists { job, state },
            JobAnswer::Expired => Answer::Expired,
            JobAnswer::Refused { reason } => Answer::Refused { reason },
        }
    }
}

impl Answer {
    /// Whether a person should look at the row.
    pub fn is_error(&self) -> bool {
        match self {
            Answer::Refused { .. } | Answer::Invalid { .. } => true,
            Answer::Submitted { .. } | Answer::Exists { .. } | Answer::Expired | Answer::Left { .. } => false,
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Submitted { job } => write!(f, "submitted {job}"),
            Answer::Exists { job, state } => write!(f, "exists {job} ({state})"),
            Answer::Expired => f.write_str("expired: recorded too long ago to know whether it ran"),
            Answer::Refused { reason } => write!(f, "refused: {reason}"),
            Answer::Invalid { reason } => write!(f, "invalid: {reason}"),
            Answer::Left { reason } => write!(f, "left: {reason}"),
        }
    }
}

/// The counts of one file, or of several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub rows: u64,
    pub submitted: u64,
    pub exists: BTreeMap<JobState, u64>,
    pub expired: u64,
    pub refused: u64,
    pub invalid: u64,
}

/// The counts under the names that scripts rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub rows: u64,
    pub submitted: u64,
    pub exists: u64,
    pub expired: u64,
    pub refused: u64,
    pub invalid: u64,
    pub left: u64,
}

impl Tally {
    pub fn of_rows(rows: u64) -> Tally {
        Tally { rows, ..Tally::default() }
    }

    pub fn count(&mut self, answer: &Answer) {
        match answer {
            Answer::Submitted { .. } => self.submitted += 1,
            Answer::Exists { state, .. } => *self.exists.entry(*state).or_default() += 1,
            Answer::Expired => self.expired += 1,
            Answer::Refused { .. } => self.refused += 1,
            Answer::Invalid { .. } => self.invalid += 1,
            Answer::Left { .. } => {}
        }
    }

    pub fn add(&mut self, other: &Tally) {
        self.rows += other.rows;
        self.submitted += other.submitted;
        for (state, n) in &other.exists {
            *self.exists.entry(*state).or_default() += n;
        }
        self.expired += other.expired;
        self.refused += other.refused;
        self.invalid += other.invalid;
    }

    pub fn counts(&self) -> Counts {
        let exists = self.exists.values().sum();
        let answered = self.submitted + exists + self.expired + self.refused + self.invalid;
        Counts {
            rows: self.rows,
            submitted: self.submitted,
            exists,
            expired: self.expired,
            refused: self.refused,
            invalid: self.invalid,
            left: self.rows.saturating_sub(answered),
        }
    }

    /// What the counts amount to, where nothing stopped the run.
    pub fn exit(&self) -> Exit {
        if self.refused + self.invalid > 0 { Exit::NotReached } else { Exit::Reached }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = self.counts();
        write!(f, "{} rows: submitted {}; exists {}", c.rows, c.submitted, c.exists)?;
        let states: Vec<_> = self.exists.iter().map(|(state, n)| format!("{n} {state}")).collect();
        if !states.is_empty() {
            write!(f, " ({})", states.join(", "))?;
        }
        write!(f, "; expired {}; refused {}; invalid {}; left {}", c.expired, c.refused, c.invalid, c.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_add_up_to_the_rows() {
        let job = JobId::of("e", "t", "k", "i", "noarch");
        let mut tally = Tally::of_rows(7);
        for answer in [
            Answer::Submitted { job },
            Answer::Exists { job, state: JobState::Finished },
            Answer::Exists { job, state: JobState::Running },
            Answer::Expired,
            Answer::Invalid { reason: "x".into() },
            Answer::Left { reason: "not selected".into() },
        ] {
            tally.count(&answer);
        }
        assert_eq!(
            tally.to_string(),
            "7 rows: submitted 1; exists 2 (1 running, 1 finished); expired 1; refused 0; invalid 1; left 2"
        );
        assert_eq!(
            serde_json::to_string(&tally.counts()).unwrap(),
            r#"{"rows":7,"submitted":1,"exists":2,"expired":1,"refused":0,"invalid":1,"left":2}"#
        );
        assert_eq!(tally.exit(), Exit::NotReached);
    }
}
