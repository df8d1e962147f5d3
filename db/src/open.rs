//! Opening a database and bringing its schema up to date.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, PgConnection, Row as _};

use crate::{Db, Error, Result};

/// One store's migrations: the same numbers and names for both engines.
#[derive(Clone, Copy)]
pub struct Migrations {
    pub postgres: &'static Migrator,
    pub sqlite: &'static Migrator,
}

/// Opens `postgres://…`, or `sqlite:PATH` (made when missing), and applies the migrations that it lacks.
///
/// Safe to run by several processes at once and any number of times.
pub async fn open(url: &str, connections: u32, migrations: Migrations) -> Result<Db> {
    open_with(url, connections, migrations, "").await
}

/// As [`open`]; `setup` is said to PostgreSQL on every new connection.
pub async fn open_with(url: &str, connections: u32, migrations: Migrations, setup: &'static str) -> Result<Db> {
    if url.starts_with("postgres:") || url.starts_with("postgresql:") {
        let options = PgConnectOptions::from_str(url)?.application_name("taskotron");
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(Duration::from_secs(10))
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if !setup.is_empty() {
                        sqlx::raw_sql(setup).execute(connection).await?;
                    }
                    Ok(())
                })
            })
            // Asked when it was given back; again only where it has been idle for a while.
            .test_before_acquire(false)
            .before_acquire(|connection, past| {
                Box::pin(async move { Ok(past.idle_for < FRESH || answers(connection).await) })
            })
            .after_release(|connection, _| Box::pin(is_clean(connection)))
            .connect_with(options)
            .await?;
        migrations.postgres.run(&pool).await.map_err(Error::Schema)?;
        return Ok(Db::Pg(pool));
    }
    let options = SqliteConnectOptions::from_str(url)?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // A commit that was reported must survive a power cut.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(10))
        .foreign_keys(true)
        .pragma("temp_store", "memory")
        .pragma("mmap_size", "268435456");
    let write = SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(Duration::from_secs(60))
        .connect_with(options.clone())
        .await?;
    migrations.sqlite.run(&write).await.map_err(Error::Schema)?;
    let read = SqlitePoolOptions::new()
        .max_connections(connections.clamp(1, 4))
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(Duration::from_secs(60))
        .connect_with(options.read_only(true))
        .await?;
    Ok(Db::Lite { write, read })
}

/// How long a connection may be idle in the pool without being asked whether it is still there.
pub(crate) const FRESH: Duration = Duration::from_secs(1);

/// How long a connection may take to say that it is still there.
const SILENT: Duration = Duration::from_secs(5);

/// Whether a connection from the pool is still there. The pool's own test waits for ever on one that has gone silent.
pub(crate) async fn answers(connection: &mut PgConnection) -> bool {
    tokio::time::timeout(SILENT, connection.ping()).await.is_ok_and(|answer| answer.is_ok())
}

/// Whether a connection that comes back to the pool may be used again: it answers, and is in no transaction, also when
/// whoever was given up in the middle had a BEGIN on its way.
///
/// Outside of a transaction a statement is its own, and both times are the same. That holds for the simple protocol
/// only: in the extended one each message of a statement has a time of its own.
async fn is_clean(connection: &mut PgConnection) -> sqlx::Result<bool> {
    let asked = async { sqlx::raw_sql("SELECT now() = statement_timestamp()").fetch_one(connection).await?.try_get(0) };
    let silent = || std::io::Error::new(std::io::ErrorKind::TimedOut, "a connection has gone silent");
    tokio::time::timeout(SILENT, asked).await.unwrap_or_else(|_| Err(silent().into()))
}
