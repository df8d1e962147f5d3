//! What a worker and a master say to each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::source::Source;
use crate::{Arch, Bounds, End, Event, Finding, JobId, Span, Time};

/// `POST /api/v1/claim`: asks for as many jobs as there are free slots. Answered at once when there is work, else
/// when there is some or `wait` has passed.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Claim {
    pub worker: Worker,
    /// Names this request: the same claim again gives the same leases, so that a lost answer costs nothing.
    pub claim: Uuid,
    /// How many jobs to give at most.
    pub slots: u32,
    /// How long to hold the request while there is nothing.
    pub wait: Span,
}

/// A worker as it presents itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Worker {
    pub name: String,
    /// A new one for each process: it tells a restarted worker from a slow one.
    pub incarnation: Uuid,
    /// The same for every process that works in one folder: it tells a restarted worker from another one that was given
    /// the same name. None from a worker that keeps none.
    #[serde(default)]
    pub identity: Option<Uuid>,
    /// The machine that it runs on, for people.
    #[serde(default)]
    pub host: String,
    /// How many jobs it runs at once.
    pub slots: u32,
    /// What it offers: `arch:x86_64` …
    pub labels: BTreeSet<String>,
    pub version: String,
    /// What its wall clock shows as it sends this. Nothing goes by it; it is shown where it is wrong.
    #[serde(default)]
    pub clock: Option<Time>,
    /// How its machine stands; none with what is not said often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures: Option<Figures>,
}

/// How a worker's machine stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Figures {
    /// The load of the last minute, in hundredths.
    pub load_percent: u32,
    /// Bytes.
    pub memory_free: u64,
    pub memory_total: u64,
    /// Bytes of the file system that the worker's folder is on.
    pub disk_free: u64,
    pub disk_total: u64,
    /// Why it takes no job at present, where it takes none.
    #[serde(default)]
    pub takes_none: Option<String>,
}

/// The answer to a claim.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Claimed {
    pub leases: Vec<Lease>,
    /// How long each lease holds from now.
    pub term: Span,
}

/// The right to work on one attempt for a time, and all that the worker needs for it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Lease {
    pub job: JobId,
    /// 1 for the first.
    pub attempt: u32,
    /// Proves the right; every write for this attempt carries it.
    pub token: String,
    pub task: TaskOrder,
    pub item: String,
    pub item_type: String,
    pub arch: Arch,
    #[schema(value_type = Object)]
    pub params: Map<String, Value>,
    /// The event that caused the job, where one did.
    #[serde(default)]
    pub event: Option<Event>,
    /// Secrets that the master gives to this task, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Sealed>,
}

/// A secret on its way: Base64, and never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String)]
pub struct Sealed(String);

impl Sealed {
    pub fn new(bytes: &[u8]) -> Sealed {
        Sealed(BASE64_STANDARD.encode(bytes))
    }

    /// The bytes; the error says nothing of them.
    pub fn open(&self) -> Result<Vec<u8>, String> {
        BASE64_STANDARD.decode(&self.0).map_err(|_| "what came is no Base64".to_owned())
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(…)")
    }
}

/// `GET /api/v1/jobs/{job}/order`: what a worker gets for a job, without the right to it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct JobOrder {
    pub job: JobId,
    pub task: TaskOrder,
    pub item: String,
    pub item_type: String,
    pub arch: Arch,
    #[schema(value_type = Object)]
    pub params: Map<String, Value>,
    #[serde(default)]
    pub event: Option<Event>,
}

impl JobOrder {
    /// A lease for it, by whoever may give one.
    pub fn lease(self, attempt: u32, token: String) -> Lease {
        let JobOrder { job, task, item, item_type, arch, params, event } = self;
        Lease { job, attempt, token, task, item, item_type, arch, params, event, secrets: BTreeMap::new() }
    }
}

/// A task as a worker runs it: every template is text by now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskOrder {
    pub name: String,
    /// The process's arguments, never a shell's line.
    pub run: Vec<String>,
    /// What the workspace is filled with.
    #[serde(default)]
    pub source: Option<Source>,
    pub timeout: Span,
    #[serde(default)]
    pub no_output_timeout: Option<Span>,
    /// Between TERM and KILL.
    pub grace: Span,
    /// Whether two attempts must never overlap, so that it is killed before its lease can have run out.
    #[serde(default)]
    pub exclusive: bool,
    /// Where to look for results, in this order: the first that is present counts.
    pub results: Vec<ResultFormat>,
    /// What its results are called, and what comes before the names of single cases.
    #[serde(default)]
    pub testcase: String,
    /// Bytes of log that are kept.
    pub log_limit: u64,
    /// The secrets that it is to find in `TASKOTRON_SECRETS`, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Patterns of paths in the workspace: files that are kept.
    #[serde(default)]
    pub artifacts: Vec<String>,
    /// Bytes of such files that are kept of one attempt.
    #[serde(default)]
    pub artifact_limit: u64,
    /// What it is kept within.
    #[serde(default)]
    pub bounds: Bounds,
}

/// A way in which a job says what it found. Patterns are relative to its working folder: `*` within a name, `**` over
/// folders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum ResultFormat {
    /// `results.yml`: Taskotron's ResultYAML.
    #[serde(rename = "results.yml")]
    ResultYaml,
    /// JUnit's XML, in files of these patterns.
    #[serde(rename = "junit")]
    Junit(Vec<String>),
    /// TAP 13 or 14, in files of these patterns.
    #[serde(rename = "tap")]
    Tap(Vec<String>),
    /// The `results.yaml` of tmt's execute step, in files of these patterns.
    #[serde(rename = "tmt")]
    Tmt(Vec<String>),
    /// 0 is PASSED, anything else FAILED.
    #[serde(rename = "exit_code")]
    ExitCode,
}

/// `POST /api/v1/renew`: all leases of a worker in one go.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Renew {
    pub worker: Worker,
    pub tokens: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Renewed {
    /// One for each token, in their order.
    pub leases: Vec<Hold>,
    pub term: Span,
}

/// What is left of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "lease", rename_all = "lowercase")]
pub enum Hold {
    Held,
    /// Still held, but the job is to be stopped and reported as cancelled.
    Cancel {
        reason: String,
    },
    /// Lost: whatever is reported for it is kept for the record only.
    Gone,
}

/// `POST /api/v1/finish`: how attempts ended.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Finish {
    pub worker: Worker,
    pub reports: Vec<Report>,
}

/// How one attempt ended, and what it found.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Report {
    pub token: String,
    pub end: End,
    /// How long the process ran, by the worker's monotonic clock.
    pub ran: Span,
    /// When it ended, by the worker's wall clock: shown as what it claims.
    #[serde(default)]
    pub ended_at: Option<Time>,
    /// Empty where the process never got to judge the item.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// One sentence for people where something besides the end is worth saying.
    #[serde(default)]
    pub note: Option<String>,
    /// What the process was kept within, and by what: `memory` → `1073741824 bytes, by cgroup v2`. Empty where there was none.
    #[serde(default)]
    pub enforced: BTreeMap<String, String>,
    /// How many bytes of log there are in all.
    pub log_size: u64,
    /// The last of the log, where it was not yet sent.
    #[serde(default)]
    pub log: Option<LogPart>,
}

/// A piece of a log. A small log travels whole with its report; a long one goes ahead of it to
/// `PUT /api/v1/log?offset=N`, with the lease's token in the header `lease-token`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LogPart {
    /// The place of its first byte.
    pub offset: u64,
    /// Base64.
    pub bytes: String,
}

/// The header that carries a lease's token beside a body that is not JSON.
pub const LEASE_TOKEN: &str = "lease-token";

/// `200` when at least one report counted, `410` when none did.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Finished {
    /// One for each report, in their order.
    pub reports: Vec<Receipt>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Receipt {
    /// It counts; also the second time.
    Accepted,
    /// The lease had been lost: kept as a stale report, and nothing was changed.
    Gone,
}

/// The answer to a piece of log: how much of it is stored.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LogStored {
    pub size: u64,
}

/// Named texts that a worker gives to a job's process.
pub fn environment(lease: &Lease) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("TASKOTRON_ITEM", lease.item.clone()),
        ("TASKOTRON_ITEM_TYPE", lease.item_type.clone()),
        ("TASKOTRON_ARCH", lease.arch.clone()),
        ("TASKOTRON_JOB_ID", lease.job.to_string()),
        ("TASKOTRON_TASK", lease.task.name.clone()),
    ])
}
