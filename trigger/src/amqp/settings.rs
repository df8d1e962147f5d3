//! `[trigger.amqp]`.

use std::collections::BTreeMap;

use model::Span;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Where the bus is, and which queue of it is ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    #[serde(flatten)]
    pub broker: bus::Broker,
    /// Empty: the server names it, it is ours alone, and what is sent while we are away is lost.
    pub queue: String,
    pub durable: bool,
    pub exclusive: bool,
    pub auto_delete: bool,
    /// What else the queue is made with: `x-max-priority`, `x-message-ttl` …
    pub arguments: Map<String, Value>,
    pub passive: Passive,
    /// What the queue is bound to.
    pub exchange: String,
    /// Topic patterns; none: the queue is bound by others.
    pub bindings: Vec<Binding>,
    /// Exchanges to make, by name. None is needed for those that every broker has (`amq.topic` …).
    pub exchanges: BTreeMap<String, Exchange>,
    /// How many deliveries may be unacknowledged; the bound of this source's memory.
    pub prefetch: u16,
    /// After so long without a delivery the broker is asked whether it should have sent one.
    pub quiet: Span,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            broker: bus::Broker::default(),
            queue: "taskotron".into(),
            durable: true,
            exclusive: false,
            auto_delete: false,
            arguments: Map::new(),
            passive: Passive::No,
            exchange: "amq.topic".into(),
            bindings: vec![Binding::Pattern("#".into())],
            exchanges: BTreeMap::new(),
            prefetch: 500,
            quiet: Span::minutes(1),
        }
    }
}

/// What a queue gets: a pattern of topics of the one exchange of the settings, or of another that it names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Binding {
    Pattern(String),
    Of { exchange: String, pattern: String },
}

impl Binding {
    /// The exchange and the pattern; `default` is the settings' exchange.
    pub fn parts<'a>(&'a self, default: &'a str) -> (&'a str, &'a str) {
        match self {
            Binding::Pattern(pattern) => (default, pattern),
            Binding::Of { exchange, pattern } => (exchange, pattern),
        }
    }
}

/// An exchange to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Exchange {
    #[serde(rename = "type")]
    pub kind: String,
    pub durable: bool,
    pub auto_delete: bool,
    pub arguments: Map<String, Value>,
}

impl Default for Exchange {
    fn default() -> Exchange {
        Exchange { kind: "topic".into(), durable: true, auto_delete: false, arguments: Map::new() }
    }
}

/// Whether the queue is made or only looked for: `passive = false`, `true` or `"first"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum Passive {
    /// Made if it is not there.
    #[default]
    No,
    /// Others make it; until it is there we wait.
    Only,
    /// Taken as it is if it is there, whatever its flags; else made.
    First,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Bool(bool),
    Text(String),
}

impl TryFrom<Written> for Passive {
    type Error = String;

    fn try_from(written: Written) -> Result<Passive, String> {
        match written {
            Written::Bool(false) => Ok(Passive::No),
            Written::Bool(true) => Ok(Passive::Only),
            Written::Text(text) if text == "first" => Ok(Passive::First),
            Written::Text(text) => Err(format!("passive is false, true or \"first\", not \"{text}\"")),
        }
    }
}

impl From<Passive> for Written {
    fn from(passive: Passive) -> Written {
        match passive {
            Passive::No => Written::Bool(false),
            Passive::Only => Written::Bool(true),
            Passive::First => Written::Text("first".into()),
        }
    }
}

impl Settings {
    /// Reads `urls_file`, if there is one.
    pub fn load(mut self) -> Result<Settings, String> {
        self.broker.urls = self.broker.addresses()?;
        self.broker.urls_file = None;
        Ok(self)
    }

    /// What is wrong with these settings, if anything is.
    pub fn check(&self) -> Result<(), String> {
        self.broker.check().map_err(|e| format!("[trigger.amqp] {e}"))?;
        if self.prefetch == 0 {
            return Err("[trigger.amqp] prefetch is 0, which sets no bound; say 500".into());
        }
        if self.quiet.micros() == 0 {
            return Err("[trigger.amqp] quiet is 0; say 1m".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn passive_is_written_three_ways() {
        for (written, passive) in
            [(json!(false), Passive::No), (json!(true), Passive::Only), (json!("first"), Passive::First)]
        {
            let settings: Settings = serde_json::from_value(json!({"passive": written})).unwrap();
            assert_eq!(settings.passive, passive);
            assert_eq!(serde_json::to_value(settings.passive).unwrap(), written);
        }
        assert!(serde_json::from_value::<Settings>(json!({"passive": "never"})).is_err());
        assert!(serde_json::from_value::<Settings>(json!({"colour": 1})).is_err());
    }

    #[test]
    fn an_address_that_is_none_is_told_without_its_password() {
        let broker = bus::Broker { urls: vec!["http://user:hunter2@host/".into()], ..bus::Broker::default() };
        let settings = Settings { broker, ..Settings::default() };
        let error = settings.check().unwrap_err();
        assert!(error.contains("amqp") && !error.contains("hunter2"), "{error}");
        assert_eq!(Settings::default().check(), Ok(()));
    }
}
