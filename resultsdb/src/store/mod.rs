//! What the results store remembers, and the only place that knows how.
//!
//! Results are only ever added. Reading is laid out for two questions: "the newest N that …" and "the newest of each
//! testcase that …"; see `filter` for how a question becomes one walk through one index.

mod append;
mod append_lite;
mod append_lone;
mod append_pg;
mod export;
mod filter;
mod groups;
mod import;
mod latest;
mod listing;
mod many;
mod messages;
mod prune;
mod sql;
mod testcases;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use db::{Coalesce, Db, Kept, Migrations};
use tokio::sync::Notify;
use uuid::Uuid;

pub use append::Appended;
pub use export::Export;
pub use filter::{Filter, Names, Page, Range, Wanted};
pub use groups::GroupFilter;
pub use import::ImportError;
pub use latest::Latest;
pub use messages::{Backlog, Refused, Untold};
pub use prune::Pruned;

use crate::result::{NewResult, StoredResult};
use messages::Telling;
use sql::Sql;

static POSTGRES: sqlx::migrate::Migrator = sqlx::migrate!("migrations/postgres");
static SQLITE: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");

/// How many connections a store opens at most.
const CONNECTIONS: u32 = 16;

/// Every statement here is made so that one plan is good for all values, and to plan one takes longer than to run it.
const PLANS: &str = "SET plan_cache_mode = force_generic_plan";

/// How many single results share a transaction at most.
const BATCH: usize = 256;

/// Many callers of one batch may share one error.
pub type Result<T> = std::result::Result<T, Arc<db::Error>>;

/// An open results store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Inner,
    posts: Coalesce<NewResult, Result<Appended>>,
}

/// What both the callers and the task that writes their batches hold.
#[derive(Clone)]
struct Inner {
    db: Db,
    /// What the writer of posts says its statements on.
    kept: Arc<Kept>,
    known: Arc<Known>,
    /// Rung when a result has been stored that the bus is to be told of.
    untold: Arc<Notify>,
    telling: Arc<Telling>,
}

/// What is true of the database for a while, so that it need not be asked again.
#[derive(Default)]
struct Known {
    /// Terms that have their row in `terms`. Writers add to it.
    stored: Mutex<Remembered>,
    /// Terms that very many results have. Readers add to it.
    common: Mutex<Remembered>,
}

/// A set of ids that forgets everything rather than grow without end, or grow old: `prune` removes terms that have
/// been without results for much longer than anybody remembers them.
#[derive(Default)]
struct Remembered {
    ids: HashSet<Uuid>,
    since: Option<Instant>,
}

impl Remembered {
    const MOST: usize = 100_000;
    const LONGEST: Duration = Duration::from_secs(300);

    fn add(&mut self, ids: impl IntoIterator<Item = Uuid>) {
        if self.ids.len() > Remembered::MOST || self.is_old() {
            self.ids.clear();
            self.since = Some(Instant::now());
        }
        self.ids.extend(ids);
    }

    fn contains(&self, id: &Uuid) -> bool {
        !self.is_old() && self.ids.contains(id)
    }

    fn is_old(&self) -> bool {
        self.since.is_none_or(|since| since.elapsed() > Remembered::LONGEST)
    }
}

fn locked(set: &Mutex<Remembered>) -> std::sync::MutexGuard<'_, Remembered> {
    set.lock().expect("no one panics while holding it")
}

impl Store {
    /// Opens `postgres://…` or `sqlite:PATH` and brings its schema up to date.
    pub async fn open(url: &str) -> db::Result<Store> {
        let migrations = Migrations { postgres: &POSTGRES, sqlite: &SQLITE };
        let db = db::open_with(url, CONNECTIONS, migrations, PLANS).await?;
        let inner =
            Inner { db, kept: Arc::default(), known: Arc::default(), untold: Arc::default(), telling: Arc::default() };
        let writer = inner.clone();
        let posts = Coalesce::new(BATCH, move |batch| {
            let writer = writer.clone();
            async move { writer.append(batch).await }
        });
        Ok(Store { inner, posts })
    }

    /// Stores one result, together with whatever others are waiting to be stored.
    pub async fn post(&self, result: NewResult) -> Result<Appended> {
        let lost = |_| Arc::new(db::Error::Unavailable(sqlx::Error::WorkerCrashed));
        self.posts.call(result).await.map_err(lost)?
    }

    /// Stores several results in one transaction, and answers for each.
    pub async fn post_all(&self, batch: Vec<NewResult>) -> Vec<Result<Appended>> {
        self.inner.append(batch).await
    }

    /// The result of this id.
    pub async fn result(&self, id: i64) -> Result<Option<StoredResult>> {
        Ok(self.inner.results(&[id]).await?.pop())
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        let _: Vec<(i64,)> = Sql::new(self.db(), "SELECT CAST(1 AS BIGINT)").rows(self.db()).await?;
        Ok(())
    }

    pub async fn close(&self) {
        self.inner.kept.release();
        self.db().close().await;
    }

    fn db(&self) -> &Db {
        &self.inner.db
    }
}

/// The columns of a [`StoredResult`], from `results r` and `testcases t`.
const COLUMNS: &str = "r.id, r.outcome, r.submit_time, r.note, r.ref_url, r.data, r.groups, \
                       t.name AS testcase, t.ref_url AS testcase_ref_url";

impl Inner {
    /// The results of these ids, in no order.
    async fn results(&self, ids: &[i64]) -> db::Result<Vec<StoredResult>> {
        let mut sql = Sql::new(&self.db, "SELECT ");
        sql.push(COLUMNS).push(" FROM results r JOIN testcases t ON t.id = r.testcase WHERE ").one_of_ints("r.id", ids);
        sql.rows(&self.db).await
    }
}
