//! What a master remembers: events, jobs, leases, attempts, the outbox, and the one row each of mode and site.
//!
//! Every operation is one transaction, takes a batch, and looks at the database's clock. A job's state is the table it
//! is in: `waiting`, `queued`, `leases` or `ended`. Nothing here decides what a job's end means (the caller's `decide`
//! does), and nothing here talks to anyone but the database.

mod act;
mod announce;
mod artifacts;
mod audit;
mod bell;
mod cancel;
mod claim;
mod counts;
mod duty;
mod error;
mod events;
mod expire;
mod finish;
mod intake;
mod invariants;
mod jobs;
mod keys;
mod labels;
mod lane;
mod listing;
mod messages;
mod mirrors;
mod missed;
mod mode;
mod moves;
mod number;
mod outbox;
mod pair;
mod renew;
mod search;
mod session;
mod site;
mod submit;
mod supersede;
mod tasks;
mod text;
mod token;
mod tx;
mod types;
mod window;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use db::{Db, Migrations};
use model::{Span, Time};
use sqlx::migrate::Migrator;
use tokio::sync::watch;

use self::bell::Bell;
use self::labels::LabelSets;

pub use self::artifacts::{GiveUp, Kept, Stored};
pub use self::error::{Error, Result};
pub use self::keys::{at_most, serial_on};
pub use self::lane::plan;
pub use self::messages::{Announced, Message, Stage, Untold};
pub use self::mirrors::{Heads, MirrorRow, Unpinned};
pub use self::missed::SeenCursor;
pub use self::mode::GIVEN_UP;
pub use self::search::Found;
pub use self::session::Hash;
pub use self::token::{NotAToken, Token};
pub use self::types::*;

static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");
static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");

/// Connections to PostgreSQL, one of which listens; readers of SQLite.
const CONNECTIONS: u32 = 16;

/// An open store; clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
    /// The site that this master stands in.
    site: String,
    /// The epoch that this master serves: every transaction checks that it is still the site's.
    epoch: AtomicI64,
    /// Microseconds by which tests have advanced the clock.
    skew: AtomicI64,
    bell: Bell,
    labels: LabelSets,
    /// Which jobs the bus is told of, where it is told of any.
    announced: OnceLock<Arc<Announced>>,
    /// Decides what is published beside findings.
    announcer: OnceLock<Arc<dyn Announce>>,
}

impl Store {
    /// Opens `postgres://…` or `sqlite:PATH` and brings its schema up to date. The first master of a new database
    /// makes its site the active one.
    pub async fn open(url: &str, site: &str) -> Result<Store> {
        let db = db::open(url, CONNECTIONS, Migrations { postgres: &POSTGRES, sqlite: &SQLITE }).await?;
        let epoch = site::enter(&db, site).await?;
        let bell = match &db {
            Db::Pg(pool) => Bell::shared(pool),
            Db::Lite { .. } => Bell::alone(),
        };
        let inner = Inner {
            db,
            site: site.to_owned(),
            epoch: AtomicI64::new(epoch),
            skew: AtomicI64::new(0),
            bell,
            labels: LabelSets::default(),
            announced: OnceLock::new(),
            announcer: OnceLock::new(),
        };
        Ok(Store { inner: Arc::new(inner) })
    }

    pub fn db(&self) -> &Db {
        &self.inner.db
    }

    /// The site that this master stands in, active or not.
    pub fn site(&self) -> &str {
        &self.inner.site
    }

    /// Rings after a commit that made work claimable or a publication due. A ring may be lost: look now and then.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.inner.bell.receiver()
    }

    /// For tests: this store's clock goes that much further ahead of the database's.
    pub fn advance(&self, span: Span) {
        self.inner.skew.fetch_add(span.micros(), Ordering::Relaxed);
    }

    /// The clock that leases are judged by: the database's.
    pub async fn now(&self) -> Result<Time> {
        Ok(self.skewed(self.clock().await?))
    }

    /// A moment of [`Store::clock`] by the clock that leases are judged by.
    pub fn skewed(&self, clock: Time) -> Time {
        Time(clock.0 + self.inner.skew.load(Ordering::Relaxed))
    }

    /// The same without what tests have advanced it by: what it has moved by is time that has passed, or a clock that
    /// was set.
    pub async fn clock(&self) -> Result<Time> {
        Ok(match &self.inner.db {
            Db::Pg(pool) => sqlx::query_scalar(tx::PG_CLOCK).fetch_one(pool).await.map(Time)?,
            Db::Lite { .. } => net::clock::now(),
        })
    }

    pub async fn close(&self) {
        self.inner.db.close().await;
    }

    fn ring(&self) {
        self.inner.bell.ring();
    }
}
