//! The two database engines behind one macro, and what every store does with them: open, migrate, batch, retry.
//!
//! There are no tables here. A store writes an ordinary operation once, as one SQL text that both engines understand,
//! inside [`on_read!`] or [`on_write!`]; only where an operation is hot does it match on [`Db`] and say it twice.

mod coalesce;
mod error;
mod kept;
mod open;

use std::time::Duration;

pub use coalesce::Coalesce;
pub use error::{Error, Result, in_time, retrying, retrying_within};
pub use kept::Kept;
pub use open::{Migrations, open, open_with};
pub use sqlx;

/// An open database.
#[derive(Clone, Debug)]
pub enum Db {
    Pg(sqlx::PgPool),
    /// SQLite has one writer: `write` is a pool of one connection, so that a transaction never waits for a lock that
    /// it could not have foreseen.
    Lite {
        write: sqlx::SqlitePool,
        read: sqlx::SqlitePool,
    },
}

/// How long connections may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(5);

impl Db {
    /// The engine's name for people.
    pub fn engine(&self) -> &'static str {
        match self {
            Db::Pg(_) => "PostgreSQL",
            Db::Lite { .. } => "SQLite",
        }
    }

    /// Closes what is open. A connection that has gone silent is left to the end of the process.
    pub async fn close(&self) {
        match self {
            Db::Pg(pool) => {
                let _ = tokio::time::timeout(FAREWELL, pool.close()).await;
            }
            Db::Lite { write, read } => {
                read.close().await;
                write.close().await;
            }
        }
    }
}

/// Compiles one body for both engines, over a pool to read from.
#[macro_export]
macro_rules! on_read {
    ($db:expr, |$pool:ident| $body:expr) => {
        match $db {
            $crate::Db::Pg($pool) => $body,
            $crate::Db::Lite { read: $pool, .. } => $body,
        }
    };
}

/// Compiles one body for both engines, over a pool to write to.
#[macro_export]
macro_rules! on_write {
    ($db:expr, |$pool:ident| $body:expr) => {
        match $db {
            $crate::Db::Pg($pool) => $body,
            $crate::Db::Lite { write: $pool, .. } => $body,
        }
    };
}
