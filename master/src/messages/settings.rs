//! `[master.messages]`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::store::Announced;

/// Where the bus is that is told of jobs, of which, and whom they ask who read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Messages {
    #[serde(flatten)]
    pub broker: bus::Broker,
    #[serde(flatten)]
    pub outlet: bus::Outlet,
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
            broker: bus::Broker::default(),
            outlet: bus::Outlet::default(),
            tasks: Vec::new(),
            item_types: Vec::new(),
            namespace: "taskotron".into(),
            category: Category::default(),
            categories: BTreeMap::new(),
            contact: Contact::default(),
        }
    }
}

impl Messages {
    /// What is wrong with these settings, if anything is.
    pub fn check(&self) -> Result<(), String> {
        let of_the_bus = self.broker.check().and_then(|()| self.outlet.check());
        of_the_bus.map_err(|e| format!("[master.messages] {e}"))?;
        let Contact { name, team, docs, email } = &self.contact;
        for (key, value) in [("name", name), ("team", team), ("docs", docs), ("email", email)] {
            if value.trim().is_empty() {
                return Err(format!(
                    "[master.messages.contact] {key} is not set; every message says whom its readers can ask"
                ));
            }
        }
        Ok(())
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
        let mut wrong = sample();
        wrong.broker.urls = vec!["http://user:hunter2@host/".into()];
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
