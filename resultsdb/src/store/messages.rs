//! What the bus is to be told: noted in the transaction that stores the result, gone when the broker has it.
//!
//! Of several stores over one database one tells the bus at a time, so that nothing is said twice without need.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use db::{Db, on_read, on_write};
use serde_json::{Value, json};
use uuid::Uuid;

use super::sql::Sql;
use super::{Result, Store};
use crate::result::StoredResult;
use crate::term;

/// A result that the bus is to be told of.
#[derive(Clone, Debug)]
pub struct Untold {
    /// The message's id.
    pub id: Uuid,
    /// What the links in it begin with.
    pub root: String,
    /// How often the broker refused it.
    pub tries: u32,
    pub result: StoredResult,
}

/// A message that the broker did not take.
#[derive(Clone, Debug)]
pub struct Refused {
    pub result: i64,
    /// Until it is sent again.
    pub rest: Duration,
    /// What the broker said.
    pub error: String,
}

/// How the messages stand that are not on the bus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    pub messages: u64,
    /// How many of them the broker has refused, and what it said of the first.
    pub refused: u64,
    pub error: Option<String>,
}

/// How the telling goes in this process.
#[derive(Default)]
pub(super) struct Telling {
    told: AtomicU64,
    trouble: Mutex<Option<String>>,
}

/// The database's clock, in microseconds since 1970: it is the same for all stores.
const NOW_PG: &str = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
const NOW_LITE: &str = "CAST(unixepoch('subsec') * 1000000 AS INTEGER)";

#[derive(sqlx::FromRow)]
struct Row {
    result: i64,
    id: Uuid,
    root: String,
    tries: i32,
    /// Of what the result says, in characters.
    size: i64,
}

/// Results of more characters than this together are not read at once.
const MUCH: i64 = 8 << 20;

impl Store {
    /// Keeps how an attempt to tell the bus went, and says once that it fails and once that it works again.
    pub fn telling(&self, trouble: Option<String>, told: usize) {
        let telling = &self.inner.telling;
        telling.told.fetch_add(told as u64, Ordering::Relaxed);
        let mut known = telling.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*known, &trouble) {
            (None, Some(error)) => tracing::error!(error, "the bus cannot be told of results; trying again and again"),
            (Some(_), None) => tracing::info!("the bus is told of results again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        *known = trouble;
    }

    /// What keeps this process from telling the bus, if anything does.
    pub fn trouble(&self) -> Option<String> {
        self.inner.telling.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Results that this process has told the bus of.
    pub fn results_told(&self) -> u64 {
        self.inner.telling.told.load(Ordering::Relaxed)
    }

    /// Waits until a result has been stored in this process that the bus is to be told of.
    pub async fn has_untold(&self) {
        self.inner.untold.notified().await;
    }

    /// Takes or keeps the turn to tell the bus, for a term from now; false while another store has it.
    pub async fn take_turn(&self, holder: Uuid, term: Duration) -> Result<bool> {
        let term = i64::try_from(term.as_micros()).unwrap_or(i64::MAX);
        let now = self.now();
        let text = format!(
            "UPDATE teller SET holder = $1, until = {now} + $2 WHERE holder = $1 OR until <= {now} OR until > {now} + $2"
        );
        let take = || async {
            Ok(on_write!(self.db(), |pool| {
                let query = sqlx::query(sqlx::AssertSqlSafe(text.as_str())).bind(holder).bind(term);
                query.execute(pool).await?.rows_affected()
            }))
        };
        Ok(db::retrying(take).await.map_err(Arc::new)? > 0)
    }

    /// Gives the turn back, so that the next store need not wait for the end of its term.
    pub async fn leave_turn(&self, holder: Uuid) -> Result<()> {
        let leave = || async {
            on_write!(self.db(), |pool| {
                sqlx::query("UPDATE teller SET until = 0 WHERE holder = $1").bind(holder).execute(pool).await?;
            });
            Ok(())
        };
        db::retrying(leave).await.map_err(Arc::new)
    }

    /// The first that are due, in the order of their results, and whether there may be more. Reading them takes nothing
    /// away.
    pub async fn untold(&self, limit: u32) -> Result<(Vec<Untold>, bool)> {
        let mut sql = Sql::new(self.db(), "SELECT m.result, m.id, m.root, m.tries, COALESCE(");
        sql.push("(SELECT CAST(length(r.data) + length(COALESCE(r.note, '')) AS BIGINT) FROM results r WHERE r.id = m.result), 0) AS ");
        sql.push("size FROM messages m WHERE m.due_at <= ").either(NOW_PG, NOW_LITE);
        sql.push(" ORDER BY m.result LIMIT ").int(limit.into());
        let mut rows: Vec<Row> = sql.rows(self.db()).await?;
        if rows.is_empty() {
            return Ok((Vec::new(), false));
        }
        let found = rows.len();
        let mut size = 0;
        let much = rows.iter().position(|row| {
            size += row.size;
            size > MUCH
        });
        rows.truncate(much.unwrap_or(found).max(1));
        let more = rows.len() < found || found == limit as usize;
        let ids: Vec<i64> = rows.iter().map(|row| row.result).collect();
        let results = self.inner.results(&ids).await?.into_iter();
        let mut results: HashMap<i64, StoredResult> = results.map(|result| (result.id, result)).collect();
        let mut untold = Vec::with_capacity(rows.len());
        let mut gone = Vec::new();
        for row in rows {
            match results.remove(&row.result) {
                Some(result) => {
                    // SQLite gives sixteen bytes of chance; what readers expect is a uuid of version 4.
                    let id = uuid::Builder::from_random_bytes(row.id.into_bytes()).into_uuid();
                    untold.push(Untold { id, root: row.root, tries: row.tries.unsigned_abs(), result });
                }
                None => gone.push(row.result),
            }
        }
        if !gone.is_empty() {
            tracing::warn!(results = gone.len(), "the bus is not told of results that have been removed meanwhile");
            self.told(&gone).await?;
        }
        Ok((untold, more))
    }

    /// The broker has the messages of these results.
    pub async fn told(&self, results: &[i64]) -> Result<()> {
        let told = || async {
            match self.db() {
                Db::Pg(pool) => {
                    sqlx::query("DELETE FROM messages WHERE result = ANY($1)").bind(results).execute(pool).await?;
                }
                Db::Lite { write, .. } => {
                    sqlx::query("DELETE FROM messages WHERE result IN (SELECT value FROM json_each($1))")
                        .bind(json!(results).to_string())
                        .execute(write)
                        .await?;
                }
            }
            Ok(())
        };
        db::retrying(told).await.map_err(Arc::new)
    }

    /// The broker has refused the messages of these results: each is due again after its rest.
    pub async fn put_off(&self, refused: &[Refused]) -> Result<()> {
        let rests: Vec<i64> = refused.iter().map(|r| i64::try_from(r.rest.as_micros()).unwrap_or(i64::MAX)).collect();
        let put_off = || async {
            match self.db() {
                Db::Pg(pool) => {
                    let text = format!(
                        "UPDATE messages m SET error = g.error, tries = m.tries + 1, due_at = {NOW_PG} + g.rest
                         FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS g(result, rest, error)
                         WHERE m.result = g.result"
                    );
                    let query = sqlx::query(sqlx::AssertSqlSafe(text));
                    let query = query.bind(refused.iter().map(|r| r.result).collect::<Vec<_>>()).bind(&rests);
                    query.bind(refused.iter().map(|r| r.error.as_str()).collect::<Vec<_>>()).execute(pool).await?;
                }
                Db::Lite { write, .. } => {
                    let rows = refused.iter().zip(&rests).map(|(r, rest)| json!([r.result, rest, r.error]));
                    let text = format!(
                        "UPDATE messages SET error = g.value ->> 2, tries = tries + 1,
                             due_at = {NOW_LITE} + (g.value ->> 1)
                         FROM json_each($1) g WHERE messages.result = g.value ->> 0"
                    );
                    let query = sqlx::query(sqlx::AssertSqlSafe(text));
                    query.bind(Value::from_iter(rows).to_string()).execute(write).await?;
                }
            }
            Ok(())
        };
        db::retrying(put_off).await.map_err(Arc::new)
    }

    pub async fn backlog(&self) -> Result<Backlog> {
        const TEXT: &str = "SELECT count(*), count(error),
            (SELECT error FROM messages WHERE error IS NOT NULL ORDER BY result LIMIT 1) FROM messages";
        let (messages, refused, error): (i64, i64, Option<String>) =
            on_read!(self.db(), |pool| sqlx::query_as(TEXT).fetch_one(pool).await.map_err(db::Error::from)?);
        Ok(Backlog { messages: messages.unsigned_abs(), refused: refused.unsigned_abs(), error })
    }

    /// The outcome of the newest result before this one that has its testcase, item, type and architecture; of these, one
    /// that it does not say may be any.
    pub async fn outcome_before(&self, result: &StoredResult) -> Result<Option<String>> {
        let mut sql = Sql::new(self.db(), "SELECT r.outcome FROM ");
        let (testcase, time, id) = match alike(result).split_first() {
            Some((first, others)) => {
                sql.push("facts f JOIN results r ON r.id = f.result WHERE f.term = ").id(*first);
                for term in others {
                    sql.push(" AND EXISTS (SELECT 1 FROM facts g WHERE g.term = ").id(*term);
                    sql.push(" AND g.submit_time = f.submit_time AND g.result = f.result)");
                }
                ("f.testcase", "f.submit_time", "f.result")
            }
            None => {
                sql.push("results r WHERE true");
                ("r.testcase", "r.submit_time", "r.id")
            }
        };
        sql.push(" AND ").push(testcase).push(" = (SELECT t.id FROM testcases t WHERE t.hash = ");
        sql.id(term::testcase(&result.testcase)).push(") AND (").push(time).push(", ").push(id).push(") < (");
        sql.int(result.submit_time).push(", ").int(result.id).push(") ORDER BY ");
        sql.push(time).push(" DESC, ").push(id).push(" DESC LIMIT 1");
        Ok(sql.rows::<(String,)>(self.db()).await?.pop().map(|(outcome,)| outcome))
    }

    fn now(&self) -> &'static str {
        match self.db() {
            Db::Pg(_) => NOW_PG,
            Db::Lite { .. } => NOW_LITE,
        }
    }
}

/// The terms of what a result must share with the one before it.
fn alike(result: &StoredResult) -> Vec<Uuid> {
    let data = result.data();
    let mut terms = Vec::new();
    for key in ["item", "type", "arch"] {
        terms.extend(data.get(key).into_iter().flatten().map(|value| term::fact(key, value)));
    }
    terms
}
