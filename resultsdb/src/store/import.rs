//! Bringing in what another store has had: with its ids, and doing so again changes nothing.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use db::Db;
use serde_json::json;

use super::sql::Sql;
use super::{Result, Store};
use crate::result::{Change, NewGroup, NewResult, NewTestcase, StoredResult};
use crate::term;

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    pub stored: usize,
    /// So many were here already, the same in every part.
    pub here: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(transparent)]
    Store(#[from] Arc<db::Error>),
    /// Another result has the id.
    #[error("result {id} is here already with another {part}")]
    Taken { id: i64, part: &'static str },
}

impl Store {
    /// Stores results under the ids that they name, in one transaction. Later ids are given above the greatest of them.
    pub async fn import(&self, mut batch: Vec<NewResult>) -> std::result::Result<Imported, ImportError> {
        let mut ids = HashSet::new();
        batch.retain(|result| result.id.is_none_or(|id| ids.insert(id)));
        let ids: Vec<i64> = ids.into_iter().collect();
        let Some(greatest) = ids.iter().max() else { return Ok(Imported::default()) };
        let here = self.inner.results(&ids).await.map_err(Arc::new)?;
        let here: HashMap<i64, StoredResult> = here.into_iter().map(|result| (result.id, result)).collect();
        for result in &batch {
            let Some((id, here)) = result.id.and_then(|id| Some((id, here.get(&id)?))) else { continue };
            if let Some(part) = difference(result, here) {
                return Err(ImportError::Taken { id, part });
            }
        }
        // Groups are listed by when they were made, and a batch of results would make them in another order.
        let mut groups = Vec::new();
        for result in &mut batch {
            for group in &mut result.groups {
                groups.push(group.clone());
                (group.description, group.ref_url) = (Change::Keep, Change::Keep);
            }
            keep_rather_than_clear(&mut result.testcase.ref_url);
        }
        self.import_groups(groups).await?;
        let fresh: Vec<&NewResult> = batch.iter().filter(|r| r.id.is_some_and(|id| !here.contains_key(&id))).collect();
        if !fresh.is_empty() {
            self.go_on_above(*greatest).await?;
            db::retrying(|| self.inner.write(&fresh)).await.map_err(Arc::new)?;
        }
        Ok(Imported { stored: fresh.len(), here: here.len() })
    }

    /// Makes groups in this order, or gives those that are here what is said of them.
    pub async fn import_groups(&self, groups: Vec<NewGroup>) -> Result<()> {
        let mut seen = HashSet::new();
        // What is said last counts.
        let mut groups: Vec<NewGroup> = groups.into_iter().rev().filter(|g| seen.insert(g.uuid.clone())).collect();
        groups.reverse();
        if groups.is_empty() {
            return Ok(());
        }
        const PG: &str = "
            INSERT INTO groups AS o (uuid, term, description, description_hash, ref_url)
            SELECT uuid, term, description, description_hash, ref_url
            FROM unnest($1::text[], $2::uuid[], $3::text[], $4::uuid[], $5::text[]) WITH ORDINALITY
                AS g(uuid, term, description, description_hash, ref_url, nth)
            WHERE NOT EXISTS (SELECT 1 FROM groups x WHERE x.uuid = g.uuid
                              AND (g.description IS NULL OR x.description IS NOT DISTINCT FROM g.description)
                              AND (g.ref_url IS NULL OR x.ref_url IS NOT DISTINCT FROM g.ref_url))
            ORDER BY nth
            ON CONFLICT (uuid) DO UPDATE SET description = COALESCE(excluded.description, o.description),
                description_hash = COALESCE(excluded.description_hash, o.description_hash),
                ref_url = COALESCE(excluded.ref_url, o.ref_url)";
        const LITE: &str = "
            INSERT INTO groups (uuid, term, description, description_hash, ref_url)
            SELECT j.value ->> 0, unhex(j.value ->> 1), j.value ->> 2, unhex(j.value ->> 3), j.value ->> 4
            FROM json_each($1) j WHERE true ORDER BY j.key
            ON CONFLICT (uuid) DO UPDATE SET description = COALESCE(excluded.description, groups.description),
                description_hash = COALESCE(excluded.description_hash, groups.description_hash),
                ref_url = COALESCE(excluded.ref_url, groups.ref_url)";
        let described = |g: &NewGroup| g.description.text().map(term::description);
        let write = || async {
            match self.db() {
                Db::Pg(pool) => {
                    sqlx::query(PG)
                        .bind(groups.iter().map(|g| g.uuid.as_str()).collect::<Vec<_>>())
                        .bind(groups.iter().map(|g| term::group(&g.uuid)).collect::<Vec<_>>())
                        .bind(groups.iter().map(|g| g.description.text()).collect::<Vec<_>>())
                        .bind(groups.iter().map(described).collect::<Vec<_>>())
                        .bind(groups.iter().map(|g| g.ref_url.text()).collect::<Vec<_>>())
                        .execute(pool)
                        .await?;
                }
                Db::Lite { write, .. } => {
                    let hex = |id: uuid::Uuid| id.simple().to_string();
                    let rows: Vec<_> = (groups.iter())
                        .map(|g| {
                            let (term, hash) = (hex(term::group(&g.uuid)), described(g).map(hex));
                            json!([g.uuid, term, g.description.text(), hash, g.ref_url.text()])
                        })
                        .collect();
                    sqlx::query(LITE).bind(json!(rows).to_string()).execute(write).await?;
                }
            }
            Ok(())
        };
        db::retrying(write).await.map_err(Arc::new)
    }

    /// Makes testcases in this order, or gives those that are here what is said of them.
    pub async fn import_testcases(&self, testcases: &[NewTestcase]) -> Result<()> {
        for testcase in testcases {
            self.put_testcase(&testcase.name, testcase.ref_url.text()).await?;
        }
        Ok(())
    }

    /// No result will get this id or a smaller one by itself.
    async fn go_on_above(&self, id: i64) -> Result<()> {
        // SQLite keeps the greatest that was ever stored.
        if let Db::Pg(pool) = self.db() {
            let raise = || async {
                let text = "SELECT setval(s.name, $1)
                    FROM (SELECT pg_get_serial_sequence('results', 'id')::regclass AS name) s
                    WHERE $1 > COALESCE(pg_sequence_last_value(s.name), 0)";
                sqlx::query(text).bind(id).execute(pool).await?;
                Ok(())
            };
            db::retrying(raise).await.map_err(Arc::new)?;
        }
        Ok(())
    }

    /// Every id that there is, from one to another with both, in order.
    pub async fn ids(&self, from: i64, until: i64, take: impl FnMut(i64)) -> Result<()> {
        let mut take = take;
        let mut sql = Sql::new(self.db(), "SELECT id FROM results WHERE id >= ");
        sql.int(from).push(" AND id <= ").int(until).push(" ORDER BY id");
        Ok(sql.each(self.db(), |(id,): (i64,)| take(id)).await?)
    }

    /// How many results there are that were submitted at a time or before it; all without one. Then testcases and groups.
    pub async fn counts(&self, until: Option<i64>) -> Result<(i64, i64, i64)> {
        let mut sql = Sql::new(self.db(), "SELECT (SELECT count(*) FROM results WHERE submit_time <= ");
        sql.int(until.unwrap_or(i64::MAX));
        sql.push("), (SELECT count(*) FROM testcases), (SELECT count(*) FROM groups)");
        Ok(sql.rows(self.db()).await?.pop().unwrap_or_default())
    }

    /// The greatest id that a result has; 0 when there is none.
    pub async fn greatest_id(&self) -> Result<i64> {
        let sql = Sql::new(self.db(), "SELECT COALESCE(max(id), 0) FROM results");
        Ok(sql.rows::<(i64,)>(self.db()).await?.pop().map_or(0, |(id,)| id))
    }

    /// Everything that an origin has submitted before this time is here; `None` where nothing is known of it.
    pub async fn imported_until(&self, origin: &str) -> Result<Option<i64>> {
        let mut sql = Sql::new(self.db(), "SELECT submit_time FROM imports WHERE origin = ");
        sql.text(origin);
        Ok(sql.rows::<(i64,)>(self.db()).await?.pop().map(|(time,)| time))
    }

    pub async fn set_imported_until(&self, origin: &str, time: i64) -> Result<()> {
        const TEXT: &str = "INSERT INTO imports (origin, submit_time) VALUES ($1, $2)
            ON CONFLICT (origin) DO UPDATE SET submit_time = excluded.submit_time";
        let set = || async {
            db::on_write!(self.db(), |pool| {
                sqlx::query(TEXT).bind(origin).bind(time).execute(pool).await.map(|_| ())?;
                Ok(())
            })
        };
        db::retrying(set).await.map_err(Arc::new)
    }
}

/// Where nothing is said, what is here stays.
fn keep_rather_than_clear(change: &mut Change) {
    if change.text().is_none() {
        *change = Change::Keep;
    }
}

/// In what part a result differs from the one that is stored under its id. The order of values of a key, and of groups,
/// does not count: an origin promises none.
fn difference(new: &NewResult, here: &StoredResult) -> Option<&'static str> {
    let sorted = |values: &Vec<String>| {
        let mut values = values.clone();
        values.sort_unstable();
        values
    };
    let given = new.data.iter().filter(|(_, values)| !values.is_empty());
    let data = here.data();
    let groups: Vec<String> = serde_json::from_str(&here.groups).unwrap_or_default();
    let parts = [
        ("testcase", new.testcase.name == here.testcase),
        ("outcome", new.outcome == here.outcome),
        ("submit_time", new.submit_time.0 == here.submit_time),
        ("note", new.note == here.note),
        ("ref_url", new.ref_url == here.ref_url),
        ("data", given.map(|(k, v)| (k, sorted(v))).eq(data.iter().map(|(k, v)| (k, sorted(v))))),
        ("groups", new.groups.iter().map(|g| &g.uuid).collect::<BTreeSet<_>>() == groups.iter().collect()),
    ];
    parts.into_iter().find(|(_, same)| !same).map(|(part, _)| part)
}
