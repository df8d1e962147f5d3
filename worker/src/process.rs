//! One process from its start to the end of its group: its clocks, its output, how it is stopped.

use std::sync::Arc;
use std::time::Duration;

use model::{Bound, Quota};
use nix::sys::signal::Signal;
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::confine::Cell;
use crate::groups;
use crate::halt::Halt;
use crate::leader::{Leader, Status};
use crate::log::Log;
use crate::spawner::Started;

/// How long what a job left in the background may go on printing after its first process has ended.
const LINGER: Duration = Duration::from_millis(500);

/// How long the last output is awaited after the group was killed: only a process that left the group holds the pipe
/// longer.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Between two looks at what a job uses.
const LOOK: Duration = Duration::from_millis(500);

/// A task's clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    pub total: Duration,
    pub no_output: Option<Duration>,
    /// Between TERM and KILL.
    pub grace: Duration,
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    Itself(Status),
    Quota(Quota),
    Over(Bound),
    Halted(Halt),
    /// The log could not be written.
    Mute(String),
}

/// Runs a started process to its end. Nothing of its group is left when this returns.
pub async fn run(
    started: Started,
    clocks: Clocks,
    halt: &mut watch::Receiver<Option<Halt>>,
    log: &Arc<Log>,
    cell: &Arc<Cell>,
) -> std::io::Result<Ending> {
    let Started { leader, output } = started;
    let mut output = Output::of(pipe::Receiver::from_owned_fd(output)?, log.clone());
    let stopped = tokio::select! {
        biased;
        () = leader.ended() => None,
        halt = halted(halt) => Some(Ending::Halted(halt)),
        () = sleep(clocks.total) => Some(Ending::Quota(Quota::Total)),
        () = silent(log, clocks.no_output) => Some(Ending::Quota(Quota::NoOutput)),
        reason = log.broken() => Some(Ending::Mute(reason)),
        limit = over(cell) => Some(Ending::Over(limit)),
    };
    let patience = match &stopped {
        None => clocks.grace.min(LINGER),
        Some(Ending::Halted(halt)) => halt.grace(clocks.grace),
        Some(Ending::Itself(_) | Ending::Quota(_) | Ending::Mute(_)) => clocks.grace,
        // It has had what it may have.
        Some(Ending::Over(_)) => Duration::ZERO,
    };
    if stopped.is_some() {
        leader.signal(Signal::SIGTERM);
    }
    // That they do not end in time is what the KILL is for.
    let over = timeout(patience, whole_group(&leader, &mut output)).await.is_ok();
    if stopped.is_some() && !over {
        let family = leader.pid();
        // Only the runtime's end makes this fail.
        let _ = tokio::task::spawn_blocking(move || groups::end_family(family)).await;
    }
    let status = leader.bury().await?;
    if !cell.is_empty() {
        let cell = cell.clone();
        // What does not die now keeps the cell from being used again; it is tried again then.
        let _ = tokio::task::spawn_blocking(move || cell.end()).await;
    }
    output.finish().await;
    Ok(stopped.unwrap_or(Ending::Itself(status)))
}

/// Waits for the end of the leader and of all that hold the pipe.
async fn whole_group(leader: &Leader, output: &mut Output) {
    leader.ended().await;
    output.closed().await;
}

/// Waits for the first reason to stop the job.
pub async fn halted(halt: &mut watch::Receiver<Option<Halt>>) -> Halt {
    let found = halt.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
    match found {
        Some(halt) => halt,
        // Whoever could have stopped it is gone: nobody will.
        None => std::future::pending().await,
    }
}

/// Waits until the job has gone over a limit. A large workspace is measured less often.
async fn over(cell: &Arc<Cell>) -> Bound {
    let mut rest = LOOK;
    loop {
        sleep(rest).await;
        let (begun, looked) = (Instant::now(), cell.clone());
        // Only the runtime's end makes this fail.
        if let Ok(Some(limit)) = tokio::task::spawn_blocking(move || looked.over()).await {
            return limit;
        }
        rest = LOOK.max(begun.elapsed() * 20);
    }
}

/// Waits until nothing was printed for so long, since now or since something was: the log is older than the process.
async fn silent(log: &Log, quota: Option<Duration>) {
    let Some(quota) = quota else { return std::future::pending().await };
    let begun = Instant::now();
    loop {
        let until = log.heard().max(begun) + quota;
        if Instant::now() >= until {
            return;
        }
        sleep_until(until).await;
    }
}

/// The task that carries what a job prints into its log.
struct Output {
    pump: JoinHandle<()>,
    enough: CancellationToken,
    over: bool,
}

impl Output {
    fn of(pipe: pipe::Receiver, log: Arc<Log>) -> Output {
        let enough = CancellationToken::new();
        let pump = tokio::spawn(carry(pipe, log, enough.clone()));
        Output { pump, enough, over: false }
    }

    /// Waits until nobody holds the pipe.
    async fn closed(&mut self) {
        if !self.over {
            // A panic in it would have been seen as such; here it only means that there is no more.
            let _ = (&mut self.pump).await;
            self.over = true;
        }
    }

    /// Takes the last of the output, and does not wait for ever for it.
    async fn finish(mut self) {
        if timeout(LAST_WORDS, self.closed()).await.is_err() {
            self.enough.cancel();
            self.closed().await;
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.enough.cancel();
    }
}

async fn carry(pipe: pipe::Receiver, log: Arc<Log>, enough: CancellationToken) {
    let mut buffer = Vec::new();
    loop {
        tokio::select! {
            ready = pipe.readable() => if ready.is_err() { return },
            () = enough.cancelled() => return,
        }
        // Most jobs print nothing, or little.
        buffer.resize(16 * 1024, 0);
        match pipe.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => log.append(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(e) => {
                log.fail(format!("cannot read what the job prints: {e}"));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::Spool;

    #[tokio::test(start_paused = true)]
    async fn silence_is_counted_from_when_there_is_a_process() {
        let log = Log::new(Spool::new("never-written".into()), 1000);
        let seconds = Duration::from_secs;
        // As long as its source may take.
        tokio::time::advance(seconds(600)).await;
        let begun = Instant::now();
        silent(&log, Some(seconds(10))).await;
        assert_eq!(begun.elapsed().as_secs(), 10);
        let (begun, printed) = (Instant::now(), async {
            sleep(seconds(9)).await;
            log.append(b"on");
        });
        tokio::join!(silent(&log, Some(seconds(10))), printed);
        assert_eq!(begun.elapsed().as_secs(), 19);
    }
}
