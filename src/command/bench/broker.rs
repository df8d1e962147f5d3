//! A queue of the benchmark's own, and messages into it.

use anyhow::Context as _;
use futures_util::StreamExt as _;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer, ExchangeKind, PublisherConfirm};

const PERSISTENT: u8 = 2;

/// How many messages may be on their way without a confirm.
const UNDER_WAY: usize = 1000;

/// A connection with an exchange and a queue of its own, both durable and of one name.
pub struct Broker {
    connection: Connection,
    channel: Channel,
    name: String,
}

impl Broker {
    /// Connects and makes the queue, as a trigger's settings of [`Broker::settings`] would.
    pub async fn connect(url: &str) -> anyhow::Result<Broker> {
        net::install_crypto();
        let connection = Connection::connect(url, ConnectionProperties::default());
        let connection = connection.await.context("cannot reach RabbitMQ")?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let broker = Broker { connection, channel, name: format!("bench-{}", net::clock::uuid().simple()) };
        broker.declare().await.context("cannot make a queue")?;
        Ok(broker)
    }

    async fn declare(&self) -> lapin::Result<()> {
        let name = self.name.as_str();
        let exchange = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        self.channel.exchange_declare(name.into(), ExchangeKind::Topic, exchange, FieldTable::default()).await?;
        let queue = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(name.into(), queue, FieldTable::default()).await?;
        let (how, none) = (QueueBindOptions::default(), FieldTable::default());
        self.channel.queue_bind(name.into(), name.into(), "#".into(), how, none).await
    }

    /// What a trigger must be told to consume the queue.
    pub fn settings(&self, url: &str) -> trigger::amqp::Settings {
        let mut settings = trigger::amqp::Settings {
            queue: self.name.clone(),
            exchange: self.name.clone(),
            ..trigger::amqp::Settings::default()
        };
        settings.broker.urls = vec![url.to_owned()];
        settings
    }

    /// Sends a persistent message; the confirm comes later.
    pub async fn publish(&self, topic: &str, id: &str, body: &[u8]) -> anyhow::Result<PublisherConfirm> {
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_content_type("application/json".into())
            .with_message_id(id.into());
        let how = BasicPublishOptions::default();
        Ok(self.channel.basic_publish(self.name.as_str().into(), topic.into(), how, body, properties).await?)
    }

    /// Sends many, and returns when the broker has them all.
    pub async fn publish_all(&self, messages: impl Iterator<Item = (String, String, Vec<u8>)>) -> anyhow::Result<()> {
        let mut under_way = std::collections::VecDeque::new();
        for (topic, id, body) in messages {
            under_way.push_back(self.publish(&topic, &id, &body).await?);
            if under_way.len() >= UNDER_WAY
                && let Some(confirm) = under_way.pop_front()
            {
                confirm.await?;
            }
        }
        for confirm in under_way {
            confirm.await?;
        }
        Ok(())
    }

    /// Consumes the queue; `ahead` deliveries may wait for their ack.
    pub async fn consume(&self, ahead: u16) -> anyhow::Result<Consumer> {
        self.channel.basic_qos(ahead, BasicQosOptions::default()).await?;
        let how = BasicConsumeOptions::default();
        Ok(self.channel.basic_consume(self.name.as_str().into(), "".into(), how, FieldTable::default()).await?)
    }

    /// Takes `count` messages, and acknowledges every hundredth for those before it.
    pub async fn take(&self, consumer: &mut Consumer, count: usize) -> anyhow::Result<()> {
        for n in 1..=count {
            let message = consumer.next().await.context("the broker ended the consumer")??;
            if n % 100 == 0 || n == count {
                self.channel.basic_ack(message.delivery_tag, BasicAckOptions { multiple: true }).await?;
            }
        }
        Ok(())
    }

    /// Deletes both.
    pub async fn close(self) -> anyhow::Result<()> {
        self.channel.queue_delete(self.name.as_str().into(), QueueDeleteOptions::default()).await?;
        self.channel.exchange_delete(self.name.as_str().into(), ExchangeDeleteOptions::default()).await?;
        Ok(self.connection.close(200, "bye".into()).await?)
    }
}
