//! `taskotron job watch`: follows jobs and what they print to a verdict, past whatever becomes of the master meanwhile.

use std::time::Duration;

use clap::Args;
use model::operator::{JobDetail, JobSummary};
use model::{JobState, Outcome, Span};
use net::{Client, ClientError};
use tokio::time::{Instant, sleep, timeout};

use crate::exit::Exit;

use super::super::output::{Format, Listing};
use super::super::question::path;
use super::super::terminal::harmless;
use super::super::{Session, output};
use super::log::Printer;
use super::people;

/// How often a job is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// How often it is said that all is as it was.
const WORD: Duration = Duration::from_secs(30);

/// How many bytes of a line are kept until it is whole, where several jobs share the terminal.
const LINE: usize = 64 * 1024;

pub const AFTER: &str = "\
The log goes to stdout as it comes, each line behind the beginning of its job's id where several are watched; what happens
to the jobs goes to stderr. With -o json, jsonl or csv stdout has the jobs at their end instead. While the master is away
it is asked again and again; the jobs go on.

Exit codes: 0 all have passed; 1 one has not (failed, was cancelled, superseded or has expired); 2 there is no such job;
5 the --timeout has passed, the jobs go on; 130 detached by Ctrl-C, the jobs go on.";

#[derive(Args, Debug)]
pub struct Watch {
    /// The id of each job, or the beginning of it
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// Look no longer than this
    #[arg(long, value_name = "SPAN")]
    timeout: Option<Span>,
    /// Say what happens, but print no log
    #[arg(long)]
    no_log: bool,
}

impl Watch {
    pub async fn run(self, session: &Session, client: &Client) -> anyhow::Result<Exit> {
        let log = !self.no_log && session.format == Format::Table;
        let several = self.ids.len() > 1;
        let watched = self.ids.iter().map(|id| Eye::new(client, id, several, log).watch());
        let all = futures_util::future::try_join_all(watched);
        let span = self.timeout.map_or(Duration::MAX, |span| span.0);
        let details = tokio::select! {
            ended = timeout(span, all) => match ended {
                Ok(details) => details?,
                Err(_) => {
                    eprintln!("the time is over, and the jobs go on. Watch: taskotron job watch {}", self.ids.join(" "));
                    return Ok(Exit::TimedOut);
                }
            },
            _ = tokio::signal::ctrl_c() => {
                eprintln!("detached; the jobs go on. Watch: taskotron job watch {}", self.ids.join(" "));
                return Ok(Exit::Detached);
            }
        };
        let passed = details.iter().all(has_passed);
        match (session.format, &details[..]) {
            (Format::Table, _) => {}
            (Format::Json | Format::Jsonl, [detail]) => output::one(session.format, detail, people)?,
            (Format::Json | Format::Jsonl | Format::Csv, _) => {
                let mut listing = Listing::new(session.format);
                listing.add(details.into_iter().map(|detail| detail.job).collect())?;
                listing.finish()?;
            }
        }
        Ok(if passed { Exit::Reached } else { Exit::NotReached })
    }
}

/// Where it is a search, what it found has passed, and it found something.
fn has_passed(detail: &JobDetail) -> bool {
    let passed = |job: &JobSummary| {
        job.state == JobState::Finished && matches!(job.outcome, Some(Outcome::Passed | Outcome::Info))
    };
    match detail.job.is_search() {
        true => !detail.found.is_empty() && detail.found.iter().all(passed),
        false => passed(&detail.job),
    }
}

/// What looks at one job.
struct Eye<'a> {
    client: &'a Client,
    id: &'a str,
    /// Whether others share the terminal.
    several: bool,
    log: bool,
    said: Option<(Instant, String)>,
    /// The attempt whose log is printed, and how much of it was.
    attempt: u32,
    printed: u64,
    /// The beginning of a line that is not whole yet.
    line: Vec<u8>,
    out: Printer,
}

impl<'a> Eye<'a> {
    fn new(client: &'a Client, id: &'a str, several: bool, log: bool) -> Eye<'a> {
        Eye { client, id, several, log, said: None, attempt: 0, printed: 0, line: Vec::new(), out: Printer::new() }
    }

    /// Looks until the job has ended and all that it printed was printed here.
    async fn watch(mut self) -> anyhow::Result<JobDetail> {
        loop {
            // Looked at before the log, so that nothing printed before the end is missed.
            let detail: JobDetail = match self.client.get(&path(&["jobs", self.id], &[])).await {
                Ok(detail) => detail,
                Err(ClientError::Unavailable(why)) => {
                    self.say(&format!("the master does not answer ({why}); asking again"));
                    sleep(LOOK).await;
                    continue;
                }
                Err(refused) => return Err(refused.into()),
            };
            let open = detail.found.iter().filter(|job| !job.state.is_end()).count();
            match open {
                0 => self.say(&detail.why),
                n => self.say(&format!("{}; {n} of {} have not ended", detail.why, detail.found.len())),
            }
            let mut printed = 0;
            if self.log {
                let from = self.attempt;
                for attempt in detail.attempts_made.iter().filter(|made| made.attempt >= from) {
                    match self.print(attempt.attempt, detail.job.state.is_end()).await? {
                        Some(bytes) => printed += bytes,
                        // The master went away: the same again when it is back.
                        None => {
                            printed = 1;
                            break;
                        }
                    }
                }
            }
            if detail.job.state.is_end() && open == 0 && printed == 0 {
                self.end_log()?;
                return Ok(detail);
            }
            sleep(LOOK).await;
        }
    }

    /// Says what is new, and now and then that nothing is.
    fn say(&mut self, text: &str) {
        let due = self.said.as_ref().is_none_or(|(when, said)| said != text || when.elapsed() >= WORD);
        if due {
            eprintln!("{}{}", self.prefix(), harmless(text));
            self.said = Some((Instant::now(), text.to_owned()));
        }
    }

    fn prefix(&self) -> String {
        let digits: String = self.id.chars().take(8).collect();
        if self.several { format!("{} ", harmless(&digits)) } else { String::new() }
    }

    /// Prints what is new of an attempt's log; none where it cannot be had now.
    async fn print(&mut self, attempt: u32, ended: bool) -> anyhow::Result<Option<u64>> {
        if attempt > self.attempt {
            self.end_log()?;
            (self.attempt, self.printed) = (attempt, 0);
        }
        let query = [("attempt", attempt.to_string())];
        let mut response = match self.client.get_part(&path(&["jobs", self.id, "log"], &query), self.printed).await {
            Ok(Some(response)) => response,
            Ok(None) => return Ok(Some(0)),
            // Nothing has come of it yet, or nothing ever will.
            Err(ClientError::Refused { status: 404, .. }) => return Ok(Some(0)),
            Err(ClientError::Unavailable(_)) => return Ok(None),
            Err(refused) => return Err(refused.into()),
        };
        let before = self.printed;
        loop {
            match response.chunk().await {
                Ok(Some(bytes)) => {
                    self.put(&bytes)?;
                    self.printed += bytes.len() as u64;
                }
                Ok(None) => break,
                Err(_) => return Ok(None),
            }
        }
        let printed = self.printed - before;
        if ended && printed == 0 {
            self.end_log()?;
        }
        Ok(Some(printed))
    }

    fn put(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        if !self.several {
            return Ok(self.out.print(bytes)?);
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.line.len() >= LINE {
                self.flush_line()?;
            }
        }
        Ok(())
    }

    fn flush_line(&mut self) -> anyhow::Result<()> {
        if self.line.is_empty() {
            return Ok(());
        }
        let mut line = self.prefix().into_bytes();
        line.append(&mut self.line);
        if !line.ends_with(b"\n") {
            line.push(b'\n');
        }
        self.out.print(&line)?;
        // The next line on the terminal is another job's.
        Ok(self.out.end()?)
    }

    /// What is left of an attempt's log.
    fn end_log(&mut self) -> anyhow::Result<()> {
        self.flush_line()?;
        Ok(self.out.end()?)
    }
}
