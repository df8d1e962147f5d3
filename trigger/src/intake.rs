//! From deliveries in hand to records on disk: the one road that every source takes.
//!
//! Two threads in a row. The first reads deliveries and asks the rules; the second numbers, writes and syncs, each time
//! everything that came while it was busy: so there is one sync for all deliveries in hand, and no timer. A source
//! hands over a batch, gets a receipt, and acknowledges when the receipt comes. A receipt that is dropped means never.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::intake::Became;
use model::{Content, Event, Time};
use net::Backoff;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::Live;
use crate::decode::{Limits, Reason, decode};
use crate::delivery::Delivery;
use crate::log::{CommitError, Decided, Heard, Log, Ready, Staged};
use crate::metrics::Metrics;

/// The most deliveries and bytes in one commit; one batch that is larger goes alone.
pub const MOST: usize = 512;
pub const MOST_BYTES: usize = 8 << 20;

/// How many batches may wait before each of the two threads.
const WAITING: usize = 4;

/// Comes when a batch is on disk, and says what became of each delivery; an error says that it never will be.
pub type Receipt = oneshot::Receiver<Vec<Became>>;

/// Where sources hand deliveries over. Cheap to clone; the intake ends when all of these are dropped.
#[derive(Clone)]
pub struct Intake {
    batches: mpsc::Sender<Handed>,
}

struct Handed {
    deliveries: Vec<Delivery>,
    /// What the source says of itself, behind these deliveries.
    heard: Option<Heard>,
    done: oneshot::Sender<Vec<Became>>,
}

struct Decoded {
    batch: Vec<Ready>,
    /// How many of the batch are deliveries.
    count: usize,
    bytes: usize,
    done: oneshot::Sender<Vec<Became>>,
}

/// What others ask of the thread that owns the log.
pub enum Order {
    /// The master has everything before this number.
    Acknowledged(u64),
    /// Begin a new log with the records of this recorder from this number on.
    StartOver { recorder: String, from: u64 },
}

/// Why an intake ended before its sources did.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    #[error("stopped while the event log could not be written; what was in hand is not acknowledged")]
    Stopped,
    #[error(transparent)]
    Failed(#[from] CommitError),
    /// A fault of this program. What was in hand is not acknowledged.
    #[error("the intake broke: {0}")]
    Broken(String),
}

/// The parts of an intake: its entrance, its back door, and its end with the log as it is then.
pub struct Started {
    pub intake: Intake,
    pub orders: mpsc::Sender<Order>,
    pub end: tokio::task::JoinHandle<Result<Log, Ended>>,
}

/// What an intake needs.
pub struct Parts {
    pub log: Log,
    pub live: watch::Receiver<Live>,
    pub limits: Limits,
    pub metrics: Arc<Metrics>,
    /// Ends only the waiting for a disk that cannot be written; what can be written is.
    pub stop: CancellationToken,
    /// Makes the name of a new recorder.
    pub name: String,
}

impl Intake {
    /// Hands a batch over; waits while too much is under way. `None` when the intake has ended.
    pub async fn hand(&self, deliveries: Vec<Delivery>) -> Option<Receipt> {
        let (done, receipt) = oneshot::channel();
        self.batches.send(Handed { deliveries, heard: None, done }).await.ok()?;
        Some(receipt)
    }

    /// Leaves a word that can be missed, if there is room for it now.
    pub fn mention(&self, heard: Heard) {
        let (done, _) = oneshot::channel();
        let _ = self.batches.try_send(Handed { deliveries: Vec::new(), heard: Some(heard), done });
    }

    /// Leaves a source's word in the log, behind everything that was handed over. Nobody hears it when the intake has
    /// ended.
    pub async fn say(&self, heard: Heard) {
        let (done, _) = oneshot::channel();
        let _ = self.batches.send(Handed { deliveries: Vec::new(), heard: Some(heard), done }).await;
    }
}

/// Starts the two threads.
pub fn start(parts: Parts) -> Started {
    let (batches, handed) = mpsc::channel(WAITING);
    let (to_writer, decoded) = mpsc::channel(WAITING);
    let (orders, ordered) = mpsc::channel(WAITING);
    let (live, limits, metrics) = (parts.live.clone(), parts.limits, parts.metrics.clone());
    let reader = tokio::task::spawn_blocking(move || read(handed, &to_writer, &live, &limits, &metrics));
    let runtime = tokio::runtime::Handle::current();
    let writer = tokio::task::spawn_blocking(move || runtime.block_on(write(parts, decoded, ordered)));
    let end = tokio::spawn(async {
        let written = writer.await.map_err(|e| Ended::Broken(e.to_string()))?;
        // A reader that panicked looks to the writer like one that is done.
        reader.await.map_err(|e| Ended::Broken(e.to_string()))?;
        written
    });
    Started { intake: Intake { batches }, orders, end }
}

/// The first thread: decode and decide.
fn read(
    mut handed: mpsc::Receiver<Handed>,
    to_writer: &mpsc::Sender<Decoded>,
    live: &watch::Receiver<Live>,
    limits: &Limits,
    metrics: &Metrics,
) {
    while let Some(Handed { deliveries, heard, done }) = handed.blocking_recv() {
        let now = net::clock::now();
        if !deliveries.is_empty() {
            metrics.received.fetch_add(deliveries.len() as u64, Ordering::Relaxed);
            metrics.last_delivery.store(now.0, Ordering::Relaxed);
        }
        let live = live.borrow().clone();
        let bytes = deliveries.iter().map(|delivery| delivery.bytes.len()).sum();
        let count = deliveries.len();
        let read = |delivery: &Delivery| {
            let event = decode(delivery, limits)?;
            Ok((event.content(), decide(&live, &event, now), event))
        };
        let events = deliveries.into_iter().map(|delivery| ready(delivery, read));
        let batch: Vec<_> = events.chain(heard.map(Ready::Heard)).collect();
        if let Some(sent) = batch.iter().rev().find_map(sent_at) {
            metrics.lag.store(now.0.saturating_sub(sent.0), Ordering::Relaxed);
        }
        if to_writer.blocking_send(Decoded { batch, count, bytes, done }).is_err() {
            break;
        }
    }
}

/// A delivery over which we fall is kept aside like any that cannot be read: it would come again, and again, and stop
/// all others.
fn ready(delivery: Delivery, read: impl Fn(&Delivery) -> Result<(Content, Decided, Event), Reason>) -> Ready {
    match catch_unwind(AssertUnwindSafe(|| read(&delivery))) {
        Ok(Ok((content, decided, event))) => Ready::Event { content, decided, event },
        Ok(Err(reason)) => Ready::Unreadable { delivery, reason },
        Err(_) => {
            error!(
                topic = delivery.topic,
                "a fault of ours: a delivery of topic '{}' cannot be decided", delivery.topic
            );
            Ready::Unreadable { delivery, reason: Reason::Fault }
        }
    }
}

fn sent_at(ready: &Ready) -> Option<Time> {
    match ready {
        Ready::Event { event, .. } => event.time(),
        Ready::Unreadable { .. } | Ready::Heard(_) => None,
    }
}

fn decide(live: &Live, event: &Event, now: Time) -> Decided {
    let decision = live.configuration.decide(event, now);
    for fault in &decision.unrendered {
        debug!(event.id = event.id, topic = event.topic, "no job of one rule for event {}: {fault}", event.id);
    }
    Decided { generation: live.generation, matched: decision.matched, jobs: decision.jobs }
}

/// The second thread: number, write, sync, and only then hand out receipts.
async fn write(
    mut parts: Parts,
    mut decoded: mpsc::Receiver<Decoded>,
    mut ordered: mpsc::Receiver<Order>,
) -> Result<Log, Ended> {
    let mut held = None;
    loop {
        let first = match held.take() {
            Some(first) => first,
            None => tokio::select! {
                biased;
                Some(order) = ordered.recv() => {
                    obey(&mut parts, order).await?;
                    continue;
                }
                first = decoded.recv() => match first {
                    Some(first) => first,
                    None => break,
                },
            },
        };
        let (mut batch, mut bytes, mut receipts) = (first.batch, first.bytes, Vec::new());
        receipts.push((first.count, first.done));
        while let Ok(more) = decoded.try_recv() {
            if batch.len() + more.batch.len() > MOST || bytes + more.bytes > MOST_BYTES {
                held = Some(more);
                break;
            }
            receipts.push((more.count, more.done));
            batch.extend(more.batch);
            bytes += more.bytes;
        }
        let now = net::clock::now();
        let live = parts.live.borrow().clone();
        let mut staged = parts.log.stage(batch, now, |event| decide(&live, event, now));
        commit(&mut parts, &staged).await?;
        staged.count(&parts.metrics);
        for (n, receipt) in receipts {
            // A source that is gone gets the same deliveries again, and they are known then.
            let _ = receipt.send(staged.became(n));
        }
        parts.log.project(&staged);
    }
    Ok(parts.log)
}

/// Writes until it is written: a full disk is waited for, and meanwhile nothing is acknowledged.
async fn commit(parts: &mut Parts, staged: &Staged) -> Result<(), Ended> {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    loop {
        match parts.log.commit(staged, net::clock::now()) {
            Ok(()) => {
                if parts.metrics.unstall() {
                    info!("the event log can be written again");
                }
                return Ok(());
            }
            Err(CommitError::Temporary(error)) => {
                // To wait for the disk is to be at work: nobody should restart us for it.
                net::life::beat();
                if parts.metrics.stall(&error, net::clock::now()) {
                    error!(%error, "cannot write the event log; nothing is acknowledged until it can be: {error}");
                }
                tokio::select! {
                    () = backoff.wait() => {}
                    () = parts.stop.cancelled() => return Err(Ended::Stopped),
                }
            }
            Err(fatal @ CommitError::Fatal(_)) => return Err(fatal.into()),
        }
    }
}

async fn obey(parts: &mut Parts, order: Order) -> Result<(), Ended> {
    let now = net::clock::now();
    match order {
        Order::Acknowledged(next) => {
            if let Err(error) = parts.log.forget(next, now) {
                warn!(%error, "cannot delete old files of the event log");
            }
        }
        // Asked for again while the disk was full, and done since: in the new log the number means another record.
        Order::StartOver { recorder, from } if recorder != parts.log.recorder() => {
            debug!("the event log of {recorder} has begun anew already; not again from {from} on");
        }
        Order::StartOver { from, .. } => {
            let recorder = new_recorder(&parts.name);
            match parts.log.start_over(from, recorder, now) {
                Ok(()) => begin_counts(&parts.metrics, &parts.log),
                Err(CommitError::Temporary(error)) => warn!(%error, "cannot begin a new event log yet"),
                Err(fatal @ CommitError::Fatal(_)) => return Err(fatal.into()),
            }
        }
    }
    Ok(())
}

/// Sets the counters that count since the log began.
pub fn begin_counts(metrics: &Metrics, log: &Log) {
    let counts = log.shared().counts(1);
    metrics.recorded.store(counts.recorded, Ordering::Relaxed);
    metrics.duplicates.store(counts.duplicates, Ordering::Relaxed);
    metrics.quarantined.store(counts.quarantined, Ordering::Relaxed);
    metrics.jobs.store(log.jobs(), Ordering::Relaxed);
}

/// The id of a recorder that begins now: its name, as far as an address may hold it, and chance.
pub fn new_recorder(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = name.chars().map(plain).take(64).collect();
    format!("{name}-{}", hex::encode(rand::random::<[u8; 6]>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a12_a_delivery_over_which_we_fall_is_kept_and_the_others_go_on() {
        let limits = Limits::default();
        let read = |delivery: &Delivery| {
            let event = decode(delivery, &limits)?;
            assert!(event.topic != "poison", "what a fault of ours would do");
            Ok((event.content(), Decided::default(), event))
        };
        let of = |topic: &str| {
            let line = format!(r#"{{"topic": "{topic}", "body": {{}}}}"#);
            match ready(Delivery::line(line.into_bytes(), "file:x".into()), read) {
                Ready::Event { event, .. } => Ok(event.topic),
                Ready::Unreadable { delivery, reason } => Err((delivery.bytes.len(), reason)),
                Ready::Heard(_) => unreachable!("a delivery is no word of a source"),
            }
        };
        assert_eq!(of("a"), Ok("a".into()));
        assert_eq!(of("poison"), Err((r#"{"topic": "poison", "body": {}}"#.len(), Reason::Fault)));
        assert_eq!(of("b"), Ok("b".into()));
    }
}
