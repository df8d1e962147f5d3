//! `taskotron job log`: a job's log, as it is or while it grows.

use std::io::{IsTerminal as _, Stdout, Write as _, stdout};
use std::time::Duration;

use clap::Args;
use model::operator::{LOG_ATTEMPT, LOG_MORE};
use net::{Backoff, Client, ClientError};
use tokio::time::Instant;

use crate::exit::{Exit, Failure};

use super::super::question::path;
use super::super::terminal::LogText;
use super::{LOOK, Named};

/// How long the master is asked to hold a question while there is nothing new.
const WAIT: &str = "20s";

/// How long a master that cannot be reached is asked again.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Args, Debug)]
pub struct Log {
    #[command(flatten)]
    job: Named,
    /// The log of this attempt instead of the last
    #[arg(long, value_name = "N")]
    attempt: Option<u32>,
    /// Print each line as it comes until the job has ended; go on where a connection broke, and with the next attempt
    #[arg(short, long)]
    follow: bool,
}

/// What the master knows of a log from a place on.
struct Piece {
    attempt: Option<u32>,
    bytes: bytes::Bytes,
    more: bool,
}

impl Log {
    pub async fn run(self, client: &Client) -> anyhow::Result<Exit> {
        let printed = async { if self.follow { self.follow(client).await } else { self.print(client).await } };
        tokio::select! {
            done = printed => done,
            _ = tokio::signal::ctrl_c() => Ok(Exit::Detached),
        }
    }

    /// Prints what there is.
    async fn print(&self, client: &Client) -> anyhow::Result<Exit> {
        let query: Vec<_> = self.attempt.map(|n| ("attempt", n.to_string())).into_iter().collect();
        let Some(mut response) = client.get_part(&path(&["jobs", &self.job.id, "log"], &query), 0).await? else {
            return Ok(Exit::Reached);
        };
        let mut out = Printer::new();
        let broken = |e: reqwest::Error| Failure::error(Exit::CannotTell, format!("the log broke off: {e}"));
        while let Some(bytes) = response.chunk().await.map_err(broken)? {
            out.print(&bytes)?;
        }
        out.end()?;
        Ok(Exit::Reached)
    }

    /// Prints what comes, of one attempt after another, until the job has ended.
    async fn follow(&self, client: &Client) -> anyhow::Result<Exit> {
        let mut attempt = self.attempt;
        loop {
            attempt = self.follow_attempt(client, attempt).await?;
            let Some(last) = attempt.filter(|_| self.attempt.is_none()) else { return Ok(Exit::Reached) };
            let Some(next) = self.next(client, last).await? else { return Ok(Exit::Reached) };
            eprintln!("attempt {last} has ended; attempt {next} follows");
            attempt = Some(next);
        }
    }

    /// Prints one attempt's log to its end, the newest if none is named, and answers which it was.
    async fn follow_attempt(&self, client: &Client, mut attempt: Option<u32>) -> anyhow::Result<Option<u32>> {
        let (mut at, mut out) = (0_u64, Printer::new());
        loop {
            let asked = Instant::now();
            let piece = patiently(|| self.piece(client, attempt, at)).await?;
            attempt = piece.attempt.or(attempt);
            at += piece.bytes.len() as u64;
            out.print(&piece.bytes)?;
            if !piece.more {
                out.end()?;
                return Ok(attempt);
            }
            // A master with too many watchers holds no question.
            if piece.bytes.is_empty() && asked.elapsed() < LOOK {
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    async fn piece(&self, client: &Client, attempt: Option<u32>, from: u64) -> Result<Piece, ClientError> {
        let mut query = vec![("from", from.to_string()), ("wait", WAIT.to_owned())];
        query.extend(attempt.map(|n| ("attempt", n.to_string())));
        let response = client.get_raw(&path(&["jobs", &self.job.id, "log", "follow"], &query)).await?;
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let attempt = header(LOG_ATTEMPT).and_then(|n| n.parse().ok());
        let more = header(LOG_MORE) == Some("true");
        let bytes = response.bytes().await.map_err(|e| ClientError::Unavailable(format!("the log broke off: {e}")))?;
        Ok(Piece { attempt, bytes, more })
    }

    /// Waits for the attempt after one that has ended; none when the job ends without one.
    async fn next(&self, client: &Client, last: u32) -> anyhow::Result<Option<u32>> {
        loop {
            let id = &self.job.id;
            let detail =
                patiently(async || client.get::<model::operator::JobDetail>(&path(&["jobs", id], &[])).await).await?;
            let next = detail.attempts_made.iter().map(|attempt| attempt.attempt).find(|n| *n > last);
            if next.is_some() || detail.job.state.is_end() {
                return Ok(next);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Asks again while the master cannot be reached, for a while.
async fn patiently<T>(ask: impl AsyncFn() -> Result<T, ClientError>) -> Result<T, ClientError> {
    let begin = Instant::now();
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    loop {
        match ask().await {
            Err(ClientError::Unavailable(_)) if begin.elapsed() < PATIENCE => backoff.wait().await,
            answer => return answer,
        }
    }
}

/// Bytes as they are into a file or a pipe; on a terminal as text that steers nothing but its own colour and line.
pub struct Printer {
    out: Stdout,
    text: Option<LogText>,
}

impl Printer {
    pub fn new() -> Printer {
        let out = stdout();
        let text = out.is_terminal().then(LogText::default);
        Printer { out, text }
    }

    pub fn print(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &mut self.text {
            Some(text) => self.out.write_all(text.next(bytes).as_bytes())?,
            None => self.out.write_all(bytes)?,
        }
        self.out.flush()
    }

    pub fn end(&mut self) -> std::io::Result<()> {
        if let Some(text) = &mut self.text {
            self.out.write_all(text.end().as_bytes())?;
        }
        self.out.flush()
    }
}
