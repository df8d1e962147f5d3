//! `taskotron audit`: who changed what, when and why.

use clap::Args;
use model::Time;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::exit::Exit;

use super::output::{Column, Listed, column, wide};
use super::{Session, question};

#[derive(Args, Debug)]
pub struct Audit {
    /// How many acts to list at most, newest first
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u64,
}

/// One act, as `GET /api/v1/audit` lists it.
#[derive(Debug, Serialize, Deserialize)]
struct Act {
    at: Time,
    actor: String,
    action: String,
    object: String,
    reason: String,
    #[serde(default)]
    before: Value,
    #[serde(default)]
    after: Value,
}

impl Listed for Act {
    const COLUMNS: &'static [Column<Act>] = &[
        column("at", |a| a.at.to_seconds()),
        column("actor", |a| a.actor.clone()),
        column("action", |a| a.action.clone()),
        column("object", |a| a.object.clone()),
        column("reason", |a| a.reason.clone()),
        wide("before", |a| a.before.to_string()),
        wide("after", |a| a.after.to_string()),
    ];
}

impl Audit {
    pub async fn run(self, session: &Session) -> anyhow::Result<Exit> {
        question::pages::<Act>(&session.client()?, session.format, "audit", Vec::new(), self.limit).await?;
        Ok(Exit::Reached)
    }
}
