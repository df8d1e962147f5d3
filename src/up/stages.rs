//! How a process is told to stop: SIGTERM or SIGINT once, twice, or for the third time.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Two wishes; the second follows the first.
#[derive(Clone, Debug, Default)]
pub struct Stages {
    /// Take nothing new, see what runs to its end.
    pub graceful: CancellationToken,
    /// Stop what runs, and hand it back.
    pub now: CancellationToken,
}

impl Stages {
    /// Listens for signals from now on. The third, or SIGQUIT, ends the process at once.
    pub fn on_signals() -> anyhow::Result<Stages> {
        let stages = Stages::default();
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let mut quit = signal(SignalKind::quit())?;
        let told = stages.clone();
        tokio::spawn(async move {
            for said in ["stopping; once more stops running jobs", "stopping now; once more ends the process at once"] {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = quit.recv() => at_once(),
                }
                tracing::info!("{said}");
                if told.graceful.is_cancelled() { told.now.cancel() } else { told.graceful.cancel() }
            }
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = quit.recv() => {}
            }
            at_once()
        });
        Ok(stages)
    }
}

/// What was promised is on disk already; leases run out by themselves.
fn at_once() -> ! {
    eprintln!("ended at once");
    std::process::exit(128 + nix::libc::SIGQUIT)
}
