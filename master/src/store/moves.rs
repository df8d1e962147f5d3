//! Where jobs go when they leave a lease or the queue: rows for the tables they enter, written together.

use std::collections::BTreeMap;

use model::{JobState, Outcome};
use serde_json::json;
use sqlx::{Sqlite, Transaction};
use uuid::Uuid;

use super::text::clean;
use super::tx::{Tx, Work, on_tx};
use super::{Result, keys, messages};

/// Rows to add, all in one go.
#[derive(Default)]
pub(super) struct Moves {
    pub attempts: Vec<AttemptRow>,
    pub queued: Vec<QueuedRow>,
    pub waiting: Vec<WaitingRow>,
    pub unsettled: Vec<UnsettledRow>,
    pub ended: Vec<EndedRow>,
    pub outbox: Vec<OutboxRow>,
}

pub(super) struct AttemptRow {
    pub job: i64,
    pub attempt: i32,
    pub worker: String,
    pub started_at: i64,
    pub ran: Option<i64>,
    pub claimed_end: Option<i64>,
    pub how: String,
    pub outcome: Option<Outcome>,
    pub note: Option<String>,
    pub log_size: i64,
    /// JSON: texts by name.
    pub enforced: Option<String>,
    pub secret: Option<Vec<u8>>,
}

pub(super) struct QueuedRow {
    pub job: i64,
    pub attempt: i32,
    pub needs: i32,
    pub rank: i64,
    pub expires_at: Option<i64>,
}

pub(super) struct WaitingRow {
    pub job: i64,
    pub attempt: i32,
    pub until_at: i64,
    pub reason: String,
    pub expires_at: Option<i64>,
}

/// Waits for a person, and for no moment.
pub(super) struct UnsettledRow {
    pub job: i64,
    pub attempt: i32,
    pub reason: String,
}

pub(super) struct EndedRow {
    pub job: i64,
    pub state: JobState,
    pub reason: String,
    pub outcome: Option<Outcome>,
    pub attempts: i32,
    /// Of a superseded one: the job that takes its place.
    pub successor: Option<i64>,
    /// Whether it may have keys, to be given back.
    pub keyed: bool,
}

pub(super) struct OutboxRow {
    pub key: Uuid,
    pub job: i64,
    pub body: String,
}

impl EndedRow {
    /// The end of a job whose time had passed before this attempt could begin.
    pub(super) fn expired(job: i64, attempt: i32) -> EndedRow {
        let reason = format!("its time had passed before {}", coming(attempt));
        EndedRow {
            job,
            state: JobState::Expired,
            reason,
            outcome: None,
            attempts: attempt - 1,
            successor: None,
            keyed: true,
        }
    }

    /// The end of a job that a newer one took the place of before this attempt could begin.
    pub(super) fn superseded(job: i64, attempt: i32, successor: i64) -> EndedRow {
        let reason = format!("a newer job of its key came before {}", coming(attempt));
        EndedRow {
            job,
            state: JobState::Superseded,
            reason,
            outcome: None,
            attempts: attempt - 1,
            successor: Some(successor),
            keyed: true,
        }
    }
}

/// What does not come to pass: "it could be tried again"
fn coming(attempt: i32) -> &'static str {
    if attempt > 1 { "it could be tried again" } else { "it could run" }
}

impl Moves {
    /// How the totals change.
    fn tally(&self) -> BTreeMap<String, i64> {
        let mut steps = BTreeMap::new();
        for row in &self.ended {
            *steps.entry(format!("state:{}", row.state)).or_default() += 1;
            if let Some(outcome) = row.outcome {
                *steps.entry(format!("outcome:{outcome}")).or_default() += 1;
            }
        }
        steps
    }

    /// PostgreSQL writes all tables in one statement, which costs one round trip; SQLite has no INSERT inside a
    /// SELECT, and no round trips. Where keys were given back the next of their lines have them.
    pub(super) async fn write(&self, work: &mut Work) -> Result<()> {
        let now = work.now.0;
        // There are few of them.
        for row in &self.unsettled {
            on_tx!(&mut work.tx, |conn| {
                sqlx::query(
                    "INSERT INTO waiting (job, attempt, until_at, reason, unsettled) VALUES ($1, $2, $3, $4, TRUE)",
                )
                .bind(row.job)
                .bind(row.attempt)
                .bind(i64::MAX)
                .bind(clean(&row.reason))
                .execute(conn)
                .await?;
            });
        }
        match &mut work.tx {
            Tx::Pg(tx) => self.write_postgres(tx, now).await?,
            Tx::Lite(tx) => self.write_sqlite(tx, now).await?,
        }
        work.announce_unjudged(&self.ended).await?;
        messages::ended(work, &self.ended).await?;
        let keyed: Vec<i64> = self.ended.iter().filter(|row| row.keyed).map(|row| row.job).collect();
        if keyed.is_empty() { Ok(()) } else { keys::leave(work, &keyed).await }
    }

    async fn write_postgres(&self, tx: &mut Transaction<'static, sqlx::Postgres>, now: i64) -> Result<()> {
        fn all<'r, R, T>(rows: &'r [R], of: impl Fn(&'r R) -> T) -> Vec<T> {
            rows.iter().map(of).collect()
        }
        let (names, deltas): (Vec<_>, Vec<_>) = self.tally().into_iter().unzip();
        sqlx::query(
            "WITH a AS (
                 INSERT INTO attempts (job, attempt, worker, started_at, ran, how, outcome, note, log_size, secret,
                     claimed_end, enforced, finished_at)
                 SELECT g.*, $1 FROM unnest($2::bigint[], $3::int[], $4::text[], $5::bigint[], $6::bigint[],
                     $7::text[], $8::text[], $9::text[], $10::bigint[], $11::bytea[], $32::bigint[],
                     $34::text[]) AS g),
             q AS (
                 INSERT INTO queued (job, attempt, needs, rank, expires_at)
                 SELECT * FROM unnest($12::bigint[], $13::int[], $14::int[], $15::bigint[], $16::bigint[])),
             w AS (
                 INSERT INTO waiting (job, attempt, until_at, reason, expires_at)
                 SELECT * FROM unnest($17::bigint[], $18::int[], $19::bigint[], $20::text[], $21::bigint[])),
             e AS (
                 INSERT INTO ended (job, state, reason, outcome, attempts, successor, ended_at)
                 SELECT g.*, $1 FROM unnest($22::bigint[], $23::text[], $24::text[], $25::text[], $26::int[],
                     $33::bigint[]) AS g),
             t AS (
                 INSERT INTO tally (name, delta) SELECT * FROM unnest($27::text[], $28::bigint[])),
             o AS (
                 INSERT INTO outbox (key, job, body, due_at)
                 SELECT g.*, $1 FROM unnest($29::uuid[], $30::bigint[], $31::text[]) AS g
                 ON CONFLICT (key) DO NOTHING)
             SELECT 1",
        )
        .bind(now)
        .bind(all(&self.attempts, |r| r.job))
        .bind(all(&self.attempts, |r| r.attempt))
        .bind(all(&self.attempts, |r| r.worker.as_str()))
        .bind(all(&self.attempts, |r| r.started_at))
        .bind(all(&self.attempts, |r| r.ran))
        .bind(all(&self.attempts, |r| r.how.as_str()))
        .bind(all(&self.attempts, |r| r.outcome.map(Outcome::name)))
        .bind(all(&self.attempts, |r| r.note.as_deref().map(clean)))
        .bind(all(&self.attempts, |r| r.log_size))
        .bind(all(&self.attempts, |r| r.secret.as_deref()))
        .bind(all(&self.queued, |r| r.job))
        .bind(all(&self.queued, |r| r.attempt))
        .bind(all(&self.queued, |r| r.needs))
        .bind(all(&self.queued, |r| r.rank))
        .bind(all(&self.queued, |r| r.expires_at))
        .bind(all(&self.waiting, |r| r.job))
        .bind(all(&self.waiting, |r| r.attempt))
        .bind(all(&self.waiting, |r| r.until_at))
        .bind(all(&self.waiting, |r| clean(&r.reason)))
        .bind(all(&self.waiting, |r| r.expires_at))
        .bind(all(&self.ended, |r| r.job))
        .bind(all(&self.ended, |r| r.state.name()))
        .bind(all(&self.ended, |r| clean(&r.reason)))
        .bind(all(&self.ended, |r| r.outcome.map(Outcome::name)))
        .bind(all(&self.ended, |r| r.attempts))
        .bind(names)
        .bind(deltas)
        .bind(all(&self.outbox, |r| r.key))
        .bind(all(&self.outbox, |r| r.job))
        .bind(all(&self.outbox, |r| r.body.as_str()))
        .bind(all(&self.attempts, |r| r.claimed_end))
        .bind(all(&self.ended, |r| r.successor))
        .bind(all(&self.attempts, |r| r.enforced.as_deref().map(clean)))
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    async fn write_sqlite(&self, tx: &mut Transaction<'static, Sqlite>, now: i64) -> Result<()> {
        let mut batches: Vec<(&'static str, Vec<serde_json::Value>)> = Vec::new();
        batches.push((
            "INSERT INTO attempts (job, attempt, worker, started_at, ran, how, outcome, note, log_size, secret,
                 claimed_end, enforced, finished_at)
             SELECT r.value->>0, r.value->>1, r.value->>2, r.value->>3, r.value->>4, r.value->>5, r.value->>6,
                 r.value->>7, r.value->>8, unhex(r.value->>9), r.value->>10,
                 r.value->>11, $2 FROM json_each($1) r",
            self.attempts
                .iter()
                .map(|r| {
                    json!([
                        r.job,
                        r.attempt,
                        r.worker,
                        r.started_at,
                        r.ran,
                        r.how,
                        r.outcome.map(Outcome::name),
                        r.note.as_deref().map(clean),
                        r.log_size,
                        r.secret.as_ref().map(hex::encode),
                        r.claimed_end,
                        r.enforced.as_deref().map(clean),
                    ])
                })
                .collect(),
        ));
        batches.push((
            "INSERT INTO queued (job, attempt, needs, rank, expires_at)
             SELECT r.value->>0, r.value->>1, r.value->>2, r.value->>3, r.value->>4 FROM json_each($1) r",
            self.queued.iter().map(|r| json!([r.job, r.attempt, r.needs, r.rank, r.expires_at])).collect(),
        ));
        batches.push((
            "INSERT INTO waiting (job, attempt, until_at, reason, expires_at)
             SELECT r.value->>0, r.value->>1, r.value->>2, r.value->>3, r.value->>4 FROM json_each($1) r",
            self.waiting
                .iter()
                .map(|r| json!([r.job, r.attempt, r.until_at, clean(&r.reason), r.expires_at]))
                .collect(),
        ));
        batches.push((
            "INSERT INTO ended (job, state, reason, outcome, attempts, successor, ended_at)
             SELECT r.value->>0, r.value->>1, r.value->>2, r.value->>3, r.value->>4, r.value->>5, $2
             FROM json_each($1) r",
            self.ended
                .iter()
                .map(|r| {
                    let outcome = r.outcome.map(Outcome::name);
                    json!([r.job, r.state.name(), clean(&r.reason), outcome, r.attempts, r.successor])
                })
                .collect(),
        ));
        batches.push((
            "INSERT INTO tally (name, delta) SELECT r.value->>0, r.value->>1 FROM json_each($1) r",
            self.tally().into_iter().map(|(name, delta)| json!([name, delta])).collect(),
        ));
        batches.push((
            "INSERT INTO outbox (key, job, body, due_at)
             SELECT unhex(r.value->>0), r.value->>1, r.value->>2, $2 FROM json_each($1) r WHERE true
             ON CONFLICT (key) DO NOTHING",
            self.outbox.iter().map(|r| json!([r.key.simple().to_string(), r.job, r.body])).collect(),
        ));
        for (sql, rows) in batches.into_iter().filter(|(_, rows)| !rows.is_empty()) {
            sqlx::query(sql).bind(json!(rows).to_string()).bind(now).execute(&mut **tx).await?;
        }
        Ok(())
    }
}
