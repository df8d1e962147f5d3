//! From the event log to the master, which says where to go on.
//!
//! No cursor is kept here: the master tells its own when asked, and with every answer. What is sent twice is known
//! there. Nothing is ever passed over: what the master refuses is sent again, slowly, until a person has seen to it.
//!
//! A master that wants a number which this log has not reached has taken other records under those numbers: the log
//! was cut, or put back from a copy. Then the log begins anew as another recorder, with everything that the master
//! cannot have. The same is done when the master wants what is deleted here.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::intake::{IntakeAnswer, JobAnswer, Pair, Record, TriggerCounts, Trouble};
use net::{Backoff, Client, ClientError};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::Live;
use crate::intake::Order;
use crate::log::{Reader, Shared};
use crate::metrics::Metrics;

/// The most records and bytes of one request.
const MOST: usize = 500;
const MOST_BYTES: usize = 4 << 20;

/// The master hears from us at least this often, and this soon when counts have changed.
const HEARTBEAT: Duration = Duration::from_secs(15);
const SOON: Duration = Duration::from_millis(200);

/// How often the log is told what the master has, so that old files go.
const TIDY: Duration = Duration::from_secs(60);

/// How long the last records may take when we stop.
const LAST: Duration = Duration::from_secs(1);

/// The body of a request: an `Intake` of the model, with its records as they stand in the log.
#[derive(Serialize)]
struct Body<'a> {
    recorder: &'a str,
    records: &'a [Box<RawValue>],
    counts: TriggerCounts,
    generation: u64,
    pair: Option<&'a Pair>,
    troubles: &'a [Trouble],
}

/// What a trigger says of itself with every request.
#[derive(Clone, Debug, PartialEq)]
struct Report {
    counts: TriggerCounts,
    troubles: Vec<Trouble>,
}

/// After so many failures in a row of a master that is there, fewer events go at once: one may be what it fails at.
const PATIENCE: u32 = 5;

/// What sends the log to the master.
pub struct Forwarder {
    client: Client,
    reader: Reader,
    shared: Shared,
    orders: mpsc::Sender<Order>,
    live: watch::Receiver<Live>,
    metrics: Arc<Metrics>,
    pair: Option<Pair>,
    /// What the master wants next; none while it has to be asked.
    next: Option<u64>,
    /// The recorder that `next` and `sent` speak of.
    recorder: String,
    /// Behind the last record that this process has sent, whether or not an answer came.
    sent: u64,
    told: Option<Report>,
    spoke: Instant,
    tidied: Instant,
    /// The most records of the next request: halved by each refusal, so that what is refused gets alone.
    most: usize,
    /// The first record of the last request that was not taken, and how often in a row.
    stuck: (u64, u32),
    quick: Backoff,
    slow: Backoff,
    /// The last fault that was logged.
    fault: String,
}

/// What there is to do after a step.
enum Step {
    /// More may be at hand.
    Again,
    /// Nothing to send but a sign of life, when it is due.
    Idle,
    /// The master cannot be reached.
    Unavailable(String),
    /// The master, or the log, says no.
    Refused(String),
}

impl Forwarder {
    pub fn new(
        client: Client,
        reader: Reader,
        shared: Shared,
        orders: mpsc::Sender<Order>,
        live: watch::Receiver<Live>,
        metrics: Arc<Metrics>,
        pair: Option<Pair>,
    ) -> Forwarder {
        let now = Instant::now();
        Forwarder {
            client,
            reader,
            recorder: shared.extent().recorder,
            shared,
            orders,
            live,
            metrics,
            pair,
            next: None,
            sent: 0,
            told: None,
            spoke: now,
            tidied: now,
            most: MOST,
            stuck: (0, 0),
            quick: Backoff::new(Duration::from_millis(100), Duration::from_secs(5)),
            slow: Backoff::new(Duration::from_secs(5), Duration::from_secs(60)),
            fault: String::new(),
        }
    }

    /// Sends until `stop`; then what is left, if the master takes it at once.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut changes = self.shared.changes();
        let mut troubles = self.metrics.troubles.changes();
        while !stop.is_cancelled() {
            net::life::beat();
            // Before looking, so that what comes while we look wakes us.
            changes.mark_unchanged();
            troubles.mark_unchanged();
            let step = tokio::select! {
                step = self.step() => step,
                () = stop.cancelled() => break,
            };
            self.tell(&step);
            let due = self.spoke + if self.told == Some(self.report()) { HEARTBEAT } else { SOON };
            tokio::select! {
                () = stop.cancelled() => break,
                () = async { match step {
                    Step::Again => {}
                    Step::Idle => tokio::select! {
                        _ = changes.changed() => {}
                        _ = troubles.changed() => {}
                        () = sleep_until(due) => {}
                    },
                    Step::Unavailable(_) => self.quick.wait().await,
                    Step::Refused(_) => self.slow.wait().await,
                }} => {}
            }
        }
        let _ = tokio::time::timeout(LAST, async { while let Step::Again = self.step().await {} }).await;
    }

    fn report(&self) -> Report {
        Report { counts: self.shared.counts(self.next.unwrap_or(1)), troubles: self.metrics.troubles.list() }
    }

    /// One question or one batch.
    async fn step(&mut self) -> Step {
        let extent = self.shared.extent();
        if extent.recorder != self.recorder {
            (self.recorder, self.next, self.sent, self.told) = (extent.recorder.clone(), None, 0, None);
        }
        let Some(next) = self.next else {
            return match self.client.get::<IntakeAnswer>(&format!("api/v1/intake/{}", self.recorder)).await {
                Ok(answer) => self.follow(answer.next, extent.opened_at).await,
                Err(error) => self.failed(error),
            };
        };
        let batch = match self.reader.read(next, self.most, MOST_BYTES) {
            Ok(batch) => batch,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return self.start_over(extent.first(), &e.to_string()).await;
            }
            Err(e) => return Step::Refused(format!("cannot read the event log: {e}")),
        };
        let report = self.report();
        let pause = if self.told.as_ref() == Some(&report) { HEARTBEAT } else { SOON };
        if batch.records.is_empty() && self.told.is_some() && self.spoke.elapsed() < pause {
            return Step::Idle;
        }
        self.send(&batch.records, batch.next, report, extent.opened_at).await
    }

    async fn send(&mut self, records: &[Box<RawValue>], behind: u64, report: Report, opened_at: u64) -> Step {
        self.sent = self.sent.max(behind);
        let generation = self.live.borrow().generation;
        let pair = self.pair.as_ref();
        let Report { counts, troubles } = &report;
        let body = Body { recorder: &self.recorder, records, counts: *counts, generation, pair, troubles };
        match self.client.post::<_, IntakeAnswer>("api/v1/intake", &body).await {
            Ok(answer) => {
                (self.told, self.spoke, self.most) = (Some(report), Instant::now(), MOST);
                tell_refused(records, &answer.jobs);
                let empty = records.is_empty();
                match self.follow(answer.next, opened_at).await {
                    Step::Again if empty && answer.next == behind => Step::Idle,
                    step => step,
                }
            }
            Err(error) => {
                if let ClientError::Unavailable(why) = &error {
                    self.not_taken(behind, records.len(), why);
                }
                self.failed(error)
            }
        }
    }

    /// Halves what goes at once when the master, which has just said where to go on, fails at it again and again: a
    /// server's error may be for one record, which must not hold up those before it.
    fn not_taken(&mut self, behind: u64, count: usize, why: &str) {
        let head = behind - count as u64;
        self.stuck = if self.stuck.0 == head { (head, self.stuck.1 + 1) } else { (head, 1) };
        if self.stuck.1 < PATIENCE || count == 0 {
            return;
        }
        self.stuck.1 = 0;
        match count {
            1 => error!("the master fails at event {head} each time; it is not passed over: {why}"),
            _ => warn!("the master fails at events {head} to {} each time; trying half of them: {why}", behind - 1),
        }
        self.most = (count / 2).max(1);
    }

    /// Goes where the master says, if that can be.
    async fn follow(&mut self, next: u64, opened_at: u64) -> Step {
        self.quick.reset();
        self.slow.reset();
        let ours = self.sent.max(opened_at);
        if next > ours {
            let why = format!("the master has other events under the numbers from {ours} to {}", next - 1);
            return self.start_over(ours, &why).await;
        }
        if self.next.is_some_and(|before| next < before) {
            info!("the master asks again for the events from {next} on");
        }
        self.next = Some(next.max(1));
        self.metrics.forwarded.store(next.max(1) - 1, Ordering::Relaxed);
        if self.tidied.elapsed() > TIDY {
            self.tidied = Instant::now();
            // A full queue of orders is no loss: the next answer says it again.
            let _ = self.orders.try_send(Order::Acknowledged(next));
        }
        Step::Again
    }

    /// Has the log begin anew and waits for it.
    async fn start_over(&mut self, from: u64, why: &str) -> Step {
        warn!(recorder = self.recorder, "{why}: beginning a new event log with the events from {from} on");
        let mut changes = self.shared.changes();
        if self.orders.send(Order::StartOver { recorder: self.recorder.clone(), from }).await.is_err() {
            return Step::Refused("the event log is closed".into());
        }
        let patience = tokio::time::timeout(Duration::from_secs(600), async {
            while self.shared.extent().recorder == self.recorder && changes.changed().await.is_ok() {}
        });
        match patience.await {
            Ok(()) => Step::Again,
            Err(_) => Step::Refused("the event log cannot begin anew".into()),
        }
    }

    fn failed(&mut self, error: ClientError) -> Step {
        // Whether the last request was done is not known: the master says where it is.
        self.next = None;
        match error {
            ClientError::Unavailable(text) => Step::Unavailable(text),
            ClientError::Refused { status, detail } => {
                self.most = (self.most / 2).max(1);
                Step::Refused(format!("the master refuses our events ({status}): {detail}"))
            }
        }
    }

    /// Says each fault once, and that it is over.
    fn tell(&mut self, step: &Step) {
        match step {
            Step::Again | Step::Idle if self.fault.is_empty() => {}
            Step::Again | Step::Idle => {
                info!("the master takes our events again");
                self.fault.clear();
            }
            Step::Unavailable(text) | Step::Refused(text) if *text == self.fault => debug!("{text}"),
            Step::Unavailable(text) => {
                warn!("{text}; the event log waits");
                self.fault.clone_from(text);
            }
            Step::Refused(text) => {
                error!("{text}; nothing is passed over, and it is tried again slowly");
                self.fault.clone_from(text);
            }
        }
    }
}

/// Logs the jobs that the master does not run, with their reasons.
fn tell_refused(records: &[Box<RawValue>], answers: &[JobAnswer]) {
    let unrun = |answer: &JobAnswer| match answer {
        JobAnswer::Submitted { .. } | JobAnswer::Exists { .. } => None,
        JobAnswer::Expired => Some("recorded too long ago to know whether it ran".to_owned()),
        JobAnswer::Refused { reason } => Some(reason.clone()),
    };
    if answers.iter().all(|answer| unrun(answer).is_none()) {
        return;
    }
    let records = records.iter().filter_map(|raw| serde_json::from_str::<Record>(raw.get()).ok());
    let jobs = records.flat_map(|record| {
        let event = record.event.id;
        record.jobs.into_iter().map(move |job| (event.clone(), job))
    });
    for ((event, job), answer) in jobs.zip(answers) {
        if let Some(reason) = unrun(answer) {
            warn!(
                event.id = event, job.id = %job.key, task = job.task, item = job.item,
                "the master does not run {} on {}: {reason}", job.task, job.item
            );
        }
    }
}
