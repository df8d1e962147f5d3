//! A connection that is kept between statements.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};

use crate::Result;
use crate::open::{FRESH, answers};

/// A connection for statements that follow each other closely. A pool asks a connection whether it is clean whenever
/// it comes back, which takes as long as a small statement; this one comes back only when its statement failed or was
/// given up, and once in a while, so that the pool can renew it.
#[derive(Debug, Default)]
pub struct Kept(Mutex<Option<Held>>);

#[derive(Debug)]
struct Held {
    connection: PoolConnection<Postgres>,
    since: Instant,
    used: Instant,
}

/// How long a connection is kept at most.
const LONGEST: Duration = Duration::from_secs(60);

impl Kept {
    /// Runs a statement that is its own transaction.
    pub async fn run<T>(
        &self,
        pool: &PgPool,
        statement: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T> {
        let mut held = match self.alive().await {
            Some(held) => held,
            None => Held { connection: pool.acquire().await?, since: Instant::now(), used: Instant::now() },
        };
        let answer = statement(&mut held.connection).await?;
        held.used = Instant::now();
        if held.since.elapsed() < LONGEST && !pool.is_closed() {
            self.0.lock().expect("no one panics while holding it").replace(held);
        }
        Ok(answer)
    }

    /// Gives the connection back, as a pool that is closed waits for.
    pub fn release(&self) {
        drop(self.take());
    }

    /// What is kept, if it is still there.
    async fn alive(&self) -> Option<Held> {
        let mut held = self.take()?;
        (held.used.elapsed() < FRESH || answers(&mut held.connection).await).then_some(held)
    }

    fn take(&self) -> Option<Held> {
        self.0.lock().expect("no one panics while holding it").take()
    }
}
