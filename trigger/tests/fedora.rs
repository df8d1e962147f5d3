//! A configuration file of fedora-messaging: what we make of it is what the library itself makes of it, and a trigger
//! that is pointed at it consumes.

mod kit;

use std::process::Command;

use kit::{Bench, Bus, numbered, sorted, start_with};
use serde_json::{Value, json};
use trigger::amqp::{Passive, Settings};

/// Prints what the library has read, in our words.
const PRINT: &str = r#"
import json, sys, pika
from fedora_messaging import config
conf = config.conf.load_config(sys.argv[1])
url = pika.URLParameters(conf["amqp_url"])
queues = [
    {
        "host": [url.host, url.port, url.virtual_host], "tls": conf["tls"], "passive": conf["passive_declares"],
        "queue": name, **queue, "prefetch": conf["qos"]["prefetch_count"],
        "bindings": [[b["exchange"], key] for b in conf["bindings"] if b.get("queue", "") == name
                     for key in b["routing_keys"]],
    }
    for name, queue in sorted(conf["queues"].items())
]
print(json.dumps(queues))
"#;

fn as_the_library_reads(path: &str) -> Value {
    let python = std::env::var("TASKOTRON_TEST_PYTHON").expect("TASKOTRON_TEST_PYTHON is not set: run ./test");
    let output = Command::new(python).args(["-c", PRINT, path]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn as_we_read(path: &str) -> Value {
    let of = |one: Settings| {
        let url = url::Url::parse(&one.broker.urls[0]).unwrap();
        let port = url.port().unwrap_or(if url.scheme() == "amqps" { 5671 } else { 5672 });
        let vhost = url.path()[1..].replace("%2F", "/");
        let bindings: Vec<_> = one.bindings.iter().map(|binding| binding.parts(&one.exchange)).collect();
        json!({
            "host": [url.host_str(), port, vhost],
            "tls": {"ca_cert": one.broker.ca_file, "certfile": one.broker.cert_file, "keyfile": one.broker.key_file},
            "passive": one.passive == Passive::Only, "queue": one.queue, "durable": one.durable,
            "auto_delete": one.auto_delete, "exclusive": one.exclusive, "arguments": one.arguments,
            "prefetch": one.prefetch, "bindings": bindings,
        })
    };
    trigger::fedora_messaging(path.as_ref()).unwrap().into_iter().map(of).collect()
}

#[test]
fn a_file_means_the_same_to_us_as_to_the_library() {
    let bench = Bench::new();
    let files = [
        "",
        "amqp_url = \"amqp://\"\n[qos]\nprefetch_count = 25\nprefetch_size = 0",
        r##"
            amqp_url = "amqps://tester:@rabbit.example.org/%2Fpublic_pubsub"
            callback = "fedora_messaging.example:printer"
            [tls]
            ca_cert = "/etc/fm/ca.pem"
            keyfile = "/etc/fm/key.pem"
            certfile = "/etc/fm/cert.pem"
            [client_properties]
            app = "Tester"
            app_contacts_email = ["qa@example.org"]
            [exchanges."amq.topic"]
            type = "topic"
            durable = true
            auto_delete = false
            arguments = {}
            [[bindings]]
            exchange = "amq.topic"
            routing_keys = ["#"]
            [qos]
            prefetch_count = 25
            prefetch_size = 0
            [log_config]
            version = 1
            [log_config.root]
            level = "ERROR"
        "##,
        r##"
            amqp_url = "amqp://u:p@127.0.0.1:5673/?connection_attempts=3&retry_delay=5"
            passive_declares = true
            topic_prefix = "org.example"
            queues.one = { durable = true, auto_delete = false, exclusive = false, arguments = { x-max-priority = 5 } }
            queues.two = { durable = false, auto_delete = true, exclusive = true, arguments = {} }
            bindings = [
                { queue = "one", exchange = "amq.topic", routing_keys = ["a.*.#", "b"] },
                { queue = "two", exchange = "zmq.topic", routing_keys = ["c"] },
                { queue = "two", exchange = "amq.topic", routing_keys = ["d.#"] },
            ]
        "##,
    ];
    for text in files {
        let path = bench.file("config.toml", &[text.to_owned()]);
        assert_eq!(as_we_read(&path), as_the_library_reads(&path), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_queue_of_the_file_is_consumed() {
    let (bench, one, two) = (Bench::new(), Bus::new(), Bus::new());
    let table = |bus: &Bus| {
        format!(
            "[queues.{0}]\ndurable = false\nauto_delete = true\nexclusive = false\narguments = {{}}\n\
             [[bindings]]\nqueue = \"{0}\"\nexchange = \"amq.topic\"\nrouting_keys = [\"a.{0}.#\"]\n",
            bus.queue()
        )
    };
    let text = format!(
        "amqp_url = {:?}\ncallback = \"nobody:here\"\n[client_properties]\napp = \"Test\"\n{}{}",
        one.settings().broker.urls[0],
        table(&one),
        table(&two)
    );
    let fedora_messaging = Some(bench.file("config.toml", &[text]).into());
    let dir = bench.path("log");
    let trigger = start_with(trigger::Settings { dir, fedora_messaging, ..trigger::Settings::default() });
    trigger.consuming().await;
    one.publish(1..=20).await;
    two.publish(21..=40).await;
    trigger.has(|m| &m.recorded, 40).await;
    trigger.stop().await;
    assert_eq!(sorted(kit::ids(&bench)), numbered(1..=40));
}
