//! Database errors, sorted by what a caller can do about them.

use std::time::Duration;

use rand::RngExt as _;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing was changed, and the same again may succeed: a deadlock or a lost race, told by the engine.
    #[error("the database asks to try again: {0}")]
    Again(#[source] sqlx::Error),
    /// The database cannot be reached or takes no more; whether the last write counted is unknown.
    #[error("the database is unavailable: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// A row that makes no sense.
    #[error("{table}.{column} of {key} holds {value}, which makes no sense")]
    Corrupt { table: &'static str, column: &'static str, key: String, value: String },
    /// The schema and this program do not fit.
    #[error("the database's schema and this program do not fit: {0}")]
    Schema(#[source] sqlx::migrate::MigrateError),
    #[error(transparent)]
    Other(sqlx::Error),
}

impl From<sqlx::Error> for Error {
    fn from(e: sqlx::Error) -> Error {
        match &e {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            // A connection that broke off while it was made, as sqlx sees it.
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Error::Unavailable(e),
            sqlx::Error::Database(d) => match d.code().as_deref() {
                // Serialization failure, deadlock.
                Some("40001" | "40P01") => Error::Again(e),
                // Connection exceptions, too many connections, shutting down, read-only, disk full.
                Some(c) if c.starts_with("08") || c.starts_with("57P") || c.starts_with("53") || c == "25006" => {
                    Error::Unavailable(e)
                }
                Some(c) => match sqlite(c) {
                    // BUSY.
                    Some(5) => Error::Again(e),
                    // READONLY, IOERR, FULL, CANTOPEN.
                    Some(8 | 10 | 13 | 14) => Error::Unavailable(e),
                    _ => Error::Other(e),
                },
                None => Error::Other(e),
            },
            _ => Error::Other(e),
        }
    }
}

/// The primary code of an SQLite error, whose extended code says more in the bits above it. PostgreSQL's have five digits.
fn sqlite(code: &str) -> Option<u32> {
    (code.len() < 5).then(|| code.parse::<u32>().ok())?.map(|extended| extended & 0xff)
}

/// How long the database may take over one operation. A connection that has gone silent, behind a firewall that has
/// forgotten it, would else hold its user up for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs an operation, and gives it up when the database leaves it without an answer for too long.
pub async fn in_time<T, E: From<Error>>(
    operation: impl Future<Output = std::result::Result<T, E>>,
) -> std::result::Result<T, E> {
    within(PATIENCE, operation).await
}

async fn within<T, E: From<Error>>(
    patience: Duration,
    operation: impl Future<Output = std::result::Result<T, E>>,
) -> std::result::Result<T, E> {
    let silent = || {
        let why = format!("no answer within {} s", patience.as_secs());
        Error::Unavailable(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, why)))
    };
    tokio::time::timeout(patience, operation).await.unwrap_or_else(|_| Err(silent().into()))
}

/// Runs one transaction, again when the engine says that it lost a race.
pub async fn retrying<T, F>(transaction: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    retrying_within(PATIENCE, transaction).await
}

/// The same for a transaction that may take so long.
pub async fn retrying_within<T, F>(patience: Duration, mut transaction: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    const TRIES: u32 = 8;
    for attempt in 1.. {
        match within(patience, transaction()).await {
            Err(Error::Again(e)) if attempt < TRIES => {
                tracing::debug!(attempt, error = %e, "a transaction lost a race and is tried again");
                let pause = rand::rng().random_range(1..=5u64 << attempt.min(5));
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            other => return other,
        }
    }
    unreachable!("the loop returns")
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection as _, Executor as _, SqliteConnection};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_long_transaction_is_given_up_unless_it_may_take_its_time() {
        let long = || async {
            tokio::time::sleep(Duration::from_secs(300)).await;
            Ok(())
        };
        let given_up = retrying(long).await;
        assert!(matches!(given_up, Err(Error::Unavailable(_))), "{given_up:?}");
        retrying_within(Duration::from_secs(600), long).await.unwrap();
    }

    #[tokio::test]
    async fn what_sqlite_cannot_write_to_or_open_is_unavailable_and_what_it_refuses_is_not() {
        let mut memory = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        memory.execute("CREATE TABLE t (x INT UNIQUE); INSERT INTO t VALUES (1)").await.unwrap();
        let refused = Error::from(memory.execute("INSERT INTO t VALUES (1)").await.unwrap_err());
        assert!(matches!(refused, Error::Other(_)), "{refused:?}");
        memory.execute("PRAGMA query_only = ON").await.unwrap();
        for error in [
            memory.execute("INSERT INTO t VALUES (2)").await.unwrap_err(),
            SqliteConnection::connect("sqlite:/dev/null/there.db").await.unwrap_err(),
        ] {
            let error = Error::from(error);
            assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
        }
        // IOERR_FSYNC, READONLY_CANTLOCK and BUSY_SNAPSHOT, and PostgreSQL's division by zero.
        let codes = ["1034", "520", "517", "22012"].map(sqlite);
        assert_eq!(codes, [Some(10), Some(8), Some(5), None]);
    }
}
