//! Who did what to what, and why.

use std::collections::BTreeMap;

use db::on_read;
use model::Time;
use serde_json::Value;

use super::error::corrupt;
use super::text::clean;
use super::tx::{Work, on_tx, retrying};
use super::types::{Act, Audited, Cursor};
use super::{Result, Store};

/// Notes an act in the transaction that does it.
pub(super) async fn record(work: &mut Work, act: &Act) -> Result<()> {
    let now = work.now;
    on_tx!(&mut work.tx, |conn| {
        sqlx::query(
            "INSERT INTO audit (at, actor, action, object, reason, before, after) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(now.0)
        .bind(&act.actor)
        .bind(act.action)
        .bind(clean(&act.object))
        .bind(clean(&act.reason))
        .bind(act.before.to_string())
        .bind(act.after.to_string())
        .execute(conn)
        .await?;
    });
    Ok(())
}

#[derive(sqlx::FromRow)]
struct Row {
    seq: i64,
    at: i64,
    actor: String,
    action: String,
    object: String,
    reason: String,
    before: String,
    after: String,
}

impl Row {
    fn read(self) -> Result<Audited> {
        let json = |column, text: &str| -> Result<Value> {
            serde_json::from_str(text).map_err(|_| corrupt("audit", column, self.seq, text))
        };
        Ok(Audited {
            seq: self.seq,
            at: Time(self.at),
            before: json("before", &self.before)?,
            after: json("after", &self.after)?,
            actor: self.actor,
            action: self.action,
            object: self.object,
            reason: self.reason,
        })
    }
}

impl Store {
    /// Notes an act that changes nothing in the store.
    pub async fn note(&self, act: &Act) -> Result<()> {
        retrying(async || {
            let mut work = self.begin().await?;
            record(&mut work, act).await?;
            work.commit().await
        })
        .await
    }

    /// When each secret was last given to a job, by its name.
    pub async fn secret_uses(&self) -> Result<BTreeMap<String, Time>> {
        let rows: Vec<(String, i64)> = on_read!(self.db(), |pool| {
            sqlx::query_as("SELECT object, max(at) FROM audit WHERE action = 'secret.use' GROUP BY object")
                .fetch_all(pool)
                .await?
        });
        Ok(rows.into_iter().map(|(name, at)| (name, Time(at))).collect())
    }

    /// Newest first, with the place at which to go on.
    pub async fn audit(&self, after: Cursor, limit: u32) -> Result<(Vec<Audited>, Cursor)> {
        let rows: Vec<Row> = on_read!(self.db(), |pool| {
            sqlx::query_as(
                "SELECT seq, at, actor, action, object, reason, before, after FROM audit
                 WHERE seq < $1 ORDER BY seq DESC LIMIT $2",
            )
            .bind(after.unwrap_or(i64::MAX))
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await?
        });
        let next = if rows.len() == limit as usize { rows.last().map(|row| row.seq) } else { None };
        Ok((rows.into_iter().map(Row::read).collect::<Result<_>>()?, next))
    }
}
