//! fedora-messaging's own `config.toml`, read as it is, so that a trigger can stand where a consumer of that library
//! stood.
//!
//! What speaks of the bus is taken as the library takes it. What speaks of its callback, its logging and its monitoring
//! is not ours, and what speaks of publishing says nothing to a consumer.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use tracing::warn;

use crate::amqp::{Binding, Exchange, Passive, Settings};

/// The file, with what the library has where the file says nothing.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    amqp_url: String,
    passive_declares: bool,
    tls: Tls,
    client_properties: Map<String, Value>,
    exchanges: BTreeMap<String, Exchange>,
    queues: BTreeMap<String, Queue>,
    bindings: Vec<Bound>,
    qos: Qos,
    /// What a publisher puts before its topics; those that arrive have it.
    #[serde(rename = "topic_prefix")]
    _topic_prefix: String,
    #[serde(rename = "publish_exchange")]
    _publish_exchange: IgnoredAny,
    #[serde(rename = "publish_priority")]
    _publish_priority: IgnoredAny,
    #[serde(rename = "callback")]
    _callback: IgnoredAny,
    #[serde(rename = "consumer_config")]
    _consumer_config: IgnoredAny,
    #[serde(rename = "monitoring")]
    _monitoring: IgnoredAny,
    #[serde(rename = "log_config")]
    _log_config: IgnoredAny,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Tls {
    ca_cert: Option<String>,
    keyfile: Option<String>,
    certfile: Option<String>,
}

/// The library wants all four of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Queue {
    durable: bool,
    auto_delete: bool,
    exclusive: bool,
    arguments: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bound {
    /// Left out where the server names the queue.
    #[serde(default)]
    queue: String,
    exchange: String,
    routing_keys: Vec<String>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Qos {
    prefetch_size: u32,
    prefetch_count: u16,
}

impl Default for Qos {
    fn default() -> Qos {
        Qos { prefetch_size: 0, prefetch_count: 10 }
    }
}

impl Default for File {
    fn default() -> File {
        let unnamed = Queue { durable: false, auto_delete: true, exclusive: true, arguments: Map::new() };
        let all = Bound { queue: String::new(), exchange: "amq.topic".into(), routing_keys: vec!["#".into()] };
        File {
            amqp_url: "amqp://".into(),
            passive_declares: false,
            tls: Tls::default(),
            client_properties: Map::new(),
            exchanges: BTreeMap::new(),
            queues: [(String::new(), unnamed)].into(),
            bindings: vec![all],
            qos: Qos::default(),
            _topic_prefix: String::new(),
            _publish_exchange: IgnoredAny,
            _publish_priority: IgnoredAny,
            _callback: IgnoredAny,
            _consumer_config: IgnoredAny,
            _monitoring: IgnoredAny,
            _log_config: IgnoredAny,
        }
    }
}

/// What is wrong with such a file.
#[derive(Debug, thiserror::Error)]
#[error("fedora-messaging's {path}: {what}")]
pub struct Wrong {
    path: String,
    what: String,
}

/// Reads a file: the settings of one source for each of its queues. All of them are consumed, as by the library.
pub fn read(path: &Path) -> Result<Vec<Settings>, Wrong> {
    let wrong = |what: String| Wrong { path: path.display().to_string(), what };
    let text = std::fs::read_to_string(path).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    let file = parse(&text).map_err(wrong)?;
    if file.qos.prefetch_size > 0 {
        warn!("{}: prefetch_size is left out, since RabbitMQ has no such bound; prefetch_count counts", path.display());
    }
    let all = settings(file).map_err(wrong)?;
    all.iter().try_for_each(Settings::check).map_err(wrong)?;
    Ok(all)
}

fn parse(text: &str) -> Result<File, String> {
    let table: toml::Table = toml::from_str(text).map_err(|e| e.to_string())?;
    // The library takes the names at the top in any case.
    let table: toml::Table = table.into_iter().map(|(key, value)| (key.to_lowercase(), value)).collect();
    table.try_into().map_err(|e: toml::de::Error| e.to_string().trim_end().replace('\n', " "))
}

fn settings(file: File) -> Result<Vec<Settings>, String> {
    if file.queues.is_empty() {
        return Err(
            "[queues] is empty: there is nothing to consume; leave it out for a queue of the server's naming".into()
        );
    }
    let url = url(&file)?;
    let File { passive_declares, tls, client_properties, exchanges, queues, bindings, qos, .. } = file;
    let ours = Settings::default();
    let one = |(name, queue): (String, Queue)| {
        let bound = bindings.iter().filter(|bound| bound.queue == name);
        let pairs = bound.flat_map(|bound| bound.routing_keys.iter().map(|key| (&bound.exchange, key)));
        let bindings = pairs.map(|(exchange, pattern)| match *exchange == ours.exchange {
            true => Binding::Pattern(pattern.clone()),
            false => Binding::Of { exchange: exchange.clone(), pattern: pattern.clone() },
        });
        Settings {
            broker: bus::Broker {
                urls: vec![url.clone()],
                urls_file: None,
                client_properties: client_properties.clone(),
                ca_file: tls.ca_cert.as_ref().map(Into::into),
                cert_file: tls.certfile.as_ref().map(Into::into),
                key_file: tls.keyfile.as_ref().map(Into::into),
            },
            bindings: bindings.collect(),
            queue: name,
            durable: queue.durable,
            exclusive: queue.exclusive,
            auto_delete: queue.auto_delete,
            arguments: queue.arguments,
            passive: if passive_declares { Passive::Only } else { Passive::No },
            exchanges: exchanges.clone(),
            // 0 is no bound at all there; we need one.
            prefetch: if qos.prefetch_count == 0 { ours.prefetch } else { qos.prefetch_count },
            ..ours.clone()
        }
    };
    Ok(queues.into_iter().map(one).collect())
}

/// The address as our own settings have it. There a path of `/` names no virtual host but the default one, a missing
/// host is this machine, and a certificate logs in by itself.
fn url(file: &File) -> Result<String, String> {
    let mut url = url::Url::parse(&file.amqp_url).map_err(|e| format!("amqp_url is no address: {e}"))?;
    if url.host_str().unwrap_or_default().is_empty() {
        url.set_host(Some("localhost")).map_err(|e| format!("amqp_url is no address: {e}"))?;
    }
    if matches!(url.path(), "" | "/") {
        url.set_path("/%2F");
    }
    let has_certificate = file.tls.certfile.is_some() && file.tls.keyfile.is_some();
    if url.scheme() == "amqps" && has_certificate && !url.query_pairs().any(|(name, _)| name == "auth_mechanism") {
        url.query_pairs_mut().append_pair("auth_mechanism", "external");
    }
    Ok(url.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(text: &str) -> Result<Vec<Settings>, String> {
        parse(text).and_then(settings)
    }

    #[test]
    fn an_empty_file_is_the_librarys_defaults() {
        let [one] = of("").unwrap().try_into().unwrap();
        assert_eq!(one.broker.urls, ["amqp://localhost/%2F"]);
        assert_eq!((one.queue.as_str(), one.exclusive, one.prefetch), ("", true, 10));
        assert_eq!(one.bindings, [Binding::Pattern("#".into())]);
        assert_eq!(one.check(), Ok(()));
    }

    #[test]
    fn a_file_of_a_deployment_is_read_whole() {
        let [one] = of(r##"
            amqp_url = "amqps://tester:@rabbit.example.org/%2Fpubsub"
            Passive_Declares = true
            callback = "tester.consumer:Consumer"
            topic_prefix = "org.example"
            publish_priority = 3
            [tls]
            ca_cert = "/etc/fm/cacert.pem"
            keyfile = "/etc/fm/tester.key"
            certfile = "/etc/fm/tester.crt"
            [client_properties]
            app = "Tester"
            app_contacts_email = ["qa@example.org"]
            [exchanges."amq.topic"]
            type = "topic"
            durable = true
            auto_delete = false
            arguments = {}
            [queues.tester]
            durable = true
            auto_delete = false
            exclusive = false
            arguments = { x-max-priority = 5 }
            [[bindings]]
            queue = "tester"
            exchange = "amq.topic"
            routing_keys = ["org.example.*.buildsys.#", "org.example.prod.git.receive"]
            [[bindings]]
            queue = "tester"
            exchange = "zmq.topic"
            routing_keys = ["#"]
            [qos]
            prefetch_size = 0
            prefetch_count = 25
            [monitoring]
            port = 8070
            [consumer_config]
            anything = { at = "all" }
            [log_config.root]
            level = "ERROR"
        "##)
        .unwrap()
        .try_into()
        .unwrap();
        assert_eq!(one.broker.urls, ["amqps://tester@rabbit.example.org/%2Fpubsub?auth_mechanism=external"]);
        assert_eq!((one.passive, one.prefetch, one.durable), (Passive::Only, 25, true));
        assert_eq!(one.arguments["x-max-priority"], json!(5));
        let parts: Vec<_> = one.bindings.iter().map(|binding| binding.parts(&one.exchange)).collect();
        assert_eq!(
            parts,
            [
                ("amq.topic", "org.example.*.buildsys.#"),
                ("amq.topic", "org.example.prod.git.receive"),
                ("zmq.topic", "#"),
            ]
        );
        assert_eq!(one.broker.ca_file.as_deref(), Some(Path::new("/etc/fm/cacert.pem")));
        assert_eq!(one.broker.client_properties["app_contacts_email"], json!(["qa@example.org"]));
        assert_eq!(one.check(), Ok(()));
    }

    #[test]
    fn every_queue_is_a_source_with_its_own_bindings() {
        let text = r#"
            queues.a = { durable = true, auto_delete = false, exclusive = false, arguments = {} }
            queues.b = { durable = false, auto_delete = true, exclusive = false, arguments = {} }
            bindings = [
                { queue = "a", exchange = "amq.topic", routing_keys = ["a.#"] },
                { queue = "b", exchange = "amq.topic", routing_keys = ["b.#", "c"] },
            ]
        "#;
        let all = of(text).unwrap();
        let counts: Vec<_> = all.iter().map(|one| (one.queue.as_str(), one.bindings.len())).collect();
        assert_eq!(counts, [("a", 1), ("b", 2)]);
    }

    #[test]
    fn what_the_library_refuses_is_refused() {
        for (text, named) in [
            ("colour = 1", "colour"),
            ("[queues.a]\ndurable = true", "auto_delete"),
            ("[[bindings]]\nexchange = \"x\"", "routing_keys"),
            ("[queues]", "nothing to consume"),
            ("amqp_url = \"rabbit\"", "amqp_url"),
            ("amqp_url = \"amqp:", "line 1"),
        ] {
            let error = of(text).err().unwrap();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
