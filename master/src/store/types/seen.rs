//! What listings, pages and operators see and do.

use std::collections::BTreeMap;

use model::deed::{Acted, Settlement};
use model::intake::{Pair, TriggerCounts, Trouble};
use model::operator::{JobSummary, Mode, OnDeadline};
use model::{End, Event, JobId, JobState, Limit, Outcome, Supersede, Time};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Ending, Next};
use super::{Fresh, JobPin};

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
    /// Made at or after this moment.
    pub since: Option<Time>,
    /// Made before this moment.
    pub until: Option<Time>,
    /// Only those that wait for a person.
    pub unsettled: bool,
}

/// Which events a listing shows.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// An exact topic, or one that ends in `*`: any that begin so.
    pub topic: Option<String>,
    pub recorder: Option<String>,
    pub with_jobs: Option<bool>,
}

/// What is known of one job, for a page about it.
#[derive(Clone, Debug)]
pub struct JobParts {
    pub summary: JobSummary,
    pub place: Place,
    pub seq: i64,
    pub priority: i32,
    pub params: Map<String, Value>,
    pub generation: u64,
    pub recorder: String,
    pub recorded_at: Time,
    pub expires_at: Option<Time>,
    pub task_version: i64,
    /// The labels that a worker must offer.
    pub needs: Vec<String>,
    pub source: Option<JobPin>,
    pub supersede: Option<Supersede>,
    pub limit: Option<Limit>,
    pub rerun_of: Option<JobId>,
}

impl JobParts {
    /// The job as its task's templates see it.
    pub fn subject(&self) -> rules::Subject<'_> {
        let JobSummary { id, item, item_type, arch, .. } = &self.summary;
        rules::Subject { job: *id, item, item_type, arch, params: &self.params }
    }
}

/// Who keeps a job waiting that stands in line for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    /// The first of those that hold it; none while keys are given to nobody.
    pub first: Option<JobId>,
    /// How many more hold it, or are before this job in the line.
    pub others: u64,
}

/// Where a job is, with what is known there.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    Waiting {
        until: Option<Time>,
        key: Option<String>,
        reason: String,
    },
    /// Waits for a person, who settles it.
    Unsettled {
        reason: String,
    },
    /// For the bus to be quiet: whether another job comes for its key.
    Quiet {
        until: Time,
        reason: String,
    },
    Queued,
    Running {
        worker: String,
        started_at: Time,
        expires_at: Time,
        cancel: Option<String>,
    },
    Ended {
        state: JobState,
        reason: String,
        ended_at: Time,
        successor: Option<JobId>,
    },
}

/// What a text that should name a job names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    One(JobId),
    None,
    /// A prefix of several ids.
    Several,
}

/// An event as it is stored.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    pub event: Event,
    pub recorded_at: Time,
    pub recorder: String,
    pub generation: u64,
    pub matched: Vec<String>,
}

/// What a person does to jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// At once where it has not begun, else as soon as its worker has stopped it.
    Cancel,
    /// A new job that asks for the same.
    Rerun,
    Priority(i32),
    /// What waits for a moment does not wait for it any longer.
    Retry,
    Settle(Settlement),
}

/// A deed to be done to jobs, in one transaction.
#[derive(Clone, Copy)]
pub struct Order<'a> {
    pub deed: Deed,
    pub jobs: &'a [JobId],
    pub actor: &'a str,
    pub reason: &'a str,
    /// Everything is done, and nothing is kept.
    pub dry_run: bool,
    /// Names the request: the same again is answered with what was answered before.
    pub request: &'a Request,
    /// Where a filter goes on after these jobs; it stands in the answer.
    pub next: Option<&'a str>,
    /// For a re-run: the tasks as they are configured now, where they still fit the job.
    pub fresh: &'a BTreeMap<JobId, Fresh>,
    /// How a job ends of which a person says its outcome: (what is known of it, the outcome, who said it and why).
    pub settled: &'a (dyn Fn(&Ending, Outcome, &str) -> Next + Send + Sync),
}

/// A request that may come twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What its sender calls it.
    pub key: String,
    /// Of what it asks for: another wish under the same name is a mistake.
    pub content: [u8; 32],
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq)]
pub enum Obeyed {
    Acted(Acted),
    /// There is no such job, and nothing was changed.
    Unknown(JobId),
    /// A request of this name asked for something else.
    OtherRequest,
}

/// What an observation found: the mode after it, and what idle still waits for, one sentence each.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    pub mode: ModeRow,
    pub waiting_for: Vec<String>,
}

/// One time of being idle, with the number of the next event of every recorder at both edges.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    pub seq: i64,
    pub by: String,
    pub reason: String,
    pub idle_at: Time,
    pub resumed_at: Option<Time>,
    pub positions_at_idle: BTreeMap<String, Position>,
    pub positions_at_resume: Option<BTreeMap<String, Position>>,
    /// The number of the last event that was stored; none in a window of a version that did not count.
    pub events_at_idle: Option<i64>,
    pub events_at_resume: Option<i64>,
}

/// Where a recorder stands, and what it and the master have counted since its log began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Position {
    /// The number of the next event.
    pub next: u64,
    pub repeated: u64,
    pub duplicates: u64,
    pub quarantined: u64,
    /// Whatever the bus had by then was in its log.
    pub caught_up: Option<Time>,
}

/// What came in during a window: `seen` is told by the sources' positions, the rest by what is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub seen: u64,
    pub made: u64,
    pub nothing: u64,
    pub refused: u64,
    pub duplicates: u64,
    pub quarantined: u64,
}

/// What a resume holds back, and when the last of it is let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    pub held: u64,
    pub until: Time,
}

/// The one row that says which site is active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    pub active: String,
    pub epoch: i64,
}

/// A trigger as it was last heard.
#[derive(Clone, Debug, PartialEq)]
pub struct TriggerView {
    pub recorder: String,
    /// The number of the event that is wanted next.
    pub next: u64,
    pub last_heard: Time,
    pub generation: u64,
    pub counts: TriggerCounts,
    /// Events that it sent and that were stored before.
    pub repeated: u64,
    pub pair: Option<Pair>,
    /// When it last sent an event.
    pub last_event: Option<Time>,
    /// What kept it from its work when it was last heard from.
    pub troubles: Vec<Trouble>,
}

/// How many jobs of one set of needs are to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    pub needs: Vec<String>,
    pub queued: u64,
    pub running: u64,
}

/// What waits longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oldest {
    /// When the first job of the queue was asked for.
    pub queued: Option<Time>,
    /// When the job ended whose results are the first to be delivered.
    pub result: Option<Time>,
}

/// What the triggers of a pair differ about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairTrouble {
    pub pair: String,
    /// The trigger that sent these events first.
    pub first: String,
    pub second: String,
    /// Whether the second did not see them; else it decided them differently.
    pub unseen: bool,
    pub events: u64,
    /// Of the oldest of them.
    pub since: Time,
}

/// One entry of the audit table.
#[derive(Clone, Debug, PartialEq)]
pub struct Audited {
    pub seq: i64,
    pub at: Time,
    pub actor: String,
    pub action: String,
    pub object: String,
    pub reason: String,
    pub before: Value,
    pub after: Value,
}

/// A report that came after its lease was lost.
#[derive(Clone, Debug, PartialEq)]
pub struct StaleReport {
    pub attempt: u32,
    pub worker: String,
    pub received_at: Time,
    pub end: End,
    pub note: Option<String>,
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
