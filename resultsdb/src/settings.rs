//! `[resultsdb]` of the settings file.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::messages::Messages;
use crate::permission::Permissions;
use crate::retention::Retentions;

/// How a results store is run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `postgres://…` or `sqlite:PATH`; unset where whoever starts the store has a place for it.
    pub database: Option<String>,
    /// Where a store that runs alone listens.
    pub listen: SocketAddr,
    pub write_access: WriteAccess,
    /// Who may post results of which testcases; none: whoever may post may post them of all.
    pub permissions: Permissions,
    /// Whether those without a token may read. It counts where the tokens are made.
    pub public_read: bool,
    /// Outcomes besides PASSED, INFO, FAILED and NEEDS_INSPECTION.
    pub additional_outcomes: Vec<String>,
    /// How long results are kept; those of testcases that no entry names stay for ever.
    pub retention: Retentions,
    /// The bus that is told of results; without it none is.
    pub messages: Option<Messages>,
    /// Where the landing page sends people who want to know more.
    pub documentation: String,
}

/// Who may post.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WriteAccess {
    /// Whoever has a submitter's token, as Bearer or as the password of Basic.
    #[default]
    Token,
    /// Whoever reaches the port, as with ResultsDB itself: only behind a proxy that decides.
    Open,
}

/// The outcomes that there always are, in the order in which messages name them.
const OUTCOMES: [&str; 4] = ["PASSED", "INFO", "FAILED", "NEEDS_INSPECTION"];

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            database: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 5001)),
            write_access: WriteAccess::Token,
            permissions: Permissions::default(),
            public_read: true,
            additional_outcomes: ["QUEUED", "RUNNING", "ERROR"].map(String::from).to_vec(),
            retention: Retentions::default(),
            messages: None,
            documentation: "https://docs.resultsdb20.apiary.io/".into(),
        }
    }
}

/// The longest outcome, in characters.
const LONGEST_OUTCOME: usize = 32;

impl Settings {
    /// What is wrong with these settings, if anything is.
    pub fn check(&self) -> Result<(), String> {
        self.retention.check()?;
        if let Some(outcome) =
            self.outcomes().into_iter().find(|o| o.chars().count() > LONGEST_OUTCOME || o.contains(','))
        {
            return Err(format!(
                "additional_outcomes: {outcome} is longer than {LONGEST_OUTCOME} characters or has a comma"
            ));
        }
        self.messages.as_ref().map_or(Ok(()), Messages::check)
    }

    /// Every outcome that a result may have, in upper case, each once.
    pub fn outcomes(&self) -> Vec<String> {
        let mut outcomes: Vec<String> = OUTCOMES.map(String::from).to_vec();
        for more in self.additional_outcomes.iter().map(|o| o.trim().to_uppercase()) {
            if !more.is_empty() && !outcomes.contains(&more) {
                outcomes.push(more);
            }
        }
        outcomes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_defaults_and_no_unknown_names() {
        let settings: Settings =
            serde_json::from_str(r#"{"write_access": "open", "additional_outcomes": ["mine"]}"#).unwrap();
        assert_eq!(settings.write_access, WriteAccess::Open);
        assert_eq!(settings.outcomes(), ["PASSED", "INFO", "FAILED", "NEEDS_INSPECTION", "MINE"]);
        assert!(serde_json::from_str::<Settings>(r#"{"databse": "x"}"#).is_err());
    }

    #[test]
    fn an_outcome_that_could_not_be_stored_or_asked_for_is_refused() {
        for (outcome, fits) in [("x".repeat(32), true), ("x".repeat(33), false), ("A,B".into(), false)] {
            let settings = Settings { additional_outcomes: vec![outcome], ..Settings::default() };
            assert_eq!(settings.check().is_ok(), fits, "{settings:?}");
        }
    }
}
