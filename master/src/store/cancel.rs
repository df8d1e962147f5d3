//! Stopping what still runs at the deadline of an idle.

use db::on_read;
use model::operator::{Mode, OnDeadline};

use super::number::nat;
use super::tx::{Work, on_tx, retrying};
use super::{Result, Store, mode};

impl Store {
    /// Tells the workers to stop what runs, to be queued again, where a drain's deadline asks for it and `may` says it of
    /// the version of the job's task; how many that concerns.
    pub async fn requeue_running(&self, reason: &str, may: &(dyn Fn(i64) -> bool + Sync)) -> Result<u64> {
        retrying(async || {
            let Some(mut work) = self.begin_late(OnDeadline::Requeue).await? else { return Ok(0) };
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
            let Some(mut work) = self.begin_late(OnDeadline::Kill).await? else { return Ok(0) };
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

    /// Begins what is to be done at a drain's deadline where that has passed. None: since the caller looked, a person may
    /// have resumed, and what runs now may have begun after that. No resume, and no claim, comes before the commit.
    ///
    /// Nothing is given out any more: what began after the deadline would only be stopped again.
    async fn begin_late(&self, how: OnDeadline) -> Result<Option<Work>> {
        let mut work = self.begin_alone().await?;
        let mode = mode::read(&mut work).await?;
        let late = mode.deadline.is_some_and(|deadline| work.now >= deadline);
        if mode.mode != Mode::Draining || mode.on_deadline != how || !late {
            return Ok(None);
        }
        on_tx!(&mut work.tx, |conn| {
            sqlx::query("UPDATE mode SET finish_through = NULL WHERE finish_through IS NOT NULL").execute(conn).await?;
        });
        work.finish_through = None;
        Ok(Some(work))
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
