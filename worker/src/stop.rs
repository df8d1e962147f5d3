//! How a worker is told to stop.

use tokio_util::sync::CancellationToken;

/// Two wishes; the second may follow the first.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Take nothing new, see running jobs to their end, deliver their reports.
    pub graceful: CancellationToken,
    /// Stop running jobs (TERM, grace, KILL) and hand them back.
    pub now: CancellationToken,
}
