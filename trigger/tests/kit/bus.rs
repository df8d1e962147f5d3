//! A corner of a real RabbitMQ: its own queue and its own topics, so that tests do not hear each other.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use trigger::amqp::{Binding, Settings};

/// Brokers at these addresses.
pub fn brokers(urls: Vec<String>) -> ::bus::Broker {
    ::bus::Broker { urls, ..::bus::Broker::default() }
}

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

    /// The same queue and topics on the broker of another.
    pub fn on(&self, other: &Bus) -> Bus {
        Bus { url: other.url.clone(), name: self.name.clone() }
    }

    pub fn queue(&self) -> &str {
        &self.name
    }

    pub fn topic(&self) -> String {
        format!("a.{}.b", self.name)
    }

    pub fn settings(&self) -> Settings {
        Settings {
            broker: brokers(vec![self.url.clone()]),
            queue: self.name.clone(),
            bindings: vec![Binding::Pattern(format!("a.{}.#", self.name))],
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
        self.publish_to("amq.topic", messages).await;
    }

    pub async fn publish_to(&self, exchange: &str, messages: Vec<(Vec<u8>, BasicProperties)>) {
        let (connection, channel) = self.connect().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let mut confirms = Vec::new();
        for (body, properties) in messages {
            let topic = self.topic();
            let options = BasicPublishOptions::default();
            let sent = channel.basic_publish(exchange.into(), topic.into(), options, &body, properties);
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

    /// One that listens with TLS too, on a port of its own, and wants a certificate that our authority has signed.
    /// The certificate's common name is the user. Says the port.
    pub fn start_tls(certificates: &Path) -> (Broker, u16) {
        let broker = Broker { dir: tempfile::tempdir().unwrap() };
        broker.tell_with("prepare", &["rabbitmq_auth_mechanism_ssl"]);
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut configuration = OpenOptions::new().append(true).open(broker.dir.path().join("rabbitmq.conf")).unwrap();
        let certificates = certificates.display();
        write!(
            configuration,
            "listeners.ssl.1 = 127.0.0.1:{port}
             ssl_options.cacertfile = {certificates}/ca.pem
             ssl_options.certfile = {certificates}/broker.pem
             ssl_options.keyfile = {certificates}/broker.key
             ssl_options.verify = verify_peer
             ssl_options.fail_if_no_peer_cert = true
             ssl_cert_login_from = common_name
             auth_mechanisms.1 = EXTERNAL
             auth_mechanisms.2 = PLAIN
             "
        )
        .unwrap();
        broker.tell("start");
        (broker, port)
    }

    /// Runs a command of `tests/servers/rabbitmq`; says what it prints.
    pub fn tell(&self, command: &str) -> String {
        self.tell_with(command, &[])
    }

    /// From now on it does nothing, though its connections stay open and the kernel takes what is sent.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = std::fs::read_to_string(self.dir.path().join("pid")).unwrap();
        nix::sys::signal::kill(Pid::from_raw(pid.trim().parse().unwrap()), signal).unwrap();
    }

    /// Runs `rabbitmqctl`.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        self.tell_with("ctl", arguments)
    }

    fn tell_with(&self, command: &str, arguments: &[&str]) -> String {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/servers/rabbitmq");
        let output = Command::new(script).arg(command).arg(self.dir.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "rabbitmq {command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.tell("kill");
    }
}
