//! What a broker refuses is told with what to do about it, and tried again until somebody has done it.

mod kit;

use kit::{Bench, Broker, Bus, brokers, get, ids, start};
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use trigger::amqp::{Exchange, Passive, Settings};

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_is_told_with_what_to_do() {
    let (bench, broker) = (Bench::new(), Broker::start());
    broker.ctl(&["add_user", "guest2", "secret"]);
    broker.ctl(&["set_permissions", "guest2", "^$", ".*", ".*"]);
    let bus = Bus::at(broker.tell("url"));
    bus.make_queue(true).await;
    let ours = bus.settings();
    let url = |from: &str, to: &str| brokers(vec![ours.broker.urls[0].replace(from, to)]);
    let (connection, channel) = bus.connect().await;
    let exclusive = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    channel.queue_declare("theirs".into(), exclusive, FieldTable::default()).await.unwrap();

    let cases = [
        (
            Settings { broker: url("guest:guest", "guest:wrong"), ..ours.clone() },
            "see user and password in the address",
        ),
        (Settings { broker: url("%2F", "nowhere"), ..ours.clone() }, "see the virtual host in the address"),
        (
            Settings { broker: url("guest:guest", "guest2:secret"), queue: "new".into(), ..ours.clone() },
            "the broker's administrators can give this user the right to it",
        ),
        (Settings { durable: false, ..ours.clone() }, "it is there with other flags"),
        (
            Settings { arguments: [("x-max-length".to_owned(), 5.into())].into_iter().collect(), ..ours.clone() },
            "arguments",
        ),
        (Settings { queue: "theirs".into(), durable: false, ..ours.clone() }, "another connection has it for itself"),
        (
            Settings { queue: "absent".into(), passive: Passive::Only, ..ours.clone() },
            "others have to make it, as passive = true says",
        ),
        (Settings { exchange: "absent".into(), ..ours.clone() }, "see [trigger.amqp] exchange"),
        (Settings { broker: brokers(vec!["amqp://127.0.0.1:1".into()]), ..ours.clone() }, "Connection refused"),
        (Settings { broker: brokers(vec!["amqp://no.such.host.invalid".into()]), ..ours.clone() }, "cannot connect"),
    ];
    for (settings, told) in cases {
        let trigger = start(&bench, settings);
        trigger.is_in_trouble(told).await;
        println!("{}", trigger.metrics.troubles.list()[0].what);
        assert!(!trigger.metrics.troubles.list()[0].what.contains("wrong"), "a password is told to nobody");
        trigger.stop().await;
    }
    connection.close(200, "".into()).await.unwrap();

    let exchanges = [("absent".to_owned(), Exchange::default())].into();
    let trigger = start(&bench, Settings { exchange: "absent".into(), exchanges, ..ours.clone() });
    trigger.consuming().await;
    trigger.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_goes_on_by_itself_once_it_is_put_right() {
    let (bench, bus) = (Bench::new(), Bus::new());
    let trigger = start(&bench, Settings { passive: Passive::Only, ..bus.settings() });
    trigger.is_in_trouble("others have to make it").await;
    bus.make_queue(true).await;
    trigger.consuming().await;
    assert_eq!(trigger.metrics.troubles.list(), []);
    bus.publish([1]).await;
    trigger.has(|m| &m.recorded, 1).await;

    bus.delete_queue().await;
    trigger.is_in_trouble("others have to make it").await;
    bus.make_queue(true).await;
    bus.publish([2]).await;
    trigger.has(|m| &m.recorded, 2).await;
    assert!(get(&trigger.stop().await.reconnects) >= 1);
    assert_eq!(ids(&bench), ["e-1", "e-2"]);
}
