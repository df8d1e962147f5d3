//! Section 14 of the contract: what the bus is told of new results, over a real broker.

use std::time::{Duration, Instant};

use axum::Router;
use axum::http::Method;
use lapin::options::{BasicGetOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use net::Tokens;
use resultsdb::{Messages, Settings, Store, Teller, WriteAccess};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::server::{Server, asking, posting, send};

crate::on_both_engines!(
    the_bus_is_told_what_was_answered,
    a_key_that_comes_again_is_told_of_once,
    without_a_bus_nothing_is_noted,
    what_the_bus_does_not_take_is_kept,
    a_message_that_is_too_large_holds_up_no_other,
    an_unsent_message_keeps_its_id,
    of_two_stores_one_tells_the_bus,
    a_changed_outcome_is_told_to_those_who_still_read_it,
    what_waits_for_the_bus_is_in_the_numbers,
);

/// An exchange of its own on the broker that `./test` has started.
struct Bus {
    name: String,
    channel: Channel,
    _connection: Connection,
}

/// One message that has come.
struct Heard {
    topic: String,
    id: String,
    headers: FieldTable,
    body: Value,
}

fn url() -> String {
    std::env::var("TASKOTRON_TEST_AMQP").expect("TASKOTRON_TEST_AMQP is not set: run ./test")
}

impl Bus {
    async fn new() -> Bus {
        let connection = Connection::connect(&url(), ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        Bus { name: format!("results-{}", net::clock::uuid().simple()), channel, _connection: connection }
    }

    /// With an exchange, and a queue that gets all of it.
    async fn open() -> Bus {
        let bus = Bus::new().await;
        bus.exchange().await;
        bus.queue().await;
        bus
    }

    async fn exchange(&self) {
        let how = ExchangeDeclareOptions { auto_delete: true, ..Default::default() };
        let none = FieldTable::default();
        self.channel.exchange_declare(self.name.as_str().into(), ExchangeKind::Topic, how, none).await.unwrap();
    }

    async fn queue(&self) {
        let how = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
        let name = self.name.as_str();
        self.channel.queue_declare(name.into(), how, FieldTable::default()).await.unwrap();
        let (how, none) = (QueueBindOptions::default(), FieldTable::default());
        self.channel.queue_bind(name.into(), name.into(), "#".into(), how, none).await.unwrap();
    }

    async fn heard(&self) -> Vec<Heard> {
        let mut heard = Vec::new();
        let how = BasicGetOptions { no_ack: true };
        while let Some(message) = self.channel.basic_get(self.name.as_str().into(), how).await.unwrap() {
            let properties = &message.delivery.properties;
            assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "application/json");
            assert_eq!(properties.delivery_mode(), &Some(2));
            heard.push(Heard {
                topic: message.delivery.routing_key.to_string(),
                id: properties.message_id().as_ref().unwrap().to_string(),
                headers: properties.headers().clone().unwrap(),
                body: serde_json::from_slice(&message.delivery.data).unwrap(),
            });
        }
        heard
    }

    fn messages(&self) -> Messages {
        let mut messages = Messages::default();
        messages.broker.urls = vec![url()];
        messages.outlet.exchange = self.name.clone();
        messages.outlet.topic_prefix = "org.example.prod".into();
        messages
    }
}

/// The store's API, with these messages.
fn telling(store: &Store, messages: &Messages) -> Router {
    let messages = Some(messages.clone());
    Server::router_of(store, &Settings { write_access: WriteAccess::Open, messages, ..Settings::default() }, true)
}

async fn post(router: &Router, path: &str, body: Value) -> Value {
    let answer = send(router.clone(), posting(path, &body.to_string())).await;
    assert!(answer.status.is_success(), "{}", answer.text);
    answer.json()
}

async fn the_bus_is_told_what_was_answered(server: Server) {
    let bus = Bus::open().await;
    let router = telling(&server.store, &bus.messages());
    let full = json!({"outcome": "FAILED", "testcase": {"name": "a/b é", "ref_url": "https://t"}, "groups": ["g"],
        "note": "n", "ref_url": "https://l", "data": {"item": ["x-1-1"], "n": [1, null]}});
    let first = post(&router, "/results", full).await;
    let batch = json!({"results": [{"outcome": "PASSED", "testcase": "t"}, {"outcome": "GOOD", "testcase": "t"}]});
    let second = post(&router, "/batch", batch).await["answers"][0]["id"].clone();
    post(&router, "/testcases", json!({"name": "t2"})).await;
    post(&router, "/groups", json!({"uuid": "g2"})).await;

    let mut teller = Teller::new(server.store.clone(), bus.messages());
    assert_eq!(teller.tick().await.unwrap().told, 2);
    let heard = bus.heard().await;
    assert_eq!(heard.len(), 2, "groups and testcases are not told of, nor what was refused");
    assert_eq!(heard[0].body, first);
    assert_eq!(heard[1].body, server.get(&format!("/results/{second}")).await.json());
    assert_eq!(heard[0].topic, "org.example.prod.resultsdb.result.new");
    let text = |name: &str| match &heard[0].headers.inner()[name] {
        AMQPValue::LongString(text) => text.to_string(),
        other => panic!("{name} is {other:?}"),
    };
    assert_eq!(text("fedora_messaging_schema"), "base.message");
    assert_eq!(heard[0].headers.inner()["fedora_messaging_severity"], AMQPValue::LongInt(20));
    assert!(text("sent-at").ends_with("+00:00"));
    let ids: Vec<_> = heard.iter().map(|h| h.id.parse::<uuid::Uuid>().unwrap()).collect();
    assert!(ids[0] != ids[1] && ids.iter().all(|id| id.get_version_num() == 4), "{ids:?}");
    assert_eq!(teller.tick().await.unwrap().told, 0, "nothing is left");
    assert_eq!(server.store.backlog().await.unwrap(), resultsdb::Backlog::default());

    let messages = Messages { public_url: Some("https://r.example.org/db/".parse().unwrap()), ..bus.messages() };
    post(&telling(&server.store, &messages), "/results", json!({"outcome": "INFO", "testcase": "t"})).await;
    teller.tick().await.unwrap();
    let links = &bus.heard().await[0].body;
    assert!(links["href"].as_str().unwrap().starts_with("https://r.example.org/db/api/v2.0/results/"), "{links}");
}

async fn a_key_that_comes_again_is_told_of_once(server: Server) {
    let bus = Bus::open().await;
    let router = telling(&server.store, &bus.messages());
    let keyed = |key: &str| json!({"idempotency_key": key, "outcome": "PASSED", "testcase": "t"});
    let batch = json!({"results": [keyed("a"), keyed("b"), keyed("a")]});
    post(&router, "/batch", batch.clone()).await;
    let mut teller = Teller::new(server.store.clone(), bus.messages());
    assert_eq!(teller.tick().await.unwrap().told, 2);
    post(&router, "/batch", batch).await;
    assert_eq!(teller.tick().await.unwrap().told, 0);
    assert_eq!(bus.heard().await.len(), 2);
}

async fn without_a_bus_nothing_is_noted(server: Server) {
    server.add(json!({"outcome": "PASSED", "testcase": "t"})).await;
    assert_eq!(server.store.backlog().await.unwrap().messages, 0);
    assert!(server.store.untold(10).await.unwrap().0.is_empty());
}

async fn what_the_bus_does_not_take_is_kept(server: Server) {
    let bus = Bus::new().await;
    let mut messages = bus.messages();
    messages.outlet.mandatory = true;
    let router = telling(&server.store, &messages);
    post(&router, "/results", json!({"outcome": "PASSED", "testcase": "t"})).await;
    let mut teller = Teller::new(server.store.clone(), messages);
    let error = teller.tick().await.unwrap_err().to_string();
    assert!(error.contains("no exchange") && error.contains("[resultsdb.messages] exchange"), "{error}");
    let waiting = |refused, error: Option<String>| resultsdb::Backlog { messages: 1, refused, error };
    assert_eq!(server.store.backlog().await.unwrap(), waiting(0, None), "the fault is not the message's");

    bus.exchange().await;
    let did = teller.tick().await.unwrap();
    assert_eq!((did.told, did.refused), (0, 1));
    let backlog = server.store.backlog().await.unwrap();
    assert!(backlog.error.as_ref().unwrap().contains("no queue gets org.example.prod.resultsdb"), "{backlog:?}");
    assert_eq!(backlog, waiting(1, backlog.error.clone()));
    bus.queue().await;
    assert_eq!(teller.tick().await.unwrap().told, 0, "it rests");
    post(&router, "/results", json!({"outcome": "PASSED", "testcase": "t2"})).await;
    assert_eq!(teller.tick().await.unwrap().told, 1, "and holds up no other");
}

async fn a_message_that_is_too_large_holds_up_no_other(server: Server) {
    let bus = Bus::open().await;
    let router = telling(&server.store, &bus.messages());
    for (testcase, note) in
        [("a", String::new()), ("large", "x".repeat(17 << 20)), ("b", String::new()), ("c", String::new())]
    {
        post(&router, "/results", json!({"outcome": "PASSED", "testcase": testcase, "note": note})).await;
    }
    let mut teller = Teller::new(server.store.clone(), bus.messages());
    while teller.tick().await.unwrap().more {}
    let backlog = server.store.backlog().await.unwrap();
    assert_eq!((backlog.messages, backlog.refused), (1, 1));
    assert!(backlog.error.as_ref().unwrap().contains("larger than"), "{backlog:?}");
    let mut heard: Vec<_> = bus.heard().await.into_iter().map(|h| h.body["testcase"]["name"].clone()).collect();
    heard.dedup();
    assert_eq!(heard, ["a", "b", "c"]);
}

async fn an_unsent_message_keeps_its_id(server: Server) {
    let bus = Bus::open().await;
    let router = telling(&server.store, &bus.messages());
    let result = post(&router, "/results", json!({"outcome": "PASSED", "testcase": "t"})).await;
    let (before, _) = server.store.untold(10).await.unwrap();
    let mut nowhere = bus.messages();
    nowhere.broker.urls = vec!["amqp://127.0.0.1:1/%2F".into()];
    assert!(Teller::new(server.store.clone(), nowhere).tick().await.is_err());
    let again = Store::open(&server.url).await.unwrap();
    Teller::new(again, bus.messages()).tick().await.unwrap();
    let heard = bus.heard().await;
    assert_eq!((heard.len(), heard[0].id.clone()), (1, before[0].id.to_string()));
    assert_eq!(heard[0].body["id"], result["id"]);
}

async fn of_two_stores_one_tells_the_bus(server: Server) {
    let bus = Bus::open().await;
    let router = telling(&server.store, &bus.messages());
    let other = Store::open(&server.url).await.unwrap();
    let mut one = Teller::new(server.store.clone(), bus.messages());
    let mut two = Teller::new(other, bus.messages());
    assert!(!one.tick().await.unwrap().other);
    for n in 0..20 {
        post(&router, "/results", json!({"outcome": "PASSED", "testcase": format!("t{n}")})).await;
    }
    let (did, other) = tokio::join!(one.tick(), two.tick());
    assert_eq!((did.unwrap().told, other.unwrap().other), (20, true));
    post(&router, "/results", json!({"outcome": "PASSED", "testcase": "t"})).await;
    one.leave().await;
    assert_eq!(two.tick().await.unwrap().told, 1, "the turn was given back");
    assert_eq!(bus.heard().await.len(), 21);
}

async fn a_changed_outcome_is_told_to_those_who_still_read_it(server: Server) {
    let bus = Bus::open().await;
    let messages = Messages { changed_outcomes: true, ..bus.messages() };
    let router = telling(&server.store, &messages);
    let mut teller = Teller::new(server.store.clone(), messages);
    let of = |outcome: &str, second: u32, data: Value| {
        json!({"outcome": outcome, "testcase": "t", "ref_url": "https://l", "data": data,
               "submit_time": format!("2020-01-01T00:00:{second:02}.5")})
    };
    let x = |arch: &str| json!({"item": "x-1-1", "type": "koji_build", "arch": arch, "more": "m"});
    let steps = [
        (of("PASSED", 1, x("x86_64")), Some(Value::Null)),
        (of("PASSED", 2, x("x86_64")), None),
        (of("FAILED", 3, x("x86_64")), Some(json!("PASSED"))),
        (of("PASSED", 3, x("aarch64")), Some(Value::Null)),
        (of("FAILED", 4, json!({"item": "x-1-1", "type": "bodhi_update", "arch": "x86_64"})), Some(Value::Null)),
        // What it does not say may be any: the newest of the item is meant.
        (of("FAILED", 5, json!({"item": "x-1-1"})), None),
        (of("INFO", 6, json!({})), Some(json!("FAILED"))),
        (of("PASSED", 7, x("x86_64")), Some(json!("FAILED"))),
    ];
    for (result, before) in steps {
        let made = post(&router, "/results", result.clone()).await;
        assert_eq!(teller.tick().await.unwrap().told, 1);
        let heard = bus.heard().await;
        assert_eq!(heard[0].body, made);
        let Some(before) = before else {
            assert_eq!(heard.len(), 1, "{result}");
            continue;
        };
        assert_eq!(heard.len(), 2, "{result}");
        assert_eq!(heard[1].topic, "org.example.prod.taskotron.result.new");
        assert_ne!(heard[1].id, heard[0].id);
        let mut task = json!({"name": "t"});
        for key in ["item", "type"] {
            if let Some(value) = result["data"].get(key) {
                task[key] = value.clone();
            }
        }
        let time = made["submit_time"].as_str().unwrap().split('.').next().unwrap().replace('T', " ");
        let want = json!({"task": task, "result": {
            "id": made["id"], "submit_time": format!("{time} UTC"), "prev_outcome": before,
            "outcome": result["outcome"], "log_url": "https://l"}});
        assert_eq!(heard[1].body, want);
    }
}

async fn what_waits_for_the_bus_is_in_the_numbers(server: Server) {
    let bus = Bus::new().await;
    let router = telling(&server.store, &bus.messages());
    let health = resultsdb::health(server.store.clone(), &Tokens::fixed([], true));
    let number = async |name: &str| {
        let answer = send(health.clone(), asking(Method::GET, "/metrics")).await;
        let line = answer.text.lines().find_map(|line| line.strip_prefix(&format!("taskotron_resultsdb_{name} ")));
        line.unwrap_or_else(|| panic!("no {name}: {}", answer.text)).to_owned()
    };
    for path in ["/healthz", "/readyz"] {
        assert_eq!(send(health.clone(), asking(Method::GET, path)).await.status, 200);
    }
    post(&router, "/results", json!({"outcome": "PASSED", "testcase": "t"})).await;
    assert_eq!((number("messages").await.as_str(), number("bus_troubles").await.as_str()), ("1", "0"));
    let stop = CancellationToken::new();
    let telling = tokio::spawn(resultsdb::tell(server.store.clone(), bus.messages(), stop.clone()));
    until(async || number("bus_troubles").await == "1").await;
    let trouble = server.store.trouble().unwrap();
    assert!(trouble.contains("no exchange"), "{trouble}");
    bus.exchange().await;
    until(async || number("messages").await == "0").await;
    until(async || number("bus_troubles").await == "0").await;
    assert_eq!(number("results_told_total").await, "1");
    stop.cancel();
    telling.await.unwrap();
}

/// Looks until it is so.
async fn until(look: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !look().await {
        assert!(Instant::now() < deadline, "it has not come in time");
        tokio::task::yield_now().await;
    }
}
