//! `taskotron trigger`: runs one, or looks at those that the master knows.

use clap::{Args, Subcommand};
use model::missed::{TriggerView, Triggers};
use serde_json::json;

use crate::exit::Exit;

use super::output::{Column, Listed, column, maybe, wide};
use super::{Session, output, question, role};

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_value_name = "VERB")]
pub struct Trigger {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    role: role::Trigger,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// List the triggers that the master knows, and how far each has come
    List,
    /// Forget a trigger that will not come back, so that nothing waits for it
    ///
    /// Idle and 'missed' wait for a trigger that is silent, for a day. One that is there is not forgotten: stop it
    /// first. Should a forgotten one come back, it sends its whole log again, and nothing is made twice.
    Forget {
        /// The recorder's name, as 'taskotron trigger list' shows it
        name: String,
        /// Why, for those who come after
        #[arg(short = 'm', long, value_name = "TEXT")]
        reason: String,
    },
}

impl Listed for TriggerView {
    const COLUMNS: &'static [Column<TriggerView>] = &[
        column("recorder", |t| t.recorder.clone()),
        column("state", |t| t.state.name().to_owned()),
        column("recorded", |t| t.counts.recorded.to_string()),
        column("here", |t| (t.next.saturating_sub(1)).to_string()),
        column("quarantined", |t| t.counts.quarantined.to_string()),
        column("last_heard", |t| t.last_heard.to_seconds()),
        column("caught_up", |t| t.counts.caught_up.map(|at| at.to_seconds()).unwrap_or_default()),
        wide("listening_since", |t| maybe(&t.counts.listening_since)),
        wide("duplicates", |t| t.counts.duplicates.to_string()),
        wide("repeated", |t| t.repeated.to_string()),
        wide("generation", |t| t.generation.to_string()),
    ];
}

impl Trigger {
    pub fn is_service(&self) -> bool {
        self.verb.is_none()
    }

    pub async fn run(self, session: &Session) -> anyhow::Result<Exit> {
        let triggers: Triggers = match self.verb {
            None => return self.role.run(session).await,
            Some(Verb::List) => session.client()?.get("/api/v1/triggers").await?,
            Some(Verb::Forget { name, reason }) => {
                let reason = question::reason(&reason)?;
                let path = question::path(&["triggers", &name, "forget"], &[]);
                session.client()?.post(&path, &json!({ "reason": reason })).await?
            }
        };
        output::list(session.format, triggers.items)?;
        Ok(Exit::Reached)
    }
}
