//! What happens because time has passed: leases run out, waiting ends, jobs become pointless.

use model::{JobId, Time};

use super::finish::{Taken, Told, earlier_ends, release, taken_columns};
use super::moves::{EndedRow, Moves};
use super::number::count;
use super::tx::{Tx, Work, retrying};
use super::types::{Decide, Expired};
use super::{Result, Store, keys};

/// Rows that one transaction moves at most, so that none is long.
const SLICE: i64 = 500;

impl Store {
    /// Ends the attempts whose lease has run out as lost, and the jobs that are pointless by now as expired.
    pub async fn expire(&self, decide: Decide<'_>) -> Result<Expired> {
        self.expire_as_of(self.now().await?, decide).await
    }

    /// The same, but a lease that had not run out at `seen` is left: who looked then, and was held up since, does not
    /// know whether anybody could have renewed it.
    pub async fn expire_as_of(&self, seen: Time, decide: Decide<'_>) -> Result<Expired> {
        let mut all = Expired::default();
        let mut ring = false;
        loop {
            let (lost, rings) = retrying(async || self.lose(seen, decide).await).await?;
            let more = lost.len() as i64 == SLICE;
            all.lost.extend(lost);
            ring |= rings;
            if !more {
                break;
            }
        }
        loop {
            let (expired, rings) = retrying(async || self.end_pointless().await).await?;
            all.expired += expired;
            ring |= rings;
            if expired == 0 {
                break;
            }
        }
        if ring {
            self.ring();
        }
        Ok(all)
    }

    /// Queues what has waited long enough, or lets it ask for its keys; how many that were.
    pub async fn promote(&self) -> Result<u64> {
        let mut all = 0;
        loop {
            let moved = retrying(async || {
                let mut work = self.begin().await?;
                if !work.active {
                    return Ok(0);
                }
                let mut moved = promote(&mut work).await?;
                if moved < SLICE as u64 {
                    let quiet = quiet_by_now(&mut work).await?;
                    keys::enter(&mut work, &quiet).await?;
                    moved += quiet.len() as u64;
                }
                work.commit().await?;
                Ok(moved)
            })
            .await?;
            all += moved;
            if moved < SLICE as u64 {
                break;
            }
        }
        if all > 0 {
            self.ring();
        }
        Ok(all)
    }

    async fn lose(&self, seen: Time, decide: Decide<'_>) -> Result<(Vec<(JobId, u32)>, bool)> {
        let mut work = self.begin().await?;
        if !work.active {
            return Ok((Vec::new(), false));
        }
        let mut moves = Moves::default();
        let mut lost = Vec::new();
        for taken in run_out(&mut work, seen).await? {
            let taken = taken.read()?;
            moves.end(&taken, &Told::lost(), work.now, decide);
            lost.push((JobId(taken.id), count(taken.attempt)));
        }
        if lost.is_empty() {
            return Ok((lost, false));
        }
        moves.write(&mut work).await?;
        let ring = work.woken || !moves.queued.is_empty() || !moves.outbox.is_empty();
        work.commit().await?;
        lost.sort_unstable();
        Ok((lost, ring))
    }

    async fn end_pointless(&self) -> Result<(u64, bool)> {
        let mut work = self.begin().await?;
        if !work.active {
            return Ok((0, false));
        }
        let rows = pointless(&mut work).await?;
        if rows.is_empty() {
            return Ok((0, false));
        }
        let ended = rows.iter().map(|(job, attempt)| EndedRow::expired(*job, *attempt)).collect();
        Moves { ended, ..Moves::default() }.write(&mut work).await?;
        let ring = work.woken;
        work.commit().await?;
        Ok((rows.len() as u64, ring))
    }
}

/// Takes away the leases that have run out. PostgreSQL skips those that somebody is just renewing or finishing.
async fn run_out(work: &mut Work, seen: Time) -> Result<Vec<Taken>> {
    let now = work.now.min(seen).0;
    match &mut work.tx {
        Tx::Pg(tx) => Ok(sqlx::query_as(concat!(
            "WITH gone AS (
                 DELETE FROM leases l USING jobs j
                 WHERE j.seq = l.job AND l.job = ANY (ARRAY (
                     SELECT job FROM leases WHERE expires_at <= $1 ORDER BY job LIMIT $2 FOR UPDATE SKIP LOCKED))
                 RETURNING ",
            taken_columns!(),
            ") SELECT gone.*, ",
            earlier_ends!("gone.job"),
            " FROM gone"
        ))
        .bind(now)
        .bind(SLICE)
        .fetch_all(&mut **tx)
        .await?),
        Tx::Lite(tx) => {
            let rows: Vec<Taken> = sqlx::query_as(concat!(
                "SELECT ",
                taken_columns!(),
                ", ",
                earlier_ends!("l.job"),
                " FROM leases l JOIN jobs j ON j.seq = l.job WHERE l.expires_at <= $1 ORDER BY l.job LIMIT $2"
            ))
            .bind(now)
            .bind(SLICE)
            .fetch_all(&mut **tx)
            .await?;
            release(tx, &rows).await?;
            Ok(rows)
        }
    }
}

/// Jobs that have waited whether another comes for their key, and none did. PostgreSQL skips what somebody is just
/// ending.
async fn quiet_by_now(work: &mut Work) -> Result<Vec<i64>> {
    macro_rules! select {
        ($lock:literal) => {
            concat!(
                "SELECT job FROM waiting WHERE until_at <= $1 AND quiet_since IS NOT NULL ORDER BY until_at LIMIT $2",
                $lock
            )
        };
    }
    let now = work.now.0;
    Ok(match &mut work.tx {
        Tx::Pg(tx) => {
            let sql = select!(" FOR UPDATE SKIP LOCKED");
            sqlx::query_scalar(sql).bind(now).bind(SLICE).fetch_all(&mut **tx).await?
        }
        Tx::Lite(tx) => sqlx::query_scalar(select!("")).bind(now).bind(SLICE).fetch_all(&mut **tx).await?,
    })
}

/// PostgreSQL does it in one statement, and skips what somebody is just cancelling; SQLite in two.
async fn promote(work: &mut Work) -> Result<u64> {
    let now = work.now.0;
    match &mut work.tx {
        Tx::Pg(tx) => Ok(sqlx::query(
            "WITH due AS (
                 DELETE FROM waiting WHERE job = ANY (ARRAY (
                     SELECT job FROM waiting WHERE until_at <= $1 AND quiet_since IS NULL
                     ORDER BY until_at LIMIT $2 FOR UPDATE SKIP LOCKED))
                 RETURNING job, attempt, expires_at, rank)
             INSERT INTO queued (job, attempt, needs, rank, expires_at)
             SELECT d.job, d.attempt, j.needs, COALESCE(d.rank, j.rank), d.expires_at
             FROM due d JOIN jobs j ON j.seq = d.job",
        )
        .bind(now)
        .bind(SLICE)
        .execute(&mut **tx)
        .await?
        .rows_affected()),
        Tx::Lite(tx) => {
            let moved = sqlx::query(
                "INSERT INTO queued (job, attempt, needs, rank, expires_at)
                 SELECT w.job, w.attempt, j.needs, COALESCE(w.rank, j.rank), w.expires_at
                 FROM waiting w JOIN jobs j ON j.seq = w.job
                 WHERE w.until_at <= $1 AND w.quiet_since IS NULL ORDER BY w.until_at LIMIT $2",
            )
            .bind(now)
            .bind(SLICE)
            .execute(&mut **tx)
            .await?
            .rows_affected();
            if moved > 0 {
                sqlx::query("DELETE FROM waiting WHERE job IN (SELECT job FROM queued)").execute(&mut **tx).await?;
            }
            Ok(moved)
        }
    }
}

/// Takes jobs whose time has passed out of the queue and out of waiting: (job, attempt to come).
async fn pointless(work: &mut Work) -> Result<Vec<(i64, i32)>> {
    let now = work.now.0;
    let mut rows: Vec<(i64, i32)> = Vec::new();
    match &mut work.tx {
        Tx::Pg(tx) => {
            for sql in [
                "DELETE FROM queued WHERE job = ANY (ARRAY (
                     SELECT job FROM queued WHERE expires_at <= $1 ORDER BY job LIMIT $2 FOR UPDATE SKIP LOCKED))
                 RETURNING job, attempt",
                "DELETE FROM waiting WHERE job = ANY (ARRAY (
                     SELECT job FROM waiting WHERE expires_at <= $1 ORDER BY job LIMIT $2 FOR UPDATE SKIP LOCKED))
                 RETURNING job, attempt",
            ] {
                rows.extend(sqlx::query_as::<_, (i64, i32)>(sql).bind(now).bind(SLICE).fetch_all(&mut **tx).await?);
            }
        }
        Tx::Lite(tx) => {
            for sql in [
                "DELETE FROM queued WHERE job IN (SELECT job FROM queued WHERE expires_at <= $1 LIMIT $2)
                 RETURNING job, attempt",
                "DELETE FROM waiting WHERE job IN (SELECT job FROM waiting WHERE expires_at <= $1 LIMIT $2)
                 RETURNING job, attempt",
            ] {
                rows.extend(sqlx::query_as::<_, (i64, i32)>(sql).bind(now).bind(SLICE).fetch_all(&mut **tx).await?);
            }
        }
    }
    Ok(rows)
}
