//! Adding results: one transaction for all that are in hand.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use db::Db;
use uuid::Uuid;

use super::sql::Sql;
use super::{Inner, Result, locked};
use crate::result::{NewGroup, NewResult, NewTestcase, StoredResult, data_json, list_json};
use crate::term;

/// A result that is stored now.
#[derive(Clone, Debug)]
pub struct Appended {
    pub result: StoredResult,
    /// False when its idempotency key had been used before.
    pub created: bool,
}

/// A batch as the engines write it: everything that several results share stands in it once, in a fixed order, so
/// that two writers never wait for each other crosswise.
#[derive(Default)]
pub(super) struct Batch<'r> {
    pub results: Vec<Row<'r>>,
    pub testcases: BTreeMap<Uuid, NewTestcase>,
    pub groups: BTreeMap<String, NewGroup>,
    pub terms: BTreeMap<Uuid, (&'r str, &'r str)>,
    /// Each result's terms, with its place in `results`.
    pub facts: Vec<(Uuid, i64)>,
    /// Microseconds since 1970.
    pub made_at: i64,
}

pub(super) struct Row<'r> {
    pub new: &'r NewResult,
    pub testcase: Uuid,
    pub data: String,
    pub groups: String,
}

/// What the engine says of a result that it has stored.
#[derive(sqlx::FromRow)]
pub(super) struct Written {
    /// Its place in the batch.
    pub nth: i64,
    pub id: i64,
    /// The testcase's, as it stands now.
    pub testcase_ref_url: Option<String>,
}

impl Inner {
    /// Stores a batch and answers for each in order. One that the database refuses does not harm the others.
    pub(super) async fn append(&self, batch: Vec<NewResult>) -> Vec<Result<Appended>> {
        let all: Vec<&NewResult> = batch.iter().collect();
        match db::retrying(|| self.write(&all)).await {
            Ok(answers) => answers,
            Err(db::Error::Other(e)) if batch.len() > 1 => {
                tracing::warn!(results = batch.len(), error = %e, "a batch was refused; its results are stored one by one");
                let mut answers = Vec::with_capacity(batch.len());
                for one in &batch {
                    match db::retrying(|| self.write(std::slice::from_ref(&one))).await {
                        Ok(answer) => answers.extend(answer),
                        Err(e) => answers.push(Err(e.into())),
                    }
                }
                answers
            }
            Err(e) => {
                let e = Arc::new(e);
                batch.iter().map(|_| Err(e.clone())).collect()
            }
        }
    }

    pub(super) async fn write(&self, all: &[&NewResult]) -> db::Result<Vec<Result<Appended>>> {
        // What is known under its key is left out altogether: it must not even touch a testcase again.
        let keys: Vec<Uuid> = all.iter().filter_map(|r| r.key).collect();
        let mut ids = self.keyed(&keys).await?;
        let mut first: HashMap<Uuid, usize> = HashMap::new();
        let mut fresh = Vec::new();
        for (i, result) in all.iter().enumerate() {
            let repeated = result.key.is_some_and(|k| ids.contains_key(&k) || first.insert(k, i).is_some());
            if !repeated {
                fresh.push(i);
            }
        }

        let mut written: HashMap<usize, StoredResult> = HashMap::new();
        if !fresh.is_empty() {
            let mut batch = self.batch(fresh.iter().map(|&i| all[i]));
            let rows = match &self.db {
                Db::Pg(pool) => super::append_pg::append(&self.kept, pool, &batch).await?,
                Db::Lite { write, .. } => super::append_lite::append(write, &batch).await?,
            };
            if batch.results.iter().any(|row| row.new.told_at.is_some()) {
                self.untold.notify_one();
            }
            locked(&self.known.stored).add(batch.terms.keys().copied());
            for row in rows {
                let nth = usize::try_from(row.nth).unwrap_or(usize::MAX);
                let (Some(&i), Some(from)) = (fresh.get(nth), batch.results.get_mut(nth)) else { continue };
                if let Some(key) = from.new.key {
                    ids.insert(key, row.id);
                }
                written.insert(i, stored(from, row));
            }
        }

        // The rest is there already, perhaps since a moment ago.
        let missing: Vec<Uuid> = keys.iter().filter(|k| !ids.contains_key(*k)).copied().collect();
        ids.extend(self.keyed(&missing).await?);
        let here: std::collections::HashSet<i64> = written.values().map(|r| r.id).collect();
        let earlier: Vec<i64> = ids.values().filter(|id| !here.contains(id)).copied().collect();
        let mut by_id: HashMap<i64, StoredResult> = written.values().map(|r| (r.id, r.clone())).collect();
        if !earlier.is_empty() {
            by_id.extend(self.results(&earlier).await?.into_iter().map(|r| (r.id, r)));
        }
        let answer = |(i, new): (usize, &&NewResult)| {
            if let Some(result) = written.remove(&i) {
                return Ok(Appended { result, created: true });
            }
            let id = new.key.and_then(|k| ids.get(&k));
            let result = id.and_then(|id| by_id.get(id)).cloned().ok_or_else(|| gone(new))?;
            Ok(Appended { result, created: false })
        };
        Ok(all.iter().enumerate().map(answer).collect())
    }

    /// The results that were posted under these keys.
    async fn keyed(&self, keys: &[Uuid]) -> db::Result<HashMap<Uuid, i64>> {
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let mut sql = Sql::new(&self.db, "SELECT key, result FROM idempotency_keys WHERE ");
        sql.one_of_ids("key", keys);
        Ok(sql.rows::<(Uuid, i64)>(&self.db).await?.into_iter().collect())
    }

    fn batch<'r>(&self, results: impl Iterator<Item = &'r NewResult>) -> Batch<'r> {
        let mut batch = Batch::default();
        for (nth, new) in (0..).zip(results) {
            batch.made_at = batch.made_at.max(new.received.0);
            let testcase = term::testcase(&new.testcase.name);
            let case = batch.testcases.entry(testcase).or_insert_with(|| new.testcase.clone());
            case.ref_url.then(&new.testcase.ref_url);
            for group in &new.groups {
                let shared = batch.groups.entry(group.uuid.clone()).or_insert_with(|| group.clone());
                shared.description.then(&group.description);
                shared.ref_url.then(&group.ref_url);
                batch.facts.push((term::group(&group.uuid), nth));
            }
            for (key, values) in &new.data {
                let mut values: Vec<&str> = values.iter().map(String::as_str).collect();
                values.sort_unstable();
                values.dedup();
                for value in values {
                    let term = term::fact(key, value);
                    batch.facts.push((term, nth));
                    batch.terms.insert(term, (key, value));
                }
            }
            let mut groups = String::new();
            list_json(new.groups.iter().map(|g| g.uuid.as_str()), &mut groups);
            batch.results.push(Row { new, testcase, data: data_json(&new.data), groups });
        }
        let stored = locked(&self.known.stored);
        batch.terms.retain(|term, _| !stored.contains(term));
        drop(stored);
        batch.facts.sort_unstable();
        batch
    }
}

fn stored(from: &mut Row<'_>, row: Written) -> StoredResult {
    let new = from.new;
    StoredResult {
        id: row.id,
        outcome: new.outcome.clone(),
        submit_time: new.submit_time.0,
        note: new.note.clone(),
        ref_url: new.ref_url.clone(),
        data: std::mem::take(&mut from.data),
        groups: std::mem::take(&mut from.groups),
        testcase: new.testcase.name.clone(),
        testcase_ref_url: row.testcase_ref_url,
    }
}

/// A key that names a result which is not there.
fn gone(new: &NewResult) -> Arc<db::Error> {
    let key = new.key.map(|k| k.to_string()).unwrap_or_default();
    Arc::new(db::Error::Corrupt { table: "idempotency_keys", column: "result", key, value: "no result".into() })
}
