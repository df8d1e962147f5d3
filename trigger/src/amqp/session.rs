//! One session: connect, declare, consume, acknowledge, until it is lost or we are asked to stop.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use lapin::message::Delivery as Message;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, Consumer};
use model::Time;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::queue::{self, Declared, declare};
use super::{Ended, Fault, Settings, Source, headers};
use crate::delivery::Delivery;
use crate::intake::{Intake, MOST, MOST_BYTES, Receipt};
use crate::log::Heard;
use crate::log::listening::Word;
use crate::metrics::{Counted, Metrics};

/// How often a session is looked at while it is quiet, in one `quiet` of the settings.
const LOOKS: u32 = 4;

/// How often it is asked whether we have all that the bus has.
const COUNTS: Duration = Duration::from_secs(5);

/// How many batches may be in hand. The intake has room for more, so that we never wait for it and go on looking at the
/// connection while its disk is full.
const UNDER_WAY: usize = 8;

/// How long the broker may take to answer on an open connection, and how long we wait for it at the end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs one session on one broker.
pub async fn run(
    source: &Source,
    url: &str,
    intake: &Intake,
    stop: &CancellationToken,
    consumed_before: &mut bool,
) -> Result<Ended, Fault> {
    let connection = tokio::select! {
        connection = bus::connect(&source.settings.broker, url, &source.name) => connection?,
        () = stop.cancelled() => return Ok(Ended::Stopped),
    };
    let set_up = tokio::time::timeout(PATIENCE, set_up(&connection, source)).await;
    let began = net::clock::now();
    let (channel, consumer, queue, kept) =
        set_up.map_err(|_| Fault::passing("the broker does not answer while the queue is declared"))??;
    if std::mem::replace(consumed_before, true) {
        source.metrics.reconnects.fetch_add(1, Ordering::Relaxed);
    }
    let _consumed = Counted::by(&source.metrics.consumed);
    source.metrics.troubles.end(&source.called());
    let to: Arc<str> = source.called().into();
    let word = if kept { Word::Again } else { Word::Began };
    tokio::select! {
        () = intake.say(Heard { word, at: began, to: to.clone() }) => {}
        () = stop.cancelled() => return Ok(Ended::Stopped),
    }
    info!(bus.host = bus::host(url), queue, "consuming queue {queue} at {}", bus::host(url));

    let mut session = Session {
        connection: &connection,
        channel,
        consumer,
        settings: &source.settings,
        source: format!("amqp:{queue}").into(),
        to,
        queue,
        in_hand: VecDeque::new(),
        last: Instant::now(),
        waiting_before: false,
        metrics: &source.metrics,
    };
    let ended = session.consume(intake, stop).await;
    let finished = match &ended {
        Ok(Ended::Stopped) => session.finish(intake).await,
        Ok(Ended::IntakeGone) | Err(_) => Ok(()),
    };
    // A connection that is lost cannot be closed in order; it is dropped.
    let closing = connection.close(200, "bye".into());
    if let Ok(Err(error)) = tokio::time::timeout(PATIENCE, closing).await {
        debug!("the connection could not be closed in order: {error}");
    }
    finished.and(ended)
}

async fn set_up(connection: &Connection, source: &Source) -> Result<(Channel, Consumer, String, bool), Fault> {
    let Declared { channel, name, kept } = declare(connection, &source.settings, source.alone).await?;
    let prefetch = source.settings.prefetch;
    channel.basic_qos(prefetch, BasicQosOptions::default()).await.map_err(|e| Fault::of("set the prefetch", &e))?;
    let how = BasicConsumeOptions { exclusive: source.alone, ..BasicConsumeOptions::default() };
    let consumer = channel
        .basic_consume(name.as_str().into(), "".into(), how, FieldTable::default())
        .await
        .map_err(|e| Fault::of(&format!("consume queue '{name}'"), &e))?;
    Ok((channel, consumer, name, kept))
}

struct Session<'a> {
    connection: &'a Connection,
    settings: &'a Settings,
    channel: Channel,
    consumer: Consumer,
    source: Arc<str>,
    /// The same in the words of the log about listening.
    to: Arc<str>,
    queue: String,
    /// Handed over and not yet acknowledged, in order: the last delivery tag of a batch, and its receipt.
    in_hand: VecDeque<(u64, Receipt)>,
    /// When the last delivery came, or the broker last said that there is none.
    last: Instant,
    /// Whether messages waited in the queue the last time the broker was asked, though none came.
    waiting_before: bool,
    metrics: &'a Metrics,
}

impl Session<'_> {
    async fn consume(&mut self, intake: &Intake, stop: &CancellationToken) -> Result<Ended, Fault> {
        let mut looks = tokio::time::interval(self.settings.quiet.0 / LOOKS);
        let mut counts = tokio::time::interval(COUNTS);
        for interval in [&mut looks, &mut counts] {
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(Ended::Stopped),
                done = oldest(&mut self.in_hand) => match done {
                    true => self.acknowledge().await?,
                    false => return Ok(Ended::IntakeGone),
                },
                next = self.consumer.next(), if self.in_hand.len() < UNDER_WAY => {
                    if !self.take(next, intake).await? {
                        return Ok(Ended::IntakeGone);
                    }
                }
                _ = looks.tick() => self.look().await?,
                _ = counts.tick() => {
                    if let Some(at) = self.has_all(intake).await? {
                        intake.mention(Heard { word: Word::Still, at, to: self.to.clone() });
                    }
                }
            }
        }
    }

    /// Hands over what came, and all that is at hand with it; false when the intake has ended.
    async fn take(&mut self, first: Option<lapin::Result<Message>>, intake: &Intake) -> Result<bool, Fault> {
        let (batch, tag, fault) = self.collect(first);
        if !batch.is_empty() {
            match intake.hand(batch).await {
                Some(receipt) => self.in_hand.push_back((tag, receipt)),
                None => return Ok(false),
            }
        }
        fault.map_or(Ok(true), Err)
    }

    /// Takes what is at hand, up to the size of a batch; says the last delivery tag, and whether it was the end.
    fn collect(&mut self, first: Option<lapin::Result<Message>>) -> (Vec<Delivery>, u64, Option<Fault>) {
        let (mut batch, mut bytes, mut tag, mut next) = (Vec::new(), 0, 0, Some(first));
        while let Some(item) = next {
            match item {
                Some(Ok(message)) => {
                    tag = message.delivery_tag;
                    bytes += message.data.len();
                    if message.redelivered {
                        self.metrics.redelivered.fetch_add(1, Ordering::Relaxed);
                    }
                    let properties = headers::properties(&message.properties, message.redelivered);
                    let topic = message.routing_key.to_string();
                    batch.push(Delivery::message(message.data, topic, properties, self.source.clone()));
                }
                Some(Err(error)) => return (batch, tag, Some(Fault::of("go on consuming", &error))),
                None => {
                    let queue = &self.queue;
                    let text =
                        format!("the broker ended our consumer of queue '{queue}': the queue was deleted, or moved");
                    return (batch, tag, Some(Fault::Passing(text)));
                }
            }
            let full = batch.len() >= MOST || bytes >= MOST_BYTES;
            next = if full { None } else { self.consumer.next().now_or_never() };
        }
        self.last = Instant::now();
        self.waiting_before = false;
        (batch, tag, None)
    }

    /// Acknowledges the oldest batch, and with it those after it that are done as well.
    async fn acknowledge(&mut self) -> Result<(), Fault> {
        let Some((mut tag, _)) = self.in_hand.pop_front() else { return Ok(()) };
        while let Some((after, receipt)) = self.in_hand.front_mut() {
            match receipt.try_recv() {
                Ok(_) => tag = *after,
                Err(_) => break,
            }
            self.in_hand.pop_front();
        }
        let multiple = BasicAckOptions { multiple: true };
        self.channel.basic_ack(tag, multiple).await.map_err(|e| Fault::of("acknowledge", &e))
    }

    /// Sees to it that silence is silence: the connection is up, the queue is there and bound, and no message waits
    /// that should have come.
    async fn look(&mut self) -> Result<(), Fault> {
        if !self.connection.status().connected() || !self.channel.status().connected() {
            return Err(self.last_words());
        }
        if self.connection.status().blocked() {
            warn!("the broker has blocked this connection (its memory or disk is short)");
        }
        if !self.in_hand.is_empty() || self.last.elapsed() < self.settings.quiet.0 {
            return Ok(());
        }
        let asked = self.ask();
        let answer = tokio::time::timeout(PATIENCE, asked).await;
        let waiting = answer
            .map_err(|_| Fault::passing("the broker does not answer"))?
            .map_err(|e| Fault::of("look at the queue", &e))?;
        if waiting > 0 && self.waiting_before {
            let queue = &self.queue;
            return Err(Fault::passing(format!("{waiting} messages wait in queue '{queue}' and none comes")));
        }
        self.waiting_before = waiting > 0;
        // An exchange that was deleted and made again has forgotten us.
        let bound = queue::bind(&self.channel, self.settings, &self.queue);
        tokio::time::timeout(PATIENCE, bound).await.map_err(|_| Fault::passing("the broker does not answer"))?
    }

    /// Asks how many messages wait in the queue.
    async fn ask(&self) -> lapin::Result<u32> {
        let asked = self.channel.queue_declare(self.queue.as_str().into(), queue::passive(), FieldTable::default());
        Ok(asked.await?.message_count())
    }

    /// What the broker said at the end. What it sent before that and we have not taken comes again.
    fn last_words(&mut self) -> Fault {
        while let Some(Some(item)) = self.consumer.next().now_or_never() {
            if let Err(error) = item {
                return Fault::of("go on consuming", &error);
            }
        }
        Fault::passing("the connection is gone")
    }

    /// The moment at which the queue was empty, if it is, once all that it had is handed over. A broker that does not
    /// answer is for others to notice.
    async fn has_all(&mut self, intake: &Intake) -> Result<Option<Time>, Fault> {
        let at = net::clock::now();
        if !matches!(tokio::time::timeout(COUNTS, self.ask()).await, Ok(Ok(0))) {
            return Ok(None);
        }
        // What came before the answer is at hand by now.
        loop {
            if self.in_hand.len() >= UNDER_WAY {
                return Ok(None);
            }
            let Some(next) = self.consumer.next().now_or_never() else { return Ok(Some(at)) };
            if !self.take(next, intake).await? {
                return Ok(None);
            }
        }
    }

    /// Takes what the queue has if that is all of it, waits for what is in hand and acknowledges it.
    async fn finish(&mut self, intake: &Intake) -> Result<(), Fault> {
        if let Some(at) = self.has_all(intake).await? {
            intake.mention(Heard { word: Word::Ended, at, to: self.to.clone() });
        }
        let cancel = self.channel.basic_cancel(self.consumer.tag(), BasicCancelOptions::default());
        if !matches!(tokio::time::timeout(PATIENCE, cancel).await, Ok(Ok(()))) {
            warn!("the consumer could not be cancelled; the broker sends again what was not acknowledged");
        }
        while !self.in_hand.is_empty() {
            if !oldest(&mut self.in_hand).await {
                return Ok(());
            }
            self.acknowledge().await?;
        }
        Ok(())
    }
}

/// Waits for the receipt of the oldest batch; false when it will not come. With nothing in hand, waits for ever.
async fn oldest(in_hand: &mut VecDeque<(u64, Receipt)>) -> bool {
    match in_hand.front_mut() {
        Some((_, receipt)) => receipt.await.is_ok(),
        None => std::future::pending().await,
    }
}
