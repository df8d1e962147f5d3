//! The bus as it is: a real RabbitMQ, and what goes wrong with one.

mod kit;

use std::collections::BTreeMap;

use kit::{Bench, Broker, Bus, Master, brokers, configuration, get, ids, numbered, ordinary, sorted, start, until};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldArray, FieldTable};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use trigger::amqp::{Passive, Settings};
use trigger::{Origin, RecordError, Recording, Summary};

#[tokio::test(flavor = "multi_thread")]
async fn a12_every_kind_of_broken_message_is_set_aside_and_the_odd_ones_are_events() {
    let (bench, bus) = (Bench::new(), Bus::new());
    let trigger = start(&bench, bus.settings());
    trigger.consuming().await;
    let good = br#"{"malformed": 1, "n": 2}"#;
    let with_id = |id: &str| ordinary().with_message_id(id.into());
    let mut nested = FieldTable::default();
    nested.insert("uri".into(), AMQPValue::LongString("amqps://x".into()));
    let mut list = FieldArray::default();
    list.push(AMQPValue::FieldTable(nested));
    let mut headers = FieldTable::default();
    headers.insert("x-received-from".into(), AMQPValue::FieldArray(list));
    headers.insert("sent-at".into(), AMQPValue::Timestamp(1));
    let giant = format!(r#"{{"pad":"{}"}}"#, "x".repeat(1 << 20)).into_bytes();
    let messages: Vec<(Vec<u8>, BasicProperties)> = vec![
        (b"{'this': is not json".to_vec(), with_id("1")),
        (good[..good.len() - 3].to_vec(), with_id("2")),
        (vec![], with_id("3")),
        (b"{\"k\": \"\xff\xfe\xc3(\"}".to_vec(), with_id("4")),
        (b"[1, 2, 3]".to_vec(), with_id("5")),
        (b"null".to_vec(), with_id("6")),
        ([r#"{"a":"#.repeat(5000).into_bytes(), b"1".to_vec(), b"}".repeat(5000)].concat(), with_id("7")),
        (good.to_vec(), with_id("8").with_content_encoding("utf-99".into())),
        (giant, with_id("giant")),
        (good.to_vec(), with_id("type").with_content_type("text/plain".into())),
        (good.to_vec(), with_id("not a uuid/../\n")),
        (good.to_vec(), with_id("no-headers").with_headers(FieldTable::default())),
        (good.to_vec(), with_id("odd-headers").with_headers(headers)),
        (b"{\"bare\": 1}".to_vec(), BasicProperties::default()),
        (br#"{"k": 1, "k": 2}"#.to_vec(), with_id("dup-keys")),
    ];
    let twice = messages.iter().chain(&messages).cloned().collect();
    bus.publish_raw(twice).await;
    trigger.has(|m| &m.received, 30).await;
    let metrics = trigger.stop().await;
    assert_eq!((get(&metrics.quarantined), get(&metrics.recorded), get(&metrics.duplicates)), (16, 7, 7));
    let mut reasons = BTreeMap::<String, u32>::new();
    for line in std::fs::read_to_string(bench.path("log/quarantine.jsonl")).unwrap().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        *reasons.entry(line["reason"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let kinds = ["bad-utf8", "deep", "empty", "json-array", "json-null", "not-json", "truncated", "unknown-encoding"];
    assert_eq!(reasons, kinds.map(|kind| (kind.to_owned(), 2)).into());
    assert_eq!(bus.waiting().await, Some(0), "all of them are acknowledged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_the_middle_loses_nothing_and_the_master_gets_it_all() {
    let (bench, bus, master) = (Bench::new(), Bus::new(), Master::start().await);
    bus.make_queue(true).await;
    bus.publish(1..=3000).await;
    let first = start(&bench, bus.settings());
    first.has(|m| &m.recorded, 1).await;
    let taken = get(&first.stop().await.recorded);
    bus.publish(3001..=3100).await;
    let second = start(&bench, bus.settings());
    second.has(|m| &m.recorded, 3100).await;
    second.stop().await;
    assert_eq!(sorted(ids(&bench)), numbered(1..=3100), "{taken} came before the stop");
    assert_eq!(bus.waiting().await, Some(0));

    let stop = CancellationToken::new();
    let settings =
        trigger::Settings { dir: bench.path("log"), master: Some(master.url().into()), ..trigger::Settings::default() };
    let run = trigger::run(settings, configuration(1), net::Secret::none(), bench.metrics.clone(), stop.clone());
    let running = tokio::spawn(run);
    until("the master has all", async || master.len() == 3100).await;
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_queue_is_made_again() {
    let (bench, bus) = (Bench::new(), Bus::new());
    let trigger = start(&bench, bus.settings());
    trigger.consuming().await;
    bus.publish([1]).await;
    trigger.has(|m| &m.recorded, 1).await;
    bus.delete_queue().await;
    trigger.has(|m| &m.reconnects, 1).await;
    trigger.consuming().await;
    bus.publish([2]).await;
    trigger.has(|m| &m.recorded, 2).await;
    trigger.stop().await;
    assert_eq!(ids(&bench), ["e-1", "e-2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_comes_later_is_waited_for_and_one_with_other_flags_is_taken_as_it_is() {
    let (bench, bus) = (Bench::new(), Bus::new());
    let trigger = start(&bench, Settings { passive: Passive::Only, ..bus.settings() });
    assert_eq!(bus.waiting().await, None);
    bus.make_queue(true).await;
    trigger.consuming().await;
    bus.publish([1]).await;
    trigger.has(|m| &m.recorded, 1).await;
    trigger.stop().await;

    // Durable it is, and not durable it should be: refused, and for ever tried again; taken as it is if asked to.
    let other = Settings { durable: false, auto_delete: true, ..bus.settings() };
    let first = start(&bench, Settings { passive: Passive::First, ..other });
    first.consuming().await;
    bus.publish([2]).await;
    first.has(|m| &m.recorded, 2).await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_brokers_are_tried_in_turn() {
    let (bench, bus) = (Bench::new(), Bus::new());
    let dead = "amqp://guest:guest@127.0.0.1:1/%2F".to_owned();
    let urls = [vec![dead], bus.settings().broker.urls].concat();
    let trigger = start(&bench, Settings { broker: brokers(urls), ..bus.settings() });
    trigger.consuming().await;
    trigger.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_and_comes_back_is_consumed_again() {
    let broker = Broker::start();
    let (bench, bus) = (Bench::new(), Bus::at(broker.tell("url")));
    let trigger = start(&bench, bus.settings());
    trigger.consuming().await;
    bus.publish(1..=500).await;
    trigger.has(|m| &m.recorded, 1).await;
    broker.tell("kill");
    until("the loss is noticed", async || !trigger.metrics.is_connected()).await;
    broker.tell("restart");
    trigger.consuming().await;
    bus.publish(501..=600).await;
    until("all is there", async || ids(&bench).len() == 600).await;
    let metrics = trigger.stop().await;
    assert_eq!(sorted(ids(&bench)), numbered(1..=600));
    assert!(get(&metrics.reconnects) >= 1);
    assert_eq!(get(&metrics.received), get(&metrics.recorded) + get(&metrics.duplicates));
    assert_eq!(bus.waiting().await, Some(0));
}

fn recording(bench: &Bench, settings: Settings) -> (JoinHandle<Result<Summary, RecordError>>, CancellationToken) {
    let stop = CancellationToken::new();
    let recording = Recording {
        from: Origin::Bus(Box::new(settings)),
        out: bench.path("jobs.csv"),
        append: false,
        live: configuration(1),
        limits: trigger::decode::Limits::default(),
        metrics: bench.metrics.clone(),
    };
    net::install_crypto();
    (tokio::spawn(trigger::record(recording, stop.clone())), stop)
}

#[tokio::test(flavor = "multi_thread")]
async fn record_refuses_the_queue_of_a_live_trigger_and_takes_one_of_its_own() {
    let (bench, bus) = (Bench::new(), Bus::new());
    let trigger = start(&bench, bus.settings());
    trigger.consuming().await;
    let (task, _stop) = recording(&bench, bus.settings());
    assert!(matches!(task.await.unwrap(), Err(RecordError::Refused(_))));
    assert!(!bench.path("jobs.csv").exists(), "nothing stands in the way of the next try");

    let (task, stop) = recording(&bench, Settings { queue: String::new(), ..bus.settings() });
    until("it records", async || bench.metrics.is_connected()).await;
    bus.publish(1..=50).await;
    until("both have it", async || get(&bench.metrics.recorded) == 50 && get(&trigger.metrics.recorded) == 50).await;
    stop.cancel();
    let summary = task.await.unwrap().unwrap();
    assert_eq!((summary.received, summary.recorded, summary.jobs, summary.rows), (50, 50, 25, 25));
    let rows = csv::Reader::from_path(bench.path("jobs.csv")).unwrap().into_records().count();
    assert_eq!(rows, 25);
    trigger.stop().await;
}
