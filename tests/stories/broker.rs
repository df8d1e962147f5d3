//! A queue of a story's own, and messages into it, each confirmed.

use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind};
use tokio::runtime::Runtime;

const PERSISTENT: u8 = 2;

/// A connection that publishes.
pub struct Publisher {
    runtime: Runtime,
    channel: Channel,
    _connection: Connection,
}

impl Publisher {
    /// Connects, and asks for confirms.
    pub fn connect(url: &str) -> Publisher {
        let runtime = Runtime::new().expect("a runtime can be made");
        let (connection, channel) = runtime.block_on(async {
            let connection = Connection::connect(url, ConnectionProperties::default()).await.expect("the broker is up");
            let channel = connection.create_channel().await.unwrap();
            channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
            (connection, channel)
        });
        Publisher { runtime, channel, _connection: connection }
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
        let properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_content_type("application/json".into())
            .with_message_id(id.into());
        self.runtime.block_on(async {
            let sent = self.channel.basic_publish(
                exchange.into(),
                topic.into(),
                BasicPublishOptions::default(),
                body.as_bytes(),
                properties,
            );
            assert!(sent.await.unwrap().await.unwrap().is_ack(), "the broker took message {id}");
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
