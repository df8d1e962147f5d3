//! Task definitions, each version once.

use db::{on_read, on_write};
use model::canonical;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::error::corrupt;
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

    /// The name and the definition of a version that [`Store::task_version`] numbered.
    pub async fn task_definition(&self, version: i64) -> Result<Option<(String, Value)>> {
        let row: Option<(String, String)> = on_read!(self.db(), |pool| {
            sqlx::query_as("SELECT name, definition FROM tasks WHERE id = $1")
                .bind(version)
                .fetch_optional(pool)
                .await?
        });
        let Some((name, text)) = row else { return Ok(None) };
        let definition = serde_json::from_str(&text).map_err(|_| corrupt("tasks", "definition", version, &text))?;
        Ok(Some((name, definition)))
    }
}
