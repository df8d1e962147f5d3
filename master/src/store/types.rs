//! What the store's operations take and give, beside the words of `model`.

use std::collections::BTreeMap;

use model::deed::{Acted, Settlement};
use model::intake::{JobAnswer, Pair, TriggerCounts, Trouble};
use model::lease::Worker;
use model::operator::{JobSummary, Mode, OnDeadline};
use model::source::Pin;
use model::{Arch, End, Event, Finding, JobId, JobState, Limit, NewJob, Outcome, Supersede, Time};
use serde::{Deserialize, Serialize};
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

impl JobPin {
    /// From the columns `source_ref` and `source_commit`; a commit that is none counts as not known.
    pub(super) fn read(reference: Option<String>, commit: Option<String>) -> Option<JobPin> {
        let reference = reference?;
        Some(match commit.and_then(|commit| commit.parse().ok()) {
            Some(commit) => JobPin::At(Pin { reference, commit }),
            None => JobPin::Open(reference),
        })
    }

    pub(super) fn reference(&self) -> &str {
        match self {
            JobPin::At(pin) => &pin.reference,
            JobPin::Open(wanted) => wanted,
        }
    }

    pub(super) fn commit(&self) -> Option<&str> {
        match self {
            JobPin::At(pin) => Some(pin.commit.as_str()),
            JobPin::Open(_) => None,
        }
    }
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

/// The pure function that decides how an ended attempt moves its job; it may be called again when a transaction lost
/// a race.
pub type Decide<'a> = &'a (dyn Fn(&Ending) -> Next + Send + Sync);
