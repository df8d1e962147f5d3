//! The end of attempts: what was reported, what that means for the job, and what is to be published.

use std::collections::{HashMap, HashSet};

use model::lease::Receipt;
use model::{End, Finding, JobId, Time};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::error::corrupt;
use super::moves::{AttemptRow, EndedRow, Moves, OutboxRow, QueuedRow, UnsettledRow, WaitingRow};
use super::number::{count, int, small};
use super::text::clean;
use super::tx::{Tx, Work, retrying};
use super::types::{Decide, Ending, Next, ReportIn};
use super::{Result, Store, Token};

impl Store {
    /// One receipt for each report, in order.
    pub async fn finish(&self, worker: &str, reports: &[ReportIn], decide: Decide<'_>) -> Result<Vec<Receipt>> {
        let reports: Vec<_> = reports.iter().map(|report| (worker.to_owned(), report.clone())).collect();
        self.finish_many(&reports, decide).await
    }

    /// The same for the reports of many workers in one transaction: (worker, report).
    pub async fn finish_many(&self, reports: &[(String, ReportIn)], decide: Decide<'_>) -> Result<Vec<Receipt>> {
        let tokens: Vec<Option<Token>> = reports.iter().map(|(_, report)| report.token.parse().ok()).collect();
        let mut asked: Vec<Asked<'_>> = (tokens.iter().zip(reports))
            .filter_map(|(token, (worker, report))| Some(Asked { token: token.as_ref()?, worker, report }))
            .collect();
        // In the order of their jobs, so that two batches wait for each other instead of both; one report an attempt.
        asked.sort_by_key(|a| a.token);
        asked.dedup_by_key(|a| a.token);
        let (accepted, ring) = retrying(async || {
            let mut work = self.begin().await?;
            let taken = take_reported(&mut work, &asked).await?;
            let mut accepted: HashSet<&Token> = HashSet::new();
            let mut moves = Moves::default();
            for a in &asked {
                if let Some(taken) = taken.get(a.token.secret.as_slice()) {
                    accepted.insert(a.token);
                    moves.end(taken, &Told::by(a.report), work.now, decide);
                }
            }
            let late: Vec<&Asked<'_>> = asked.iter().filter(|a| !accepted.contains(a.token)).collect();
            if !late.is_empty() {
                let known = reported_before(&mut work, &late).await?;
                let (repeated, stale): (Vec<_>, Vec<_>) =
                    late.into_iter().partition(|a| known.contains(&a.token.secret));
                accepted.extend(repeated.iter().map(|a| a.token));
                keep_stale(&mut work, &stale).await?;
            }
            moves.write(&mut work).await?;
            let ring = work.woken || !moves.queued.is_empty() || !moves.outbox.is_empty();
            work.commit().await?;
            Ok((accepted, ring))
        })
        .await?;
        if ring {
            self.ring();
        }
        let receipt = |token: &Option<Token>| match token {
            Some(token) if accepted.contains(token) => Receipt::Accepted,
            Some(_) | None => Receipt::Gone,
        };
        Ok(tokens.iter().map(receipt).collect())
    }
}

struct Asked<'a> {
    token: &'a Token,
    worker: &'a str,
    report: &'a ReportIn,
}

/// What is known of an attempt's end: a report, or that there was none.
pub(super) struct Told<'a> {
    end: &'a End,
    findings: &'a [Finding],
    note: Option<&'a str>,
    ran: Option<i64>,
    claimed_end: Option<i64>,
    log_size: u64,
    enforced: Option<String>,
    reported: bool,
}

impl<'a> Told<'a> {
    fn by(report: &'a ReportIn) -> Told<'a> {
        Told {
            end: &report.end,
            findings: &report.findings,
            note: report.note.as_deref(),
            ran: Some(report.ran.micros()),
            claimed_end: report.ended_at.map(|at| at.0),
            log_size: report.log_size,
            enforced: (!report.enforced.is_empty()).then(|| json!(report.enforced).to_string()),
            reported: true,
        }
    }

    pub(super) fn lost() -> Told<'static> {
        Told {
            end: &End::Lost,
            findings: &[],
            note: None,
            ran: None,
            claimed_end: None,
            log_size: 0,
            enforced: None,
            reported: false,
        }
    }
}

/// A lease that has just been taken away, with its job and the ends of its earlier attempts.
#[derive(sqlx::FromRow)]
pub(super) struct Taken {
    pub job: i64,
    pub id: Uuid,
    pub attempt: i32,
    needs: i32,
    rank: i64,
    secret: Vec<u8>,
    worker: String,
    started_at: i64,
    cancel: Option<String>,
    requeue: bool,
    successor: Option<i64>,
    task: String,
    item: String,
    item_type: String,
    arch: String,
    /// JSON: an object.
    params: String,
    task_version: i64,
    expires_at: Option<i64>,
    keyed: bool,
    /// JSON: an array of ends.
    ends: Option<String>,
    #[sqlx(skip)]
    earlier: Vec<End>,
    #[sqlx(skip)]
    given: Map<String, Value>,
}

macro_rules! taken_columns {
    () => {
        "l.job, j.id, l.attempt, l.needs, l.rank, l.secret, l.worker, l.started_at, l.cancel, l.requeue, l.successor, j.task,
         j.item,
         j.item_type, j.arch, j.params, j.task_version, j.expires_at,
         (j.supersede_policy IS NOT NULL OR j.limit_most IS NOT NULL) AS keyed"
    };
}
/// The ends of the attempts before, in their order, as a JSON array.
macro_rules! earlier_ends {
    ($job:literal) => {
        concat!(
            "(SELECT '[' || string_agg(a.how, ',' ORDER BY a.attempt) || ']' FROM attempts a WHERE a.job = ",
            $job,
            ") AS ends"
        )
    };
}
pub(super) use {earlier_ends, taken_columns};

impl Taken {
    pub(super) fn read(mut self) -> Result<Taken> {
        if let Some(text) = &self.ends {
            self.earlier = serde_json::from_str(text).map_err(|_| corrupt("attempts", "how", JobId(self.id), text))?;
        }
        self.given =
            serde_json::from_str(&self.params).map_err(|_| corrupt("jobs", "params", JobId(self.id), &self.params))?;
        Ok(self)
    }
}

impl Moves {
    /// Adds the end of an attempt, and where it moves its job.
    pub(super) fn end(&mut self, taken: &Taken, told: &Told<'_>, now: Time, decide: Decide<'_>) {
        let end = match told.end {
            // Nobody wants the job to end: it was stopped so that another worker can have it.
            End::Cancelled if taken.requeue => End::HandedBack,
            end => end.clone(),
        };
        self.attempts.push(AttemptRow {
            job: taken.job,
            attempt: taken.attempt,
            worker: taken.worker.clone(),
            started_at: taken.started_at,
            ran: told.ran,
            claimed_end: told.claimed_end,
            how: json!(end).to_string(),
            outcome: told.findings.iter().map(|finding| finding.outcome).max(),
            note: told.note.map(str::to_owned),
            log_size: int(told.log_size),
            enforced: told.enforced.clone(),
            secret: told.reported.then(|| taken.secret.clone()),
        });
        let stopped = taken.cancel.is_some() && !taken.requeue;
        if let (Some(successor), true) = (taken.successor, stopped) {
            // Whatever it found out while it was being stopped: nobody wants to know that any more.
            return self.ended.push(EndedRow {
                reason: "a newer job of its key came while it ran".into(),
                ..EndedRow::superseded(taken.job, taken.attempt + 1, successor)
            });
        }
        let mut ends = taken.earlier.clone();
        ends.push(end);
        let next = decide(&Ending {
            job: JobId(taken.id),
            attempt: count(taken.attempt),
            task_version: taken.task_version,
            task: taken.task.clone(),
            item: taken.item.clone(),
            item_type: taken.item_type.clone(),
            arch: taken.arch.clone(),
            params: taken.given.clone(),
            ends,
            findings: told.findings.to_vec(),
            note: told.note.map(str::to_owned),
            cancelled: stopped,
            now,
        });
        match (next, taken.successor) {
            (Next::Again { .. }, Some(successor)) => {
                self.ended.push(EndedRow::superseded(taken.job, taken.attempt + 1, successor));
            }
            (next @ (Next::Again { .. } | Next::Unsettled { .. } | Next::Ended { .. }), _) => {
                self.follow(taken, next, now)
            }
        }
    }

    fn follow(&mut self, taken: &Taken, next: Next, now: Time) {
        let Taken { job, attempt, needs, rank, expires_at, keyed, .. } = *taken;
        match next {
            Next::Again { at: Some(at), reason } if at > now => {
                self.waiting.push(WaitingRow { job, attempt: attempt + 1, until_at: at.0, reason, expires_at });
            }
            // It keeps its rank: it has waited longer than what came after it.
            Next::Again { .. } => self.queued.push(QueuedRow { job, attempt: attempt + 1, needs, rank, expires_at }),
            // It waits for no moment, and so its own does not pass either.
            Next::Unsettled { reason } => {
                self.unsettled.push(UnsettledRow { job, attempt: attempt + 1, reason });
            }
            Next::Ended { state, reason, outcome, results } => {
                self.ended.push(EndedRow { job, state, reason, outcome, attempts: attempt, successor: None, keyed });
                let row =
                    |result: super::Publication| OutboxRow { key: result.key, job, body: result.body.to_string() };
                self.outbox.extend(results.into_iter().map(row));
            }
        }
    }
}

/// Takes the leases away that these reports hold: the DELETE by (job, attempt, secret) is the fence.
async fn take_reported(work: &mut Work, asked: &[Asked<'_>]) -> Result<HashMap<Vec<u8>, Taken>> {
    let rows: Vec<Taken> = match &mut work.tx {
        Tx::Pg(tx) => {
            let (ids, attempts, secrets) = columns(asked.iter());
            sqlx::query_as(concat!(
                "WITH gone AS (
                     DELETE FROM leases l USING unnest($1::uuid[], $2::int[], $3::bytea[]) AS g (id, attempt, secret),
                         jobs j
                     WHERE j.id = g.id AND l.job = j.seq AND l.attempt = g.attempt AND l.secret = g.secret
                     RETURNING ",
                taken_columns!(),
                ") SELECT gone.*, ",
                earlier_ends!("gone.job"),
                " FROM gone"
            ))
            .bind(ids)
            .bind(attempts)
            .bind(secrets)
            .fetch_all(&mut **tx)
            .await?
        }
        Tx::Lite(tx) => {
            let rows: Vec<Taken> = sqlx::query_as(concat!(
                "SELECT ",
                taken_columns!(),
                ", ",
                earlier_ends!("l.job"),
                " FROM json_each($1) g JOIN jobs j ON j.id = unhex(g.value->>0)
                       JOIN leases l ON l.job = j.seq AND l.attempt = g.value->>1 AND l.secret = unhex(g.value->>2)"
            ))
            .bind(batch(asked.iter()))
            .fetch_all(&mut **tx)
            .await?;
            release(tx, &rows).await?;
            rows
        }
    };
    rows.into_iter().map(|row| Ok((row.secret.clone(), row.read()?))).collect()
}

/// Deletes leases that were read in the same transaction.
pub(super) async fn release(tx: &mut sqlx::Transaction<'static, sqlx::Sqlite>, rows: &[Taken]) -> Result<()> {
    let jobs: Vec<i64> = rows.iter().map(|row| row.job).collect();
    sqlx::query("DELETE FROM leases WHERE job IN (SELECT value FROM json_each($1))")
        .bind(json!(jobs).to_string())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// The secrets of those whose attempt ended by the same report before.
async fn reported_before(work: &mut Work, late: &[&Asked<'_>]) -> Result<HashSet<[u8; 16]>> {
    let rows: Vec<Vec<u8>> = match &mut work.tx {
        Tx::Pg(tx) => {
            let (ids, attempts, secrets) = columns(late.iter().copied());
            sqlx::query_scalar(
                "SELECT a.secret FROM unnest($1::uuid[], $2::int[], $3::bytea[]) AS g (id, attempt, secret)
                 JOIN jobs j ON j.id = g.id
                 JOIN attempts a ON a.job = j.seq AND a.attempt = g.attempt AND a.secret = g.secret",
            )
            .bind(ids)
            .bind(attempts)
            .bind(secrets)
            .fetch_all(&mut **tx)
            .await?
        }
        Tx::Lite(tx) => {
            sqlx::query_scalar(
                "SELECT a.secret FROM json_each($1) g JOIN jobs j ON j.id = unhex(g.value->>0)
                 JOIN attempts a ON a.job = j.seq AND a.attempt = g.value->>1 AND a.secret = unhex(g.value->>2)",
            )
            .bind(batch(late.iter().copied()))
            .fetch_all(&mut **tx)
            .await?
        }
    };
    Ok(rows.into_iter().filter_map(|secret| secret.try_into().ok()).collect())
}

/// Keeps reports that came too late, for people. There are few, so each is a statement of its own.
async fn keep_stale(work: &mut Work, stale: &[&Asked<'_>]) -> Result<()> {
    const KEEP: [&str; 2] = [
        "INSERT INTO stale_reports (job, attempt, secret, worker, received_at, how, note, findings, log_size)
         SELECT seq, $2, $3, $4, $5, $6, $7, $8, $9 FROM jobs WHERE id = $1
         ON CONFLICT (job, attempt, secret) DO NOTHING",
        // The job is not here: a backup was put back, and its trigger has not yet sent it again.
        "INSERT INTO unknown_reports (id, attempt, secret, worker, received_at, how, note, findings, log_size)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9 WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE id = $1)
         ON CONFLICT (id, attempt, secret) DO NOTHING",
    ];
    let now = work.now;
    for a in stale {
        for sql in KEEP {
            super::tx::on_tx!(&mut work.tx, |conn| {
                sqlx::query(sql)
                    .bind(a.token.job.0)
                    .bind(small(a.token.attempt))
                    .bind(a.token.secret.as_slice())
                    .bind(a.worker)
                    .bind(now.0)
                    .bind(json!(a.report.end).to_string())
                    .bind(a.report.note.as_deref().map(clean))
                    .bind(json!(a.report.findings).to_string())
                    .bind(int(a.report.log_size))
                    .execute(conn)
                    .await?;
            });
        }
        tracing::warn!(
            job.id = %a.token.job, attempt = a.token.attempt, worker = a.worker, end = %a.report.end,
            "a report came after its lease was lost, and is kept for the record only"
        );
    }
    Ok(())
}

type Columns = (Vec<Uuid>, Vec<i32>, Vec<Vec<u8>>);

fn columns<'a>(asked: impl Iterator<Item = &'a Asked<'a>>) -> Columns {
    let mut columns = Columns::default();
    for Asked { token, .. } in asked {
        columns.0.push(token.job.0);
        columns.1.push(small(token.attempt));
        columns.2.push(token.secret.to_vec());
    }
    columns
}

fn batch<'a>(asked: impl Iterator<Item = &'a Asked<'a>>) -> String {
    let row = |a: &Asked<'_>| json!([a.token.job.0.simple().to_string(), a.token.attempt, hex::encode(a.token.secret)]);
    json!(asked.map(row).collect::<Vec<_>>()).to_string()
}
