//! Bringing messages to a broker: each is there for good when the broker has confirmed it.

use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use serde::{Deserialize, Serialize};

use crate::{Broker, Fault, connect, host};

/// How long the broker may take to confirm. One that is short of memory or disk takes nothing, and says so only to those
/// who listen.
const PATIENCE: Duration = Duration::from_secs(10);

const PERSISTENT: u8 = 2;

/// A topic has 255 bytes; what stands before it must leave room for it.
const LONGEST_PREFIX: usize = 100;

/// The part of the settings that all sections share which tell a bus something; to be flattened, as [`Broker`] is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outlet {
    /// It must be there.
    pub exchange: String,
    /// Stands before every topic, with a dot: `org.fedoraproject.prod`.
    pub topic_prefix: String,
    /// Whether a message that no queue gets is kept and told. On a bus where somebody always listens, it tells of a wrong
    /// virtual host; elsewhere it would keep messages for ever.
    pub mandatory: bool,
}

impl Default for Outlet {
    fn default() -> Outlet {
        Outlet { exchange: "amq.topic".into(), topic_prefix: String::new(), mandatory: false }
    }
}

impl Outlet {
    /// What is wrong with these settings, if anything is.
    pub fn check(&self) -> Result<(), String> {
        if self.topic_prefix.len() > LONGEST_PREFIX {
            return Err(format!("topic_prefix is longer than {LONGEST_PREFIX} bytes, and a topic may have 255"));
        }
        Ok(())
    }

    /// The whole topic.
    pub fn topic(&self, topic: &str) -> String {
        match self.topic_prefix.trim_end_matches('.') {
            "" => topic.to_owned(),
            prefix => format!("{prefix}.{topic}"),
        }
    }
}

/// A message as it goes to the broker, with the headers of fedora-messaging.
#[derive(Clone, Debug, PartialEq)]
pub struct Telegram {
    /// The same each time that it is sent.
    pub id: String,
    /// All of it, with what stands before it.
    pub topic: String,
    /// The class that checks the body; `base.message` checks nothing.
    pub schema: &'static str,
    /// As fedora-messaging counts: 20 info, 30 warning.
    pub severity: i32,
    /// RFC 3339, to the second.
    pub sent_at: String,
    /// Names of headers that are true: what the message is about.
    pub about: Vec<String>,
    /// A JSON object.
    pub body: String,
}

/// What the broker said of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Taken,
    /// It is not there, and why.
    Refused(String),
}

/// The way to the bus. It connects when there is something to send, and keeps that connection.
pub struct Publisher {
    /// The section of the settings, for people: `[master.messages]`.
    section: &'static str,
    /// What the broker's administrators see.
    name: String,
    link: Option<(Connection, Channel)>,
    /// Which of the addresses is tried next.
    turn: usize,
}

impl Publisher {
    pub fn new(section: &'static str, name: impl Into<String>) -> Publisher {
        Publisher { section, name: name.into(), link: None, turn: 0 }
    }

    /// Lets the connection go: another tells the bus now.
    pub fn rest(&mut self) {
        self.link = None;
    }

    /// Publishes all of them before the first answer is waited for; the answers are in their order. After a fault any of
    /// them may be there or not, and the next call tries the next broker.
    pub async fn send(
        &mut self,
        broker: &Broker,
        outlet: &Outlet,
        telegrams: &[Telegram],
    ) -> Result<Vec<Answer>, Fault> {
        let sent = self.try_send(broker, outlet, telegrams).await;
        if sent.is_err() {
            self.link = None;
            self.turn += 1;
        }
        sent
    }

    /// Makes the connection now, where there is none, so that it does not take from the time of what is sent next.
    pub async fn ready(&mut self, broker: &Broker) -> Result<(), Fault> {
        let ready = self.link(broker).await.map(drop);
        if ready.is_err() {
            self.turn += 1;
        }
        ready
    }

    async fn try_send(
        &mut self,
        broker: &Broker,
        outlet: &Outlet,
        telegrams: &[Telegram],
    ) -> Result<Vec<Answer>, Fault> {
        let section = self.section;
        let (connection, channel) = self.link(broker).await?;
        let what = format!("publish to exchange '{}' ({section} exchange)", outlet.exchange);
        let sending = async {
            let mut confirms = Vec::with_capacity(telegrams.len());
            for telegram in telegrams {
                let how = BasicPublishOptions { mandatory: outlet.mandatory, ..BasicPublishOptions::default() };
                let (exchange, topic) = (outlet.exchange.as_str().into(), telegram.topic.as_str().into());
                let body = telegram.body.as_bytes();
                let confirm = channel.basic_publish(exchange, topic, how, body, properties(telegram)).await;
                confirms.push(confirm.map_err(|e| Fault::of(&what, &e))?);
            }
            let mut answers = Vec::with_capacity(telegrams.len());
            for (confirm, telegram) in confirms.into_iter().zip(telegrams) {
                let said = confirm.await.map_err(|e| Fault::of(&what, &e))?;
                answers.push(answer(said, &telegram.topic, outlet, section));
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

    async fn link(&mut self, broker: &Broker) -> Result<&(Connection, Channel), Fault> {
        let alive = self
            .link
            .take()
            .filter(|(connection, channel)| connection.status().connected() && channel.status().connected());
        let link = match alive {
            Some(link) => link,
            None => self.connect(broker).await?,
        };
        Ok(self.link.insert(link))
    }

    async fn connect(&self, broker: &Broker) -> Result<(Connection, Channel), Fault> {
        let section = self.section;
        let urls = broker.addresses().map_err(|e| Fault::Lasting(format!("{section} {e}")))?;
        let Some(url) = urls.get(self.turn % urls.len().max(1)) else {
            return Err(Fault::Lasting(format!("{section} urls is empty; name at least one broker")));
        };
        let connecting = async {
            let connection = connect(broker, url, &self.name).await?;
            let channel = connection.create_channel().await.map_err(|e| Fault::of("open a channel", &e))?;
            let asked = channel.confirm_select(ConfirmSelectOptions::default()).await;
            asked.map_err(|e| Fault::of("ask for confirms", &e))?;
            Ok((connection, channel))
        };
        match tokio::time::timeout(PATIENCE, connecting).await {
            Ok(link) => link,
            Err(_) => Err(Fault::passing(format!("no answer from {} within {} s", host(url), PATIENCE.as_secs()))),
        }
    }
}

/// How long a refused message rests: some seconds at first, a quarter of an hour at last.
pub fn rest(tries: u32) -> Duration {
    Duration::from_secs(5 << tries.min(8)).min(Duration::from_secs(15 * 60))
}

fn answer(confirmation: Confirmation, topic: &str, outlet: &Outlet, section: &str) -> Answer {
    match confirmation {
        Confirmation::Ack(None) | Confirmation::NotRequested => Answer::Taken,
        Confirmation::Ack(Some(_)) => Answer::Refused(format!(
            "no queue gets {topic} from exchange '{}': nobody is there, or it is the wrong virtual host; where nobody \
             need be, leave mandatory out of {section}",
            outlet.exchange
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
        .with_message_id(telegram.id.as_str().into())
        .with_headers(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_message_rests_longer_each_time() {
        let rests: Vec<_> = (0..10).map(|tries| rest(tries).as_secs()).collect();
        assert_eq!(rests, [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]);
    }

    #[test]
    fn a_prefix_stands_before_each_topic() {
        let outlet = |prefix: &str| Outlet { topic_prefix: prefix.into(), ..Outlet::default() };
        assert_eq!(outlet("").topic("a.b"), "a.b");
        assert_eq!(outlet("org.example.prod").topic("a.b"), "org.example.prod.a.b");
        assert_eq!(outlet("org.example.prod.").topic("a.b"), "org.example.prod.a.b");
        assert!(outlet(&"x".repeat(101)).check().is_err());
    }
}
