//! What one master at a time does for all, and what is tidied up now and then.

use std::collections::BTreeMap;

use model::Span;

use super::tx::{Work, on_tx, retrying};
use super::{Result, Store};

impl Store {
    /// Whether `holder` has this duty now, for `term` from now: it was free, had run out, or was already held. A master
    /// of a passive site has none, and lets go of one that it still had: it would keep the active site from it.
    pub async fn take_duty(&self, name: &str, holder: &str, term: Span) -> Result<bool> {
        let epoch = self.epoch();
        retrying(async || {
            let mut work = self.begin().await?;
            if !work.active {
                let_go(&mut work, name, holder).await?;
                work.commit().await?;
                return Ok(false);
            }
            let (now, until) = (work.now.0, work.after(term).0);
            let rows = on_tx!(&mut work.tx, |conn| {
                sqlx::query(
                    "INSERT INTO duties (name, holder, epoch, until_at) VALUES ($1, $2, $3, $4)
                     ON CONFLICT (name) DO UPDATE
                     SET holder = excluded.holder, epoch = excluded.epoch, until_at = excluded.until_at
                     WHERE duties.holder = excluded.holder OR duties.until_at <= $5 OR duties.epoch < excluded.epoch",
                )
                .bind(name)
                .bind(holder)
                .bind(epoch)
                .bind(until)
                .bind(now)
                .execute(conn)
                .await?
                .rows_affected()
            });
            work.commit().await?;
            Ok(rows > 0)
        })
        .await
    }

    /// Lets a duty go, so that the next master need not wait for its term to pass.
    pub async fn leave_duty(&self, name: &str, holder: &str) -> Result<()> {
        retrying(async || {
            let mut work = self.begin().await?;
            let_go(&mut work, name, holder).await?;
            work.commit().await
        })
        .await
    }

    /// Adds up what grew by single steps (the totals of ended jobs), and forgets workers that were not seen for `keep`
    /// and hold nothing.
    pub async fn tidy(&self, keep: Span) -> Result<()> {
        retrying(async || {
            let mut work = self.begin().await?;
            let old = work.now.minus(keep).0;
            let steps: Vec<(String, i64)> = on_tx!(&mut work.tx, |conn| {
                sqlx::query_as("DELETE FROM tally RETURNING name, delta").fetch_all(conn).await?
            });
            let mut totals: BTreeMap<String, i64> = BTreeMap::new();
            for (name, delta) in steps {
                *totals.entry(name).or_default() += delta;
            }
            for (name, total) in totals {
                on_tx!(&mut work.tx, |conn| {
                    sqlx::query("INSERT INTO tally (name, delta) VALUES ($1, $2)")
                        .bind(name)
                        .bind(total)
                        .execute(conn)
                        .await?;
                });
            }
            on_tx!(&mut work.tx, |conn| {
                sqlx::query(
                    "DELETE FROM workers
                     WHERE last_seen < $1 AND NOT EXISTS (SELECT 1 FROM leases l WHERE l.worker = workers.name)",
                )
                .bind(old)
                .execute(conn)
                .await?;
            });
            work.commit().await
        })
        .await
    }
}

async fn let_go(work: &mut Work, name: &str, holder: &str) -> Result<()> {
    on_tx!(&mut work.tx, |conn| {
        sqlx::query("DELETE FROM duties WHERE name = $1 AND holder = $2").bind(name).bind(holder).execute(conn).await?;
    });
    Ok(())
}
