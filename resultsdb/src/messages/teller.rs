//! Bringing the messages to the broker, oldest result first, each until the broker has confirmed it.
//!
//! What no queue gets, and what the broker refuses, is put off with its reason. While the broker is away nothing is put
//! off: everything waits, and results are stored as ever.

use std::time::Duration;

use bus::{Answer, Fault, Publisher, Telegram};
use net::Backoff;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Messages, body};
use crate::store::{Refused, Result, Store, Untold};

/// Results whose messages are on their way at once, at most.
const BATCH: u32 = 500;

/// How long a store has the turn to tell the bus without saying so again; it is longer than sending a batch may take.
const TERM: Duration = Duration::from_secs(20);

/// How often it is looked for results that others have stored, and for what was put off.
const LOOK: Duration = Duration::from_secs(1);

/// How long results wait for others once there are some: to tell of many costs the database little more than to tell of
/// one.
const GATHER: Duration = Duration::from_millis(100);

/// What one tick did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Results of which the bus knows all now.
    pub told: usize,
    pub refused: usize,
    /// Whether another store has the turn.
    pub other: bool,
    /// Whether there may be more that is due.
    pub more: bool,
}

/// Why a tick came to no end; nothing is lost.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("{0}")]
    Bus(#[from] Fault),
    #[error("{0}")]
    Store(#[from] std::sync::Arc<db::Error>),
}

impl From<db::Error> for Trouble {
    fn from(e: db::Error) -> Trouble {
        Trouble::Store(e.into())
    }
}

/// The one that tells.
pub struct Teller {
    store: Store,
    to: Messages,
    publisher: Publisher,
    holder: Uuid,
    /// Until when it has the turn.
    until: Option<Instant>,
    /// How many results are told of at once: fewer after a batch that could not be sent.
    most: u32,
}

/// Tells the bus until `stop`, and then once more of what is there.
pub async fn tell(store: Store, to: Messages, stop: CancellationToken) {
    let mut teller = Teller::new(store.clone(), to);
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(15));
    loop {
        let stopping = stop.is_cancelled();
        let did = db::in_time(teller.tick()).await;
        store.telling(did.as_ref().err().map(ToString::to_string), did.as_ref().map_or(0, |did| did.told));
        if stopping {
            return teller.leave().await;
        }
        let rest = match did {
            Ok(Summary { more: true, .. }) => continue,
            Ok(_) => {
                backoff.reset();
                LOOK
            }
            Err(_) => backoff.step(),
        };
        let failed = rest != LOOK;
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(rest) => {}
            () = store.has_untold(), if !failed => tokio::time::sleep(GATHER).await,
        }
    }
}

impl Teller {
    pub fn new(store: Store, to: Messages) -> Teller {
        let publisher = Publisher::new("[resultsdb.messages]", "taskotron resultsdb");
        Teller { store, to, publisher, holder: net::clock::uuid(), until: None, most: BATCH }
    }

    /// Tells of what is due, up to a batch of it.
    pub async fn tick(&mut self) -> std::result::Result<Summary, Trouble> {
        if !self.has_turn().await? {
            self.publisher.rest();
            return Ok(Summary { other: true, ..Summary::default() });
        }
        let (due, more) = self.store.untold(self.most).await?;
        if due.is_empty() {
            return Ok(Summary { more, ..Summary::default() });
        }
        let telegrams = self.telegrams(&due).await?;
        if let Err(fault) = self.publisher.ready(&self.to.broker).await {
            // Another store may reach the broker.
            self.give_up_turn().await?;
            return Err(fault.into());
        }
        // A connection may take longer to make than the turn lasts.
        if !self.has_turn().await? {
            return Ok(Summary { other: true, ..Summary::default() });
        }
        let (whose, telegrams): (Vec<usize>, Vec<Telegram>) = telegrams.into_iter().unzip();
        let answers = match self.publisher.send(&self.to.broker, &self.to.outlet, &telegrams).await {
            Ok(answers) => answers,
            // One of them is not taken, and keeps those behind it from being sent: it is looked for by halves.
            Err(Fault::Message(_)) if due.len() > 1 => {
                self.most = u32::try_from(due.len() / 2).unwrap_or(1);
                return Ok(Summary { more: true, ..Summary::default() });
            }
            Err(Fault::Message(why)) => return self.settle(&due, vec![Some(why)], more).await,
            Err(fault) => {
                self.give_up_turn().await?;
                return Err(fault.into());
            }
        };
        self.most = self.most.saturating_mul(2).min(BATCH);
        let mut why: Vec<Option<String>> = vec![None; due.len()];
        for (nth, answer) in whose.into_iter().zip(answers) {
            if let Answer::Refused(said) = answer {
                why[nth] = Some(said);
            }
        }
        self.settle(&due, why, more).await
    }

    /// Gives the turn back.
    pub async fn leave(mut self) {
        if let Err(error) = self.give_up_turn().await {
            tracing::debug!(%error, "cannot give the turn to tell the bus back; its term will pass");
        }
    }

    /// The messages of each result, with its place.
    async fn telegrams(&self, due: &[Untold]) -> Result<Vec<(usize, Telegram)>> {
        let now = net::clock::now();
        let mut telegrams = Vec::with_capacity(due.len());
        for (nth, of) in due.iter().enumerate() {
            telegrams.push((nth, body::new_result(of, &self.to, now)));
            if self.to.changed_outcomes {
                let before = self.store.outcome_before(&of.result).await?;
                if before.as_deref() != Some(of.result.outcome.as_str()) {
                    telegrams.push((nth, body::changed_outcome(of, before.as_deref(), &self.to, now)));
                }
            }
        }
        Ok(telegrams)
    }

    /// Keeps what became of a batch.
    async fn settle(
        &self,
        due: &[Untold],
        why: Vec<Option<String>>,
        more: bool,
    ) -> std::result::Result<Summary, Trouble> {
        let taken = due.iter().zip(&why).filter(|(_, why)| why.is_none());
        let told: Vec<i64> = taken.map(|(of, _)| of.result.id).collect();
        if !told.is_empty() {
            self.store.told(&told).await?;
        }
        let refused: Vec<Refused> = (due.iter().zip(why))
            .filter_map(|(of, why)| Some(Refused { result: of.result.id, rest: bus::rest(of.tries), error: why? }))
            .collect();
        if let Some(first) = refused.first() {
            let (messages, reason) = (refused.len(), &first.error);
            tracing::error!(messages, result = first.result, reason, "the bus did not take messages; they are kept");
            self.store.put_off(&refused).await?;
        }
        Ok(Summary { told: told.len(), refused: due.len() - told.len(), other: false, more })
    }

    /// Whether the turn is ours for the time that a batch takes.
    async fn has_turn(&mut self) -> Result<bool> {
        let now = Instant::now();
        if self.until.is_some_and(|until| now + TERM / 2 < until) {
            return Ok(true);
        }
        let taken = self.store.take_turn(self.holder, TERM).await?;
        self.until = taken.then(|| now + TERM);
        Ok(taken)
    }

    async fn give_up_turn(&mut self) -> Result<()> {
        match self.until.take() {
            Some(_) => self.store.leave_turn(self.holder).await,
            None => Ok(()),
        }
    }
}
