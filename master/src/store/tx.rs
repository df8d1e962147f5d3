//! One transaction: begun behind the fence, at one moment of the database's clock.
//!
//! The fence: whoever changes the site's epoch or the mode holds a lock exclusively until it commits; every other
//! transaction holds the same lock shared. The row is read after the lock is held, in a statement of its own, since a
//! statement sees what was committed when it began: reading it in the statement that waits for the lock would see the
//! past.

use db::Db;
use model::operator::Mode;
use model::{Span, Time};
use sqlx::{Postgres, Sqlite, Transaction};

use super::error::{Error, Result, corrupt};
use super::messages::Announced;
use super::types::Announce;
use super::{Store, mode};

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub(super) const PG_CLOCK: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// A begun transaction on either engine; dropped without [`Work::commit`] it changes nothing.
pub(super) enum Tx {
    Pg(Transaction<'static, Postgres>),
    Lite(Transaction<'static, Sqlite>),
}

/// Compiles one body for both engines, over the connection of a transaction.
macro_rules! on_tx {
    ($tx:expr, |$conn:ident| $body:expr) => {
        match $tx {
            $crate::store::tx::Tx::Pg(tx) => {
                let $conn = &mut **tx;
                $body
            }
            $crate::store::tx::Tx::Lite(tx) => {
                let $conn = &mut **tx;
                $body
            }
        }
    };
}
pub(super) use on_tx;

/// Whether others may be in their transactions at the same time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lock {
    Shared,
    Exclusive,
}

/// A transaction with what it saw at its beginning.
pub(super) struct Work {
    pub tx: Tx,
    pub now: Time,
    pub mode: Mode,
    pub finish_through: Option<i64>,
    /// Whether this master's site is the active one.
    pub active: bool,
    /// How many label sets there are.
    pub label_sets: i64,
    /// Which jobs the bus is told of, where it is told of any.
    pub announced: Option<Arc<Announced>>,
    /// Decides what is published beside findings.
    pub announcer: Option<Arc<dyn Announce>>,
    /// Whether jobs came to the queue beside what was asked for: who waits for work is to be told after the commit.
    pub woken: bool,
}

/// A session that stalls inside a transaction must not hold a takeover up: it is ended well before a lease.
///
/// Every operation finds its rows by an index, and a claim takes the first of the queue in the order of one. While the
/// engine has not yet counted a queue that has just been filled, it takes it for a short one, and would gather all of
/// it in a bitmap and sort it for each claim.
const PG_SHARED: &str = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '20s'; \
    SET LOCAL enable_bitmapscan = off; SELECT pg_advisory_xact_lock_shared(7450231)";
const PG_EXCLUSIVE: &str = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '20s'; \
    SET LOCAL enable_bitmapscan = off; SELECT pg_advisory_xact_lock(7450231)";

impl Store {
    /// Begins a transaction, unless this master has been fenced.
    pub(super) async fn begin(&self) -> Result<Work> {
        self.begin_with(Lock::Shared).await
    }

    /// Begins a transaction that no other overlaps: for what all others rely on, the mode and the site.
    pub(super) async fn begin_alone(&self) -> Result<Work> {
        self.begin_with(Lock::Exclusive).await
    }

    async fn begin_with(&self, lock: Lock) -> Result<Work> {
        type Seen = (i64, String, String, Option<i64>, i64, i64);
        let (tx, seen): (Tx, Seen) = match self.db() {
            Db::Pg(pool) => {
                let begin = match lock {
                    Lock::Shared => PG_SHARED,
                    Lock::Exclusive => PG_EXCLUSIVE,
                };
                // In a task of its own, so that it completes also when the caller goes away in the middle: sqlx rolls a
                // transaction back that is dropped, but not one that is dropped while it begins.
                let begun = tokio::spawn({
                    let pool = pool.clone();
                    async move { pool.begin_with(begin).await }
                });
                let mut tx = begun.await.map_err(|_| sqlx::Error::WorkerCrashed)??;
                let seen = sqlx::query_as(
                    "SELECT s.epoch, s.active, m.mode, m.finish_through, (SELECT count(*) FROM label_sets),
                            (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
                     FROM site s, mode m",
                )
                .fetch_one(&mut *tx)
                .await?;
                (Tx::Pg(tx), seen)
            }
            // One writer: every transaction is alone.
            Db::Lite { write, .. } => {
                let mut tx = write.begin_with("BEGIN IMMEDIATE").await?;
                let seen = sqlx::query_as(
                    "SELECT s.epoch, s.active, m.mode, m.finish_through, (SELECT count(*) FROM label_sets), $1
                     FROM site s, mode m",
                )
                .bind(net::clock::now().0)
                .fetch_one(&mut *tx)
                .await?;
                (Tx::Lite(tx), seen)
            }
        };
        let (epoch, active, mode, finish_through, label_sets, clock) = seen;
        let mine = self.epoch();
        if epoch != mine {
            return Err(Error::Fenced { mine, now: epoch });
        }
        Ok(Work {
            tx,
            now: Time(clock + self.skew()),
            mode: mode::parse(&mode).ok_or_else(|| corrupt("mode", "mode", 1, mode))?,
            finish_through,
            active: active == self.site(),
            label_sets,
            announced: self.announced(),
            announcer: self.announcer(),
            woken: false,
        })
    }

    pub(super) fn epoch(&self) -> i64 {
        self.inner.epoch.load(Ordering::Relaxed)
    }

    pub(super) fn skew(&self) -> i64 {
        self.inner.skew.load(Ordering::Relaxed)
    }
}

impl Work {
    pub(super) async fn commit(self) -> Result<()> {
        match self.tx {
            Tx::Pg(tx) => tx.commit().await?,
            Tx::Lite(tx) => tx.commit().await?,
        }
        Ok(())
    }

    pub(super) fn after(&self, span: Span) -> Time {
        self.now.plus(span)
    }
}

/// Runs one transaction, again when the engine says that it lost a race.
pub(super) async fn retrying<T, F>(mut transaction: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    db::retrying(|| sorted(transaction())).await?
}

/// The same for a transaction that may take so long.
pub(super) async fn retrying_within<T, F>(patience: Duration, mut transaction: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    db::retrying_within(patience, || sorted(transaction())).await?
}

/// Only what the database says can be worth another try.
async fn sorted<T>(run: impl Future<Output = Result<T>>) -> db::Result<Result<T>> {
    match run.await {
        Err(Error::Db(e)) => Err(e),
        other => Ok(other),
    }
}
