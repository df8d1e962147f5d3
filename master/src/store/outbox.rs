//! What is decided and not yet delivered.

use db::on_read;
use model::Time;
use serde_json::json;
use uuid::Uuid;

use super::error::corrupt;
use super::number::{count, nat};
use super::text::clean;
use super::tx::{Tx, retrying};
use super::types::{Due, Publication};
use super::{Result, Store};

impl Store {
    /// Those that are due, longest due first. Reading them takes nothing away: delivering one twice is harmless.
    pub async fn publications_due(&self, limit: u32) -> Result<Vec<Due>> {
        let now = self.now().await?;
        let rows: Vec<(i64, Uuid, String, i32)> = on_read!(self.db(), |pool| {
            sqlx::query_as("SELECT seq, key, body, tries FROM outbox WHERE due_at <= $1 ORDER BY due_at, seq LIMIT $2")
                .bind(now.0)
                .bind(i64::from(limit))
                .fetch_all(pool)
                .await?
        });
        let due = |(seq, key, text, tries): (i64, Uuid, String, i32)| {
            let body = serde_json::from_str(&text).map_err(|_| corrupt("outbox", "body", seq, &text))?;
            Ok(Due { seq, publication: Publication { key, body }, tries: count(tries) })
        };
        rows.into_iter().map(due).collect()
    }

    pub async fn delivered(&self, seqs: &[i64]) -> Result<()> {
        let mut seqs = seqs.to_vec();
        seqs.sort_unstable();
        retrying(async || {
            let mut work = self.begin().await?;
            match &mut work.tx {
                Tx::Pg(tx) => {
                    sqlx::query("DELETE FROM outbox WHERE seq = ANY ($1)").bind(&seqs).execute(&mut **tx).await?;
                }
                Tx::Lite(tx) => {
                    sqlx::query("DELETE FROM outbox WHERE seq IN (SELECT value FROM json_each($1))")
                        .bind(json!(seqs).to_string())
                        .execute(&mut **tx)
                        .await?;
                }
            }
            work.commit().await
        })
        .await
    }

    /// They could not be delivered, and are due again at `until`.
    pub async fn postpone(&self, seqs: &[i64], until: Time, error: &str) -> Result<()> {
        let mut seqs = seqs.to_vec();
        seqs.sort_unstable();
        retrying(async || {
            let mut work = self.begin().await?;
            match &mut work.tx {
                Tx::Pg(tx) => {
                    sqlx::query("UPDATE outbox SET due_at = $2, tries = tries + 1, error = $3 WHERE seq = ANY ($1)")
                        .bind(&seqs)
                        .bind(until.0)
                        .bind(clean(error))
                        .execute(&mut **tx)
                        .await?;
                }
                Tx::Lite(tx) => {
                    sqlx::query(
                        "UPDATE outbox SET due_at = $2, tries = tries + 1, error = $3
                         WHERE seq IN (SELECT value FROM json_each($1))",
                    )
                    .bind(json!(seqs).to_string())
                    .bind(until.0)
                    .bind(clean(error))
                    .execute(&mut **tx)
                    .await?;
                }
            }
            work.commit().await
        })
        .await
    }

    pub async fn outbox_len(&self) -> Result<u64> {
        let rows: i64 =
            on_read!(self.db(), |pool| { sqlx::query_scalar("SELECT count(*) FROM outbox").fetch_one(pool).await? });
        Ok(nat(rows))
    }

    /// What the oldest of those that failed says, and how often it was tried: the reason why the outbox is not empty.
    pub async fn outbox_error(&self) -> Result<Option<(u32, String)>> {
        let row: Option<(i32, String)> = on_read!(self.db(), |pool| {
            sqlx::query_as("SELECT tries, error FROM outbox WHERE error IS NOT NULL ORDER BY seq LIMIT 1")
                .fetch_optional(pool)
                .await?
        });
        Ok(row.map(|(tries, error)| (count(tries), error)))
    }
}
