//! `[trigger]`.

use std::path::PathBuf;

use model::Span;
use model::intake::Pair;
use net::Addresses;
use serde::{Deserialize, Serialize};

use crate::amqp;
use crate::decode::Limits;
use crate::fedora;
use crate::log::Options;
use crate::webhook;

/// What a person may choose about a trigger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Begins the id of its recorder.
    pub name: String,
    /// Where its event log is.
    pub dir: PathBuf,
    /// Where its master is; of several over one database, whichever answers. None: it only records.
    pub master: Option<Addresses>,
    /// Names the pair that this trigger is one of: another of the same pair sees the same events, and the master tells
    /// where they differ.
    pub pair: Option<String>,
    /// Holds the token for the master.
    pub token_file: Option<PathBuf>,
    /// The bus; none: no bus.
    pub amqp: Option<amqp::Settings>,
    /// A configuration file of fedora-messaging that says where the bus is, instead of `amqp`.
    pub fedora_messaging: Option<PathBuf>,
    /// Events over HTTP; none: a trigger that runs alone listens nowhere.
    pub webhook: Option<webhook::Settings>,
    /// A JSON-lines file to read once, from its beginning at each start; `-` is standard input.
    pub file: Option<String>,
    pub limits: Limits,
    /// How long files of the event log are kept that the master has acknowledged.
    pub keep: Span,
    /// How many events are remembered to know a repetition; about 50 bytes each.
    pub dedup_window: usize,
    /// Bytes at which a file of the event log is set aside and another begun.
    pub rotate_at: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            name: "trigger".into(),
            dir: "/var/lib/taskotron/trigger".into(),
            master: None,
            pair: None,
            token_file: None,
            amqp: None,
            fedora_messaging: None,
            webhook: None,
            file: None,
            limits: Limits::default(),
            keep: Span::days(30),
            dedup_window: 200_000,
            rotate_at: 256 << 20,
        }
    }
}

impl Settings {
    /// As the master is told it.
    pub(crate) fn pair(&self) -> Option<Pair> {
        self.pair.clone().map(|name| Pair { name, member: self.name.clone() })
    }

    /// The queues to consume: that of `amqp`, or those of fedora-messaging's file.
    pub fn buses(&self) -> anyhow::Result<Vec<amqp::Settings>> {
        match (&self.amqp, &self.fedora_messaging) {
            (Some(_), Some(_)) => {
                anyhow::bail!("[trigger.amqp] and [trigger] fedora_messaging both name a bus; keep one")
            }
            (Some(amqp), None) => Ok(vec![amqp.clone().load().map_err(|e| anyhow::anyhow!("[trigger.amqp] {e}"))?]),
            (None, Some(path)) => Ok(fedora::read(path)?),
            (None, None) => Ok(Vec::new()),
        }
    }

    /// Whether neither a bus nor a file is named.
    pub fn has_no_source(&self) -> bool {
        self.amqp.is_none() && self.fedora_messaging.is_none() && self.file.is_none()
    }

    pub(crate) fn log(&self) -> Options {
        Options { rotate_at: Some(self.rotate_at), window: Some(self.dedup_window), keep: self.keep }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_settings_are_read_whole_or_refused() {
        let settings: Settings = serde_json::from_value(json!({
            "name": "bus-1", "dir": "/d", "master": "http://127.0.0.1:8080", "keep": "10d", "dedup_window": 5,
            "limits": {"size": 100}, "amqp": {"urls": ["amqp://a", "amqp://b"], "queue": "q", "passive": true},
        }))
        .unwrap();
        assert_eq!(settings.keep, Span::days(10));
        assert_eq!((settings.limits.size, settings.limits.headers), (100, 256));
        let amqp = settings.amqp.unwrap();
        assert_eq!((amqp.exchange.as_str(), amqp.prefetch), ("amq.topic", 500));
        assert!(serde_json::from_value::<Settings>(json!({"nmae": "x"})).is_err());
    }
}
