//! `[master.messages]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::store::Announced;

/// Where the bus is that is told of jobs, of which, and whom they ask who read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Messages {
    /// `amqp://USER:PASSWORD@HOST:PORT/VHOST`, or `amqps://`; tried in turn. `?auth_mechanism=external` for a client
    /// certificate.
    pub urls: Vec<String>,
    /// A file with one more URL a line, so that a password need not stand in the settings.
    pub urls_file: Option<PathBuf>,
    /// It must be there.
    pub exchange: String,
    /// Stands before every topic, with a dot: `org.fedoraproject.prod`.
    pub topic_prefix: String,
    /// Whether a message that no queue gets is kept and told. On a bus where somebody always listens, it tells of a wrong
    /// virtual host; elsewhere it would keep the system from becoming idle.
    pub mandatory: bool,
    /// Only jobs of these tasks; none named: of all.
    pub tasks: Vec<String>,
    /// Only jobs on items of these types; none named: on all.
    pub item_types: Vec<String>,
    /// Whose tests these are: the first part of `test.namespace`.
    pub namespace: String,
    /// `test.category` of the tasks that `categories` does not name.
    pub category: Category,
    /// By task.
    pub categories: BTreeMap<String, Category>,
    pub contact: Contact,
    /// What the broker's administrators are shown of us beside our name: `app`, `app_contacts_email` …
    pub client_properties: Map<String, Value>,
    /// The authorities to trust instead of the system's, in PEM.
    pub ca_file: Option<PathBuf>,
    /// The client's own certificate and key, in PEM.
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
}

/// `[master.messages.contact]`: whom to ask. Every message says it, so all of it must be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Contact {
    pub name: String,
    pub team: String,
    pub docs: String,
    pub email: String,
}

/// What kind of test it is, in the words of the CI messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Category {
    #[default]
    Functional,
    Integration,
    Interoperability,
    StaticAnalysis,
    System,
    Validation,
}

impl Default for Messages {
    fn default() -> Messages {
        Messages {
            urls: vec!["amqp://127.0.0.1:5672/%2F".into()],
            urls_file: None,
            exchange: "amq.topic".into(),
            topic_prefix: String::new(),
            mandatory: false,
            tasks: Vec::new(),
            item_types: Vec::new(),
            namespace: "taskotron".into(),
            category: Category::default(),
            categories: BTreeMap::new(),
            contact: Contact::default(),
            client_properties: Map::new(),
            ca_file: None,
            cert_file: None,
            key_file: None,
        }
    }
}

impl Messages {
    /// The brokers' addresses: those of `urls_file`, where it has some.
    pub fn addresses(&self) -> Result<Vec<String>, String> {
        let read = self.urls_file.as_deref().map(bus::addresses).transpose();
        let urls = read.map_err(|e| format!("[master.messages] {e}"))?.unwrap_or_default();
        Ok(if urls.is_empty() { self.urls.clone() } else { urls })
    }

    /// What is wrong with these settings, if anything is.
    pub fn check(&self) -> Result<(), String> {
        bus::check(&self.addresses()?).map_err(|e| format!("[master.messages] {e}"))?;
        let Contact { name, team, docs, email } = &self.contact;
        for (key, value) in [("name", name), ("team", team), ("docs", docs), ("email", email)] {
            if value.trim().is_empty() {
                return Err(format!(
                    "[master.messages.contact] {key} is not set; every message says whom its readers can ask"
                ));
            }
        }
        if self.cert_file.is_some() != self.key_file.is_some() {
            return Err("[master.messages] cert_file and key_file go together".into());
        }
        if self.topic_prefix.len() > 100 {
            return Err("[master.messages] topic_prefix is longer than 100 bytes, and a topic may have 255".into());
        }
        Ok(())
    }

    pub(super) fn broker(&self) -> bus::Broker {
        bus::Broker {
            client_properties: self.client_properties.clone(),
            ca_file: self.ca_file.clone(),
            cert_file: self.cert_file.clone(),
            key_file: self.key_file.clone(),
        }
    }

    pub(crate) fn announced(&self) -> Announced {
        Announced { tasks: self.tasks.clone(), item_types: self.item_types.clone() }
    }

    pub(super) fn category(&self, task: &str) -> Category {
        self.categories.get(task).copied().unwrap_or(self.category)
    }
}

#[cfg(test)]
pub(super) fn sample() -> Messages {
    let contact = Contact {
        name: "Taskotron".into(),
        team: "QA".into(),
        docs: "https://example.org/docs".into(),
        email: "qa@example.org".into(),
    };
    Messages { contact, ..Messages::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_message_must_say_must_be_set() {
        assert_eq!(sample().check(), Ok(()));
        let mut silent = sample();
        silent.contact.email = " ".into();
        let error = silent.check().unwrap_err();
        assert!(error.starts_with("[master.messages.contact] email is not set"), "{error}");
        let wrong = Messages { urls: vec!["http://user:hunter2@host/".into()], ..sample() };
        let error = wrong.check().unwrap_err();
        assert!(error.contains("[master.messages] urls") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_category_is_one_of_the_messages_words() {
        let category: Category = serde_json::from_str("\"static-analysis\"").unwrap();
        assert_eq!(category, Category::StaticAnalysis);
        assert!(serde_json::from_str::<Category>("\"lint\"").is_err());
    }
}
