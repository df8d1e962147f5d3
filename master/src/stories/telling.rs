//! The bus is told of jobs: over a real broker, whatever it says.

use lapin::options::{BasicGetOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use model::{JobId, Span};
use serde_json::Value;

use super::house::{House, worker};
use crate::messages::{Publisher, Summary};
use crate::{Contact, Messages};

/// An exchange of its own on the broker that `./test` has started.
struct Bus {
    name: String,
    channel: Channel,
    _connection: Connection,
}

fn url() -> String {
    std::env::var("TASKOTRON_TEST_AMQP").expect("TASKOTRON_TEST_AMQP is not set: run ./test")
}

impl Bus {
    async fn new() -> Bus {
        let connection = Connection::connect(&url(), ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        Bus { name: format!("telling-{}", net::clock::uuid().simple()), channel, _connection: connection }
    }

    async fn exchange(&self) {
        let how = ExchangeDeclareOptions { auto_delete: true, ..Default::default() };
        let none = FieldTable::default();
        self.channel.exchange_declare(self.name.as_str().into(), ExchangeKind::Topic, how, none).await.unwrap();
    }

    /// A queue that gets what matches.
    async fn queue(&self, pattern: &str) {
        let how = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
        let name = self.name.as_str();
        self.channel.queue_declare(name.into(), how, FieldTable::default()).await.unwrap();
        let (how, none) = (QueueBindOptions::default(), FieldTable::default());
        self.channel.queue_bind(name.into(), name.into(), pattern.into(), how, none).await.unwrap();
    }

    /// What has come: topic, job, and id, in order.
    async fn got(&self) -> Vec<(String, String, String)> {
        let mut got = Vec::new();
        let how = BasicGetOptions { no_ack: true };
        while let Some(message) = self.channel.basic_get(self.name.as_str().into(), how).await.unwrap() {
            let body: Value = serde_json::from_slice(&message.delivery.data).unwrap();
            let id = message.delivery.properties.message_id().as_ref().unwrap().to_string();
            let job = body["pipeline"]["id"].as_str().unwrap().to_owned();
            got.push((message.delivery.routing_key.to_string(), job, id));
        }
        got
    }

    async fn house(&self) -> House {
        House::with(|settings| {
            let set = || "set@example.org".to_owned();
            settings.messages = Some(Messages {
                broker: bus::Broker { urls: vec![url()], ..bus::Broker::default() },
                outlet: bus::Outlet { exchange: self.name.clone(), mandatory: true, ..bus::Outlet::default() },
                tasks: vec!["noop".into()],
                contact: Contact { name: set(), team: set(), docs: set(), email: set() },
                ..Messages::default()
            });
        })
        .await
    }
}

const TOPICS: [&str; 3] = ["ci.koji-build.test.queued", "ci.koji-build.test.running", "ci.koji-build.test.complete"];

fn of(got: &[(String, String, String)], job: JobId) -> Vec<&str> {
    got.iter().filter(|(_, of, _)| *of == job.to_string()).map(|(topic, _, _)| topic.as_str()).collect()
}

#[tokio::test]
async fn a_job_is_told_of_in_order_and_what_is_not_named_is_not() {
    let bus = Bus::new().await;
    bus.exchange().await;
    bus.queue("#").await;
    let house = bus.house().await;
    let w1 = worker("w1", &[]);
    let job = house.submit("noop", "foo-1-1").await;
    let mut publisher = Publisher::new("main");
    assert_eq!(publisher.tick(house.app()).await.unwrap().sent, 1);
    assert_eq!(house.run_one(&w1).await, job);
    house.submit("again", "bar-1-1").await;
    house.run_one(&w1).await;
    assert_eq!(house.status().await.messages, 2);
    assert_eq!(publisher.tick(house.app()).await.unwrap(), Summary { sent: 2, ..Summary::default() });
    let got = bus.got().await;
    assert_eq!((of(&got, job), got.len()), (TOPICS.to_vec(), 3));
    let metrics = house.get("/metrics").await.text();
    assert!(metrics.contains("taskotron_messages_sent_total 3\n"), "{metrics}");
    assert_eq!(house.status().await.messages, 0);
}

#[tokio::test]
async fn what_no_queue_gets_is_kept_in_order_and_told() {
    let bus = Bus::new().await;
    bus.exchange().await;
    // Only the ends are wanted: they must not go before what stands before them.
    bus.queue("ci.*.test.complete").await;
    let house = bus.house().await;
    let job = house.submit("noop", "foo-1-1").await;
    house.run_one(&worker("w1", &[])).await;
    let mut publisher = Publisher::new("main");
    assert_eq!(publisher.tick(house.app()).await.unwrap(), Summary { refused: 1, ..Summary::default() });
    let status = house.status().await;
    assert_eq!((status.messages, status.outbox), (3, 4), "the outbox holds the result too");
    let stop = status.stopped_by.iter().find(|stop| stop.what == "the bus refused 1 messages; they are kept").unwrap();
    let reason = stop.reason.as_deref().unwrap();
    assert!(reason.starts_with("no queue gets ci.koji-build.test.queued") && reason.contains("mandatory"), "{reason}");
    assert_eq!(publisher.tick(house.app()).await.unwrap(), Summary::default(), "it rests for a while");
    assert!(bus.got().await.is_empty());

    bus.queue("#").await;
    house.advance(Span::minutes(1));
    assert_eq!(publisher.tick(house.app()).await.unwrap().sent, 3);
    assert_eq!(of(&bus.got().await, job), TOPICS);
    assert!(house.status().await.stopped_by.iter().all(|stop| !stop.what.contains("bus")));
}

#[tokio::test]
async fn a_bus_that_is_not_as_it_should_be_takes_nothing_away() {
    let bus = Bus::new().await;
    let house = bus.house().await;
    house.submit("noop", "foo-1-1").await;
    let mut publisher = Publisher::new("main");
    for _ in 0..2 {
        assert!(publisher.tick(house.app()).await.unwrap().unavailable);
    }
    let status = house.status().await;
    let stop = status.stopped_by.iter().find(|stop| stop.what.contains("bus")).unwrap();
    assert_eq!(stop.what, "1 messages wait: the bus does not take them");
    let reason = stop.reason.as_deref().unwrap();
    assert!(reason.contains("no exchange") && reason.contains("[master.messages] exchange"), "{reason}");
    bus.exchange().await;
    bus.queue("#").await;
    assert_eq!(publisher.tick(house.app()).await.unwrap(), Summary { sent: 1, ..Summary::default() });
    assert!(house.status().await.stopped_by.iter().all(|stop| !stop.what.contains("bus")));
}

#[tokio::test]
async fn where_no_bus_is_named_nothing_is_noted() {
    let house = House::new().await;
    house.submit("noop", "foo-1-1").await;
    house.run_one(&worker("w1", &[])).await;
    assert_eq!(house.status().await.messages, 0);
}
