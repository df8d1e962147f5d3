//! `taskotron report`: what operators should know of the installation as a whole.

use clap::{Args, Subcommand};
use model::operator::{Page, TaskView};

use crate::exit::Exit;

use super::output::{Column, Listed, column, wide};
use super::question::path;
use super::{Session, output};

const AFTER: &str = "\
Such a task gets what holds by default: what its worker or the system is to blame for is tried again, its own failures are
not, and no drain may stop it. Nobody has said that this is right for it. Where a second attempt would do harm write
'retry: never', where a drain may stop it 'interruptible: true'.

Exit codes: 0 whether there are any or not; 6 the master cannot be reached.";

#[derive(Subcommand, Debug)]
pub enum Report {
    /// The tasks that declare neither retry nor interruptible
    #[command(after_long_help = AFTER)]
    Tasks(Tasks),
}

#[derive(Args, Debug)]
pub struct Tasks {
    /// All tasks, with what they declare
    #[arg(long)]
    all: bool,
}

impl Listed for TaskView {
    const COLUMNS: &'static [Column<TaskView>] = &[
        column("task", |t| t.name.clone()),
        column("retry", |t| t.retry.clone().unwrap_or_else(|| "(not said)".into())),
        column("interruptible", |t| t.interruptible.map_or_else(|| "(not said)".into(), |yes| yes.to_string())),
        wide("exclusive", |t| t.exclusive.to_string()),
    ];
}

impl Report {
    pub async fn run(self, session: &Session) -> anyhow::Result<Exit> {
        let Report::Tasks(Tasks { all }) = self;
        let Page { items, .. }: Page<TaskView> = session.client()?.get(&path(&["tasks"], &[])).await?;
        let tasks = items.len();
        let is_silent = |task: &TaskView| task.retry.is_none() && task.interruptible.is_none();
        let silent = items.iter().filter(|task| is_silent(task)).count();
        output::list(session.format, items.into_iter().filter(|task| all || is_silent(task)).collect())?;
        eprintln!("{silent} of {tasks} tasks declare neither retry nor interruptible");
        Ok(Exit::Reached)
    }
}
