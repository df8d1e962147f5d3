//! Old results go, in batches that each are one transaction and hold nobody up for long, and with them what only they
//! had: their facts and idempotency keys, groups and terms that no result has any more. Testcases stay.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use db::Db;
use model::{Span, Time};
use serde_json::{Value, json};
use uuid::Uuid;

use super::sql::Sql;
use super::{Inner, Result, Store};
use crate::retention::{Bounds, Retentions};
use crate::term;

/// How many results share a transaction.
const BATCH: i64 = 500;

/// How long a term has been unused when its row goes: much longer than a writer remembers that it is there.
const UNUSED: Span = Span::millis(3_600_000);

/// What tells results of one testcase and item apart, for those who gate on them.
const FLAVOUR: [&str; 5] = ["type", "arch", "scenario", "system_architecture", "system_variant"];

/// What became of the results of one testcase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pruned {
    pub testcase: String,
    /// Up to when its results went.
    pub bounds: Bounds,
    /// How many went.
    pub results: u64,
    /// How many stayed because they are the newest of their item.
    pub latest: u64,
}

/// A result that is old enough.
struct Old {
    id: i64,
    submit_time: i64,
    data: BTreeMap<String, Vec<String>>,
    groups: Vec<String>,
}

/// Everything that goes in one transaction.
#[derive(Default)]
struct Gone {
    ids: Vec<i64>,
    /// Keys of rows of `facts`.
    facts: Vec<(Uuid, i64, i64)>,
    groups: BTreeSet<String>,
}

impl Store {
    /// Removes what is older than it is to be kept; with `dry_run` only counts it. Each testcase is told of when it is
    /// done. Stopped at any moment, it can be run again.
    pub async fn prune(
        &self,
        retentions: &Retentions,
        now: Time,
        dry_run: bool,
        mut told: impl FnMut(Pruned),
    ) -> Result<()> {
        let sql = Sql::new(self.db(), "SELECT id, name FROM testcases ORDER BY name");
        for (id, name) in sql.rows::<(i64, String)>(self.db()).await? {
            let Some(bounds) = retentions.bounds(&name, now) else { continue };
            told(self.prune_testcase(id, name, bounds, now, dry_run).await?);
        }
        if !dry_run {
            self.inner.sweep_terms(now).await?;
        }
        Ok(())
    }

    async fn prune_testcase(
        &self,
        id: i64,
        testcase: String,
        bounds: Bounds,
        now: Time,
        dry_run: bool,
    ) -> Result<Pruned> {
        let mut pruned = Pruned { testcase, bounds, results: 0, latest: 0 };
        let mut after = (i64::MIN, 0);
        loop {
            let old = self.inner.old(id, bounds.any, after).await?;
            let Some(last) = old.last() else { return Ok(pruned) };
            after = (last.submit_time, last.id);
            let latest = self.inner.latest_among(&old, bounds.latest).await?;
            let going: Vec<&Old> = old.iter().filter(|r| !latest.contains(&r.id)).collect();
            pruned.latest += latest.len() as u64;
            pruned.results += going.len() as u64;
            if !dry_run && !going.is_empty() {
                let gone = gone(&going);
                db::retrying(|| self.inner.remove(&gone, now)).await.map_err(Arc::new)?;
            }
        }
    }
}

impl Inner {
    /// The next of a testcase that are old enough, without those that the bus is still to be told of.
    async fn old(&self, testcase: i64, until: Time, (time, id): (i64, i64)) -> db::Result<Vec<Old>> {
        let mut sql = Sql::new(&self.db, "SELECT r.id, r.submit_time, r.data, r.groups FROM results r");
        sql.push(" WHERE r.testcase = ").int(testcase).push(" AND r.submit_time < ").int(until.0);
        sql.push(" AND (r.submit_time, r.id) > (").int(time).push(", ").int(id).push(")");
        sql.push(" AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.result = r.id)");
        sql.push(" ORDER BY r.submit_time, r.id LIMIT ").push(&BATCH.to_string());
        let rows: Vec<(i64, i64, String, String)> = sql.rows(&self.db).await?;
        rows.into_iter().map(read).collect()
    }

    /// Which of them are the newest of an item and of their flavour, and not older than such are kept.
    async fn latest_among(&self, old: &[Old], until: Option<Time>) -> db::Result<HashSet<i64>> {
        let kept = old.iter().filter(|r| until.is_none_or(|until| r.submit_time >= until.0));
        let items: Vec<(i64, i64, Uuid)> = kept
            .flat_map(|r| {
                let items = r.data.get("item").into_iter().flatten();
                items.map(|item| (r.id, r.submit_time, term::fact("item", item)))
            })
            .collect();
        if items.is_empty() {
            return Ok(HashSet::new());
        }
        let mut sql = Sql::new(&self.db, "SELECT DISTINCT c.id FROM ");
        sql.facts_as_table("c", items);
        sql.push(" CROSS JOIN results r WHERE r.id = c.id AND (SELECT 1 FROM facts f CROSS JOIN results n");
        sql.push(" WHERE f.term = c.term AND f.testcase = r.testcase AND f.submit_time >= c.submit_time");
        sql.push(" AND (f.submit_time, f.result) > (c.submit_time, c.id) AND n.id = f.result AND ");
        let flavour = |of: &str, lite: bool| match lite {
            false => format!("jsonb_build_array({})", FLAVOUR.map(|k| format!("{of}.data::jsonb -> '{k}'")).join(", ")),
            true => format!("json_extract({of}.data, {})", FLAVOUR.map(|k| format!("'$.{k}'")).join(", ")),
        };
        for (of, after) in [("n", " = "), ("r", " LIMIT 1) IS NULL")] {
            sql.either(&flavour(of, false), &flavour(of, true)).push(after);
        }
        Ok(sql.rows::<(i64,)>(&self.db).await?.into_iter().map(|(id,)| id).collect())
    }

    async fn remove(&self, gone: &Gone, now: Time) -> db::Result<()> {
        let terms: BTreeSet<Uuid> = gone.facts.iter().map(|(term, _, _)| *term).collect();
        match &self.db {
            Db::Pg(pool) => {
                let mut tx = pool.begin().await?;
                sqlx::query(
                    "DELETE FROM facts f USING unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS g(term, time, result)
                     WHERE f.term = g.term AND f.submit_time = g.time AND f.result = g.result",
                )
                .bind(gone.facts.iter().map(|f| f.0).collect::<Vec<_>>())
                .bind(gone.facts.iter().map(|f| f.1).collect::<Vec<_>>())
                .bind(gone.facts.iter().map(|f| f.2).collect::<Vec<_>>())
                .execute(&mut *tx)
                .await?;
                for text in
                    ["DELETE FROM idempotency_keys WHERE result = ANY($1)", "DELETE FROM results WHERE id = ANY($1)"]
                {
                    sqlx::query(text).bind(&gone.ids).execute(&mut *tx).await?;
                }
                sqlx::query(
                    "UPDATE terms t SET unused_since = $2 WHERE id = ANY($1) AND unused_since IS NULL
                     AND NOT EXISTS (SELECT 1 FROM facts f WHERE f.term = t.id)",
                )
                .bind(terms.into_iter().collect::<Vec<_>>())
                .bind(now.0)
                .execute(&mut *tx)
                .await?;
                // A writer that has found its group must have written the facts of it before they are looked for.
                sqlx::query("LOCK TABLE groups IN SHARE ROW EXCLUSIVE MODE").execute(&mut *tx).await?;
                sqlx::query(
                    "DELETE FROM groups g WHERE uuid = ANY($1)
                     AND NOT EXISTS (SELECT 1 FROM facts f WHERE f.term = g.term)",
                )
                .bind(gone.groups.iter().map(String::as_str).collect::<Vec<_>>())
                .execute(&mut *tx)
                .await?;
                Ok(tx.commit().await?)
            }
            Db::Lite { write, .. } => {
                let hex = |id: &Uuid| id.simple().to_string();
                let facts: Vec<Value> = gone.facts.iter().map(|(t, time, id)| json!([hex(t), time, id])).collect();
                let terms: Vec<String> = terms.iter().map(hex).collect();
                let (ids, groups) = (json!(gone.ids).to_string(), json!(gone.groups).to_string());
                let mut tx = write.begin_with("BEGIN IMMEDIATE").await?;
                sqlx::query(
                    "DELETE FROM facts WHERE (term, submit_time, result) IN
                     (SELECT unhex(j.value ->> 0), j.value ->> 1, j.value ->> 2 FROM json_each($1) j)",
                )
                .bind(json!(facts).to_string())
                .execute(&mut *tx)
                .await?;
                for text in [
                    "DELETE FROM idempotency_keys WHERE result IN (SELECT j.value FROM json_each($1) j)",
                    "DELETE FROM results WHERE id IN (SELECT j.value FROM json_each($1) j)",
                ] {
                    sqlx::query(text).bind(ids.as_str()).execute(&mut *tx).await?;
                }
                sqlx::query(
                    "UPDATE terms SET unused_since = $2 WHERE id IN (SELECT unhex(j.value) FROM json_each($1) j)
                     AND unused_since IS NULL AND NOT EXISTS (SELECT 1 FROM facts f WHERE f.term = terms.id)",
                )
                .bind(json!(terms).to_string())
                .bind(now.0)
                .execute(&mut *tx)
                .await?;
                sqlx::query(
                    "DELETE FROM groups WHERE uuid IN (SELECT j.value FROM json_each($1) j)
                     AND NOT EXISTS (SELECT 1 FROM facts f WHERE f.term = groups.term)",
                )
                .bind(groups)
                .execute(&mut *tx)
                .await?;
                Ok(tx.commit().await?)
            }
        }
    }

    /// Removes terms that were found unused long ago and still are; those that have come to be used are unused no more.
    async fn sweep_terms(&self, now: Time) -> db::Result<()> {
        const USED: &str = "UPDATE terms SET unused_since = NULL WHERE unused_since < $1
                            AND EXISTS (SELECT 1 FROM facts f WHERE f.term = terms.id)";
        const UNUSED_STILL: &str = "DELETE FROM terms WHERE unused_since < $1
                                    AND NOT EXISTS (SELECT 1 FROM facts f WHERE f.term = terms.id)";
        for text in [USED, UNUSED_STILL] {
            let sweep = || async {
                db::on_write!(&self.db, |pool| {
                    sqlx::query(text).bind(now.minus(UNUSED).0).execute(pool).await.map(|_| ())?;
                    Ok(())
                })
            };
            db::retrying(sweep).await?;
        }
        Ok(())
    }
}

fn read((id, submit_time, data, groups): (i64, i64, String, String)) -> db::Result<Old> {
    let corrupt = |column, value: &str| db::Error::Corrupt {
        table: "results",
        column,
        key: id.to_string(),
        value: value.to_owned(),
    };
    Ok(Old {
        id,
        submit_time,
        data: serde_json::from_str(&data).map_err(|_| corrupt("data", &data))?,
        groups: serde_json::from_str(&groups).map_err(|_| corrupt("groups", &groups))?,
    })
}

fn gone(results: &[&Old]) -> Gone {
    let mut gone = Gone::default();
    for r in results {
        let of_data = r.data.iter().flat_map(|(key, values)| values.iter().map(move |value| term::fact(key, value)));
        let terms: BTreeSet<Uuid> = of_data.chain(r.groups.iter().map(|uuid| term::group(uuid))).collect();
        gone.facts.extend(terms.into_iter().map(|term| (term, r.submit_time, r.id)));
        gone.groups.extend(r.groups.iter().cloned());
        gone.ids.push(r.id);
    }
    gone.facts.sort_unstable();
    gone
}
