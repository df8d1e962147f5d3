//! What a master does by itself: each duty looks at what is, does what is due, and may run twice with no harm.
//!
//! Wake-ups only make it look earlier. Where several masters serve one database, the holder of the duties' row does
//! them; should two hold it for a moment, the store's own guards still let each thing happen once.

use std::time::Duration;

use db::{Db, in_time};
use model::operator::{Mode, OnDeadline};
use model::{Span, Time};
use net::Backoff;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::messages::Publisher;
use crate::outbox::Courier;
use crate::retention::{Retention, Summary};
use crate::store::Result;
use crate::{mirrors, mode};

/// How long a master holds a duty without saying so again; another takes it over after that.
const TERM: Span = Span::seconds(6);

/// Leases and jobs run out, and waits end, to the second.
const SECOND: Duration = Duration::from_secs(1);

/// Totals are added up and old workers forgotten this often.
const TIDY: Duration = Duration::from_secs(30);

/// A worker that was not seen for so long is forgotten.
const FORGET: Span = Span::days(7);

/// How long the answer to a request is known, for one that comes again.
const REQUESTS: Span = Span::days(1);

/// How long it is known where the triggers of a pair differed.
const PAIRS: Span = Span::days(30);

/// All duties, until `stop`.
pub async fn all(app: App, stop: CancellationToken) {
    let holder = net::clock::uuid().to_string();
    tokio::join!(
        leases(app.clone(), holder.clone(), stop.clone()),
        outbox(app.clone(), holder.clone(), stop.clone()),
        messages(app.clone(), holder.clone(), stop.clone()),
        modes(app.clone(), holder.clone(), stop.clone()),
        mirrors(app.clone(), holder.clone(), stop.clone()),
        tidying(app.clone(), holder.clone(), stop.clone()),
        retention(app, holder, stop),
    );
}

/// The right to one duty, asked for again when half of its term is over.
struct Held {
    name: &'static str,
    holder: String,
    until: Option<Instant>,
}

impl Held {
    fn new(name: &'static str, holder: String) -> Held {
        Held { name, holder, until: None }
    }

    async fn take(&mut self, app: &App) -> Result<bool> {
        // SQLite has one master: after a crash it need not wait for its own term to pass.
        if matches!(app.store.db(), Db::Lite { .. }) {
            return Ok(app.store.active_site().await?.active == app.store.site());
        }
        let now = Instant::now();
        if self.until.is_some_and(|until| now + TERM.0 / 2 < until) {
            return Ok(true);
        }
        let held = app.store.take_duty(self.name, &self.holder, TERM).await?;
        self.until = held.then(|| now + TERM.0);
        Ok(held)
    }

    /// Lets the duty go, so that the next master need not wait.
    async fn leave(self, app: &App) {
        if self.until.is_some()
            && let Err(error) = app.store.leave_duty(self.name, &self.holder).await
        {
            tracing::debug!(duty = self.name, %error, "cannot let a duty go; its term will pass");
        }
    }
}

/// Says once that something fails, and once that it works again.
struct Voice {
    what: &'static str,
    failing: bool,
}

impl Voice {
    fn new(what: &'static str) -> Voice {
        Voice { what, failing: false }
    }

    fn heard<T>(&mut self, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!(duty = self.what, "works again");
                }
                Some(value)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(duty = self.what, %error, "failed; trying again and again");
                }
                None
            }
        }
    }
}

/// Waits for the period to pass or for a wake-up; `false` when it is time to stop.
async fn pause(period: Duration, wake: Option<&mut watch::Receiver<u64>>, stop: &CancellationToken) -> bool {
    let woken = async {
        match wake {
            // The store outlives the duties, so the bell does too.
            Some(wake) => drop(wake.changed().await),
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = stop.cancelled() => false,
        () = tokio::time::sleep(period) => true,
        () = woken => true,
    }
}

async fn leases(app: App, holder: String, stop: CancellationToken) {
    let mut held = Held::new("leases", holder);
    let mut voice = Voice::new("leases");
    let mut keeper = Leases::default();
    loop {
        net::life::beat();
        let did = in_time(async {
            match held.take(&app).await {
                Ok(true) => keeper.tick(&app).await.map(Some),
                Ok(false) => {
                    keeper.judged = None;
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        })
        .await;
        voice.heard(did);
        // A look that came later than half a term would take itself for the first one after an outage.
        if !pause(SECOND.min(app.settings.lease_term.0 / 4), None, &stop).await {
            return held.leave(&app).await;
        }
    }
}

/// Judges leases, and queues what has waited long enough.
#[derive(Default)]
pub struct Leases {
    /// When leases were last judged. Time in which nobody could renew does not count against a worker.
    judged: Option<Moment>,
}

/// One moment on both clocks: leases run out by the database's, which can be set and which goes on while a machine is
/// suspended; the monotonic one does neither.
#[derive(Clone, Copy)]
struct Moment {
    monotonic: Instant,
    clock: Time,
}

impl Moment {
    /// How far the clock that went further has gone since `earlier`.
    fn since(self, earlier: Moment) -> Span {
        let ran = self.monotonic.saturating_duration_since(earlier.monotonic);
        Span(ran).max(self.clock.since(earlier.clock))
    }

    /// Whether the clock was set back since `earlier`: a lease that was to run out soon would hold for as much longer.
    fn is_set_back(self, earlier: Moment) -> bool {
        self.clock < earlier.clock
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeasesSummary {
    pub lost: usize,
    pub expired: u64,
    pub promoted: u64,
}

impl Leases {
    /// As if this process had stood still for so long since its last look.
    #[cfg(test)]
    pub fn stood_still(&mut self, span: Span) {
        if let Some(judged) = &mut self.judged {
            judged.clock = judged.clock.minus(span);
        }
    }

    pub async fn tick(&mut self, app: &App) -> Result<LeasesSummary> {
        let term = app.settings.lease_term;
        let now = Moment { monotonic: Instant::now(), clock: app.store.clock().await? };
        if self.judged.is_none_or(|judged| now.since(judged).0 >= term.0 / 2 || now.is_set_back(judged)) {
            let leases = app.store.grant_full_term(term).await?;
            if leases > 0 {
                tracing::info!(leases, "running jobs get one full term before their workers are judged");
            }
        }
        app.tasks.catch_up().await?;
        // As of the look above: should this process have stood still since, nobody could renew meanwhile.
        let seen = app.store.skewed(now.clock);
        let expired = app.store.expire_as_of(seen, &|ending| app.decide(ending)).await?;
        for (job, attempt) in &expired.lost {
            tracing::warn!(job.id = %job, attempt, "its worker was not heard from: the attempt is lost");
        }
        app.forget(expired.lost.iter().map(|(job, _)| *job));
        let promoted = app.store.promote().await?;
        self.judged = Some(now);
        Ok(LeasesSummary { lost: expired.lost.len(), expired: expired.expired, promoted })
    }
}

/// How long results wait for others once there are some: to deliver many costs little more than to deliver one.
const GATHER: Duration = Duration::from_millis(20);

/// Waits until there is something to deliver again; at once where there is `more`, and after a rest that grows where nothing
/// can be delivered, which is `None`. False when it is time to stop.
async fn delivers_on(
    more: Option<bool>,
    backoff: &mut Backoff,
    wake: &mut watch::Receiver<u64>,
    stop: &CancellationToken,
) -> bool {
    let Some(more) = more else { return pause(backoff.step(), None, stop).await };
    backoff.reset();
    (more && !stop.is_cancelled()) || pause(SECOND, Some(wake), stop).await && pause(GATHER, None, stop).await
}

async fn outbox(app: App, holder: String, stop: CancellationToken) {
    let mut held = Held::new("outbox", holder);
    let mut voice = Voice::new("outbox");
    let mut courier = Courier::default();
    let mut wake = app.store.changed();
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
    loop {
        wake.borrow_and_update();
        let did = in_time(async {
            if !held.take(&app).await? {
                courier.rest(&app);
                return Ok(crate::outbox::Summary::default());
            }
            courier.tick(&app).await
        })
        .await;
        let more = voice.heard(did).filter(|summary| !summary.unavailable).map(|summary| summary.more);
        if !delivers_on(more, &mut backoff, &mut wake, &stop).await {
            return held.leave(&app).await;
        }
    }
}

/// How often it is looked for ends that were not noted.
const ENDS: Duration = Duration::from_secs(60);

async fn messages(app: App, holder: String, stop: CancellationToken) {
    if app.settings.messages.is_none() {
        return;
    }
    let mut held = Held::new("messages", holder);
    let mut voice = Voice::new("messages");
    let mut publisher = Publisher::new(&app.settings.site);
    let mut ends: Option<Instant> = None;
    let mut wake = app.store.changed();
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(15));
    loop {
        wake.borrow_and_update();
        let did = in_time(async {
            if !held.take(&app).await? {
                publisher.rest(&app);
                return Ok(crate::messages::Summary::default());
            }
            if ends.is_none_or(|looked| looked.elapsed() >= ENDS) {
                app.store.announce_ends().await?;
                ends = Some(Instant::now());
            }
            publisher.tick(&app).await
        })
        .await;
        let more = voice.heard(did).filter(|summary| !summary.unavailable).map(|summary| summary.more);
        if !delivers_on(more, &mut backoff, &mut wake, &stop).await {
            return held.leave(&app).await;
        }
    }
}

async fn modes(app: App, holder: String, stop: CancellationToken) {
    let mut held = Held::new("mode", holder);
    let mut voice = Voice::new("mode");
    let mut wake = app.store.changed();
    loop {
        wake.borrow_and_update();
        let did = in_time(async {
            match held.take(&app).await {
                Ok(true) => watch_mode(&app).await.map(Some),
                Ok(false) => Ok(None),
                Err(error) => Err(error),
            }
        })
        .await;
        let draining = voice.heard(did).flatten() == Some(Mode::Draining);
        // While something drains, what ends rings too.
        let wake = draining.then_some(&mut wake);
        if !pause(SECOND, wake, &stop).await {
            return held.leave(&app).await;
        }
        // A busy bell must not make this a busy loop.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Makes a drain idle when it is, and does at its deadline what was asked for. Answers the mode after it.
pub async fn watch_mode(app: &App) -> Result<Mode> {
    let mode = app.store.mode().await?;
    if mode.mode != Mode::Draining {
        return Ok(mode.mode);
    }
    let observed = mode::observe(app).await?;
    if observed.mode.mode == Mode::Idle {
        tracing::info!(by = %mode.by, reason = %mode.reason, "idle: safe to stop");
        return Ok(Mode::Idle);
    }
    let late = match mode.deadline {
        Some(deadline) => app.store.now().await? >= deadline,
        None => false,
    };
    if late {
        let reason = format!("the deadline of the idle by {} has passed: {}", mode.by, mode.reason);
        match mode.on_deadline {
            OnDeadline::Wait => {}
            OnDeadline::Requeue => {
                app.tasks.catch_up().await?;
                log_stopped(app.store.requeue_running(&reason, &|task| app.interruptible(task)).await?, "queued again");
            }
            OnDeadline::Kill => log_stopped(app.store.kill_running(&reason).await?, "cancelled"),
        }
    }
    Ok(observed.mode.mode)
}

fn log_stopped(jobs: u64, fate: &str) {
    if jobs > 0 {
        tracing::warn!(jobs, "the deadline of the idle has passed: running jobs are being stopped, to be {fate}");
    }
}

/// How often it is looked whether another master has changed what the mirrors show.
const GLANCE: Duration = Duration::from_secs(2);

/// How often jobs that wait for a commit are looked at although nothing has changed.
const LOOK_AT_JOBS: Duration = Duration::from_secs(30);

/// Every master does what it was asked for itself; one fetches all repositories when it is time.
async fn mirrors(app: App, holder: String, stop: CancellationToken) {
    let mut held = Held::new("mirrors", holder);
    let mut voice = Voice::new("mirrors");
    let (mut fetched, mut looked): (Option<Instant>, Option<Instant>) = (None, None);
    loop {
        let now = Instant::now();
        let is_time = |last: Option<Instant>, every| last.is_none_or(|last| now.duration_since(last) >= every);
        let did = in_time(async {
            let holds = held.take(&app).await?;
            let due = holds && is_time(fetched, app.mirrors.interval());
            if holds && is_time(looked, LOOK_AT_JOBS) {
                looked = Some(now);
                app.mirrors.look_for_jobs();
            }
            if due {
                fetched = Some(now);
            }
            mirrors::tick(&app, due).await
        })
        .await;
        voice.heard(did);
        tokio::select! {
            () = stop.cancelled() => return held.leave(&app).await,
            () = app.mirrors.rung() => {}
            () = tokio::time::sleep(GLANCE) => {}
        }
    }
}

async fn tidying(app: App, holder: String, stop: CancellationToken) {
    let mut held = Held::new("tidy", holder);
    let mut voice = Voice::new("tidy");
    loop {
        let did = in_time(async {
            match held.take(&app).await {
                Ok(true) => tidy(&app).await,
                Ok(false) => Ok(()),
                Err(error) => Err(error),
            }
        })
        .await;
        voice.heard(did);
        if !pause(TIDY, None, &stop).await {
            return held.leave(&app).await;
        }
    }
}

async fn retention(app: App, holder: String, stop: CancellationToken) {
    let mut held = Held::new("retention", holder);
    let mut voice = Voice::new("retention");
    let mut keeper = Retention::default();
    loop {
        // It reads and writes long files, so that it has no time limit; each may be done twice with no harm.
        if voice.heard(held.take(&app).await) == Some(true) {
            match keeper.tick(&app).await {
                Ok(Summary { logs_rested: 0, logs_removed: 0, artifacts_removed: 0 }) => {}
                Ok(done) => tracing::info!(
                    compressed = done.logs_rested,
                    logs = done.logs_removed,
                    artifacts = done.artifacts_removed,
                    "compressed logs, and removed logs and artifacts that were too old or too many"
                ),
                Err(error) => tracing::error!("cannot tidy up logs and artifacts; trying again and again: {error:#}"),
            }
        }
        if !pause(TIDY, None, &stop).await {
            return held.leave(&app).await;
        }
    }
}

async fn tidy(app: &App) -> Result<()> {
    app.store.tidy(FORGET).await?;
    app.store.tidy_requests(REQUESTS).await?;
    app.store.tidy_sessions().await?;
    app.store.tidy_pairs(PAIRS).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_seen_by_whichever_clock_saw_it() {
        let at = |monotonic: Instant, seconds: i64| Moment { monotonic, clock: Time(seconds * 1_000_000) };
        let begin = Instant::now();
        let later = begin + Duration::from_secs(40);
        let table = [
            (at(later, 140), 40, "both went on"),
            (at(begin, 140), 40, "the clock was set, or the machine was suspended"),
            (at(later, 100), 40, "the clock stood"),
            (at(later, 20), 40, "the clock was set back"),
        ];
        for (now, seconds, what) in table {
            assert_eq!(now.since(at(begin, 100)), Span::seconds(seconds), "{what}");
            assert_eq!(now.is_set_back(at(begin, 100)), what == "the clock was set back");
        }
    }
}
