//! Label sets: what jobs need of a worker, each distinct set once, under a number.
//!
//! There are few of them and they are never changed, so every master keeps them all and works out by itself which of
//! them a worker satisfies.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, RwLock};

use db::{on_read, on_write};
use serde_json::json;

use super::error::corrupt;
use super::{Result, Store};

pub(super) type Sets = HashMap<Vec<String>, i32>;

#[derive(Default)]
pub(super) struct LabelSets {
    known: RwLock<Arc<Sets>>,
}

impl LabelSets {
    fn get(&self) -> Arc<Sets> {
        self.known.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    fn put(&self, sets: Sets) {
        *self.known.write().unwrap_or_else(|e| e.into_inner()) = Arc::new(sets);
    }
}

/// A set as it is stored.
pub(super) fn text(labels: &[String]) -> String {
    json!(labels).to_string()
}

/// The sets that a worker with these labels satisfies.
pub(super) fn satisfied(known: &Sets, labels: &BTreeSet<String>) -> Vec<i32> {
    let fits = |needs: &[String]| needs.iter().all(|label| labels.contains(label));
    let mut sets: Vec<i32> = known.iter().filter(|(needs, _)| fits(needs)).map(|(_, id)| *id).collect();
    sets.sort_unstable();
    sets
}

impl Store {
    /// The numbers of these sets, which must be sorted; new ones are stored at once, in a transaction of their own: one
    /// that no job uses does no harm.
    pub(super) async fn label_sets_of(&self, wanted: BTreeSet<&[String]>) -> Result<Arc<Sets>> {
        let known = self.inner.labels.get();
        let missing: Vec<&[String]> = wanted.into_iter().filter(|labels| !known.contains_key(*labels)).collect();
        if missing.is_empty() {
            return Ok(known);
        }
        for labels in missing {
            on_write!(self.db(), |pool| {
                sqlx::query("INSERT INTO label_sets (labels) VALUES ($1) ON CONFLICT (labels) DO NOTHING")
                    .bind(text(labels))
                    .execute(pool)
                    .await?;
            });
        }
        self.reload_label_sets().await
    }

    /// All label sets; read again when there are not as many as somebody saw. (Their number, not the greatest of them:
    /// a lesser one may be committed later.)
    pub(super) async fn label_sets(&self, seen: i64) -> Result<Arc<Sets>> {
        let known = self.inner.labels.get();
        if i64::try_from(known.len()) == Ok(seen) { Ok(known) } else { self.reload_label_sets().await }
    }

    async fn reload_label_sets(&self) -> Result<Arc<Sets>> {
        let rows: Vec<(i32, String)> =
            on_read!(self.db(), |pool| { sqlx::query_as("SELECT id, labels FROM label_sets").fetch_all(pool).await? });
        let mut sets = Sets::with_capacity(rows.len());
        for (id, text) in rows {
            let labels = serde_json::from_str(&text).map_err(|_| corrupt("label_sets", "labels", id, &text))?;
            sets.insert(labels, id);
        }
        self.inner.labels.put(sets);
        Ok(self.inner.labels.get())
    }
}
