//! A corner of a real RabbitMQ: its own queue and its own topics, so that tests do not hear each other.

use std::path::PathBuf;
use std::process::Command;

use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use trigger::amqp::Settings;

pub struct Bus {
    url: String,
    /// Names the queue, and begins the topics.
    name: String,
}

impl Bus {
    /// On the broker that `./test` has started.
    pub fn new() -> Bus {
        let url = std::env::var("TASKOTRON_TEST_AMQP").expect("TASKOTRON_TEST_AMQP is not set: run ./test");
        Bus::at(url)
    }

    pub fn at(url: String) -> Bus {
        Bus { url, name: format!("t-{}", net::clock::uuid().simple()) }
    }

    pub fn queue(&self) -> &str {
        &self.name
    }

    pub fn topic(&self) -> String {
        format!("a.{}.b", self.name)
    }

    pub fn settings(&self) -> Settings {
        Settings {
            urls: vec![self.url.clone()],
            queue: self.name.clone(),
            bindings: vec![format!("a.{}.#", self.name)],
            ..Settings::default()
        }
    }

    pub async fn connect(&self) -> (Connection, Channel) {
        net::install_crypto();
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        (connection, channel)
    }

    /// Makes the queue as the settings of [`Bus::settings`] would, before a trigger does.
    pub async fn make_queue(&self, durable: bool) {
        let (connection, channel) = self.connect().await;
        let how = QueueDeclareOptions { durable, ..QueueDeclareOptions::default() };
        channel.queue_declare(self.name.as_str().into(), how, FieldTable::default()).await.unwrap();
        let key = format!("a.{}.#", self.name);
        channel
            .queue_bind(
                self.name.as_str().into(),
                "amq.topic".into(),
                key.into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await
            .unwrap();
        connection.close(200, "".into()).await.unwrap();
    }

    pub async fn delete_queue(&self) {
        let (connection, channel) = self.connect().await;
        channel.queue_delete(self.name.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
        connection.close(200, "".into()).await.unwrap();
    }

    /// How many messages wait, acknowledged or not being none of them; `None` if there is no queue.
    pub async fn waiting(&self) -> Option<u32> {
        let (connection, channel) = self.connect().await;
        let how = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare(self.name.as_str().into(), how, FieldTable::default()).await.ok();
        connection.close(200, "".into()).await.unwrap();
        queue.map(|queue| queue.message_count())
    }

    /// Sends ordinary events and returns when the broker has confirmed them all.
    pub async fn publish(&self, numbers: impl IntoIterator<Item = u64>) {
        let messages = numbers
            .into_iter()
            .map(|n| (format!(r#"{{"n":{n}}}"#).into_bytes(), ordinary().with_message_id(format!("e-{n}").into())));
        self.publish_raw(messages.collect()).await;
    }

    pub async fn publish_raw(&self, messages: Vec<(Vec<u8>, BasicProperties)>) {
        let (connection, channel) = self.connect().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let mut confirms = Vec::new();
        for (body, properties) in messages {
            let topic = self.topic();
            let options = BasicPublishOptions::default();
            let sent = channel.basic_publish("amq.topic".into(), topic.into(), options, &body, properties);
            confirms.push(sent.await.unwrap());
        }
        for confirm in confirms {
            confirm.await.unwrap();
        }
        connection.close(200, "".into()).await.unwrap();
    }
}

/// The properties that fedora-messaging gives a message, but for its id.
pub fn ordinary() -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert("sent-at".into(), AMQPValue::LongString("2024-01-01T00:00:00+00:00".into()));
    headers.insert("fedora_messaging_severity".into(), AMQPValue::LongInt(20));
    BasicProperties::default()
        .with_content_type("application/json".into())
        .with_content_encoding("utf-8".into())
        .with_delivery_mode(2)
        .with_headers(headers)
}

/// A broker of our own, which may be killed.
pub struct Broker {
    dir: tempfile::TempDir,
}

impl Broker {
    pub fn start() -> Broker {
        let broker = Broker { dir: tempfile::tempdir().unwrap() };
        broker.tell("start");
        broker
    }

    /// Runs a command of `tests/servers/rabbitmq`; says what it prints.
    pub fn tell(&self, command: &str) -> String {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/servers/rabbitmq");
        let output = Command::new(script).arg(command).arg(self.dir.path()).output().unwrap();
        assert!(output.status.success(), "rabbitmq {command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.tell("kill");
    }
}
