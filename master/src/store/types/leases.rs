//! Work on its way out and back: claims, leases, reports, and how an attempt's end moves its job.

use std::collections::BTreeMap;

use model::lease::Worker;
use model::source::Pin;
use model::{Arch, End, Event, Finding, JobId, JobState, Outcome, Time};
use serde_json::{Map, Value};
use uuid::Uuid;

/// One worker's request for work.
#[derive(Clone, Debug)]
pub struct ClaimRequest {
    pub worker: Worker,
    pub claim: Uuid,
    pub slots: u32,
}

/// Who has the name that a worker came with: another one, which lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameTaken {
    pub host: String,
    pub incarnation: Uuid,
    pub last_seen: Time,
}

/// What one request for work was given.
pub type Served = std::result::Result<Vec<Granted>, NameTaken>;

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
    /// The commit of its task's repository.
    pub pin: Option<Pin>,
    pub event: Option<Event>,
}

/// One report on an attempt, judged by everything but the store.
#[derive(Clone, Debug)]
pub struct ReportIn {
    pub token: String,
    pub end: End,
    pub ran: model::Span,
    /// When it ended, as the worker claims.
    pub ended_at: Option<Time>,
    pub findings: Vec<Finding>,
    pub note: Option<String>,
    /// What the process was kept within, and by what.
    pub enforced: BTreeMap<String, String>,
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
    pub params: Map<String, Value>,
    /// The ends of all attempts so far, this one last.
    ///
    /// An attempt that was stopped so that the job can be queued again (a drain's deadline) is `HandedBack` here, not
    /// `Cancelled`.
    pub ends: Vec<End>,
    pub findings: Vec<Finding>,
    pub note: Option<String>,
    /// Whether a person asked for the job to be cancelled.
    pub cancelled: bool,
    /// The database's clock, to count a retry's delay from.
    pub now: Time,
}

/// How an ended attempt moves its job: decided by a pure function that the store calls inside its transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Tried again, after this moment where there is one.
    Again { at: Option<Time>, reason: String },
    /// Waits until a person says what becomes of it.
    Unsettled { reason: String },
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

/// Decides what is published of a job beside what it found. Asked from inside transactions: it never waits.
pub trait Announce: Send + Sync {
    /// Whether any job of this version of a task is announced. `None` where the version was not learnt yet.
    fn announces(&self, version: i64) -> Option<bool>;

    /// Takes in a version as it is stored; no definition where what is stored is no JSON.
    fn learn(&self, version: i64, name: &str, definition: Option<&Value>);

    /// What to publish of this move, if anything.
    fn publication(&self, moved: &Moved<'_>) -> Option<Publication>;
}

/// A job that moves.
#[derive(Clone, Copy, Debug)]
pub struct Moved<'a> {
    pub job: JobId,
    pub task_version: i64,
    pub item: &'a str,
    pub item_type: &'a str,
    pub arch: &'a str,
    pub params: &'a Map<String, Value>,
    pub step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// It is accepted, and waits for its turn.
    Queued,
    /// A worker has it, for the first time.
    Running,
    /// It ended, and found nothing: cancelled, expired, superseded.
    Unjudged { reason: &'a str, attempts: u32 },
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

/// The pure function that decides how an ended attempt moves its job; it may be called again when a transaction lost
/// a race.
pub type Decide<'a> = &'a (dyn Fn(&Ending) -> Next + Send + Sync);
