//! Jobs on their way in: as events and people ask for them.

use model::intake::{JobAnswer, Pair, TriggerCounts, Trouble};
use model::source::Pin;
use model::{Event, JobId, Limit, NewJob, Time};

/// A job that was found fit to be made: its task is known and every template renders.
#[derive(Clone, Debug)]
pub struct Admitted {
    pub job: NewJob,
    /// The stored version of its task, as [`super::Store::task_version`] numbered it.
    pub task_version: i64,
    /// The labels that a worker must offer, sorted.
    pub needs: Vec<String>,
    /// Which commit of its task's repository it runs, where it comes from one.
    pub source: Option<JobPin>,
    /// How many like it its task lets run at once.
    pub limit: Option<Limit>,
    /// Where and when it was recorded; a row made by hand has a recorder of its own.
    pub recorder: String,
    pub recorded_at: Time,
    /// What makes it newer than others: when its event was sent, or recorded where that was earlier or nobody knows.
    pub ordered_at: Time,
    pub generation: u64,
    /// The event that caused it, by id, where one did. In a [`Batch`] it is the event that the job came with.
    pub event: Option<String>,
    /// The job that a person asked to run again; the key of this one was made from that request.
    pub rerun_of: Option<JobId>,
    /// The search that found it; its own key where it is that search.
    pub search: Option<JobId>,
}

impl Admitted {
    /// Whether it runs nothing, but looks for what is to run.
    pub fn is_search(&self) -> bool {
        self.search == Some(self.job.key)
    }
}

/// A job's task as it is configured now.
#[derive(Clone, Debug)]
pub struct Fresh {
    pub task_version: i64,
    /// The labels that a worker must offer, sorted.
    pub needs: Vec<String>,
    pub source: Option<JobPin>,
    pub limit: Option<Limit>,
    /// Whether it only looks for what is to run.
    pub searches: bool,
}

/// Which commit a job runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobPin {
    At(Pin),
    /// None is known that would do: the job waits. What would do, in words.
    Open(String),
}

impl JobPin {
    /// From the columns `source_ref` and `source_commit`; a commit that is none counts as not known.
    pub(in crate::store) fn read(reference: Option<String>, commit: Option<String>) -> Option<JobPin> {
        let reference = reference?;
        Some(match commit.and_then(|commit| commit.parse().ok()) {
            Some(commit) => JobPin::At(Pin { reference, commit }),
            None => JobPin::Open(reference),
        })
    }

    pub(in crate::store) fn reference(&self) -> &str {
        match self {
            JobPin::At(pin) => &pin.reference,
            JobPin::Open(wanted) => wanted,
        }
    }

    pub(in crate::store) fn commit(&self) -> Option<&str> {
        match self {
            JobPin::At(pin) => Some(pin.commit.as_str()),
            JobPin::Open(_) => None,
        }
    }
}

/// A job as it is asked for, judged by everything but the store.
#[derive(Clone, Debug)]
pub enum Candidate {
    Admitted(Box<Admitted>),
    /// Refused or expired: passed through to the answer.
    Answered(JobAnswer),
}

/// One event of a recorder, with its jobs.
#[derive(Clone, Debug)]
pub struct NewEvent {
    pub seq: u64,
    pub recorded_at: Time,
    pub generation: u64,
    pub event: Event,
    pub matched: Vec<String>,
    pub jobs: Vec<Candidate>,
    /// The keys of all jobs that its trigger decided, also of those that cannot be run.
    pub decided: Vec<JobId>,
}

/// A batch of a recorder; its events are in order of `seq`, without a gap.
#[derive(Clone, Debug)]
pub struct Batch {
    pub recorder: String,
    pub counts: TriggerCounts,
    pub generation: u64,
    pub pair: Option<Pair>,
    pub troubles: Vec<Trouble>,
    pub events: Vec<NewEvent>,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Intake {
    /// Stored, and the cursor with it. One answer for each job, in order.
    Stored { next: u64, jobs: Vec<JobAnswer> },
    /// The batch does not begin where the cursor stands: nothing was changed.
    Elsewhere { next: u64 },
}
