//! Asks the master for work: as many jobs as there are free slots, in a request that the master holds while there is
//! none. One claim is out at a time.
//!
//! # A slot that becomes free while a claim is held
//!
//! The held claim asked for fewer slots than are free now. It is left alone, and no slot waits for it: a master holds
//! a claim only while it has nothing for this worker. As soon as it has, it answers, whatever number was asked for,
//! and the next claim, one round trip later, asks for all that are free by then. With no slot free no claim is out,
//! and the first that becomes free sends one at once. To drop the held request and ask anew would save nothing, and
//! would cost an answer that crosses with it.
//!
//! # An answer that is lost
//!
//! The master may have granted leases that we do not know of. The same claim id gives the same leases again, so a claim
//! is repeated under its id, with what it asked for, until there is an answer; only then does a new id follow. Their
//! terms are counted from before the *first* asking. When the worker stops while a claim is out, the claim is settled
//! in the same way, asking for no more than was granted, and what comes is handed back.

use std::time::Duration;

use model::lease::{Claimed, Lease};
use net::{Backoff, ClientError};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::leases::{Asked, Term};
use crate::master::Master;

/// How long the master may hold a claim, at most.
const HOLD: Duration = Duration::from_secs(30);

/// How long a worker that stops tries to find out what its last claim was given.
const SETTLE: Duration = Duration::from_secs(3);

/// The leases of one claim.
#[derive(Debug)]
pub struct Granted {
    pub leases: Vec<Lease>,
    pub term: Term,
}

/// Makes one claim after another.
#[derive(Debug)]
pub struct Claims {
    master: Master,
    stop: CancellationToken,
    backoff: Backoff,
    /// What the last answer said; none before the first.
    term: Option<Duration>,
}

impl Claims {
    pub fn new(master: Master, stop: CancellationToken) -> Claims {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        Claims { master, stop, backoff, term: None }
    }

    /// Claims up to `slots` jobs. Comes back with what was granted, perhaps nothing; never gives up while the worker
    /// goes on. Leases that come when the worker stops are to be handed back.
    pub async fn next(&mut self, slots: u32) -> Granted {
        let id = net::clock::uuid();
        let asked = Asked::now();
        let mut unreachable = false;
        loop {
            net::life::beat();
            let answer = tokio::select! {
                answer = self.master.claim(id, slots, self.hold()) => answer,
                () = self.stop.cancelled() => return self.settle(id, asked).await,
            };
            match answer {
                Ok(claimed) => {
                    if unreachable {
                        tracing::info!(worker = %self.name(), "the master answers again");
                    }
                    self.backoff.reset();
                    return self.granted(claimed, asked);
                }
                Err(e) => {
                    if !std::mem::replace(&mut unreachable, true) {
                        self.complain(&e);
                    }
                    let stop = self.stop.clone();
                    tokio::select! {
                        () = self.pause(&e) => {}
                        () = stop.cancelled() => {}
                    }
                }
            }
        }
    }

    /// Not longer than half a term, so that an answer that comes late still leaves time to renew; at once the first
    /// time, which is how we learn the term.
    fn hold(&self) -> Duration {
        self.term.map_or(Duration::ZERO, |term| HOLD.min(term / 2))
    }

    fn granted(&mut self, claimed: Claimed, asked: Asked) -> Granted {
        let length = claimed.term.0;
        self.term = Some(length);
        Granted { leases: claimed.leases, term: asked.granted(length) }
    }

    /// Finds out what a claim was given whose answer we shall not wait for.
    async fn settle(&mut self, id: uuid::Uuid, asked: Asked) -> Granted {
        let ask = async {
            loop {
                match self.master.claim(id, 0, Duration::ZERO).await {
                    Ok(claimed) => return claimed,
                    // It refuses a claim for nothing, so there is nothing to find out.
                    Err(ClientError::Refused { .. }) => return Claimed::default(),
                    Err(ClientError::Unavailable(_)) => self.backoff.wait().await,
                }
            }
        };
        // What is not found out ends with its lease.
        let claimed = timeout(SETTLE, ask).await.unwrap_or_default();
        self.granted(claimed, asked)
    }

    /// Logged once an outage, and plainly where only a person can end it.
    fn complain(&self, e: &ClientError) {
        let worker = self.name();
        match e {
            ClientError::Unavailable(why) => tracing::warn!(%worker, "cannot ask for work: {why}"),
            ClientError::Refused { status: status @ (401 | 403), detail } => tracing::error!(
                %worker,
                "the master does not let this worker in ({status}): {detail}; check its token and whether it is enrolled"
            ),
            ClientError::Refused { status, detail } => {
                tracing::error!(%worker, "the master refused to give work ({status}): {detail}");
            }
        }
    }

    async fn pause(&mut self, e: &ClientError) {
        match e {
            ClientError::Unavailable(_) => self.backoff.wait().await,
            ClientError::Refused { .. } => {
                // Only a person changes this; there is no hurry.
                Backoff::new(Duration::from_secs(15), Duration::from_secs(15)).wait().await;
            }
        }
    }

    fn name(&self) -> &str {
        &self.master.worker().name
    }
}
