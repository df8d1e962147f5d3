//! A worker from its start to its end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use model::End;
use model::Span;
use model::lease::{Lease, Report, Worker};
use model::source::GIT_LABEL;
use net::{Client, Secret};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::attempt::{self, Bench};
use crate::claim::{Claims, Granted};
use crate::confine::Means;
use crate::figures::Gauge;
use crate::groups;
use crate::guardian::{Guardian, Vigil};
use crate::halt::Halt;
use crate::home::{AttemptId, Home};
use crate::leases::{Asked, Leases, Term};
use crate::log::Log;
use crate::master::Master;
use crate::parcel::Parcel;
use crate::renew;
use crate::reports::Reports;
use crate::sources::{Origins, Sources};
use crate::spool::Spool;
use crate::{Settings, Stop};

/// How long a worker that must stop now still tries to send its reports; the next one sends what is left.
const LAST_TRY: Duration = Duration::from_secs(10);

/// How long reports of an earlier worker may keep this one from asking for work before it says so.
const UNUSUAL: Duration = Duration::from_secs(10);

/// How many reports may wait for each slot before the worker asks for no more work.
const BACKLOG: usize = 16;

/// How long a worker most of whose slots are busy waits for more of them before it asks for work: to claim several jobs
/// costs as much as to claim one.
const GATHER: Duration = Duration::from_millis(5);

/// A running worker.
struct Running {
    bench: Arc<Bench>,
    master: Master,
    reports: Reports,
    stop: Stop,
    /// Cancelled when no more work is to be taken, for whichever reason.
    enough: CancellationToken,
    jobs: TaskTracker,
    /// Whether it has been said that the disk is short.
    short: AtomicBool,
}

/// Works until told to stop, in the name of `token` (what `Settings::token_file` holds is for the caller to read), with
/// a guardian that is this program, called in the way of `vigil`. Fails only where it cannot begin: its folder cannot be
/// made or is another worker's, or no guardian can be started.
pub async fn run(settings: Settings, token: Secret, vigil: Vigil, stop: Stop) -> anyhow::Result<()> {
    settings.check().map_err(anyhow::Error::msg)?;
    let home = Arc::new(Home::open(&settings.dir)?);
    let guardian = Arc::new(Guardian::start(home.clone(), vigil).await?);
    let left = groups::clear(&home).context("cannot end what an earlier worker left running")?;
    if left > 0 {
        tracing::warn!(worker = %settings.name, processes = left, "killed what an earlier worker had left running");
    }
    home.clear().context("cannot clear what an earlier worker left")?;

    let means = Arc::new(Means::find(&settings, &home)?);
    let client = Client::new(settings.master.clone(), token).context("cannot make the client of the master")?;
    let sources = Sources::open(home.sources(), settings.source_cache, Origins::masters(client.clone()));
    let sources = Arc::new(sources.context("cannot make the folder of fetched commits")?);
    let gauge = Arc::new(Gauge::new(home.root(), settings.disk_reserve));
    let master = Master::new(client, presented(&settings, &means, home.identity()?), gauge);
    let bench = Arc::new(Bench::new(settings, home.clone(), guardian.clone(), means, sources)?);
    let reports = Reports::start(home, master.clone(), bench.leases.clone(), bench.settings.artifacts_within)?;
    let term = watch::Sender::new(Duration::from_secs(60));
    let alone = bench.settings.control_loss_grace.0;
    let renewal = tokio::spawn(renew::run(bench.leases.clone(), master.clone(), term.clone(), alone));
    let enough = stop.graceful.child_token();
    let grace = bench.settings.until_stopped();
    let watch = tokio::spawn(watch_stop(stop.clone(), enough.clone(), bench.leases.clone(), reports.clone(), grace));
    let short = AtomicBool::new(false);
    let running = Running { bench, master, reports, stop, enough, jobs: TaskTracker::new(), short };
    running.send_what_was_left().await;
    running.claim(term).await;
    running.wind_up().await;
    renewal.abort();
    watch.abort();
    guardian.end().await;
    Ok(())
}

/// Passes on the wish to stop: no more work at either, and the end of what runs when it is to be now.
async fn watch_stop(stop: Stop, enough: CancellationToken, leases: Arc<Leases>, reports: Reports, grace: Duration) {
    tokio::select! {
        () = stop.graceful.cancelled() => {
            reports.be_careful();
            if timeout(grace, stop.now.cancelled()).await.is_err() {
                tracing::warn!("what still runs is stopped and handed back: stop_grace is about to pass");
                stop.now.cancel();
            }
        }
        () = stop.now.cancelled() => {}
    }
    stop.now.cancelled().await;
    reports.be_careful();
    enough.cancel();
    leases.halt_all(&Halt::WorkerStops);
}

fn presented(settings: &Settings, means: &Means, identity: Uuid) -> Worker {
    Worker {
        name: settings.name.clone(),
        incarnation: net::clock::uuid(),
        identity: Some(identity),
        host: crate::settings::host_name(),
        slots: settings.slots,
        labels: offered(settings, means),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        clock: None,
        figures: None,
    }
}

/// The labels that it was given, those of its secrets, and one for what it finds on its machine.
fn offered(settings: &Settings, means: &Means) -> BTreeSet<String> {
    let git = git::is_installed().then(|| GIT_LABEL.to_owned());
    settings.labels.union(means.labels()).cloned().chain(settings.secrets.labels()).chain(git).collect()
}

impl Running {
    /// Waits until the master has taken, or refused, what an earlier worker left; or until told to stop.
    ///
    /// The first claim of a new incarnation tells the master that the one before is gone, and voids its leases. A job
    /// that had ended under one of them would run again, though its report lies here.
    async fn send_what_was_left(&self) {
        let name = &self.bench.settings.name;
        let sent = async {
            if timeout(UNUSUAL, self.reports.at_most(0)).await.is_err() {
                tracing::warn!(
                    worker = %name, reports = self.reports.unsent(),
                    "asks for no work until the master has taken the reports that an earlier worker left"
                );
                self.reports.at_most(0).await;
            }
        };
        tokio::select! {
            () = self.enough.cancelled() => {}
            () = sent => {}
        }
    }

    /// Takes work until told to stop.
    async fn claim(&self, term: watch::Sender<Duration>) {
        let settings = &self.bench.settings;
        net::life::ready();
        tracing::info!(worker = %settings.name, slots = settings.slots, master = %settings.master, "asks for work");
        let slots = usize::try_from(settings.slots).unwrap_or(Semaphore::MAX_PERMITS).max(1);
        let free = Arc::new(Semaphore::new(slots.min(Semaphore::MAX_PERMITS)));
        let mut claims = Claims::new(self.master.clone(), self.enough.clone());
        while let Some(mut permits) = self.free_slots(&free, slots * BACKLOG).await {
            let wanted = self.room_for(permits.len());
            let granted = claims.next(wanted).await;
            term.send_replace(granted.term.length);
            self.begin(granted, &mut permits).await;
        }
    }

    /// How many jobs to ask for: none while the disk is short, but asked it is, so that the master hears of it.
    fn room_for(&self, slots: usize) -> u32 {
        match self.master.takes_none() {
            Some(why) if self.short.swap(true, Ordering::Relaxed) => {
                tracing::debug!("still takes no jobs: {why}");
                0
            }
            Some(why) => {
                tracing::warn!(worker = %self.bench.settings.name, "takes no jobs: {why}");
                0
            }
            None => {
                self.short.store(false, Ordering::Relaxed);
                u32::try_from(slots).unwrap_or(u32::MAX)
            }
        }
    }

    /// Waits for a free slot and takes all there are; none when the worker is to stop.
    async fn free_slots(&self, free: &Arc<Semaphore>, backlog: usize) -> Option<Vec<OwnedSemaphorePermit>> {
        let first = tokio::select! {
            biased;
            () = self.enough.cancelled() => return None,
            first = async {
                // A master that gives work and takes no reports would have us work for nothing.
                self.reports.at_most(backlog).await;
                free.clone().acquire_owned().await
            } => first,
        };
        let mut permits = vec![first.ok()?];
        let slots = usize::try_from(self.bench.settings.slots).unwrap_or(usize::MAX);
        if (free.available_permits() + 1) * 4 <= slots {
            tokio::select! {
                () = self.enough.cancelled() => return None,
                () = tokio::time::sleep(GATHER) => {}
            }
        }
        while let Ok(permit) = free.clone().try_acquire_owned() {
            permits.push(permit);
        }
        Some(permits)
    }

    async fn begin(&self, granted: Granted, permits: &mut Vec<OwnedSemaphorePermit>) {
        for lease in granted.leases {
            let fresh = self.fresh(&lease, granted.term).await;
            let Some(view) = self.bench.leases.take(&lease.token, fresh.unwrap_or(granted.term)) else {
                continue;
            };
            // A job that is told to stop before it began is handed back without a process.
            if fresh.is_none() {
                self.bench.leases.halt(&lease.token, Halt::LeaseEnds { grace: Duration::ZERO });
            } else if self.enough.is_cancelled() {
                self.bench.leases.halt(&lease.token, Halt::WorkerStops);
            }
            // A master that gives more than was asked for gets it done all the same.
            let slot = permits.pop();
            let (bench, master, reports) = (self.bench.clone(), self.master.clone(), self.reports.clone());
            let span = tracing::info_span!(
                "attempt", job.id = %lease.job, attempt = lease.attempt, worker = %self.bench.settings.name
            );
            self.jobs.spawn(work(bench, master, reports, lease, view, slot).instrument(span));
        }
    }

    /// A task that must never overlap starts only under a lease that is known to hold for a while.
    async fn fresh(&self, lease: &Lease, term: Term) -> Option<Term> {
        if !lease.task.exclusive || term.until > Instant::now() + term.length / 2 {
            return Some(term);
        }
        let asked = Asked::now();
        let renewed = self.master.renew(vec![lease.token.clone()], Duration::from_secs(5)).await;
        match renewed {
            Ok(renewed) if !renewed.leases.contains(&model::lease::Hold::Gone) => Some(asked.granted(renewed.term.0)),
            Ok(_) | Err(_) => None,
        }
    }

    /// Sees running jobs to their end, and their reports to the master.
    async fn wind_up(self) {
        let name = &self.bench.settings.name;
        self.jobs.close();
        tracing::info!(worker = %name, jobs = self.jobs.len(), "takes no more work");
        self.jobs.wait().await;
        let patience = async {
            let alone = self.bench.settings.control_loss_grace.0;
            let stopped = timeout(alone, self.stop.now.cancelled()).await;
            if stopped.is_ok() {
                tokio::time::sleep(LAST_TRY.min(alone)).await;
            }
        };
        tokio::select! {
            () = self.reports.at_most(0) => tracing::info!(worker = %name, "stopped, and every report is delivered"),
            () = patience => tracing::warn!(
                worker = %name, reports = self.reports.unsent(),
                "stopped with reports that the master has not taken; they are kept for the next start"
            ),
        }
    }
}

/// One job, and its slot until its process is gone.
async fn work(
    bench: Arc<Bench>,
    master: Master,
    reports: Reports,
    lease: Lease,
    view: crate::leases::View,
    slot: Option<OwnedSemaphorePermit>,
) {
    let (id, token) = (AttemptId { job: lease.job, attempt: lease.attempt }, lease.token.clone());
    let attempt = {
        let bench = bench.clone();
        tokio::spawn(async move { attempt::work(&bench, &master, lease, view).await }.in_current_span())
    };
    let parcel = attempt.await.unwrap_or_else(|e| {
        // A fault of ours. The attempt must end all the same, or its lease would be renewed for ever; and not as handed
        // back, or a job that the worker fails at each time would go round for ever.
        tracing::error!(job.id = %id.job, attempt = id.attempt, "the worker failed at this job: {e}");
        let end = End::NotStarted { reason: "the worker itself failed at this job; its log says more".to_owned() };
        let ended_at = Some(net::clock::now());
        let report = Report {
            token,
            end,
            ran: Span::default(),
            ended_at,
            findings: Vec::new(),
            note: None,
            enforced: Default::default(),
            log_size: 0,
            log: None,
        };
        Parcel::new(id, report, Arc::new(Log::left(Spool::new(bench.home.log(id)))), 0, Vec::new())
    });
    reports.hand_in(parcel);
    drop(slot);
}
