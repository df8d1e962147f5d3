//! `taskotron missed`: what a reference has seen of which the master has no job, or no finished one.
//!
//! Every answer is a comparison of keys. Nothing is printed before all of it is known, and nothing at all where either
//! side cannot tell.

mod here;
mod reference;
mod rows;

use std::path::PathBuf;

use clap::Args;
use model::missed::{Answer, Asked, Question, Seen};
use model::{Span, Time};
use net::{Client, Secret, clock};

use crate::exit::{Exit, Failure, OrExit as _};

use super::Session;
use reference::{Reference, Scope};
use rows::Rows;

const AFTER: &str = "\
The reference is a job log of 'taskotron record' with its FILE.events.jsonl beside it, an event log, the folder of a
trigger, or the address of another master; without --against it is this master itself. Times are those of its recording.

First it waits until this master's triggers have caught up with the bus past that time. Then each event and job of the
reference is looked up by its key. A row says why it is missed:

  no-event     the event of the job is not here
  no-job       the event is here, and the job is not
  refused      jobs of the event were refused (no row for jobrunner)
  undelivered  the results store does not take the job's result
  cancelled, superseded, expired: the job ended so, without a result

What waits or runs is not missed, nor is an event that calls for no job; both are counted on stderr. With -o csv the rows are a job log: replay it with
'taskotron missed --since … --against … -o csv | jobrunner -'.

Exit codes: 0 compared, with or without rows; 10 with --exit-code, if there are rows; 2 the reference is no log; 6 it
cannot be told, and nothing is printed: a master does not answer, a trigger is silent, the reference has a gap or does
not cover the span.";

/// How many events are asked for at once.
const BATCH: usize = 500;

#[derive(Args, Debug)]
#[command(after_long_help = AFTER)]
pub struct Missed {
    /// Compare what was recorded at this time or later
    #[arg(long, value_name = "TIME")]
    since: Time,
    /// Compare what was recorded before this time; else up to the end of the reference
    #[arg(long, value_name = "TIME")]
    until: Option<Time>,
    /// The reference: a file, a folder, or another master's address; else this master
    #[arg(long, value_name = "FILE|URL")]
    against: Option<String>,
    /// A file with the token to show to the other master; this one's is never shown to it
    #[arg(long, value_name = "FILE", requires = "against")]
    against_token_file: Option<PathBuf>,
    /// How long to wait for triggers that have not caught up
    #[arg(long, value_name = "SPAN", default_value = "2m")]
    wait: Span,
    /// End with 10 where something was missed
    #[arg(long)]
    exit_code: bool,
}

impl Missed {
    pub async fn run(self, session: &Session) -> anyhow::Result<Exit> {
        let client = session.client()?;
        let now = clock::now();
        if self.until.is_some_and(|until| until <= self.since) {
            return Err(Failure::error(Exit::Usage, "--until is not after --since: there is nothing to compare"));
        }
        if self.since > now {
            return Err(Failure::error(Exit::Usage, "--since is in the future: there is nothing to compare"));
        }
        let token = match &self.against_token_file {
            Some(file) => Secret::from_file(file).or_exit(Exit::Usage)?,
            None => Secret::none(),
        };
        let mut reference = Reference::open(self.against.as_deref(), token, &client)?;
        let scope = reference.scope(self.since, self.until, self.wait).await?;
        here::caught_up(&client, scope.reaches, self.wait).await?;
        eprintln!("comparing {} from {} to {}", reference.name(), self.since.to_seconds(), scope.reaches.to_seconds());
        let mut rows = Rows::new()?;
        let mut tally = Tally::default();
        while let Some(seen) = reference.next(BATCH).await? {
            compare(&client, &seen, &scope, &mut tally, &mut rows).await?;
        }
        let missed = rows.print(session.format)?;
        let Tally { events, jobs, open, idle } = tally;
        eprintln!("{events} events and {jobs} jobs compared: {missed} missed, {open} under way");
        if idle > 0 {
            eprintln!("{idle} more events are not here and call for no job");
        }
        Ok(if missed > 0 && self.exit_code { Exit::Differences } else { Exit::Reached })
    }
}

/// What was compared.
#[derive(Default)]
struct Tally {
    events: u64,
    jobs: u64,
    open: u64,
    /// Events that are not here, and of which nothing is missed: they call for no job.
    idle: u64,
}

async fn compare(
    client: &Client,
    seen: &[Seen],
    scope: &Scope,
    tally: &mut Tally,
    rows: &mut Rows,
) -> anyhow::Result<()> {
    let seen: Vec<&Seen> = seen.iter().filter(|seen| scope.holds(seen.recorded_at)).collect();
    let asked = |seen: &&Seen| Asked { id: seen.id.clone(), jobs: seen.jobs.iter().map(|job| job.key).collect() };
    let question = Question { events: seen.iter().map(asked).collect() };
    if question.events.is_empty() {
        return Ok(());
    }
    let answer: Answer = client.post("/api/v1/known", &question).await.or_exit(Exit::CannotTell)?;
    if answer.events.len() != seen.len() {
        return Err(Failure::error(Exit::CannotTell, "the master answered for other events than it was asked for"));
    }
    for (seen, known) in seen.into_iter().zip(&answer.events) {
        tally.events += 1;
        tally.idle += u64::from(!known.here && known.jobs.is_empty());
        tally.jobs += known.jobs.len() as u64;
        tally.open += rows.judge(seen, known)?;
    }
    Ok(())
}
