//! Whether this process gets on: told by those who do its work, asked by whoever tells a service manager.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
/// Milliseconds after `BEGAN`.
static LAST: AtomicU64 = AtomicU64::new(0);
static READY: LazyLock<CancellationToken> = LazyLock::new(CancellationToken::new);

/// Work went round once, whether or not it came to anything: a peer that is away is no reason to be started anew.
pub fn beat() {
    LAST.store(u64::try_from(BEGAN.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// How long nothing went round.
pub fn since_beat() -> Duration {
    BEGAN.elapsed().saturating_sub(Duration::from_millis(LAST.load(Ordering::Relaxed)))
}

/// It does what it is there for.
pub fn ready() {
    beat();
    READY.cancel();
}

/// Returns when it does.
pub async fn is_ready() {
    READY.cancelled().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_ready_once_it_says_so_and_lives_while_something_goes_round() {
        let waiting = tokio::spawn(is_ready());
        ready();
        waiting.await.unwrap();
        assert!(since_beat() < Duration::from_secs(60));
    }
}
