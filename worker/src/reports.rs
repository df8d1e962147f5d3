//! Brings reports to the master: all that are ready in one request, and again until it has taken them.
//!
//! One request is out at a time, and whoever ends meanwhile goes with the next. A report that the master cannot take
//! now is put on disk and tried again for ever; one that it refuses as nonsense is put aside (`reports/*.refused`), so
//! that it never holds up the others.

use std::collections::VecDeque;
use std::fs;
use std::iter;
use std::sync::Arc;
use std::time::Duration;

use model::Span;
use model::lease::{Finished, Receipt};
use net::{Backoff, ClientError};
use tokio::sync::{mpsc, watch};

use crate::artifacts;
use crate::home::Home;
use crate::leases::{Asked, Leases};
use crate::master::Master;
use crate::parcel::{Parcel, TRAVELS_ALONG, add_note};
use crate::upload::Upload;

/// Reports in one request at most, and roughly how many bytes.
const MOST: usize = 256;
const WEIGHT: usize = 1024 * 1024;

/// How long a report waits for others: to send several costs as much as to send one.
const GATHER: Duration = Duration::from_millis(3);

/// Where ended attempts are handed in.
#[derive(Clone, Debug)]
pub struct Reports {
    queue: mpsc::UnboundedSender<Parcel>,
    courier: Arc<Courier>,
}

/// What delivery needs.
#[derive(Debug)]
struct Courier {
    home: Arc<Home>,
    master: Master,
    leases: Arc<Leases>,
    /// How long a report waits for the artifacts of its job.
    artifacts_within: Span,
    /// Reports handed in and not yet taken by the master.
    unsent: watch::Sender<usize>,
    /// Whether every report is on disk, also those that the master is just asked to take: before the worker ends.
    careful: watch::Sender<bool>,
}

impl Reports {
    /// Starts to deliver, and begins with what an earlier worker left: it counts as unsent from here on, and its leases are
    /// held until it is taken.
    pub fn start(
        home: Arc<Home>,
        master: Master,
        leases: Arc<Leases>,
        artifacts_within: Span,
    ) -> anyhow::Result<Reports> {
        let (queue, parcels) = mpsc::unbounded_channel();
        let (unsent, careful) = (watch::Sender::new(0), watch::Sender::new(false));
        let courier = Arc::new(Courier { home, master, leases, artifacts_within, unsent, careful });
        let reports = Reports { queue, courier };
        for id in reports.courier.home.attempts_in("reports")? {
            match Parcel::left(&reports.courier.home, id) {
                Ok(parcel) => {
                    tracing::info!(job.id = %id.job, attempt = id.attempt, "sends a report that an earlier worker left");
                    // Its files and its log may take long. How much is left of its term only the master knows.
                    reports.courier.leases.take(&parcel.report.token, Asked::now().granted(Duration::ZERO));
                    reports.hand_in(parcel);
                }
                Err(e) => tracing::error!(job.id = %id.job, attempt = id.attempt, "a kept report is lost: {e:#}"),
            }
        }
        tokio::spawn(deliver(reports.courier.clone(), parcels));
        Ok(reports)
    }

    /// Takes a report over. Returns at once.
    pub fn hand_in(&self, mut parcel: Parcel) {
        // Held until it is posted: that it is time to be careful is known only when it is found in the queue.
        let careful = self.courier.careful.borrow();
        let alone = parcel.unsent() <= TRAVELS_ALONG && parcel.artifacts.is_empty();
        // What goes ahead of it may take long, and the next worker goes on with it.
        if !alone || *careful {
            parcel.keep(&self.courier.home);
        }
        self.courier.unsent.send_modify(|n| *n += 1);
        if alone {
            self.post(parcel);
        } else {
            let this = self.clone();
            tokio::spawn(async move {
                let parcel = this.courier.send_artifacts_ahead(parcel).await;
                let parcel = this.courier.send_log_ahead(parcel).await;
                this.post(parcel);
            });
        }
    }

    fn post(&self, parcel: Parcel) {
        // Delivery ends only with the runtime.
        let _ = self.queue.send(parcel);
    }

    /// From now on every report is on disk before it is sent; those that are on their way go there at once.
    pub fn be_careful(&self) {
        self.courier.careful.send_replace(true);
    }

    /// How many the master has not yet taken.
    pub fn unsent(&self) -> usize {
        *self.courier.unsent.borrow()
    }

    /// Waits until the master has taken enough for `most` to be left.
    pub async fn at_most(&self, most: usize) {
        // The sender lives in `self`.
        let _ = self.courier.unsent.subscribe().wait_for(|n| *n <= most).await;
    }
}

fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(100), Duration::from_secs(10))
}

async fn deliver(courier: Arc<Courier>, mut parcels: mpsc::UnboundedReceiver<Parcel>) {
    let mut waiting = VecDeque::new();
    let mut backoff = backoff();
    // After a refusal, this many go one by one, to find the one that is meant.
    let mut singly = 0_usize;
    loop {
        if waiting.is_empty() {
            match parcels.recv().await {
                Some(parcel) => waiting.push_back(parcel),
                None => return,
            }
            tokio::time::sleep(GATHER).await;
        }
        waiting.extend(iter::from_fn(|| parcels.try_recv().ok()));
        net::life::beat();
        let mut batch = take_batch(&mut waiting, if singly > 0 { 1 } else { MOST });
        singly = singly.saturating_sub(1);
        let request = courier.master.finish(batch.iter().map(Parcel::sealed).collect());
        tokio::pin!(request);
        let answer = tokio::select! {
            biased;
            answer = &mut request => answer,
            () = courier.careful() => {
                // It may get no answer before the worker ends.
                waiting.extend(iter::from_fn(|| parcels.try_recv().ok()));
                batch.iter_mut().chain(&mut waiting).for_each(|parcel| parcel.keep(&courier.home));
                request.await
            }
        };
        match courier.sort(batch, answer) {
            Sent::Taken => backoff.reset(),
            Sent::Refused(batch) => {
                singly = batch.len();
                put_back(&mut waiting, batch);
            }
            Sent::Later { batch, why } => {
                if singly == 0 {
                    tracing::debug!(reports = batch.len() + waiting.len(), "cannot send reports yet: {why}");
                }
                put_back(&mut waiting, batch);
                waiting.iter_mut().for_each(|parcel| parcel.keep(&courier.home));
                backoff.wait().await;
            }
        }
    }
}

fn take_batch(waiting: &mut VecDeque<Parcel>, most: usize) -> Vec<Parcel> {
    let mut weight = 0;
    let mut count = 0;
    for parcel in waiting.iter().take(most) {
        weight += parcel.weight();
        if count > 0 && weight > WEIGHT {
            break;
        }
        count += 1;
    }
    waiting.drain(..count).collect()
}

fn put_back(waiting: &mut VecDeque<Parcel>, batch: Vec<Parcel>) {
    batch.into_iter().rev().for_each(|parcel| waiting.push_front(parcel));
}

/// What became of a batch.
enum Sent {
    Taken,
    /// One of several is nonsense to the master.
    Refused(Vec<Parcel>),
    Later {
        batch: Vec<Parcel>,
        why: String,
    },
}

impl Courier {
    /// Returns as soon as it is time to be careful.
    async fn careful(&self) {
        // The sender lives in `self`.
        let _ = self.careful.subscribe().wait_for(|careful| *careful).await;
    }

    fn sort(&self, batch: Vec<Parcel>, answer: Result<Finished, ClientError>) -> Sent {
        match answer {
            Ok(finished) if finished.reports.len() == batch.len() => {
                batch.into_iter().zip(finished.reports).for_each(|(parcel, receipt)| self.settle(parcel, receipt));
                Sent::Taken
            }
            Ok(finished) => {
                let (got, want) = (finished.reports.len(), batch.len());
                Sent::Later { batch, why: format!("the master answered {got} of {want} reports") }
            }
            Err(ClientError::Refused { status: 410, .. }) => {
                batch.into_iter().for_each(|parcel| self.settle(parcel, Receipt::Gone));
                Sent::Taken
            }
            Err(ClientError::Unavailable(why)) => Sent::Later { batch, why },
            // The token, or the address, is wrong: nothing that is wrong with these reports.
            Err(ClientError::Refused { status: 401 | 403 | 404 | 405, detail }) => Sent::Later { batch, why: detail },
            Err(ClientError::Refused { status, detail }) => {
                if batch.len() > 1 {
                    return Sent::Refused(batch);
                }
                batch.into_iter().for_each(|parcel| self.put_aside(parcel, status, &detail));
                Sent::Taken
            }
        }
    }

    fn settle(&self, parcel: Parcel, receipt: Receipt) {
        let id = parcel.id;
        match receipt {
            Receipt::Accepted => {
                tracing::debug!(job.id = %id.job, attempt = id.attempt, "reported: {}", parcel.report.end)
            }
            Receipt::Gone => tracing::info!(
                job.id = %id.job, attempt = id.attempt,
                "the lease was lost before the report came ({}); it is kept for the record only", parcel.report.end
            ),
        }
        self.leases.release(&parcel.report.token);
        parcel.delivered(&self.home);
        self.unsent.send_modify(|n| *n -= 1);
    }

    /// For a person to look at. The lease runs out, and the attempt counts as lost.
    fn put_aside(&self, mut parcel: Parcel, status: u16, detail: &str) {
        let id = parcel.id;
        tracing::error!(job.id = %id.job, attempt = id.attempt, "the master refused a report ({status}): {detail}");
        parcel.keep(&self.home);
        let path = self.home.report(id);
        if let Err(e) = fs::rename(&path, format!("{}.refused", path.display())) {
            tracing::warn!(job.id = %id.job, attempt = id.attempt, "cannot put a refused report aside: {e}");
        }
        self.leases.release(&parcel.report.token);
        self.unsent.send_modify(|n| *n -= 1);
    }

    /// Sends the files that a job left, as far as there is time for.
    async fn send_artifacts_ahead(&self, mut parcel: Parcel) -> Parcel {
        if parcel.artifacts.is_empty() {
            return parcel;
        }
        let folder = self.home.artifacts(parcel.id);
        let (token, within) = (&parcel.report.token, self.artifacts_within.0);
        let left = artifacts::send(&self.master, token, &folder, &parcel.artifacts, within).await;
        if let Some(left) = left {
            tracing::warn!(job.id = %parcel.id.job, attempt = parcel.id.attempt, "{left}");
            add_note(&mut parcel.report.note, &left);
        }
        parcel
    }

    /// Sends so much of a long log that the rest can travel with the report.
    async fn send_log_ahead(&self, mut parcel: Parcel) -> Parcel {
        let token = parcel.report.token.clone();
        let mut upload = Upload::new(self.master.clone(), token, parcel.log.clone(), parcel.sent);
        let mut backoff = backoff();
        while upload.refused().is_none() && parcel.unsent() > TRAVELS_ALONG {
            match upload.piece().await {
                Ok(()) => backoff.reset(),
                Err(_) => backoff.wait().await,
            }
            parcel.sent = upload.sent();
        }
        if let Some(why) = upload.refused() {
            add_note(&mut parcel.report.note, &format!("the log ends early: {why}"));
            parcel.sent = parcel.log.len();
        }
        parcel
    }
}
