//! Statements that are put together from the filters somebody set.
//!
//! Only what is set becomes part of the text, so that the engine can choose an index for just that question. Values are
//! always bound; the pieces of text are constants.

use std::fmt::Write as _;

use db::{Db, on_read};
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, FromRow};

use super::Result;

enum Bound {
    Text(String),
    Number(i64),
}

/// A SELECT with the conditions that were added.
pub(super) struct Listing {
    sql: String,
    bound: Vec<Bound>,
}

impl Listing {
    /// `from` ends with a WHERE clause that holds at least one condition and no values.
    pub(super) fn new(from: &'static str) -> Listing {
        Listing { sql: from.to_owned(), bound: Vec::new() }
    }

    /// Adds ` AND condition`, in which `?` is this text.
    pub(super) fn text(&mut self, condition: &str, value: &str) {
        self.bound.push(Bound::Text(value.to_owned()));
        self.condition(condition);
    }

    /// Adds ` AND condition`, in which `?` is this number.
    pub(super) fn number(&mut self, condition: &str, value: i64) {
        self.bound.push(Bound::Number(value));
        self.condition(condition);
    }

    /// Adds a condition without a value.
    pub(super) fn and(&mut self, condition: &str) {
        write!(self.sql, " AND {condition}").expect("writing to a String cannot fail");
    }

    fn condition(&mut self, condition: &str) {
        let place = format!("${}", self.bound.len());
        self.and(&condition.replace('?', &place));
    }

    /// Runs it: in this order, and no more than that many rows.
    pub(super) async fn rows<T>(mut self, db: &Db, order: &'static str, limit: u32) -> Result<Vec<T>>
    where
        T: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        write!(self.sql, " ORDER BY {order} LIMIT {limit}").expect("writing to a String cannot fail");
        Ok(on_read!(db, |pool| {
            let mut query = sqlx::query_as(AssertSqlSafe(self.sql));
            for value in self.bound {
                query = match value {
                    Bound::Text(text) => query.bind(text),
                    Bound::Number(number) => query.bind(number),
                };
            }
            query.fetch_all(pool).await?
        }))
    }
}
