//! Task definitions, each version once.

use db::{on_read, on_write};
use model::canonical;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::number::nat;
use super::{Result, Store};

impl Store {
    /// The number of this version of a task: the same text has the same number.
    pub async fn task_version(&self, name: &str, definition: &Value) -> Result<i64> {
        let hash = Sha256::digest(canonical(&json!([name, definition]))).to_vec();
        on_write!(self.db(), |pool| {
            let find = "SELECT id FROM tasks WHERE hash = $1";
            if let Some(id) = sqlx::query_scalar(find).bind(&hash).fetch_optional(pool).await? {
                return Ok(id);
            }
            sqlx::query("INSERT INTO tasks (name, definition, hash) VALUES ($1, $2, $3) ON CONFLICT (hash) DO NOTHING")
                .bind(name)
                .bind(canonical(definition))
                .bind(&hash)
                .execute(pool)
                .await?;
            Ok(sqlx::query_scalar(find).bind(&hash).fetch_one(pool).await?)
        })
    }

    /// How many versions there are.
    pub async fn task_versions(&self) -> Result<u64> {
        let rows: i64 =
            on_read!(self.db(), |pool| sqlx::query_scalar("SELECT count(*) FROM tasks").fetch_one(pool).await?);
        Ok(nat(rows))
    }

    /// The number, the name and the definition of every version that [`Store::task_version`] numbered. A definition is
    /// `None` where what is stored is no JSON: that one must not keep the others from being read.
    pub async fn task_definitions(&self) -> Result<Vec<(i64, String, Option<Value>)>> {
        let rows: Vec<(i64, String, String)> = on_read!(self.db(), |pool| {
            sqlx::query_as("SELECT id, name, definition FROM tasks").fetch_all(pool).await?
        });
        Ok(rows.into_iter().map(|(id, name, text)| (id, name, serde_json::from_str(&text).ok())).collect())
    }
}
