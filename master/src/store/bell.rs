//! Waking whoever waits for work, after the commit that made some.
//!
//! A ring says only "look again". One may be lost (a crash between the commit and the ring), so waiters also look by
//! themselves now and then.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use uuid::Uuid;

const CHANNEL: &str = "taskotron_work";

/// How long nobody may have rung before the listener connects anew.
const QUIET: Duration = Duration::from_secs(60);

/// Rings in this process, and on PostgreSQL in every other master's.
pub(super) struct Bell {
    rings: watch::Sender<u64>,
    /// Wakes the task that tells the other masters; many rings in quick succession are told once.
    tell: Arc<Notify>,
    tasks: Vec<AbortHandle>,
}

impl Bell {
    pub(super) fn alone() -> Bell {
        Bell { rings: watch::Sender::new(0), tell: Arc::new(Notify::new()), tasks: Vec::new() }
    }

    pub(super) fn shared(pool: &PgPool) -> Bell {
        let mut bell = Bell::alone();
        let me = net::clock::uuid();
        let listener = tokio::spawn(listen(pool.clone(), bell.rings.clone(), me));
        let teller = tokio::spawn(tell(pool.clone(), bell.tell.clone(), me));
        bell.tasks = vec![listener.abort_handle(), teller.abort_handle()];
        bell
    }

    pub(super) fn ring(&self) {
        self.rings.send_modify(|n| *n += 1);
        self.tell.notify_one();
    }

    pub(super) fn receiver(&self) -> watch::Receiver<u64> {
        self.rings.subscribe()
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// A busy bell is passed on this often: a NOTIFY is a transaction, and all that rings in between is told with the next.
const REST: Duration = Duration::from_millis(10);

/// NOTIFY is a statement of its own: inside a writing transaction it would let commits go one by one.
async fn tell(pool: PgPool, rung: Arc<Notify>, me: Uuid) {
    loop {
        rung.notified().await;
        let told = db::in_time(async {
            sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(me.to_string()).execute(&pool).await?;
            db::Result::Ok(())
        });
        if let Err(e) = told.await {
            tracing::warn!(error = %e, "failed to wake the other masters; they look by themselves");
        }
        tokio::time::sleep(REST).await;
    }
}

async fn listen(pool: PgPool, rings: watch::Sender<u64>, me: Uuid) {
    let mut backoff = net::Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    let me = me.to_string();
    loop {
        if pool.is_closed() {
            return;
        }
        if let Err(e) = listen_once(&pool, &rings, &me, &mut backoff).await {
            tracing::warn!(error = %e, "failed to listen for the other masters, trying again");
        }
        backoff.wait().await;
    }
}

async fn listen_once(
    pool: &PgPool,
    rings: &watch::Sender<u64>,
    me: &str,
    backoff: &mut net::Backoff,
) -> sqlx::Result<()> {
    // Not one of the pool's: one that has gone silent would never come back to it.
    let own = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
    let own = own.connect_lazy_with((*pool.connect_options()).clone());
    let mut listener = PgListener::connect_with(&own).await?;
    listener.listen(CHANNEL).await?;
    backoff.reset();
    // What was rung before we listened.
    rings.send_modify(|n| *n += 1);
    loop {
        // Quiet or silent cannot be told apart; a new connection can.
        let Ok(ring) = tokio::time::timeout(QUIET, listener.try_recv()).await else { return Ok(()) };
        match ring? {
            Some(ring) if ring.payload() == me => {}
            // None: the connection was lost, and rings with it.
            Some(_) | None => rings.send_modify(|n| *n += 1),
        }
    }
}
