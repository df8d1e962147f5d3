//! Bringing messages to the broker: in order for each job, each until the broker has confirmed it.
//!
//! What no queue gets, and what the broker refuses, is postponed with its reason, and the later messages of that job with
//! it. While the broker is away nothing is postponed: everything waits.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use bus::Fault;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use model::{JobId, Span, Time};

use super::body::{Telegram, telegram};
use super::settings::Messages;
use crate::app::App;
use crate::store::{self, Message};

/// Messages that are looked at at once.
const BATCH: u32 = 200;

/// How long the broker may take to confirm. One that is short of memory or disk takes nothing, and says so only to those
/// who listen.
const PATIENCE: Duration = Duration::from_secs(10);

const PERSISTENT: u8 = 2;

/// What keeps messages from the bus, as this master last saw it.
#[derive(Default)]
pub struct Health(Mutex<Option<(String, Time)>>);

impl Health {
    /// Why the broker cannot be reached, or does not let us in, and since when.
    pub fn unavailable(&self) -> Option<(String, Time)> {
        self.0.lock().expect("no one panics while holding it").clone()
    }

    fn set(&self, why: Option<String>, now: Time) {
        let mut health = self.0.lock().expect("no one panics while holding it");
        let since = health.take().map_or(now, |(_, since)| since);
        *health = why.map(|why| (why, since));
    }
}

/// What one tick did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub sent: usize,
    pub refused: usize,
    /// Whether the broker could not be reached: the rest waits.
    pub unavailable: bool,
    /// Whether there may be more that is due.
    pub more: bool,
}

/// The way to the bus.
#[derive(Default)]
pub struct Publisher {
    link: Option<(Connection, Channel)>,
    /// Which of the addresses is tried next.
    turn: usize,
}

/// What the broker said of one message.
enum Answer {
    Taken,
    Refused(String),
}

impl Publisher {
    /// Sends what is due, up to a batch of it: a long backlog is no reason to be away for long.
    pub async fn tick(&mut self, app: &App) -> store::Result<Summary> {
        let mut summary = Summary::default();
        let Some(to) = &app.settings.messages else { return Ok(summary) };
        let due = app.store.messages_due(BATCH).await?;
        let full = due.len() == BATCH as usize;
        for round in rounds(due) {
            match self.send(app, to, &round).await {
                Ok(answers) => self.settle(app, round, answers, &mut summary).await?,
                Err(fault) => {
                    self.link = None;
                    self.turn += 1;
                    app.messages.set(Some(fault.to_string()), app.store.now().await?);
                    summary.unavailable = true;
                    return Ok(summary);
                }
            }
            // The later messages of what was refused just now wait behind it.
            if summary.refused > 0 {
                break;
            }
        }
        app.messages.set(None, Time(0));
        summary.more = full;
        Ok(summary)
    }

    /// Lets the connection go: another master tells the bus now.
    pub fn rest(&mut self) {
        self.link = None;
    }

    /// Publishes one round, all of it before the first answer is waited for. The answers are in its order.
    async fn send(&mut self, app: &App, to: &Messages, round: &[Message]) -> Result<Vec<Answer>, Fault> {
        let (connection, channel) = self.link(to, app).await?;
        let what = format!("publish to exchange '{}'", to.exchange);
        let telegrams: Vec<Telegram> = round.iter().map(|m| telegram(m, to, &app.settings)).collect();
        let sending = async {
            let mut confirms = Vec::with_capacity(round.len());
            for telegram in &telegrams {
                let how = BasicPublishOptions { mandatory: to.mandatory, ..BasicPublishOptions::default() };
                let body = telegram.body.to_string();
                let (exchange, topic) = (to.exchange.as_str().into(), telegram.topic.as_str().into());
                let confirm = channel.basic_publish(exchange, topic, how, body.as_bytes(), properties(telegram)).await;
                confirms.push(confirm.map_err(|e| Fault::of(&what, &e))?);
            }
            let mut answers = Vec::with_capacity(round.len());
            for (confirm, telegram) in confirms.into_iter().zip(&telegrams) {
                answers.push(answer(confirm.await.map_err(|e| Fault::of(&what, &e))?, &telegram.topic, to));
            }
            Ok(answers)
        };
        match tokio::time::timeout(PATIENCE, sending).await {
            Ok(answers) => answers,
            Err(_) if connection.status().blocked() => Err(Fault::passing(format!(
                "cannot {what}: the broker takes no messages at present; it is short of memory or disk"
            ))),
            Err(_) => Err(Fault::passing(format!("cannot {what}: no confirm within {} s", PATIENCE.as_secs()))),
        }
    }

    async fn link(&mut self, to: &Messages, app: &App) -> Result<&(Connection, Channel), Fault> {
        let alive = self
            .link
            .take()
            .filter(|(connection, channel)| connection.status().connected() && channel.status().connected());
        let link = match alive {
            Some(link) => link,
            None => self.connect(to, app).await?,
        };
        Ok(self.link.insert(link))
    }

    async fn connect(&self, to: &Messages, app: &App) -> Result<(Connection, Channel), Fault> {
        let urls = to.broker.addresses().map_err(|e| Fault::Lasting(format!("[master.messages] {e}")))?;
        let Some(url) = urls.get(self.turn % urls.len().max(1)) else {
            return Err(Fault::Lasting("[master.messages] urls is empty; name at least one broker".into()));
        };
        let name = format!("taskotron master {}", app.settings.site);
        let connecting = async {
            let connection = bus::connect(&to.broker, url, &name).await?;
            let channel = connection.create_channel().await.map_err(|e| Fault::of("open a channel", &e))?;
            let asked = channel.confirm_select(ConfirmSelectOptions::default()).await;
            asked.map_err(|e| Fault::of("ask for confirms", &e))?;
            Ok((connection, channel))
        };
        match tokio::time::timeout(PATIENCE, connecting).await {
            Ok(link) => link,
            Err(_) => Err(Fault::passing(format!("no answer from {} within {} s", bus::host(url), PATIENCE.as_secs()))),
        }
    }

    /// Keeps what became of a round.
    async fn settle(
        &self,
        app: &App,
        round: Vec<Message>,
        answers: Vec<Answer>,
        summary: &mut Summary,
    ) -> store::Result<()> {
        let (mut sent, mut refused) = (Vec::new(), Vec::new());
        for (message, answer) in round.into_iter().zip(answers) {
            match answer {
                Answer::Taken => sent.push(message.seq),
                Answer::Refused(why) => refused.push((message, why)),
            }
        }
        if !sent.is_empty() {
            app.store.messages_sent(&sent).await?;
            app.metrics.told(sent.len());
        }
        let now = app.store.now().await?;
        for (message, why) in &refused {
            if message.tries == 0 {
                tracing::error!(job.id = %message.job, reason = why, "the bus did not take a message; it is kept");
            }
            app.store.postpone_message(message.seq, now.plus(rest(message.tries)), why).await?;
        }
        summary.sent += sent.len();
        summary.refused += refused.len();
        Ok(())
    }
}

/// What is due, in rounds with at most one message of each job: none goes before the one before it is confirmed.
fn rounds(due: Vec<Message>) -> Vec<Vec<Message>> {
    let mut nth: BTreeMap<JobId, usize> = BTreeMap::new();
    let mut rounds: Vec<Vec<Message>> = Vec::new();
    for message in due {
        let n = nth.entry(message.job).or_default();
        if rounds.len() <= *n {
            rounds.push(Vec::new());
        }
        rounds[*n].push(message);
        *n += 1;
    }
    rounds
}

fn answer(confirmation: Confirmation, topic: &str, to: &Messages) -> Answer {
    match confirmation {
        Confirmation::Ack(None) | Confirmation::NotRequested => Answer::Taken,
        Confirmation::Ack(Some(_)) => Answer::Refused(format!(
            "no queue gets {topic} from exchange '{}': nobody is there, or it is the wrong virtual host; where nobody \
             need be, leave mandatory out of [master.messages]",
            to.exchange
        )),
        Confirmation::Nack(_) => Answer::Refused(format!("the broker refuses {topic}: a queue of it takes no more")),
    }
}

fn properties(telegram: &Telegram) -> BasicProperties {
    let mut headers = FieldTable::default();
    let text = |value: &str| AMQPValue::LongString(value.into());
    headers.insert("fedora_messaging_schema".into(), text(telegram.schema));
    headers.insert("fedora_messaging_severity".into(), AMQPValue::LongInt(telegram.severity));
    headers.insert("sent-at".into(), text(&telegram.sent_at));
    for name in &telegram.about {
        headers.insert(name.as_str().into(), AMQPValue::Boolean(true));
    }
    BasicProperties::default()
        .with_content_type("application/json".into())
        .with_content_encoding("utf-8".into())
        .with_delivery_mode(PERSISTENT)
        .with_message_id(telegram.id.to_string().into())
        .with_headers(headers)
}

/// How long a refused message rests: some seconds at first, a quarter of an hour at last.
fn rest(tries: u32) -> Span {
    Span::seconds(5 << tries.min(8)).min(Span::minutes(15))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Stage;

    #[test]
    fn a_round_has_one_message_of_a_job_and_keeps_their_order() {
        let message = |seq: i64, job: &str| Message {
            seq,
            job: JobId::of(job, "t", "y", "i", "noarch"),
            stage: Stage::Queued,
            at: Time(0),
            task: "t".into(),
            item: "i".into(),
            item_type: "y".into(),
            arch: "noarch".into(),
            event: None,
            tries: 0,
        };
        let due = [(1, "a"), (2, "b"), (3, "a"), (4, "a"), (5, "c")].map(|(seq, job)| message(seq, job));
        let seqs: Vec<Vec<i64>> =
            rounds(due.into()).into_iter().map(|round| round.into_iter().map(|m| m.seq).collect()).collect();
        assert_eq!(seqs, [vec![1, 2, 5], vec![3], vec![4]]);
    }

    #[test]
    fn a_refused_message_rests_longer_each_time() {
        let rests: Vec<_> = (0..10).map(|tries| rest(tries).0.as_secs()).collect();
        assert_eq!(rests, [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]);
    }
}
