//! What happens to a broker, and to us, in operation: it freezes, forgets, moves, waits for us in vain.

mod kit;

use kit::{Bench, Broker, Bus, Small, brokers, get, ids, numbered, ordinary, sorted, start, start_with, until};
use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, ExchangeDeleteOptions};
use lapin::types::FieldTable;
use model::Span;
use trigger::amqp::{Exchange, Settings};

#[tokio::test(flavor = "multi_thread")]
async fn a10_when_the_broker_in_use_dies_the_next_one_is_used() {
    let broker = Broker::start();
    let (bench, first) = (Bench::new(), Bus::at(broker.tell("url")));
    let second = first.on(&Bus::new());
    let urls = [first.settings().broker.urls, second.settings().broker.urls].concat();
    let trigger = start(&bench, Settings { broker: brokers(urls), ..first.settings() });
    trigger.consuming().await;
    first.publish([1]).await;
    trigger.has(|m| &m.recorded, 1).await;
    broker.tell("kill");
    until("the loss is noticed", async || !trigger.metrics.is_connected()).await;
    trigger.consuming().await;
    second.publish([2]).await;
    trigger.has(|m| &m.recorded, 2).await;
    trigger.stop().await;
    second.delete_queue().await;
    assert_eq!(ids(&bench), ["e-1", "e-2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a10_a_broker_that_freezes_with_its_connections_open_is_noticed_and_goes_on() {
    let broker = Broker::start();
    let (bench, bus) = (Bench::new(), Bus::at(broker.tell("url")));
    let urls = vec![format!("{}?heartbeat=1", broker.tell("url"))];
    let trigger = start(&bench, Settings { broker: brokers(urls), ..bus.settings() });
    trigger.consuming().await;
    bus.publish(1..=20).await;
    trigger.has(|m| &m.recorded, 20).await;
    broker.freeze();
    trigger.is_in_trouble("the broker gives no sign of life any more").await;
    broker.thaw();
    trigger.consuming().await;
    bus.publish(21..=40).await;
    trigger.has(|m| &m.recorded, 40).await;
    trigger.stop().await;
    assert_eq!(sorted(ids(&bench)), numbered(1..=40));
}

#[tokio::test(flavor = "multi_thread")]
async fn a10_a_queue_that_goes_with_its_broker_is_made_again_and_bound() {
    let broker = Broker::start();
    let (bench, bus) = (Bench::new(), Bus::at(broker.tell("url")));
    let trigger = start(&bench, Settings { durable: false, ..bus.settings() });
    trigger.consuming().await;
    broker.tell("restart");
    trigger.has(|m| &m.reconnects, 1).await;
    trigger.consuming().await;
    bus.publish([1]).await;
    trigger.has(|m| &m.recorded, 1).await;
    trigger.stop().await;
}

/// The consumer that a channel has on a queue is taken out of the queue, and the client is told nothing: as it was seen
/// with consumers that were connected, and got nothing, for days.
const FORGET: &str = "[gen_server2:call(amqqueue:get_pid(Q), {basic_cancel, proplists:get_value(channel_pid, C), \
     proplists:get_value(consumer_tag, C), undefined, <<\"test\">>}, infinity) \
     || C <- rabbit_amqqueue:consumers_all(<<\"/\">>), \
     {ok, Q} <- [rabbit_amqqueue:lookup(proplists:get_value(queue_name, C))]].";

#[tokio::test(flavor = "multi_thread")]
async fn a11_a_consumer_that_the_broker_forgot_without_a_word_is_noticed() {
    let broker = Broker::start();
    let (bench, bus) = (Bench::new(), Bus::at(broker.tell("url")));
    let trigger = start(&bench, Settings { quiet: Span::seconds(1), ..bus.settings() });
    trigger.consuming().await;
    assert!(broker.ctl(&["eval", FORGET]).contains("ok"));
    bus.publish(1..=3).await;
    trigger.has(|m| &m.recorded, 3).await;
    assert!(get(&trigger.stop().await.reconnects) >= 1);
    assert_eq!(bus.waiting().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a11_a_binding_that_was_lost_is_made_again_after_some_quiet() {
    let (bench, bus) = (Bench::new(), Bus::new());
    let name = format!("{}-exchange", bus.queue());
    let exchanges = [(name.clone(), Exchange { durable: false, ..Exchange::default() })].into();
    let quiet = Span::seconds(1);
    let trigger = start(&bench, Settings { exchange: name.clone(), exchanges, quiet, ..bus.settings() });
    trigger.consuming().await;
    let (connection, channel) = bus.connect().await;
    channel.exchange_delete(name.as_str().into(), ExchangeDeleteOptions::default()).await.unwrap();
    let (how, none) = (ExchangeDeclareOptions::default(), FieldTable::default());
    channel.exchange_declare(name.as_str().into(), ExchangeKind::Topic, how, none).await.unwrap();
    until("what is published arrives again", async || {
        bus.publish_to(&name, vec![(b"{}".to_vec(), ordinary().with_message_id("again".into()))]).await;
        get(&trigger.metrics.recorded) == 1
    })
    .await;
    channel.exchange_delete(name.as_str().into(), ExchangeDeleteOptions::default()).await.unwrap();
    connection.close(200, "".into()).await.unwrap();
    trigger.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a11_an_acknowledgement_that_comes_too_late_costs_a_channel_and_no_event() {
    let broker = Broker::start();
    let patience = "[application:set_env(rabbit, K, V) || {K, V} <- [{consumer_timeout, 1000}, \
                    {channel_tick_interval, 200}]].";
    broker.ctl(&["eval", patience]);
    let (bench, bus) = (Bench::new(), Bus::at(broker.tell("url")));
    let Some(small) = Small::mount(&bench.path("small"), 450 << 10) else {
        eprintln!("cannot mount a small file system here; this test proves nothing");
        return;
    };
    let amqp = Some(Settings { quiet: Span::seconds(1), ..bus.settings() });
    let trigger = start_with(trigger::Settings { dir: small.path("log"), amqp, ..trigger::Settings::default() });
    trigger.consuming().await;
    bus.publish(1..=300).await;
    trigger.is_in_trouble("No space left on device").await;
    trigger.is_in_trouble("nothing is lost: the broker sends again what was not acknowledged").await;
    small.relieve();
    trigger.has(|m| &m.recorded, 300).await;
    until("all of it is acknowledged", async || bus.waiting().await == Some(0)).await;
    trigger.consuming().await;
    let metrics = trigger.stop().await;
    assert_eq!(metrics.troubles.list(), []);
    assert_eq!(get(&metrics.received), 300 + get(&metrics.duplicates), "what came again is known");
    let text = std::fs::read_to_string(small.path("log/events.jsonl")).unwrap();
    assert!((1..=300).all(|n| text.contains(&format!(r#""id":"e-{n}""#))));
}
