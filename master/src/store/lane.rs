//! The second lane: what has waited for a resume is let go slowly, and behind what comes in meanwhile.

use model::{Span, Time};

use super::Result;
use super::submit::PRIORITY_STEP;
use super::tx::{Work, on_tx};
use super::types::Release;

/// How much later a job of the backlog ranks than one that comes in when it is let go: so it is no hindrance to live
/// events, and yet starves no longer than this.
const BEHIND: Span = Span::minutes(60);

/// How many jobs go at once: what a second lets go.
fn at_once(rate: u32) -> i64 {
    i64::from(rate.div_ceil(60))
}

/// Moves the backlog from the queue to waiting, each job with the moment at which it is let go: `rate` of them a
/// minute, in their order. What an earlier resume still holds back is lined up anew with it; without a rate all of it
/// is queued.
pub(super) async fn line_up(work: &mut Work, rate: u32, reason: &str) -> Result<Release> {
    let (now, first) = (work.now.0, at_once(rate));
    let pace = if rate == 0 { 0 } else { Span::minutes(1).micros() / i64::from(rate) };
    let held = on_tx!(&mut work.tx, |conn| {
        sqlx::query(
            "INSERT INTO queued (job, attempt, needs, rank, expires_at)
             SELECT w.job, w.attempt, j.needs, j.rank, w.expires_at FROM waiting w JOIN jobs j ON j.seq = w.job
             WHERE w.rank IS NOT NULL",
        )
        .execute(&mut *conn)
        .await?;
        sqlx::query("DELETE FROM waiting WHERE rank IS NOT NULL").execute(&mut *conn).await?;
        if rate == 0 {
            0
        } else {
            // A place that was inherited counts in the line, and not against what comes in meanwhile.
            let held = sqlx::query(
                "INSERT INTO waiting (job, attempt, until_at, reason, expires_at, rank)
                 SELECT job, attempt, $1 + (n - $2) * $3, $4, expires_at, $1 + (n - $2) * $3 + $5 + worth
                 FROM (SELECT q.job, q.attempt, q.expires_at, -CAST(j.priority AS BIGINT) * $6 AS worth,
                              row_number() OVER (ORDER BY j.rank, q.job) AS n
                       FROM queued q JOIN jobs j ON j.seq = q.job) line
                 WHERE n > $2",
            )
            .bind(now)
            .bind(first)
            .bind(pace)
            .bind(reason)
            .bind(BEHIND.micros())
            .bind(PRIORITY_STEP.micros())
            .execute(&mut *conn)
            .await?
            .rows_affected();
            sqlx::query("DELETE FROM queued WHERE job IN (SELECT job FROM waiting WHERE rank IS NOT NULL)")
                .execute(conn)
                .await?;
            held
        }
    });
    Ok(Release { held, until: Time(now.saturating_add(pace.saturating_mul(i64::try_from(held).unwrap_or(i64::MAX)))) })
}

/// What a resume at this rate would hold back of a backlog.
pub fn plan(backlog: u64, rate: u32, now: Time) -> Release {
    let at_once = if rate == 0 { backlog } else { u64::from(rate.div_ceil(60)) };
    let held = backlog.saturating_sub(at_once);
    let seconds = if rate == 0 { 0 } else { held.saturating_mul(60) / u64::from(rate) };
    Release { held, until: now.plus(Span::seconds(seconds)) }
}
