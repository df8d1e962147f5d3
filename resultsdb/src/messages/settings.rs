//! `[resultsdb.messages]`.

use bus::{Broker, Outlet};
use serde::{Deserialize, Serialize};
use url::Url;

/// Where the bus is that is told of results, and of what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Messages {
    #[serde(flatten)]
    pub broker: Broker,
    #[serde(flatten)]
    pub outlet: Outlet,
    /// Where the readers of the messages reach this store; unset: where the result was posted to.
    pub public_url: Option<Url>,
    /// Whether the bus is also told, as `taskotron.result.new`, of each outcome that is another than the one before it of
    /// the same testcase, item, type and architecture.
    pub changed_outcomes: bool,
}

impl Messages {
    /// What is wrong with these settings, if anything is.
    pub fn check(&self) -> Result<(), String> {
        let of_the_bus = self.broker.check().and_then(|()| self.outlet.check());
        of_the_bus.map_err(|e| format!("[resultsdb.messages] {e}"))
    }
}
