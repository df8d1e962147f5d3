//! Stopping jobs because a person said so.

use db::on_read;
use model::operator::{Mode, OnDeadline};
use model::{JobId, JobState};

use super::error::corrupt;
use super::moves::{EndedRow, Moves};
use super::number::nat;
use super::text::clean;
use super::tx::{Work, on_tx, retrying};
use super::types::{Act, Cancel};
use super::{Result, Store, audit, keys, mode};

impl Store {
    /// One answer for each job, in order. What runs is only marked: the worker is told when it renews.
    pub async fn cancel(&self, jobs: &[JobId], act: &Act) -> Result<Vec<Cancel>> {
        let mut order: Vec<usize> = (0..jobs.len()).collect();
        order.sort_by_key(|i| jobs[*i]);
        let (answers, ring) = retrying(async || {
            let mut work = self.begin().await?;
            let mut answers = vec![Cancel::Unknown; jobs.len()];
            for i in &order {
                answers[*i] = cancel(&mut work, jobs[*i], act).await?;
            }
            audit::record(&mut work, act).await?;
            let ring = work.woken;
            work.commit().await?;
            Ok((answers, ring))
        })
        .await?;
        if ring {
            self.ring();
        }
        Ok(answers)
    }

    /// Tells the workers to stop what runs, to be queued again, where a drain's deadline asks for it and `may` says it of
    /// the version of the job's task; how many that concerns.
    pub async fn requeue_running(&self, reason: &str, may: &(dyn Fn(i64) -> bool + Sync)) -> Result<u64> {
        retrying(async || {
            let mut work = self.begin().await?;
            if !is_due(&mut work, OnDeadline::Requeue).await? {
                return Ok(0);
            }
            let mut rows = 0;
            for (version, _) in running_tasks(&mut work).await?.into_iter().filter(|(version, _)| may(*version)) {
                rows += on_tx!(&mut work.tx, |conn| {
                    sqlx::query(
                        "UPDATE leases SET cancel = $1, requeue = TRUE WHERE cancel IS NULL
                         AND job IN (SELECT l.job FROM leases l JOIN jobs j ON j.seq = l.job WHERE j.task_version = $2)",
                    )
                    .bind(reason)
                    .bind(version)
                    .execute(conn)
                    .await?
                    .rows_affected()
                });
            }
            work.commit().await?;
            Ok(rows)
        })
        .await
    }

    /// Tells the workers to stop whatever runs, to end cancelled, where a drain's deadline asks for it; how many that
    /// concerns.
    pub async fn kill_running(&self, reason: &str) -> Result<u64> {
        retrying(async || {
            let mut work = self.begin().await?;
            if !is_due(&mut work, OnDeadline::Kill).await? {
                return Ok(0);
            }
            let rows = on_tx!(&mut work.tx, |conn| {
                sqlx::query("UPDATE leases SET cancel = $1, successor = NULL WHERE cancel IS NULL")
                    .bind(reason)
                    .execute(conn)
                    .await?
                    .rows_affected()
            });
            work.commit().await?;
            Ok(rows)
        })
        .await
    }

    /// How many jobs run by each version of a task.
    pub async fn running_by_task(&self) -> Result<Vec<(i64, u64)>> {
        let rows: Vec<(i64, i64)> = on_read!(self.db(), |pool| sqlx::query_as(RUNNING_BY_TASK).fetch_all(pool).await?);
        Ok(rows.into_iter().map(|(version, jobs)| (version, nat(jobs))).collect())
    }
}

const RUNNING_BY_TASK: &str =
    "SELECT j.task_version, count(*) FROM leases l JOIN jobs j ON j.seq = l.job GROUP BY j.task_version ORDER BY 1";

async fn running_tasks(work: &mut Work) -> Result<Vec<(i64, i64)>> {
    Ok(on_tx!(&mut work.tx, |conn| sqlx::query_as(RUNNING_BY_TASK).fetch_all(conn).await?))
}

/// Whether a drain's deadline has passed at which this is to be done: since the caller looked, a person may have resumed,
/// and what runs now may have begun after that. No resume comes before the commit.
async fn is_due(work: &mut Work, how: OnDeadline) -> Result<bool> {
    let mode = mode::read(work).await?;
    let late = mode.deadline.is_some_and(|deadline| work.now >= deadline);
    Ok(mode.mode == Mode::Draining && mode.on_deadline == how && late)
}

/// Looks for the job where it can be, in the order in which jobs go; one that goes back meanwhile (a lease that runs
/// out) is looked for once more.
async fn cancel(work: &mut Work, job: JobId, act: &Act) -> Result<Cancel> {
    let seq: Option<i64> = on_tx!(&mut work.tx, |conn| {
        sqlx::query_scalar("SELECT seq FROM jobs WHERE id = $1").bind(job.0).fetch_optional(conn).await?
    });
    let Some(seq) = seq else { return Ok(Cancel::Unknown) };
    keys::lock_those_of(work, &[seq]).await?;
    let reason = clean(&format!("cancelled by {}: {}", act.actor, act.reason)).into_owned();
    for _ in 0..3 {
        if let Some(attempt) = unqueue(work, seq).await? {
            let end = EndedRow {
                job: seq,
                state: JobState::Cancelled,
                reason: reason.clone(),
                outcome: None,
                attempts: attempt - 1,
                successor: None,
                keyed: true,
            };
            Moves { ended: vec![end], ..Moves::default() }.write(work).await?;
            return Ok(Cancel::Ended);
        }
        // A person's wish to end it outweighs a drain's to have it run elsewhere, and a newer job's to have its place.
        let marked = on_tx!(&mut work.tx, |conn| {
            sqlx::query("UPDATE leases SET cancel = $2, requeue = FALSE, successor = NULL WHERE job = $1")
                .bind(seq)
                .bind(&reason)
                .execute(conn)
                .await?
                .rows_affected()
        });
        if marked > 0 {
            return Ok(Cancel::Asked);
        }
        let state: Option<String> = on_tx!(&mut work.tx, |conn| {
            sqlx::query_scalar("SELECT state FROM ended WHERE job = $1").bind(seq).fetch_optional(conn).await?
        });
        if let Some(state) = state {
            return Ok(Cancel::Already(state.parse().map_err(|_| corrupt("ended", "state", job, &state))?));
        }
    }
    Err(corrupt("jobs", "state", job, "none of the tables that a job can be in"))
}

/// Takes a job out of the queue or out of waiting; the number of the attempt that does not come.
async fn unqueue(work: &mut Work, seq: i64) -> Result<Option<i32>> {
    for sql in
        ["DELETE FROM waiting WHERE job = $1 RETURNING attempt", "DELETE FROM queued WHERE job = $1 RETURNING attempt"]
    {
        let attempt = on_tx!(&mut work.tx, |conn| sqlx::query_scalar(sql).bind(seq).fetch_optional(conn).await?);
        if attempt.is_some() {
            return Ok(attempt);
        }
    }
    Ok(None)
}
