//! Sends the rows of a checked sheet to the master, in chunks, and passes every row's answer on in the file's order.

use std::io::BufRead;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use model::joblog::{RowVerdict, Submitted};
use net::{Backoff, Client, ClientError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;

use super::select::{Rate, Selection};
use super::sheet::Rows;
use super::tally::Answer;

/// How many rows one request carries.
const CHUNK: usize = 2000;
/// How many bytes one request carries, about.
const CHUNK_BYTES: usize = 1 << 20;
/// How many requests are under way at once: the next is read and sent while one commits.
const IN_FLIGHT: usize = 3;
/// How long a master may be away before the first answer, and after it.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// How rows are sent.
#[derive(Clone, Debug)]
pub struct Manner {
    pub client: Client,
    pub dry_run: bool,
    pub rerun: bool,
    pub selection: Selection,
    pub rate: Option<Rate>,
    pub stop_on_error: bool,
    /// Cancelled when a person interrupts.
    pub interrupted: CancellationToken,
}

/// Why a run ended before the last row.
#[derive(Clone, Debug)]
pub struct Stop {
    pub exit: Exit,
    /// The line of the row that was the last, or the first without an answer.
    pub line: u64,
    pub reason: String,
}

/// Some rows in a row: those that have an answer already, and those that are sent.
struct Chunk {
    rows: Vec<(u64, Option<Answer>)>,
    body: Vec<u8>,
    sent: usize,
}

/// A chunk and what the master said of it.
type Settled = (Vec<(u64, Option<Answer>)>, Result<Vec<Answer>, ClientError>);

impl Manner {
    /// Sends all rows; `tell` hears of each in order. `Some` when it had to stop.
    pub async fn submit<R: BufRead>(
        &self,
        header: &[String],
        mut rows: Rows<R>,
        mut tell: impl FnMut(u64, Answer) -> anyhow::Result<()>,
    ) -> anyhow::Result<Option<Stop>> {
        let one_by_one = self.stop_on_error || self.rate.is_some();
        let mut flight = FuturesOrdered::new();
        let (mut stop, mut at_end, mut answered) = (None::<Stop>, false, false);
        let mut pace = Instant::now();
        loop {
            while !at_end && stop.is_none() && flight.len() < if one_by_one { 1 } else { IN_FLIGHT } {
                match self.chunk(header, &mut rows)? {
                    Some(chunk) => {
                        self.keep_pace(&mut pace, chunk.sent).await;
                        flight.push_back(self.post(chunk, answered));
                    }
                    None => at_end = true,
                }
            }
            let Some(settled) = flight.next().await else { return Ok(stop) };
            answered = answered || settled.1.is_ok();
            let stopped = self.settle(settled, &mut tell)?;
            // The first reason is the one that counts; what was under way is still heard.
            stop = stop.or(stopped);
        }
    }

    /// Reads the next rows; `None` at the end of the file.
    fn chunk<R: BufRead>(&self, header: &[String], rows: &mut Rows<R>) -> anyhow::Result<Option<Chunk>> {
        let most = if self.stop_on_error { 1 } else { self.rate.map_or(CHUNK, |rate| rate.chunk(CHUNK)) };
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(header)?;
        let (mut read, mut sent, mut bytes) = (Vec::new(), 0, 0);
        while sent < most && read.len() < most && bytes < CHUNK_BYTES {
            let Some(line) = rows.read().context("failed to read the input again")? else { break };
            let answer = match line.row {
                Err(reason) => Some(Answer::Invalid { reason }),
                Ok((fields, row)) => match self.selection.leaves(&row) {
                    Some(reason) => Some(Answer::Left { reason }),
                    None => {
                        sent += 1;
                        bytes += fields.as_slice().len();
                        writer.write_record(&fields)?;
                        None
                    }
                },
            };
            read.push((line.line, answer));
        }
        if read.is_empty() {
            return Ok(None);
        }
        let body = writer.into_inner().map_err(|e| e.into_error())?;
        Ok(Some(Chunk { rows: read, body, sent }))
    }

    async fn keep_pace(&self, pace: &mut Instant, rows: usize) {
        let Some(rate) = self.rate else { return };
        tokio::select! {
            () = tokio::time::sleep_until(*pace) => {}
            () = self.interrupted.cancelled() => {}
        }
        *pace = Instant::now() + rate.each * u32::try_from(rows).unwrap_or(u32::MAX);
    }

    async fn post(&self, chunk: Chunk, answered: bool) -> Settled {
        let Chunk { rows, body, sent } = chunk;
        if sent == 0 {
            return (rows, Ok(Vec::new()));
        }
        let result = self.post_patiently(Bytes::from(body), answered).await;
        let result = result.and_then(|submitted| {
            if submitted.rows.len() == sent {
                return Ok(submitted.rows.into_iter().map(|row| answer(row.verdict)).collect());
            }
            let n = submitted.rows.len();
            Err(ClientError::Unavailable(format!("the master answered {n} rows where {sent} were sent")))
        });
        (rows, result)
    }

    /// Sends the same body until it is answered: asking twice makes one job.
    async fn post_patiently(&self, body: Bytes, answered: bool) -> Result<Submitted, ClientError> {
        let patience = if answered { PATIENCE.1 } else { PATIENCE.0 };
        let end = Instant::now() + patience;
        let key = net::clock::uuid().to_string();
        let path = match (self.dry_run, self.rerun) {
            (false, false) => "/api/v1/jobs",
            (true, false) => "/api/v1/jobs?dry_run=true",
            (false, true) => "/api/v1/jobs?rerun=true",
            (true, true) => "/api/v1/jobs?dry_run=true&rerun=true",
        };
        let headers = [("content-type", "text/csv; charset=utf-8"), ("idempotency-key", key.as_str())];
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            let failed = match self.client.send(reqwest::Method::POST, path, &headers, body.clone()).await {
                Err(e @ ClientError::Unavailable(_)) if Instant::now() < end => e,
                done => return done,
            };
            tracing::warn!(error = %failed, "the master does not answer; trying again");
            tokio::select! {
                () = backoff.wait() => {}
                () = self.interrupted.cancelled() => return Err(failed),
            }
        }
    }

    /// Passes the answers of one chunk on. `Some` when nothing more may be sent.
    fn settle(
        &self,
        (rows, result): Settled,
        tell: &mut impl FnMut(u64, Answer) -> anyhow::Result<()>,
    ) -> anyhow::Result<Option<Stop>> {
        let (mut answers, failed) = match result {
            Ok(answers) => (answers.into_iter(), None),
            Err(e) => (Vec::new().into_iter(), Some(e)),
        };
        let mut stop = None;
        let last = rows.last().map_or(0, |row| row.0);
        for (line, known) in rows {
            match known.or_else(|| answers.next()) {
                Some(answer) => {
                    if self.stop_on_error && answer.is_error() {
                        let reason = "the row is in error, and --stop-on-error was given".to_owned();
                        stop = Some(Stop { exit: Exit::Stopped, line, reason });
                    }
                    tell(line, answer)?;
                }
                // No answer: it may or may not have been made. The count calls it left; sending it again tells.
                None => stop = stop.or_else(|| failed.as_ref().map(|e| Stop::of(e, line))),
            }
        }
        if stop.is_none() && self.interrupted.is_cancelled() {
            stop = Some(Stop { exit: Exit::Stopped, line: last, reason: "interrupted".to_owned() });
        }
        Ok(stop)
    }
}

impl Stop {
    fn of(error: &ClientError, line: u64) -> Stop {
        Stop { exit: Exit::of_client(error), line, reason: error.to_string() }
    }
}

fn answer(verdict: RowVerdict) -> Answer {
    match verdict {
        RowVerdict::Job(answer) => answer.into(),
        RowVerdict::Invalid { invalid } => Answer::Invalid { reason: invalid },
    }
}
