//! What the store's operations take and give, beside the words of `model`.

use model::intake::{JobAnswer, TriggerCounts};
use model::lease::Worker;
use model::operator::{Mode, OnDeadline};
use model::{Arch, End, Event, Finding, JobId, JobState, NewJob, Outcome, Time};
use serde_json::{Map, Value};
use uuid::Uuid;

/// A job that was found fit to be made: its task is known and every template renders.
#[derive(Clone, Debug)]
pub struct Admitted {
    pub job: NewJob,
    /// The stored version of its task, as [`super::Store::task_version`] numbered it.
    pub task_version: i64,
    /// The labels that a worker must offer, sorted.
    pub needs: Vec<String>,
    /// Where and when it was recorded; a row made by hand has a recorder of its own.
    pub recorder: String,
    pub recorded_at: Time,
    pub generation: u64,
    /// The event that caused it, by id, where one did.
    pub event: Option<String>,
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
}

/// A batch of a recorder; its events are in order of `seq`, without a gap.
#[derive(Clone, Debug)]
pub struct Batch {
    pub recorder: String,
    pub counts: TriggerCounts,
    pub generation: u64,
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

/// One worker's request for work.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    pub worker: Worker,
    pub claim: Uuid,
    pub slots: u32,
}

/// A lease as the store granted it.
#[derive(Clone, Debug)]
pub struct Granted {
    pub job: JobId,
    pub attempt: u32,
    pub token: String,
    pub task_version: i64,
    pub item: String,
    pub item_type: String,
    pub arch: Arch,
    pub params: Map<String, Value>,
    pub event: Option<Event>,
}

/// One report on an attempt, judged by everything but the store.
#[derive(Clone, Debug)]
pub struct ReportIn {
    pub token: String,
    pub end: End,
    pub ran: model::Span,
    pub findings: Vec<Finding>,
    pub note: Option<String>,
    pub log_size: u64,
}

/// What the store knows of a job when it must decide how its attempt's end moves it.
#[derive(Clone, Debug)]
pub struct Ending {
    pub job: JobId,
    pub attempt: u32,
    pub task_version: i64,
    pub task: String,
    pub item: String,
    pub item_type: String,
    pub arch: Arch,
    /// The ends of all attempts so far, this one last.
    pub ends: Vec<End>,
    pub findings: Vec<Finding>,
    pub note: Option<String>,
    /// Whether a person asked for the job to be cancelled.
    pub cancelled: bool,
}

/// How an ended attempt moves its job: decided by a pure function that the store calls inside its transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Tried again, after this moment where there is one.
    Again { at: Option<Time>, reason: String },
    /// Ended, with these results to publish.
    Ended { state: JobState, reason: String, outcome: Option<Outcome>, results: Vec<Publication> },
}

/// One thing that the outbox holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Publication {
    /// Makes delivering it twice harmless.
    pub key: Uuid,
    /// What is sent, as the receiver wants it.
    pub body: Value,
}

/// A publication that is due.
#[derive(Clone, Debug)]
pub struct Due {
    pub seq: i64,
    pub publication: Publication,
    pub tries: u32,
}

/// What ended a lease that no one reported on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    pub lost: Vec<(JobId, u32)>,
    /// Jobs that ended because they were pointless by now.
    pub expired: u64,
}

/// The mode, as a person or an observation left it.
#[derive(Clone, Debug, PartialEq)]
pub struct ModeRow {
    pub mode: Mode,
    pub by: String,
    pub reason: String,
    pub since: Time,
    pub deadline: Option<Time>,
    pub on_deadline: OnDeadline,
    /// With `finish_queue`: jobs queued up to this number still run while draining.
    pub finish_through: Option<i64>,
}

/// Which jobs a listing shows.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    pub states: Vec<JobState>,
    pub task: Option<String>,
    pub item: Option<String>,
    pub rule: Option<String>,
    pub event: Option<String>,
    pub arch: Option<String>,
    pub worker: Option<String>,
    pub outcome: Option<Outcome>,
}

/// Which events a listing shows.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// An exact topic, or one that ends in `*`: any that begin so.
    pub topic: Option<String>,
    pub recorder: Option<String>,
    pub with_jobs: Option<bool>,
}

/// A place in a listing, newest first: the number of the last row that was shown.
pub type Cursor = Option<i64>;

/// Who did what to what, for the audit table.
#[derive(Clone, Debug)]
pub struct Act {
    pub actor: String,
    pub action: &'static str,
    pub object: String,
    pub reason: String,
    pub before: Value,
    pub after: Value,
}
