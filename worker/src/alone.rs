//! One attempt with no master: for a task's author, by the same way as any other.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use model::lease::{Lease, Report};
use net::Client;
use tokio_util::sync::CancellationToken;

use crate::Settings;
use crate::attempt::{self, Bench};
use crate::confine::Means;
use crate::guardian::{Guardian, Vigil};
use crate::halt::Halt;
use crate::home::Home;
use crate::leases::Asked;
use crate::log::Log;
use crate::sources::{Origins, Sources};

/// How long the lease holds that nobody gave: longer than any task runs.
const TERM: Duration = Duration::from_secs(3650 * 24 * 3600);

/// Bytes of log that are shown at once.
const PIECE: usize = 64 * 1024;

/// Runs an attempt in the folder of these settings, which should be one of its own. A commit is fetched from the task's
/// repository, or where that cannot be had from the mirror of `master`. What it prints is shown as it comes; `stop` ends it
/// as cancelled. Fails only where it cannot begin.
pub async fn once(
    settings: Settings,
    master: Option<Client>,
    lease: Lease,
    vigil: Vigil,
    stop: CancellationToken,
    show: impl FnMut(&[u8]),
) -> anyhow::Result<Report> {
    let home = Arc::new(Home::open(&settings.dir)?);
    let guardian = Arc::new(Guardian::start(home.clone(), vigil).await?);
    let means = Arc::new(Means::find(&settings, &home)?);
    let sources = Sources::open(home.sources(), settings.source_cache, Origins::repositories(master));
    let sources = Arc::new(sources.context("cannot make the folder of fetched commits")?);
    let bench = Bench::new(settings, home, guardian.clone(), means, sources)?;
    let view = bench.leases.take(&lease.token, Asked::now().granted(TERM)).context("the lease is held already")?;
    let log = bench.log(&lease);
    let mut printer = Printer { log: log.clone(), shown: 0, show };
    let stopped = async {
        stop.cancelled().await;
        bench.leases.halt(&lease.token, Halt::Cancelled { reason: "interrupted".to_owned() });
        std::future::pending::<Infallible>().await
    };
    let report = tokio::select! {
        (report, _) = attempt::run_to_end(&bench, &lease, view, &log, printer.live()) => report,
        never = stopped => match never {},
    };
    printer.rest();
    log.remove();
    drop(bench);
    guardian.end().await;
    Ok(report)
}

/// Shows a log as far as it is known not to change any more.
struct Printer<S> {
    log: Arc<Log>,
    shown: u64,
    show: S,
}

impl<S: FnMut(&[u8])> Printer<S> {
    async fn live(&mut self) -> Infallible {
        loop {
            self.log.more().await;
            self.rest();
        }
    }

    fn rest(&mut self) {
        while self.shown < self.log.len() {
            match self.log.read(self.shown, PIECE) {
                Ok(bytes) if !bytes.is_empty() => {
                    (self.show)(&bytes);
                    self.shown += bytes.len() as u64;
                }
                // It is told by the report, which cannot be whole either.
                Ok(_) | Err(_) => return,
            }
        }
    }
}
