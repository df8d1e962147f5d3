//! Where the brokers of a bus are and how to log in there, as the settings say it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::connect::parse;

/// The part that all sections of the settings share which speak of a bus; to be flattened into each of them, which then
/// denies the keys that neither knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Broker {
    /// `amqp://USER:PASSWORD@HOST:PORT/VHOST`, or `amqps://`; tried in turn. `?auth_mechanism=external` for a client
    /// certificate.
    pub urls: Vec<String>,
    /// A file with one more URL a line, so that a password need not stand in the settings.
    pub urls_file: Option<PathBuf>,
    /// What the broker's administrators are shown of us beside our name: `app`, `app_contacts_email` …
    pub client_properties: Map<String, Value>,
    /// The authorities to trust instead of the system's, in PEM.
    pub ca_file: Option<PathBuf>,
    /// The client's own certificate and key, in PEM.
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
}

impl Default for Broker {
    fn default() -> Broker {
        Broker {
            urls: vec!["amqp://127.0.0.1:5672/%2F".into()],
            urls_file: None,
            client_properties: Map::new(),
            ca_file: None,
            cert_file: None,
            key_file: None,
        }
    }
}

impl Broker {
    /// The addresses: those of `urls_file`, where it has some.
    pub fn addresses(&self) -> Result<Vec<String>, String> {
        let Some(path) = &self.urls_file else { return Ok(self.urls.clone()) };
        let text = std::fs::read_to_string(path)
            .map_err(|e| format!("cannot read the bus's addresses from {}: {e}", path.display()))?;
        let urls: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        Ok(if urls.is_empty() { self.urls.clone() } else { urls })
    }

    /// What is wrong with these settings, if anything is.
    pub fn check(&self) -> Result<(), String> {
        let urls = self.addresses()?;
        if urls.is_empty() {
            return Err("urls is empty; name at least one broker".into());
        }
        urls.iter().try_for_each(|url| parse(url).map(drop).map_err(|e| format!("urls: {e}")))?;
        if self.cert_file.is_some() != self.key_file.is_some() {
            return Err("cert_file and key_file go together".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Section {
        #[serde(flatten)]
        broker: Broker,
        queue: String,
    }

    #[test]
    fn a_section_has_its_own_keys_and_these_and_no_others() {
        let section: Section = serde_json::from_value(json!({"urls": ["amqp://a"], "queue": "q"})).unwrap();
        assert_eq!((section.broker.urls, section.queue.as_str()), (vec!["amqp://a".to_owned()], "q"));
        assert_eq!(serde_json::from_value::<Section>(json!({})).unwrap(), Section::default());
        let wrong = serde_json::from_value::<Section>(json!({"url": "amqp://a"})).unwrap_err();
        assert_eq!(wrong.to_string(), "unknown field `url`");
    }

    #[test]
    fn what_is_wrong_is_told_without_a_password() {
        assert_eq!(Broker::default().check(), Ok(()));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("urls");
        let of_file = Broker { urls_file: Some(file.clone()), ..Broker::default() };
        assert!(of_file.check().unwrap_err().contains("cannot read the bus's addresses from"));
        std::fs::write(&file, "\n amqp://b \n").unwrap();
        assert_eq!(of_file.addresses().unwrap(), ["amqp://b"]);
        std::fs::write(&file, "http://user:hunter2@host/").unwrap();
        let error = of_file.check().unwrap_err();
        assert!(error.starts_with("urls: ") && !error.contains("hunter2"), "{error}");
        let half = Broker { cert_file: Some("c".into()), ..Broker::default() };
        assert_eq!(half.check().unwrap_err(), "cert_file and key_file go together");
        assert!(Broker { urls: Vec::new(), ..Broker::default() }.check().is_err());
    }
}
