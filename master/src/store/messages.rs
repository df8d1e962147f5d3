//! What the bus is to be told of jobs: noted with each move, in order for each job.
//!
//! Whether a job is announced is settled when it is made, and holds until its end. A master that announces nothing
//! never comes here. The number of a message grows with each move of its job, since a move sees the one before committed.

use std::collections::HashMap;
use std::sync::Arc;

use db::on_read;
use model::{JobId, JobState, Outcome, Time};
use serde_json::{Map, Value, json};
use sqlx::FromRow;
use uuid::Uuid;

use super::error::corrupt;
use super::events::Document;
use super::moves::EndedRow;
use super::number::{count, nat};
use super::submit::Wanted;
use super::text::clean;
use super::tx::{Tx, Work, on_tx, retrying};
use super::{Result, Store};

/// Which jobs the bus is told of. Nothing named means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    pub tasks: Vec<String>,
    pub item_types: Vec<String>,
}

impl Announced {
    fn takes(&self, task: &str, item_type: &str) -> bool {
        let named = |names: &[String], name: &str| names.is_empty() || names.iter().any(|n| n == name);
        named(&self.tasks, task) && named(&self.item_types, item_type)
    }
}

/// What a message says of its job.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    Queued,
    Running { attempt: u32 },
    Ended { state: JobState, reason: String, outcome: Option<Outcome>, attempts: u32 },
}

/// One message that is due.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub seq: i64,
    pub job: JobId,
    pub stage: Stage,
    /// When the job moved.
    pub at: Time,
    pub task: String,
    pub item: String,
    pub item_type: String,
    pub arch: String,
    /// The body of the event that caused the job, where that is stored.
    pub event: Option<Map<String, Value>>,
    pub tries: u32,
}

/// How the messages stand that are not yet on the bus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Untold {
    pub messages: u64,
    /// When the job of the first of them moved.
    pub since: Option<Time>,
    /// How many of them the bus did not take, and what it said of the first.
    pub refused: u64,
    pub error: Option<String>,
}

impl Store {
    /// From now on the bus is told of these jobs. To be said once, before anything moves.
    pub fn announce(&self, announced: Announced) {
        if self.inner.announced.set(Arc::new(announced)).is_err() {
            tracing::debug!("which jobs are announced was said before");
        }
    }

    pub(super) fn announced(&self) -> Option<Arc<Announced>> {
        self.inner.announced.get().cloned()
    }

    /// The first that are due, in order; none of a job of which an earlier one rests. Reading them takes nothing away.
    pub async fn messages_due(&self, limit: u32) -> Result<Vec<Message>> {
        let now = self.now().await?;
        let rows: Vec<Row> = on_read!(self.db(), |pool| {
            sqlx::query_as(
                "SELECT m.seq, m.stage, m.attempt, m.at, m.tries, j.id, j.task, j.item, j.item_type, j.arch,
                        e.id AS event, e.document, x.state, x.reason, x.outcome, x.attempts
                 FROM messages m JOIN jobs j ON j.seq = m.job LEFT JOIN events e ON e.seq = j.event
                      LEFT JOIN ended x ON x.job = m.job
                 WHERE m.due_at <= $1
                   AND NOT EXISTS (SELECT 1 FROM messages p WHERE p.job = m.job AND p.seq < m.seq AND p.due_at > $1)
                 ORDER BY m.seq LIMIT $2",
            )
            .bind(now.0)
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await?
        });
        rows.into_iter().map(Row::read).collect()
    }

    /// The broker has them.
    pub async fn messages_sent(&self, seqs: &[i64]) -> Result<()> {
        let seqs = sorted(seqs);
        retrying(async || {
            let mut work = self.begin().await?;
            match &mut work.tx {
                Tx::Pg(tx) => {
                    sqlx::query("DELETE FROM messages WHERE seq = ANY ($1)").bind(&seqs).execute(&mut **tx).await?;
                }
                Tx::Lite(tx) => {
                    sqlx::query("DELETE FROM messages WHERE seq IN (SELECT value FROM json_each($1))")
                        .bind(json!(seqs).to_string())
                        .execute(&mut **tx)
                        .await?;
                }
            }
            work.commit().await
        })
        .await
    }

    /// The broker did not take this one: it is due again at `until`, and the later ones of its job after it.
    pub async fn postpone_message(&self, seq: i64, until: Time, error: &str) -> Result<()> {
        retrying(async || {
            let mut work = self.begin().await?;
            on_tx!(&mut work.tx, |conn| {
                sqlx::query("UPDATE messages SET due_at = $2, tries = tries + 1, error = $3 WHERE seq = $1")
                    .bind(seq)
                    .bind(until.0)
                    .bind(clean(error))
                    .execute(conn)
                    .await?;
            });
            work.commit().await
        })
        .await
    }

    pub async fn untold(&self) -> Result<Untold> {
        let (messages, refused, since, error): (i64, i64, Option<i64>, Option<String>) = on_read!(self.db(), |pool| {
            sqlx::query_as(
                "SELECT count(*), count(error), (SELECT at FROM messages ORDER BY seq LIMIT 1),
                        (SELECT error FROM messages WHERE error IS NOT NULL ORDER BY seq LIMIT 1)
                 FROM messages",
            )
            .fetch_one(pool)
            .await?
        });
        Ok(Untold { messages: nat(messages), since: since.map(Time), refused: nat(refused), error })
    }

    /// Notes the end of announced jobs that ended while nobody was there to note it: a master without messages had them.
    pub async fn announce_ends(&self) -> Result<u64> {
        retrying(async || {
            let mut work = self.begin().await?;
            let now = work.now.0;
            // On PostgreSQL others end jobs meanwhile: what is noted is what is taken away, in one statement.
            let rows = match &mut work.tx {
                Tx::Pg(tx) => sqlx::query(
                    "WITH told AS (
                         DELETE FROM announced a USING ended x WHERE x.job = a.job RETURNING a.job, x.ended_at)
                     INSERT INTO messages (job, stage, attempt, at, due_at)
                     SELECT job, 'ended', 0, ended_at, $1 FROM told ORDER BY job",
                )
                .bind(now)
                .execute(&mut **tx)
                .await?
                .rows_affected(),
                Tx::Lite(tx) => {
                    let rows = sqlx::query(
                        "INSERT INTO messages (job, stage, attempt, at, due_at)
                         SELECT x.job, 'ended', 0, x.ended_at, $1 FROM announced a JOIN ended x ON x.job = a.job
                         ORDER BY x.job",
                    )
                    .bind(now)
                    .execute(&mut **tx)
                    .await?
                    .rows_affected();
                    sqlx::query("DELETE FROM announced WHERE job IN (SELECT job FROM ended)")
                        .execute(&mut **tx)
                        .await?;
                    rows
                }
            };
            work.commit().await?;
            Ok(rows)
        })
        .await
    }
}

/// Jobs were made.
pub(super) async fn queued(work: &mut Work, wanted: &[Wanted<'_>], made: &HashMap<Uuid, i64>) -> Result<()> {
    let Some(announced) = work.announced.clone() else { return Ok(()) };
    let told: Vec<Uuid> = (wanted.iter().filter(|w| !w.admitted.is_search()).map(|w| &w.admitted.job))
        .filter(|job| made.contains_key(&job.key.0) && announced.takes(&job.task, &job.item_type))
        .map(|job| job.key.0)
        .collect();
    if told.is_empty() {
        return Ok(());
    }
    let now = work.now.0;
    match &mut work.tx {
        Tx::Pg(tx) => {
            sqlx::query(
                "WITH told AS (
                     INSERT INTO announced (job) SELECT seq FROM jobs WHERE id = ANY ($1) ORDER BY seq RETURNING job)
                 INSERT INTO messages (job, stage, attempt, at, due_at) SELECT job, 'queued', 0, $2, $2 FROM told
                 ORDER BY job",
            )
            .bind(told)
            .bind(now)
            .execute(&mut **tx)
            .await?;
        }
        Tx::Lite(tx) => {
            let told = json!(told.iter().map(|id| id.simple().to_string()).collect::<Vec<_>>()).to_string();
            for sql in [
                "INSERT INTO announced (job)
                 SELECT j.seq FROM json_each($1) g JOIN jobs j ON j.id = unhex(g.value) WHERE $2 > 0",
                "INSERT INTO messages (job, stage, attempt, at, due_at)
                 SELECT j.seq, 'queued', 0, $2, $2 FROM json_each($1) g JOIN jobs j ON j.id = unhex(g.value)
                 ORDER BY j.seq",
            ] {
                sqlx::query(sql).bind(&told).bind(now).execute(&mut **tx).await?;
            }
        }
    }
    Ok(())
}

/// Attempts began: (job, attempt). Whether anything is to be told of them.
pub(super) async fn running(work: &mut Work, begun: &[(i64, i32)]) -> Result<bool> {
    if work.announced.is_none() || begun.is_empty() {
        return Ok(false);
    }
    let now = work.now.0;
    let rows = match &mut work.tx {
        Tx::Pg(tx) => {
            let (jobs, attempts): (Vec<i64>, Vec<i32>) = begun.iter().copied().unzip();
            sqlx::query(
                "INSERT INTO messages (job, stage, attempt, at, due_at)
                 SELECT a.job, 'running', g.attempt, $3, $3 FROM unnest($1::bigint[], $2::int[]) AS g (job, attempt)
                 JOIN announced a ON a.job = g.job ORDER BY a.job",
            )
            .bind(jobs)
            .bind(attempts)
            .bind(now)
            .execute(&mut **tx)
            .await?
            .rows_affected()
        }
        Tx::Lite(tx) => sqlx::query(
            "INSERT INTO messages (job, stage, attempt, at, due_at)
             SELECT a.job, 'running', g.value->>1, $2, $2 FROM json_each($1) g
             JOIN announced a ON a.job = g.value->>0 ORDER BY a.job",
        )
        .bind(json!(begun).to_string())
        .bind(now)
        .execute(&mut **tx)
        .await?
        .rows_affected(),
    };
    Ok(rows > 0)
}

/// Jobs ended.
pub(super) async fn ended(work: &mut Work, rows: &[EndedRow]) -> Result<()> {
    if work.announced.is_none() || rows.is_empty() {
        return Ok(());
    }
    let now = work.now.0;
    let jobs: Vec<i64> = rows.iter().map(|row| row.job).collect();
    match &mut work.tx {
        Tx::Pg(tx) => {
            sqlx::query(
                "WITH told AS (DELETE FROM announced WHERE job = ANY ($1) RETURNING job)
                 INSERT INTO messages (job, stage, attempt, at, due_at) SELECT job, 'ended', 0, $2, $2 FROM told
                 ORDER BY job",
            )
            .bind(jobs)
            .bind(now)
            .execute(&mut **tx)
            .await?;
        }
        Tx::Lite(tx) => {
            let jobs = json!(jobs).to_string();
            sqlx::query(
                "INSERT INTO messages (job, stage, attempt, at, due_at)
                 SELECT job, 'ended', 0, $2, $2 FROM announced WHERE job IN (SELECT value FROM json_each($1))
                 ORDER BY job",
            )
            .bind(&jobs)
            .bind(now)
            .execute(&mut **tx)
            .await?;
            sqlx::query("DELETE FROM announced WHERE job IN (SELECT value FROM json_each($1))")
                .bind(&jobs)
                .execute(&mut **tx)
                .await?;
        }
    }
    Ok(())
}

fn sorted(seqs: &[i64]) -> Vec<i64> {
    let mut seqs = seqs.to_vec();
    seqs.sort_unstable();
    seqs
}

#[derive(FromRow)]
struct Row {
    seq: i64,
    stage: String,
    attempt: i32,
    at: i64,
    tries: i32,
    id: Uuid,
    task: String,
    item: String,
    item_type: String,
    arch: String,
    event: Option<String>,
    document: Option<String>,
    state: Option<String>,
    reason: Option<String>,
    outcome: Option<String>,
    attempts: Option<i32>,
}

impl Row {
    fn read(self) -> Result<Message> {
        let wrong = |value: &str| corrupt("messages", "stage", self.seq, value);
        let stage = match (self.stage.as_str(), self.state) {
            ("queued", _) => Stage::Queued,
            ("running", _) => Stage::Running { attempt: count(self.attempt) },
            ("ended", Some(state)) => {
                let outcome = self.outcome.map(|text| Outcome::parse(&text).ok_or_else(|| wrong(&text))).transpose()?;
                Stage::Ended {
                    state: state.parse().map_err(|_| wrong(&state))?,
                    reason: self.reason.unwrap_or_default(),
                    outcome,
                    attempts: self.attempts.map_or(0, count),
                }
            }
            (stage, _) => return Err(wrong(stage)),
        };
        let event = match (self.event, self.document) {
            (Some(id), Some(document)) => Some(Document::read(&id, &document)?.body),
            _ => None,
        };
        Ok(Message {
            seq: self.seq,
            job: JobId(self.id),
            stage,
            at: Time(self.at),
            task: self.task,
            item: self.item,
            item_type: self.item_type,
            arch: self.arch,
            event,
            tries: count(self.tries),
        })
    }
}
