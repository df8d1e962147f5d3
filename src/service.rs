//! What a service manager is told by `sd_notify(3)`: that we are ready, that we get on, and that we go.
//!
//! Where nobody listens (`NOTIFY_SOCKET` is not set) all of it does nothing. The watchdog is fed only while work goes
//! round; and who is told to stop and still has jobs to see to their end asks for more time, as long as that is so.

use std::time::Duration;

use net::life;
use sd_notify::NotifyState;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often a process that is stopping asks for more time, and for how much.
const ASK: Duration = Duration::from_secs(20);
const FOR: Duration = Duration::from_secs(60);

/// Work goes round in less: a held claim, the longest of all, is answered within a minute.
const STILL: Duration = Duration::from_secs(90);

/// As long as this lives, the manager is told.
pub struct Service {
    telling: Option<JoinHandle<()>>,
}

impl Service {
    /// Begins; `stopping` is when the process was told to go.
    pub fn begin(stopping: CancellationToken) -> Service {
        let listens = std::env::var_os("NOTIFY_SOCKET").is_some();
        Service { telling: listens.then(|| tokio::spawn(tell(stopping))) }
    }
}

impl Drop for Service {
    /// Now it really goes: the manager counts from here.
    fn drop(&mut self) {
        if let Some(telling) = self.telling.take() {
            telling.abort();
            say(&[NotifyState::Stopping]);
        }
    }
}

async fn tell(stopping: CancellationToken) {
    let feed = feeding();
    let mut turn = tokio::time::interval(feed.unwrap_or(ASK).min(ASK));
    let (mut ready, mut told) = (false, false);
    loop {
        tokio::select! {
            () = life::is_ready(), if !ready => {
                ready = true;
                say(&[NotifyState::Ready, NotifyState::Status("at work")]);
            }
            () = stopping.cancelled(), if !told => {
                told = true;
                say(&[NotifyState::Status("takes nothing new; what runs is seen to its end")]);
                turn.reset_immediately();
            }
            _ = turn.tick() => {
                let alive = life::since_beat() < STILL;
                if alive && feed.is_some() {
                    say(&[NotifyState::Watchdog]);
                }
                if alive && told {
                    say(&[NotifyState::ExtendTimeoutUsec(u32::try_from(FOR.as_micros()).unwrap_or(u32::MAX))]);
                }
                if !alive {
                    tracing::error!("nothing went round for {} s: the service manager is told nothing", STILL.as_secs());
                }
            }
        }
    }
}

/// How often the watchdog wants to be fed: within half of its time.
fn feeding() -> Option<Duration> {
    let mut micros = 0;
    sd_notify::watchdog_enabled(false, &mut micros)
        .then(|| Duration::from_micros(micros / 2).max(Duration::from_millis(50)))
}

fn say(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, what) {
        tracing::warn!(%error, "cannot tell the service manager");
    }
}
