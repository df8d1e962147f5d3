//! `taskotron worker`: runs one, or looks at them.

use std::io::Write as _;

use clap::{Args, Subcommand};
use model::lease::Figures;
use model::operator::{Page, WorkerView};

use crate::exit::{Exit, Failure};

use super::output::{Column, Format, Listed, column, maybe, wide};
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
    /// Show one of them, with how its machine stands
    Show {
        /// Its name
        name: String,
    },
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
        wide("load", |w| of(w, |f| format!("{}.{:02}", f.load_percent / 100, f.load_percent % 100))),
        wide("memory_free", |w| of(w, |f| format!("{} MiB", f.memory_free >> 20))),
        wide("disk_free", |w| of(w, |f| format!("{} MiB", f.disk_free >> 20))),
        wide("takes_none", |w| of(w, |f| f.takes_none.clone().unwrap_or_default())),
        wide("clock_ahead_ms", |w| maybe(&w.clock_ahead_ms)),
        column("last_seen", |w| w.last_seen.to_seconds()),
        wide("first_seen", |w| w.first_seen.to_seconds()),
    ];
}

/// One of the figures of its machine, as far as it has told them.
fn of(worker: &WorkerView, figure: impl Fn(&Figures) -> String) -> String {
    worker.figures.as_ref().map_or_else(String::new, figure)
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
            Some(Verb::Show { name }) => {
                let workers: Page<WorkerView> = session.client()?.get("/api/v1/workers").await?;
                let found = workers.items.into_iter().find(|worker| worker.name == name);
                let worker = found.ok_or_else(|| {
                    Failure::error(Exit::Usage, format!("no worker is called {name}; see 'taskotron worker list'"))
                })?;
                match session.format {
                    Format::Table => {
                        for Column { name, text, .. } in WorkerView::COLUMNS {
                            writeln!(std::io::stdout(), "{name:14}  {}", text(&worker))?;
                        }
                    }
                    Format::Json | Format::Jsonl | Format::Csv => output::list(session.format, vec![worker])?,
                }
                Ok(Exit::Reached)
            }
        }
    }
}
