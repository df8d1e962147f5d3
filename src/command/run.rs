//! `taskotron run`: a task on its author's machine, by the worker's own way, with no server.

mod commit;
mod found;
mod order;

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use model::lease::JobOrder;
use tokio_util::sync::CancellationToken;

use crate::exit::{Exit, OrExit as _};

use super::question::path;
use super::terminal::LogText;
use super::{Session, output, role};

use found::Ran;

const MORE: &str = "\
TASK is a task of the configuration; or a folder with tests/tests.yml (a playbook of the Standard Test Interface), or with \
.fmf (plans of tmt). The log goes to stderr as it comes, the results to stdout at the end.

A task that comes from a repository runs the commit that its ref stands for now, fetched from that repository. With --job it \
is the commit that the job ran; where the repository cannot be had or has it no more, it comes from the master, which gives \
it to whoever shows the token of an operator or submitter. Of a task that is found in several folders of it ('discover'), \
--param folder=FOLDER says which.

With --event the rules say what the task is run on: the item, the arch and the parameters of the job that they would make; \
--item, --item-type, --arch and --param choose among several, or say it where no rule wants the task.

Exit codes: 0 passed, 1 not passed, 2 usage or bad input, 6 the master or the repository cannot be asked, 8 interrupted.";

#[derive(Args, Debug)]
#[command(after_long_help = MORE)]
pub struct Run {
    /// The task's name, or a folder with tests
    #[arg(value_name = "TASK", required_unless_present = "job")]
    task: Option<String>,
    #[command(flatten)]
    subject: order::Subject,
    /// The folder with the configuration; else the settings' [configuration] dir
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    /// Run what a real job ran: its task as it was, its parameters and its event, asked of the master
    #[arg(long, value_name = "ID", conflicts_with_all = ["task", "item", "item_type", "arch", "param", "event", "config"])]
    job: Option<String>,
}

impl Run {
    pub async fn run(self, session: &Session) -> anyhow::Result<Exit> {
        let (order, master) = match &self.job {
            Some(job) => {
                let client = session.client()?;
                let order: JobOrder = client.get(&path(&["jobs", job, "order"], &[])).await?;
                (order, Some(client))
            }
            None => {
                let task = self.task.as_deref().unwrap_or_default();
                (self.subject.order(session, task, self.config).await?, None)
            }
        };
        let folder = tempfile::Builder::new().prefix("taskotron-run-").tempdir();
        let folder = folder.context("cannot make a folder to work in").or_exit(Exit::Usage)?;
        let mut settings = session.layers(Vec::new())?.settings()?.worker;
        settings.dir = folder.path().join("worker");
        let stop = CancellationToken::new();
        let interrupted = tokio::spawn({
            let stop = stop.clone();
            async move {
                while tokio::signal::ctrl_c().await.is_ok() {
                    stop.cancel();
                }
            }
        });
        let mut printer = Printer::new();
        let show = |bytes: &[u8]| printer.print(bytes);
        let lease = order.clone().lease(1, "alone".into());
        let report = worker::once(settings, master, lease, role::VIGIL, stop.clone(), show).await;
        printer.end();
        interrupted.abort();
        let ran = Ran::new(order, report?);
        output::one(session.format, &ran, found::people)?;
        Ok(match (stop.is_cancelled(), ran.passed()) {
            (_, true) => Exit::Reached,
            (true, false) => Exit::Aborted,
            (false, false) => Exit::NotReached,
        })
    }
}

/// Shows the log as it comes. That nobody reads it any more does not stop the job.
struct Printer {
    text: Option<LogText>,
}

impl Printer {
    fn new() -> Printer {
        Printer { text: std::io::stderr().is_terminal().then(LogText::default) }
    }

    fn print(&mut self, bytes: &[u8]) {
        let mut err = std::io::stderr();
        let _ = match &mut self.text {
            Some(text) => err.write_all(text.next(bytes).as_bytes()),
            None => err.write_all(bytes),
        };
    }

    fn end(&mut self) {
        if let Some(text) = &mut self.text {
            let _ = std::io::stderr().write_all(text.end().as_bytes());
        }
    }
}
