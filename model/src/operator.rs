//! What people and their programs ask of a master, and what they are told.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::lease::Figures;
use crate::source::JobSource;
use crate::{Arch, End, Event, JobId, JobState, Outcome, Span, Time};

/// Whether the system gives out work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Active,
    /// Nothing new is given out; what runs is waited for.
    Draining,
    /// Seen to be empty: safe to stop.
    Idle,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Mode::Active => "active",
            Mode::Draining => "draining",
            Mode::Idle => "idle",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `GET /api/v1/status`. The names are relied on by scripts.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Status {
    pub mode: Mode,
    pub site: String,
    /// 0 before the first.
    pub generation: u64,
    pub jobs: JobCounts,
    pub workers: WorkerCounts,
    /// What is decided and not yet delivered: results, and messages for the bus.
    pub outbox: u64,
    /// How many of those are messages.
    #[serde(default)]
    pub messages: u64,
    pub intake: IntakeCounts,
    /// Whatever stops work, most important first.
    pub stopped_by: Vec<Stop>,
    /// What somebody should look at although work goes on.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// How the pairs of triggers differed in the last day.
    #[serde(default)]
    pub divergences: DivergenceCounts,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobCounts {
    pub waiting: u64,
    pub queued: u64,
    pub running: u64,
    pub finished: u64,
    pub cancelled: u64,
    pub superseded: u64,
    pub expired: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkerCounts {
    pub ready: u64,
    pub busy: u64,
    pub draining: u64,
    pub drained: u64,
    pub masked: u64,
    pub quarantined: u64,
    pub lost: u64,
}

/// The sum of what the triggers last reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IntakeCounts {
    pub recorded: u64,
    pub forwarded: u64,
    pub quarantined: u64,
}

/// Events of the last day about which the triggers of a pair differ. No count goes far beyond a thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DivergenceCounts {
    /// The two asked for other jobs.
    pub decided: u64,
    /// Only one of the two has sent it.
    pub unseen: u64,
}

/// One thing that stops nothing, and should be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Warning {
    pub what: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// The command that shows more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look: Option<String>,
}

/// One thing that stops work, who did it, and how to undo it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stop {
    /// One sentence: `the system is idle`, `no worker is connected` …
    pub what: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The command that undoes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<String>,
}

/// `POST /api/v1/idle`: stop giving out work, and be idle once everything that runs has ended.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IdleRequest {
    pub reason: String,
    /// How long to wait for running jobs before `on_deadline`.
    #[serde(default)]
    pub deadline: Option<Span>,
    #[serde(default)]
    pub on_deadline: OnDeadline,
    /// What is queued by now still runs first; what comes later waits.
    #[serde(default)]
    pub finish_queue: bool,
}

/// What becomes of jobs that still run at the deadline of an idle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnDeadline {
    /// They go on; only the watcher is told.
    #[default]
    Wait,
    /// They are stopped and queued again.
    Requeue,
    /// They are stopped and end as cancelled.
    Kill,
}

/// `GET /api/v1/mode`, and the answer to a change of it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ModeView {
    pub mode: Mode,
    pub by: String,
    pub reason: String,
    pub since: Time,
    #[serde(default)]
    pub deadline: Option<Time>,
    /// What idle still waits for, one sentence each; empty when idle or active.
    #[serde(default)]
    pub waiting_for: Vec<String>,
    pub running: u64,
    pub queued: u64,
    pub outbox: u64,
}

/// `POST /api/v1/resume`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeRequest {
    pub reason: String,
    /// Also when more is queued than the configuration lets through unasked.
    #[serde(default)]
    pub yes: bool,
    /// Only say what would be let go.
    #[serde(default)]
    pub dry_run: bool,
    /// How many jobs of the backlog go a minute, instead of what the configuration says; 0 is all at once.
    #[serde(default)]
    pub rate: Option<u32>,
}

/// What waits for a resume, by the rule that asked for it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Resumed {
    pub mode: ModeView,
    pub backlog: Vec<Backlog>,
    /// How the backlog is let go.
    pub release: Release,
    /// The window of idle that this resume closes; none where it was never idle.
    #[serde(default)]
    pub window: Option<WindowView>,
}

/// How a backlog is let go: what comes in meanwhile goes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Release {
    /// Jobs that do not go at once.
    pub held: u64,
    /// Jobs a minute; 0 is all at once.
    pub rate: u32,
    /// When the last of them is let go.
    pub until: Time,
}

/// A window of idle, and what came in during it: seen = made + nothing + duplicates + refused + quarantined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WindowView {
    pub since: Time,
    pub until: Time,
    pub sources: Vec<SourceSpan>,
    /// Deliveries, as the positions of the sources at both edges tell.
    pub seen: u64,
    /// Events that called for jobs.
    pub made: u64,
    /// Events that called for none.
    pub nothing: u64,
    pub duplicates: u64,
    /// Events whose jobs were all refused.
    pub refused: u64,
    pub quarantined: u64,
    /// Whether the sum is right; if not, something was counted wrong or lost.
    pub adds_up: bool,
    /// What is known not to be here, one sentence each.
    pub missed: Vec<String>,
}

/// The events of one recorder, both ends included; none where `to` is before `from`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceSpan {
    pub recorder: String,
    pub from: u64,
    pub to: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Backlog {
    pub rule: String,
    pub task: String,
    pub jobs: u64,
    /// Jobs that became pointless while they waited: their time passed, or a newer one of their key came.
    #[serde(default)]
    pub stale: u64,
}

/// One page of a listing; `next` continues it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    #[serde(default)]
    pub next: Option<String>,
}

/// One job in a listing. The names are relied on by scripts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobSummary {
    pub id: JobId,
    pub key: JobId,
    pub state: JobState,
    /// How its last ended attempt ended.
    pub end: Option<End>,
    pub outcome: Option<Outcome>,
    pub task: String,
    pub item: String,
    pub item_type: String,
    pub arch: Arch,
    pub event_id: Option<String>,
    pub rule: String,
    /// The search that found it in a folder of its task's repository; its own id where it is that search, which runs
    /// nothing.
    #[serde(default)]
    pub search: Option<JobId>,
    /// How many attempts were begun.
    pub attempts: u32,
    pub queued_at: Time,
    pub started_at: Option<Time>,
    pub finished_at: Option<Time>,
}

impl JobSummary {
    /// Whether it only looks for what is to run.
    pub fn is_search(&self) -> bool {
        self.search == Some(self.id)
    }
}

/// The header that says of which attempt a log is, where it is followed.
pub const LOG_ATTEMPT: &str = "log-attempt";

/// The header that says whether more of a log may come: `true` or `false`.
pub const LOG_MORE: &str = "log-more";

/// `GET /api/v1/jobs/ID`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct JobDetail {
    #[serde(flatten)]
    pub job: JobSummary,
    pub priority: i32,
    #[schema(value_type = Object)]
    pub params: Map<String, Value>,
    pub generation: u64,
    pub recorder: String,
    pub expires_at: Option<Time>,
    /// The labels that a worker must offer for it.
    pub needs: Vec<String>,
    /// The repository that its task comes from, and the commit of it.
    #[serde(default)]
    pub source: Option<JobSource>,
    /// Why it is where it is, in one sentence.
    pub why: String,
    /// Whether it waits for a person to settle it.
    #[serde(default)]
    pub unsettled: bool,
    pub attempts_made: Vec<AttemptView>,
    /// The jobs that it has made, where it is a search that has ended.
    #[serde(default)]
    pub found: Vec<JobSummary>,
    /// Where its results are, as the results store names them.
    pub results_url: Option<String>,
}

/// One attempt, running or ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AttemptView {
    pub attempt: u32,
    pub worker: String,
    pub started_at: Time,
    /// When its report came, or when it was given up.
    pub finished_at: Option<Time>,
    /// How long its process ran, as the worker measured it.
    #[serde(default)]
    pub ran: Option<Span>,
    /// When it ended by the worker's own wall clock, as that claims.
    #[serde(default)]
    pub claimed_end: Option<Time>,
    pub end: Option<End>,
    pub note: Option<String>,
    pub outcome: Option<Outcome>,
    /// What its process was kept within, and by what.
    #[serde(default)]
    pub enforced: BTreeMap<String, String>,
    pub log_size: u64,
}

impl AttemptView {
    /// The worker's own time of the end, where it is worth telling: it is further from the report's than a report takes.
    pub fn other_end(&self) -> Option<Time> {
        let (reported, claimed) = (self.finished_at?, self.claimed_end?);
        let apart = reported.since(claimed).max(claimed.since(reported));
        (apart > Span::seconds(5)).then_some(claimed)
    }
}

/// One event in a listing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventSummary {
    pub id: String,
    pub topic: String,
    pub sent_at: Option<String>,
    pub recorded_at: Time,
    pub source: String,
    pub recorder: String,
    pub jobs: u64,
}

/// `GET /api/v1/events/ID`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct EventDetail {
    pub event: Event,
    pub recorded_at: Time,
    pub recorder: String,
    pub generation: u64,
    /// The rules that matched when it was decided.
    pub matched: Vec<String>,
    /// What each rule of the present configuration says of it.
    pub verdicts: Vec<VerdictView>,
    pub jobs: Vec<JobSummary>,
    /// Where the triggers of a pair differ about it.
    #[serde(default)]
    pub divergences: Vec<Divergence>,
}

/// Where the two triggers of a pair differ about one event, as `GET /api/v1/divergences` lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Divergence {
    pub event_id: String,
    pub topic: String,
    pub pair: String,
    /// The trigger that sent the event first.
    pub first: String,
    pub second: String,
    /// When it was found; of an event that the second has not sent, when the first sent it.
    pub at: Time,
    #[serde(flatten)]
    pub differs: Differs,
}

/// How two triggers differ about an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "differs", rename_all = "lowercase")]
pub enum Differs {
    /// Each asks for jobs that the other does not ask for.
    Decided { first_generation: u64, second_generation: u64, only_first: Vec<JobId>, only_second: Vec<JobId> },
    /// The second has not sent it, although it has sent what came later.
    Unseen,
}

impl Differs {
    pub fn name(&self) -> &'static str {
        match self {
            Differs::Decided { .. } => "decided",
            Differs::Unseen => "unseen",
        }
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Divergence { first, second, .. } = self;
        let jobs = |jobs: &[JobId]| if jobs.len() == 1 { "1 job".to_owned() } else { format!("{} jobs", jobs.len()) };
        match &self.differs {
            Differs::Unseen => {
                write!(f, "{first} has sent it, and {second} has not, although it has sent what came later")
            }
            Differs::Decided { first_generation, second_generation, only_first, only_second } => {
                write!(
                    f,
                    "{first} (generation {first_generation}) asks for {} that {second} (generation {second_generation}) \
                     does not ask for, and {second} for {} that {first} does not",
                    jobs(only_first),
                    jobs(only_second)
                )
            }
        }
    }
}

/// What one rule says of one event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VerdictView {
    pub rule: String,
    pub matched: bool,
    /// Matched: what it asks for. Not matched: the first clause that failed and the value it saw.
    pub why: String,
}

/// One task of the configuration in force, as `GET /api/v1/tasks` lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskView {
    pub name: String,
    /// Its `retry`; none where its author has not said, and only what the system is to blame for is tried again.
    pub retry: Option<String>,
    /// Its `interruptible`; none where its author has not said, and it is not.
    pub interruptible: Option<bool>,
    pub exclusive: bool,
}

/// One worker, as `GET /api/v1/workers` lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkerView {
    pub name: String,
    pub state: WorkerState,
    pub slots: u32,
    /// How many jobs it runs now.
    pub running: u32,
    pub labels: Vec<String>,
    pub version: String,
    /// The machine that it says it runs on.
    #[serde(default)]
    pub host: String,
    /// By how much its wall clock is ahead of the database's, in milliseconds, as far as it has told.
    #[serde(default)]
    pub clock_ahead_ms: Option<i64>,
    /// How its machine stands, as it last told.
    #[serde(default)]
    pub figures: Option<Figures>,
    pub last_seen: Time,
    pub first_seen: Time,
}

/// One secret as one holder has it: never its value.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SecretView {
    pub name: String,
    /// `master`, or `worker NAME`.
    pub holder: String,
    /// The tasks that may have it.
    pub tasks: Vec<String>,
    /// When a job was last given it, whoever held it.
    #[serde(default)]
    pub last_used: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    Ready,
    Busy,
    Lost,
}

impl WorkerState {
    pub fn name(self) -> &'static str {
        match self {
            WorkerState::Ready => "ready",
            WorkerState::Busy => "busy",
            WorkerState::Lost => "lost",
        }
    }
}

/// `GET /api/v1/why/job/ID` and `…/event/ID`: the reason in one sentence, and the facts behind it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Why {
    pub why: String,
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
}
