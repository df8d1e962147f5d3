//! Sends a job's log to the master, by offset, so that a repeated piece changes nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use net::ClientError;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::log::Log;
use crate::master::Master;

/// Bytes in one request at most.
const PIECE: usize = 256 * 1024;

/// How long output gathers before it is sent: what most jobs print then travels with their report, and whoever watches
/// sees a line soon enough.
const GATHER: Duration = Duration::from_millis(100);

/// How soon a piece is tried again at first.
const AGAIN: Duration = Duration::from_millis(250);

/// Requests with a piece of log at once, over all jobs: bounds the memory that they take.
static PIECES: Semaphore = Semaphore::const_new(4);

/// One log on its way.
#[derive(Debug)]
pub struct Upload {
    master: Master,
    token: String,
    log: Arc<Log>,
    /// How much the master has. Only its answers change this, so a dropped request is merely repeated.
    sent: u64,
    /// Why there is no use in sending more.
    refused: Option<String>,
}

impl Upload {
    pub fn new(master: Master, token: String, log: Arc<Log>, sent: u64) -> Upload {
        Upload { master, token, log, sent, refused: None }
    }

    pub fn sent(&self) -> u64 {
        self.sent
    }

    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Sends while the job runs; never returns, and may be dropped at any moment.
    pub async fn live(&mut self) -> Infallible {
        let mut backoff = net::Backoff::new(AGAIN, Duration::from_secs(5));
        loop {
            self.log.more().await;
            sleep(GATHER).await;
            while self.refused.is_none() && self.sent < self.log.len() {
                match self.piece().await {
                    Ok(()) => backoff.reset(),
                    // The job does not wait for its log, and the renewal already says that the master is away.
                    Err(_) => backoff.wait().await,
                }
            }
        }
    }

    /// Sends the next piece. An error is worth another try later.
    pub async fn piece(&mut self) -> Result<(), String> {
        let _turn = PIECES.acquire().await;
        let bytes = match self.log.read(self.sent, PIECE) {
            Ok(bytes) => bytes,
            Err(e) => {
                self.refused = Some(format!("cannot read the job's log: {e}"));
                return Ok(());
            }
        };
        match self.master.log(&self.token, self.sent, bytes).await {
            // Less than we sent: the master has lost some, and gets it again.
            Ok(stored) => self.sent = stored.size.min(self.log.len()),
            Err(ClientError::Unavailable(why)) => return Err(why),
            Err(ClientError::Refused { status: 401 | 403, detail }) => return Err(detail),
            Err(ClientError::Refused { status, detail }) => {
                self.refused = Some(format!("the master refused the log ({status}): {detail}"));
            }
        }
        Ok(())
    }
}
