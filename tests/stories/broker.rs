//! A queue of a story's own, and messages into it, each confirmed.

use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use tokio::runtime::Runtime;

use crate::kit::{secs, until};

const PERSISTENT: u8 = 2;

/// A connection that publishes.
pub struct Publisher {
    runtime: Runtime,
    channel: Channel,
    _connection: Connection,
}

/// One message to be published.
#[derive(Clone, Debug)]
pub struct Message {
    pub topic: &'static str,
    pub id: String,
    pub body: String,
}

impl Publisher {
    /// Connects, and asks for confirms.
    pub fn connect(url: &str) -> Publisher {
        Publisher::try_connect(url).expect("the broker is up")
    }

    /// The same with a broker that may be down.
    pub fn try_connect(url: &str) -> lapin::Result<Publisher> {
        let runtime = Runtime::new().expect("a runtime can be made");
        let (connection, channel) = runtime.block_on(async {
            let connection = Connection::connect(url, ConnectionProperties::default()).await?;
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            lapin::Result::Ok((connection, channel))
        })?;
        Ok(Publisher { runtime, channel, _connection: connection })
    }

    /// A durable topic exchange and a durable queue that gets everything of it, both of one name.
    pub fn declare(&self, name: &str) {
        self.runtime.block_on(async {
            let how = ExchangeDeclareOptions { durable: true, ..Default::default() };
            let made = self.channel.exchange_declare(name.into(), ExchangeKind::Topic, how, FieldTable::default());
            made.await.unwrap();
        });
        self.declare_queue(name, name);
    }

    /// A durable queue that gets everything of an exchange.
    pub fn declare_queue(&self, exchange: &str, queue: &str) {
        self.runtime.block_on(async {
            let how = QueueDeclareOptions { durable: true, ..Default::default() };
            self.channel.queue_declare(queue.into(), how, FieldTable::default()).await.unwrap();
            let (how, arguments) = (QueueBindOptions::default(), FieldTable::default());
            self.channel.queue_bind(queue.into(), exchange.into(), "#".into(), how, arguments).await.unwrap();
        });
    }

    /// Returns when the broker has it on disk.
    pub fn publish(&self, exchange: &str, topic: &str, id: &str, body: &str) {
        self.runtime.block_on(async {
            let sent = self.channel.basic_publish(
                exchange.into(),
                topic.into(),
                BasicPublishOptions::default(),
                body.as_bytes(),
                properties(id),
            );
            assert!(sent.await.unwrap().await.unwrap().is_ack(), "the broker took message {id}");
        });
    }

    /// Publishes all at once, and returns those that were not confirmed: whether the broker has them is not known.
    pub fn publish_all(&self, exchange: &str, messages: Vec<Message>) -> Vec<Message> {
        self.runtime.block_on(async {
            let mut sent = Vec::new();
            for message in messages {
                let confirm = self.channel.basic_publish(
                    exchange.into(),
                    message.topic.into(),
                    BasicPublishOptions::default(),
                    message.body.as_bytes(),
                    properties(&message.id),
                );
                sent.push((confirm.await.ok(), message));
            }
            let mut left = Vec::new();
            for (confirm, message) in sent {
                let confirmed = match confirm {
                    Some(confirm) => confirm.await.is_ok_and(|confirm| confirm.is_ack()),
                    None => false,
                };
                if !confirmed {
                    left.push(message);
                }
            }
            left
        })
    }

    /// Deletes a queue with whatever waits in it.
    pub fn delete_queue(&self, queue: &str) {
        self.runtime.block_on(async {
            self.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
        });
    }

    /// Takes a queue and an exchange of one name away.
    pub fn delete(&self, name: &str) {
        self.runtime.block_on(async {
            self.channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.unwrap();
            self.channel.exchange_delete(name.into(), ExchangeDeleteOptions::default()).await.unwrap();
        });
    }

    /// How many messages wait in a queue, not counting those that a consumer has in hand.
    pub fn waiting(&self, queue: &str) -> u32 {
        self.runtime.block_on(async {
            let how = QueueDeclareOptions { durable: true, passive: true, ..Default::default() };
            self.channel.queue_declare(queue.into(), how, FieldTable::default()).await.unwrap().message_count()
        })
    }
}

/// Publishes all to a broker that may go down and come back, until each is confirmed: some of them twice, then.
pub fn publish_surely(url: &str, exchange: &str, mut messages: Vec<Message>) {
    while !messages.is_empty() {
        let publisher = until(secs(120), "the broker", || Publisher::try_connect(url));
        messages = publisher.publish_all(exchange, messages);
    }
}

fn properties(id: &str) -> BasicProperties {
    BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_content_type("application/json".into())
        .with_message_id(id.into())
}
