//! `taskotron job cancel|rerun|priority|retry|settle`: jobs by id, or whatever a filter finds, chunk by chunk.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::time::Duration;

use clap::Args;
use model::JobId;
use model::deed::{Acted, ActedJob, JobsAct, Settlement, Verb};
use net::{Client, ClientError, clock};
use reqwest::Method;
use tokio::time::Instant;

use crate::exit::{Exit, Failure};

use super::super::output::{Column, Format, Listed, Listing, column, maybe, wide};
use super::super::{Session, question};
use super::filter::Filter;

/// How many ids one request names.
const CHUNK: usize = 200;

/// How long a master may be away in the middle.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait before a request is sent again.
const PAUSE: Duration = Duration::from_millis(500);

/// A progress line comes this often at least.
const WORD: Duration = Duration::from_secs(30);

pub const AFTER: &str = "\
Name jobs by their whole ids, or find them by the filters of 'taskotron job list'; a filter looks only at jobs to which
this can be done. --dry-run does everything and keeps nothing, so it prints exactly what would be done. What a filter
finds beyond the master's max_unasked is asked about on a terminal; elsewhere it is refused until --yes is given.

Each job is one row: done, skipped because there was nothing to do, or failed, with the reason. The sum stands on stderr.
An answer that gets lost is asked for again, and nothing is done twice.

Exit codes: 0 done (by a filter: nothing failed); 1 some failed; 2 a job that there is not, nothing was changed; 3 refused,
nothing was changed; 4 the master went away part-way, run it again to go on; 6 the master cannot be reached; 7 a job that
was named was left as it is, its row says why.";

/// To which jobs, and why.
#[derive(Args, Clone, Debug)]
pub struct Change {
    /// The whole id of each job
    #[arg(value_name = "ID", required_unless_present = "Filter", conflicts_with = "Filter")]
    ids: Vec<JobId>,
    #[command(flatten)]
    filter: Filter,
    /// Why, for those who come after; only a dry run needs none
    #[arg(short = 'm', long, value_name = "TEXT", required_unless_present = "dry_run")]
    reason: Option<String>,
    /// Only print what would be done
    #[arg(long)]
    dry_run: bool,
    /// Also to more jobs than the master's max_unasked
    #[arg(long)]
    yes: bool,
}

#[derive(Args, Clone, Debug)]
pub struct Prioritise {
    /// What their priority is from now on; 0 is ordinary, greater runs earlier by a minute each
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    to: i32,
    #[command(flatten)]
    change: Change,
}

#[derive(Args, Clone, Debug)]
pub struct Settle {
    /// What becomes of them: requeue (another attempt), passed, info, needs_inspection, failed or error
    #[arg(long = "as", value_name = "WHAT")]
    settlement: Settlement,
    #[command(flatten)]
    change: Change,
}

impl Prioritise {
    pub async fn run(self, session: &Session, client: &Client) -> anyhow::Result<Exit> {
        let what = JobsAct { priority: Some(self.to), ..JobsAct::default() };
        self.change.run(Verb::Priority, what, session, client).await
    }
}

impl Settle {
    pub async fn run(self, session: &Session, client: &Client) -> anyhow::Result<Exit> {
        let what = JobsAct { settlement: Some(self.settlement), ..JobsAct::default() };
        self.change.run(Verb::Settle, what, session, client).await
    }
}

impl Listed for ActedJob {
    const COLUMNS: &'static [Column<ActedJob>] = &[
        column("id", |j| j.id.to_string()),
        column("did", |j| j.did.name().to_owned()),
        column("task", |j| j.task.clone()),
        column("item", |j| j.item.clone()),
        wide("arch", |j| j.arch.clone()),
        column("was", |j| j.state.to_string()),
        column("note", |j| j.note.clone()),
        wide("new_job", |j| maybe(&j.new_job)),
    ];
}

impl Change {
    pub async fn run(self, verb: Verb, what: JobsAct, session: &Session, client: &Client) -> anyhow::Result<Exit> {
        let reason = match (&self.reason, self.dry_run) {
            (None, true) => String::new(),
            (reason, _) => question::reason(reason.as_deref().unwrap_or_default())?,
        };
        let act = JobsAct { reason, dry_run: self.dry_run, yes: self.yes, ..what };
        let mut ids = self.ids.clone();
        ids.sort_unstable();
        ids.dedup();
        let mut course = Course {
            verb,
            client,
            format: session.format,
            // Names this run of the command: what is sent again for want of an answer is done once.
            name: clock::uuid().to_string(),
            sent: 0,
            sums: Acted::default(),
            listing: Listing::new(session.format),
            said: Instant::now(),
        };
        let went = match ids.is_empty() {
            true => course.find(act, self.filter.parameters()).await,
            false => course.name_each(act, &ids).await,
        };
        course.end(went, self.dry_run, !ids.is_empty())
    }
}

/// One run of a command over all its chunks.
struct Course<'a> {
    verb: Verb,
    client: &'a Client,
    format: Format,
    name: String,
    sent: u64,
    sums: Acted,
    listing: Listing<ActedJob>,
    said: Instant,
}

impl Course<'_> {
    async fn name_each(&mut self, act: JobsAct, ids: &[JobId]) -> anyhow::Result<()> {
        for jobs in ids.chunks(CHUNK) {
            let acted = self.send(&JobsAct { jobs: jobs.to_vec(), ..act.clone() }).await?;
            self.count(acted)?;
        }
        Ok(())
    }

    async fn find(&mut self, mut act: JobsAct, parameters: Vec<(&'static str, String)>) -> anyhow::Result<()> {
        let mut filter: std::collections::BTreeMap<_, _> =
            parameters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        loop {
            act.filter = Some(filter.clone());
            let acted = match self.send(&act).await {
                Err(e) if self.sent == 1 && !act.yes && is_unasked(&e) => {
                    ask(self.verb, &e)?;
                    act.yes = true;
                    self.send(&act).await?
                }
                answer => answer?,
            };
            // It was looked at in the beginning: fewer are left by now.
            act.yes = true;
            match self.count(acted)? {
                Some(next) => filter.insert("cursor".into(), next),
                None => return Ok(()),
            };
        }
    }

    /// Sends it, and again under the same name while no answer comes.
    async fn send(&mut self, act: &JobsAct) -> Result<Acted, ClientError> {
        self.sent += 1;
        let path = format!("/api/v1/jobs/{}", self.verb);
        let key = format!("{}/{}", self.name, self.sent);
        let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
        let body = serde_json::to_vec(act).expect("it is plain JSON");
        let begun = Instant::now();
        loop {
            match self.client.send(Method::POST, &path, &headers, body.clone().into()).await {
                // One that never answered is away, and not in the middle of something.
                Err(ClientError::Unavailable(_)) if self.sums.planned > 0 && begun.elapsed() < PATIENCE => {
                    tokio::time::sleep(PAUSE).await;
                }
                answer => return answer,
            }
        }
    }

    fn count(&mut self, acted: Acted) -> anyhow::Result<Option<String>> {
        self.sums.planned += acted.planned;
        self.sums.done += acted.done;
        self.sums.skipped += acted.skipped;
        self.sums.failed += acted.failed;
        self.listing.add(acted.jobs)?;
        if self.format == Format::Table && acted.next.is_some() {
            // A table of its own for each chunk, so that any number of jobs fits into memory.
            std::mem::replace(&mut self.listing, Listing::new(self.format)).finish()?;
        }
        if self.said.elapsed() >= WORD {
            eprintln!("{}: {}", self.verb, self.sum());
            self.said = Instant::now();
        }
        Ok(acted.next)
    }

    fn sum(&self) -> String {
        let Acted { planned, done, skipped, failed, .. } = self.sums;
        format!("{planned} planned = {done} done + {skipped} skipped + {failed} failed")
    }

    fn end(self, went: anyhow::Result<()>, dry_run: bool, named: bool) -> anyhow::Result<Exit> {
        let (sum, Acted { planned, done, skipped, failed, .. }) = (self.sum(), self.sums);
        if let Err(e) = went {
            if planned == 0 {
                return Err(e);
            }
            self.listing.finish()?;
            eprintln!("{}: {sum}", self.verb);
            return Err(Failure::error(
                Exit::Stopped,
                format!("{e:#}; the rest was not attempted: run it again to go on"),
            ));
        }
        self.listing.finish()?;
        let dry = if dry_run { " (a dry run: nothing was changed)" } else { "" };
        eprintln!("{}: {sum}{dry}", self.verb);
        if planned != done + skipped + failed {
            return Err(Failure::error(Exit::NotReached, "this does not add up: look at 'taskotron audit'"));
        }
        Ok(match (failed, skipped) {
            (1.., _) => Exit::NotReached,
            (0, 1..) if named => Exit::Conflict,
            (0, _) => Exit::Reached,
        })
    }
}

/// Whether more was found than is touched unasked.
fn is_unasked(error: &ClientError) -> bool {
    error.status() == Some(428)
}

/// Asks a person on a terminal; anybody else is refused with what to say.
fn ask(verb: Verb, why: &ClientError) -> anyhow::Result<()> {
    let refused = || Failure::error(Exit::Refused, format!("{why}: --dry-run, then --yes; nothing was changed"));
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(refused());
    }
    eprint!("{why}. {verb} them now? [y/N] ");
    std::io::stderr().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    if matches!(line.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(refused()) }
}
