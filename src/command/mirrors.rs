//! `taskotron mirrors`: the repositories of tasks, as the master has them.

use std::time::Duration;

use clap::{Args, Subcommand};
use model::source::{MirrorUpdate, MirrorView, Mirrors as Answer};

use crate::exit::Exit;

use super::output::{Column, Listed, column, wide};
use super::question::path;
use super::terminal::harmless;
use super::{Session, output};

/// How long an update may take: the master answers sooner.
const PATIENCE: Duration = Duration::from_secs(120);

const AFTER: &str = "\
A master fetches the repositories that tasks name (source: { git: … }) by itself: every [master.mirrors] interval, and \
when an event on the bus tells of one. What was fetched together is shown together; a repository that cannot be fetched \
keeps what it had, and holds up no other. A job runs the commit that its branch was at when the job was queued.";

#[derive(Subcommand, Debug)]
#[command(after_long_help = AFTER)]
pub enum Mirrors {
    /// List the repositories, when they were fetched, and what is wrong with them
    List,
    /// Fetch them now; 0 when all of them could be fetched
    Update(Update),
}

#[derive(Args, Debug)]
pub struct Update {
    /// Only these: addresses, or names of mirrors
    #[arg(value_name = "REPO")]
    repos: Vec<String>,
}

impl Listed for MirrorView {
    const COLUMNS: &'static [Column<MirrorView>] = &[
        column("name", |m| m.name.clone()),
        column("git", |m| m.git.clone()),
        column("branches", |m| m.branches.to_string()),
        wide("tags", |m| m.tags.to_string()),
        column("fetched_at", |m| m.fetched_at.map_or_else(|| "never".into(), |at| at.to_seconds())),
        column("failed", |m| m.failed.as_ref().map(|note| note.what.clone()).unwrap_or_default()),
        wide("failed_since", |m| m.failed.as_ref().map(|note| note.since.to_seconds()).unwrap_or_default()),
        column("notes", |m| m.notes.iter().map(|note| note.what.as_str()).collect::<Vec<_>>().join("; ")),
        wide("tasks", |m| m.tasks.join(" ")),
    ];
}

impl Mirrors {
    pub async fn run(self, session: &Session) -> anyhow::Result<Exit> {
        let client = session.client()?;
        match self {
            Mirrors::List => {
                let answer: Answer = client.get(&path(&["mirrors"], &[])).await?;
                output::list(session.format, answer.items)?;
                Ok(Exit::Reached)
            }
            Mirrors::Update(Update { repos }) => {
                let body = MirrorUpdate { repos };
                let answer: Answer = client.post_within(&path(&["mirrors", "update"], &[]), &body, PATIENCE).await?;
                let failed: Vec<MirrorView> = answer.items.iter().filter(|m| m.failed.is_some()).cloned().collect();
                output::list(session.format, answer.items)?;
                for MirrorView { git, failed, .. } in &failed {
                    let why = failed.as_ref().map(|note| note.what.as_str()).unwrap_or_default();
                    eprintln!("{} could not be fetched: {}", harmless(git), harmless(why));
                }
                Ok(if failed.is_empty() { Exit::Reached } else { Exit::NotReached })
            }
        }
    }
}
