//! `taskotron worker`: runs one, or looks at them.

use clap::{Args, Subcommand};
use model::operator::{Page, WorkerView};

use crate::exit::Exit;

use super::output::{Column, Listed, column, maybe, wide};
use super::{Session, output, role};

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_value_name = "VERB")]
pub struct Worker {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    role: role::Worker,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// List the workers that the master knows
    List,
}

impl Listed for WorkerView {
    const COLUMNS: &'static [Column<WorkerView>] = &[
        column("name", |w| w.name.clone()),
        column("state", |w| w.state.name().to_owned()),
        column("slots", |w| w.slots.to_string()),
        column("running", |w| w.running.to_string()),
        column("labels", |w| w.labels.join(" ")),
        column("version", |w| w.version.clone()),
        wide("host", |w| w.host.clone()),
        wide("clock_ahead_ms", |w| maybe(&w.clock_ahead_ms)),
        column("last_seen", |w| w.last_seen.to_seconds()),
        wide("first_seen", |w| w.first_seen.to_seconds()),
    ];
}

impl Worker {
    pub fn is_service(&self) -> bool {
        self.verb.is_none()
    }

    pub async fn run(self, session: &Session) -> anyhow::Result<Exit> {
        match self.verb {
            None => self.role.run(session).await,
            Some(Verb::List) => {
                let workers: Page<WorkerView> = session.client()?.get("/api/v1/workers").await?;
                output::list(session.format, workers.items)?;
                Ok(Exit::Reached)
            }
        }
    }
}
