//! One attempt from its lease to its report.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use model::lease::{Lease, Report, TaskOrder};
use model::source::Source;
use model::{Bound, End, Span};
use nix::libc;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::artifacts::{self, Artifact, Wanted};
use crate::confine::{Cell, Means};
use crate::groups;
use crate::guardian::Guardian;
use crate::halt::Halt;
use crate::home::{AttemptId, Home};
use crate::leader::Status;
use crate::leases::{Leases, Term, View};
use crate::log::Log;
use crate::mask::Mask;
use crate::master::Master;
use crate::parcel::{Parcel, add_note};
use crate::process::{self, Clocks, Ending};
use crate::results::{self, Found};
use crate::secrets::{self, Secrets};
use crate::sources::{Held, Sources};
use crate::spares::Spares;
use crate::spawner::{Order, Spawner};
use crate::spool::Spool;
use crate::upload::Upload;
use crate::workspace::Workspace;
use crate::{Settings, environment};

/// Bytes of what is read of a program that could not start the job's: it prints a line or two.
const TOLD: usize = 4096;

/// What every attempt of a worker works with.
#[derive(Debug)]
pub struct Bench {
    pub settings: Settings,
    pub home: Arc<Home>,
    pub leases: Arc<Leases>,
    pub spawner: Spawner,
    pub spares: Arc<Spares>,
    pub sources: Arc<Sources>,
    pub groups: groups::Sweeper,
    pub guardian: Arc<Guardian>,
    pub secrets: Secrets,
    pub means: Arc<Means>,
}

impl Bench {
    /// In a folder that was opened.
    pub fn new(
        settings: Settings,
        home: Arc<Home>,
        guardian: Arc<Guardian>,
        means: Arc<Means>,
        sources: Arc<Sources>,
    ) -> anyhow::Result<Bench> {
        let spares = Arc::new(Spares::new(home.spares()).context("cannot make the folder of spares")?);
        let spawner = Spawner::new(spares.clone()).context("cannot start the thread that starts processes")?;
        let secrets = Secrets::open(&home).context("cannot make the folder of secrets")?;
        let groups = groups::Sweeper::start(home.clone());
        Ok(Bench { settings, home, leases: Arc::default(), spawner, spares, sources, groups, guardian, secrets, means })
    }

    /// An empty log for an attempt at this lease.
    pub fn log(&self, lease: &Lease) -> Arc<Log> {
        let id = AttemptId { job: lease.job, attempt: lease.attempt };
        Arc::new(Log::new(Spool::new(self.home.log(id)), lease.task.log_limit))
    }
}

/// How an attempt ended, before it is written as a report.
struct Outcome {
    end: End,
    found: Found,
    /// What the process was kept within.
    enforced: BTreeMap<String, String>,
    /// How long there was a process.
    ran: Duration,
    /// What was set aside of what it left.
    artifacts: Vec<Artifact>,
}

impl Outcome {
    fn of(end: End, note: Option<String>, ran: Duration) -> Outcome {
        let found = Found { findings: Vec::new(), note };
        Outcome { end, found, enforced: BTreeMap::new(), ran, artifacts: Vec::new() }
    }

    fn not_started(reason: String) -> Outcome {
        Outcome::of(End::NotStarted { reason }, None, Duration::ZERO)
    }
}

/// Works on a lease of this master until its process and all that it left are gone. Never fails: how it went is what it
/// reports.
pub async fn work(bench: &Bench, master: &Master, lease: Lease, view: View) -> Parcel {
    let log = bench.log(&lease);
    let mut upload = Upload::new(master.clone(), lease.token.clone(), log.clone(), 0);
    let (mut report, artifacts) = run_to_end(bench, &lease, view, &log, upload.live()).await;
    let mut sent = upload.sent();
    if let Some(why) = upload.refused() {
        add_note(&mut report.note, &format!("the log ends early: {why}"));
        sent = report.log_size;
    }
    Parcel::new(AttemptId { job: lease.job, attempt: lease.attempt }, report, log, sent, artifacts)
}

/// The same, whoever takes the log, and what was set aside of what it left: `live` follows the log while the job runs.
pub async fn run_to_end(
    bench: &Bench,
    lease: &Lease,
    mut view: View,
    log: &Arc<Log>,
    live: impl Future<Output = Infallible>,
) -> (Report, Vec<Artifact>) {
    let id = AttemptId { job: lease.job, attempt: lease.attempt };
    let outcome = tokio::select! {
        biased;
        // First: where it is time to stop when the workspace is ready, the process must not find out later.
        never = guard(bench, id, lease, view.term.clone()) => match never {},
        outcome = in_workspace(bench, id, lease, &mut view, log) => outcome,
        never = live => match never {},
    };
    bench.guardian.over(id);
    let Outcome { end, found, enforced, ran, artifacts } = outcome;
    tracing::debug!("ended: {end}");
    let report = Report {
        token: lease.token.clone(),
        end,
        ran: Span(ran),
        ended_at: Some(net::clock::now()),
        findings: found.findings,
        note: found.note,
        enforced,
        log_size: log.len(),
        log: None,
    };
    (report, artifacts)
}

/// Sees that a task that must never overlap ends before its lease; the guardian does, where we cannot.
async fn guard(bench: &Bench, id: AttemptId, lease: &Lease, term: watch::Receiver<Term>) -> Infallible {
    if !lease.task.exclusive {
        return std::future::pending().await;
    }
    bench.leases.guard(&lease.token, term, |last| bench.guardian.allow(id, last)).await
}

async fn in_workspace(bench: &Bench, id: AttemptId, lease: &Lease, view: &mut View, log: &Arc<Log>) -> Outcome {
    // Told to stop before anything was made.
    if let Some(halt) = view.halt.borrow().clone() {
        return Outcome::of(halt.end(), halt.note(), Duration::ZERO);
    }
    let source = tokio::select! {
        source = source(bench, lease) => match source {
            Ok(source) => source,
            Err(reason) => return Outcome::not_started(reason),
        },
        halt = process::halted(&mut view.halt) => return Outcome::of(halt.end(), halt.note(), Duration::ZERO),
    };
    let (folder, order, spares) = (bench.home.workspace(id), lease.clone(), bench.spares.clone());
    // What it is copied from stays until it is copied.
    let make = move || Workspace::make(folder, &order, source.as_ref().map(Files::folder), &spares);
    let workspace = match blocking(make).await {
        Ok(workspace) => workspace,
        Err(reason) => return Outcome::not_started(reason),
    };
    let ended = with_secrets(bench, id, lease, &workspace, view, log).await;
    // A cgroup has all of them; else what left its group is looked for.
    let all_found = ended.as_ref().is_ok_and(|(_, _, cell)| cell.finds_all());
    let mut swept = (!all_found).then(|| bench.groups.ended(id));
    if lease.task.exclusive
        && let Some(swept) = swept.take()
    {
        // With the report another may begin.
        let _ = swept.await;
    }
    let (task, log, spares) = (lease.task.clone(), log.clone(), bench.spares.clone());
    let kept = bench.home.artifacts(id);
    let (outcome, aside) = blocking(move || {
        let whole = log.close();
        let outcome = match ended {
            // With the cell goes whatever is left of the job.
            Ok((ending, ran, cell)) => {
                let ending = judged(ending, &cell);
                let leaves = leaves_something(&ending);
                let enforced = cell.enforced.clone();
                let mut outcome = Outcome { enforced, ..outcome(ending, ran, &task, &workspace) };
                if leaves {
                    let wanted = Wanted { patterns: task.artifacts, limit: task.artifact_limit };
                    keep(&mut outcome, &workspace, &wanted, &kept);
                    if let Err(why) = whole {
                        add_note(&mut outcome.found.note, &format!("the log ends early: {why}"));
                    }
                }
                outcome
            }
            Err(reason) => Outcome::not_started(reason),
        };
        let aside = workspace.leave(&spares).unwrap_or_else(|e| {
            // It is tried again at the next start.
            tracing::warn!(job.id = %id.job, attempt = id.attempt, "cannot remove the workspace: {e}");
            None
        });
        (outcome, aside)
    })
    .await;
    if let Some(aside) = aside {
        let spares = bench.spares.clone();
        tokio::spawn(async move {
            if let Some(swept) = swept {
                // It ends with an error, which says the same.
                let _ = swept.await;
            }
            spares.admit(aside);
        });
    }
    outcome
}

/// What a workspace is filled from.
enum Files {
    /// A folder that the worker was told of.
    Here(PathBuf),
    /// A fetched commit, or a folder of it.
    Fetched { folder: PathBuf, _held: Held },
}

impl Files {
    fn folder(&self) -> &Path {
        match self {
            Files::Here(folder) | Files::Fetched { folder, .. } => folder,
        }
    }
}

/// Fetches what the task's files are copied from, where that is to be fetched. The error is a reason for people.
async fn source(bench: &Bench, lease: &Lease) -> Result<Option<Files>, String> {
    match &lease.task.source {
        None => Ok(None),
        Some(Source::Path(path)) => Ok(Some(Files::Here(PathBuf::from(path)))),
        Some(Source::Git(wanted)) => {
            let held = bench.sources.get(wanted).await?;
            let folder = held.folder(wanted.path.as_deref())?;
            Ok(Some(Files::Fetched { folder, _held: held }))
        }
    }
}

/// Runs it with the secrets that its task asks for; they are gone when its process is.
async fn with_secrets(
    bench: &Bench,
    id: AttemptId,
    lease: &Lease,
    workspace: &Workspace,
    view: &mut View,
    log: &Arc<Log>,
) -> Result<(Ending, Duration, Arc<Cell>), String> {
    let values = secrets::of(lease, &bench.settings.secrets)?;
    log.hide(Mask::new(values.values().map(net::vault::Value::expose))?);
    let folder = bench.secrets.lay_out(id, &values)?;
    let ended = confined(bench, id, lease, workspace, folder.clone(), view, log).await;
    if folder.is_some() {
        bench.secrets.remove(id);
    }
    ended
}

/// Runs it in a cell, which is what comes back with how it went.
async fn confined(
    bench: &Bench,
    id: AttemptId,
    lease: &Lease,
    workspace: &Workspace,
    secrets: Option<PathBuf>,
    view: &mut View,
    log: &Arc<Log>,
) -> Result<(Ending, Duration, Arc<Cell>), String> {
    let (means, task, work, seen) =
        (bench.means.clone(), lease.task.clone(), workspace.folder.clone(), secrets.clone());
    let cell = Arc::new(blocking(move || means.enclose(&task, &work, seen.as_deref())).await?);
    let order = Order {
        cell: cell.clone(),
        env: environment::build(&bench.settings, lease, workspace, secrets.as_deref()),
        folder: workspace.folder.clone(),
        record: bench.home.group(id),
        latest: lease.task.exclusive.then(|| view.term.borrow().last),
    };
    let (ending, ran) = run(bench, id, lease, order, view, log).await?;
    Ok((ending, ran, cell))
}

/// Starts the process, unless it is to stop by now, and sees it to its end; the error is the reason why there was none.
async fn run(
    bench: &Bench,
    id: AttemptId,
    lease: &Lease,
    order: Order,
    view: &mut View,
    log: &Arc<Log>,
) -> Result<(Ending, Duration), String> {
    // To copy a large source takes long, and what must not overlap may be another worker's by now.
    if let Some(halt) = view.halt.borrow().clone() {
        return Ok((Ending::Halted(halt), Duration::ZERO));
    }
    let cell = order.cell.clone();
    let started = bench.spawner.start(order).await?;
    let begun = Instant::now();
    let clocks = Clocks {
        total: lease.task.timeout.0,
        no_output: lease.task.no_output_timeout.map(|span| span.0),
        grace: lease.task.grace.min(bench.settings.job_grace).0,
    };
    let ending = process::run(started, clocks, &mut view.halt, log, &cell).await;
    let by_guardian = !bench.spares.take_record(&bench.home.group(id)).unwrap_or_else(|e| {
        tracing::warn!(job.id = %id.job, attempt = id.attempt, "cannot remove the record of a process group: {e}");
        true
    });
    if by_guardian {
        cell.contest();
    }
    let ran = begun.elapsed();
    let ending = ending.map_err(|e| format!("the process could not be watched: {e}"))?;
    let Ending::Itself(status) = ending else { return Ok((ending, ran)) };
    match cell.status(status) {
        Some(Status::Signalled(9)) if by_guardian => {
            Ok((Ending::Halted(Halt::LeaseEnds { grace: Duration::ZERO }), ran))
        }
        Some(status) => Ok((Ending::Itself(status), ran)),
        None => Err(never_ran(&lease.task, log)),
    }
}

/// Why the job's program was not started by the one that was to do it, which has printed that.
fn never_ran(task: &TaskOrder, log: &Log) -> String {
    let program = task.run.first().map_or("", String::as_str);
    let said = log.read(0, TOLD).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    format!("cannot run '{program}': {}", said.trim_end().lines().next_back().unwrap_or("nothing says why"))
}

/// The process's own end counts only where it had what it needed: what was refused memory or a process has judged nothing.
fn judged(ending: Ending, cell: &Cell) -> Ending {
    match ending {
        Ending::Itself(Status::Signalled(libc::SIGXFSZ)) => Ending::Over(Bound::Disk),
        Ending::Itself(status) => cell.over().map_or(Ending::Itself(status), Ending::Over),
        other @ (Ending::Quota(_) | Ending::Over(_) | Ending::Halted(_) | Ending::Mute(_)) => other,
    }
}

/// Whether what a job left is of use: not where it is only handed back.
fn leaves_something(ending: &Ending) -> bool {
    match ending {
        Ending::Itself(_) | Ending::Quota(_) | Ending::Over(_) => true,
        Ending::Halted(halt) => halt.end() == End::Cancelled,
        Ending::Mute(_) => false,
    }
}

/// Sets aside what the task wants kept.
fn keep(outcome: &mut Outcome, workspace: &Workspace, wanted: &Wanted, into: &Path) {
    let (artifacts, left) = artifacts::set_aside(&workspace.folder, wanted, into);
    outcome.artifacts = artifacts;
    if let Some(left) = left {
        add_note(&mut outcome.found.note, &left);
    }
}

fn outcome(ending: Ending, ran: Duration, task: &TaskOrder, workspace: &Workspace) -> Outcome {
    match ending {
        Ending::Itself(Status::Exited(code)) => {
            let found = results::of(task, &workspace.folder, code);
            Outcome { found, ..Outcome::of(End::Exited { code }, None, ran) }
        }
        Ending::Itself(Status::Signalled(signal)) => Outcome::of(End::Signalled { signal }, None, ran),
        Ending::Over(limit) => Outcome::of(End::OverLimit { limit }, None, ran),
        Ending::Quota(quota) => Outcome::of(End::TimedOut { quota }, None, ran),
        Ending::Halted(halt) => Outcome::of(halt.end(), halt.note(), ran),
        // The worker's fault, not the task's. It may well happen again, so it must spend the system's budget: what is
        // handed back spends none, and goes round for ever.
        Ending::Mute(reason) => Outcome::of(End::NotStarted { reason }, None, ran),
    }
}

/// Runs what waits for the disk where it holds up nobody else.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(e) => match e.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime shuts down, and nobody waits for the value.
            Err(_) => std::future::pending().await,
        },
    }
}
