//! Adding results on SQLite: one transaction on the one writing connection, each statement over a JSON batch.

use serde_json::{Value, json};
use sqlx::SqlitePool;
use uuid::Uuid;

use super::append::{Batch, Written};
use crate::term;

const TESTCASES: &str = "
INSERT INTO testcases (hash, name, head, ref_url)
SELECT unhex(j.value ->> 'hash'), j.value ->> 'name', j.value ->> 'head', j.value ->> 'ref_url' FROM json_each($1) j
WHERE true ON CONFLICT (hash) DO NOTHING";

const TESTCASES_REFER: &str = "
UPDATE testcases SET ref_url = j.value ->> 'ref_url' FROM json_each($1) j
WHERE j.value ->> 'sets' AND testcases.hash = unhex(j.value ->> 'hash')
  AND testcases.ref_url IS NOT j.value ->> 'ref_url'";

const GROUPS: &str = "
INSERT INTO groups (uuid, term, description, description_hash, ref_url)
SELECT j.value ->> 'uuid', unhex(j.value ->> 'term'), j.value ->> 'description',
       unhex(j.value ->> 'description_hash'), j.value ->> 'ref_url' FROM json_each($1) j
WHERE true ON CONFLICT (uuid) DO NOTHING";

const GROUPS_DESCRIBE: &str = "
UPDATE groups SET description = j.value ->> 'description', description_hash = unhex(j.value ->> 'description_hash')
FROM json_each($1) j WHERE j.value ->> 'describes' AND groups.uuid = j.value ->> 'uuid'
  AND groups.description IS NOT j.value ->> 'description'";

const GROUPS_REFER: &str = "
UPDATE groups SET ref_url = j.value ->> 'ref_url' FROM json_each($1) j
WHERE j.value ->> 'refers' AND groups.uuid = j.value ->> 'uuid' AND groups.ref_url IS NOT j.value ->> 'ref_url'";

const TERMS: &str = "
INSERT INTO terms (id, key, value, place)
SELECT unhex(j.value ->> 0), j.value ->> 1, j.value ->> 2, j.value ->> 3 FROM json_each($1) j
WHERE true ON CONFLICT (id) DO UPDATE SET unused_since = NULL WHERE terms.unused_since IS NOT NULL";

/// A key that another process has used meanwhile is left out.
const RESULTS: &str = "
INSERT INTO results (id, testcase, outcome, submit_time, note, ref_url, data, groups)
SELECT j.value ->> 'id',
       (SELECT t.id FROM testcases t WHERE t.hash = unhex(j.value ->> 'testcase')),
       j.value ->> 'outcome', j.value ->> 'submit_time', j.value ->> 'note', j.value ->> 'ref_url',
       j.value ->> 'data', j.value ->> 'groups'
FROM json_each($1) j
WHERE NOT EXISTS (SELECT 1 FROM idempotency_keys k WHERE k.key = unhex(j.value ->> 'key'))
ORDER BY j.key";

pub(super) async fn append(pool: &SqlitePool, batch: &Batch<'_>) -> db::Result<Vec<Written>> {
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
    let base: i64 = sqlx::query_scalar("SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'results'), 0)")
        .fetch_one(&mut *tx)
        .await?;
    // There is one writer, so ids can be given here. They go on from the greatest that there ever was.
    let ids: Vec<i64> = (base + 1..).zip(&batch.results).map(|(next, row)| row.new.id.unwrap_or(next)).collect();
    let id = |nth: i64| usize::try_from(nth).ok().and_then(|nth| ids.get(nth));

    let cases: Vec<Value> = (batch.testcases.iter())
        .map(|(hash, c)| {
            json!({"hash": hex(*hash), "name": c.name, "head": term::head(&c.name), "ref_url": c.ref_url.text(),
                   "sets": c.ref_url.sets()})
        })
        .collect();
    for text in [TESTCASES, TESTCASES_REFER] {
        sqlx::query(text).bind(Value::from(cases.clone()).to_string()).execute(&mut *tx).await?;
    }
    if !batch.groups.is_empty() {
        let groups: Vec<Value> = (batch.groups.values())
            .map(|g| {
                let description_hash = g.description.text().map(|d| hex(term::description(d)));
                json!({"uuid": g.uuid, "term": hex(term::group(&g.uuid)), "description": g.description.text(),
                       "description_hash": description_hash, "ref_url": g.ref_url.text(),
                       "describes": g.description.sets(), "refers": g.ref_url.sets()})
            })
            .collect();
        let groups = Value::from(groups).to_string();
        for text in [GROUPS, GROUPS_DESCRIBE, GROUPS_REFER] {
            sqlx::query(text).bind(groups.as_str()).execute(&mut *tx).await?;
        }
    }
    if !batch.terms.is_empty() {
        let terms: Vec<Value> = (batch.terms.iter())
            .map(|(id, (key, value))| json!([hex(*id), key, value, term::place(key, value)]))
            .collect();
        sqlx::query(TERMS).bind(Value::from(terms).to_string()).execute(&mut *tx).await?;
    }

    let results: Vec<Value> = (batch.results.iter().zip(&ids))
        .map(|(r, id)| {
            json!({"id": id, "testcase": hex(r.testcase), "outcome": r.new.outcome, "submit_time": r.new.submit_time.0,
                   "note": r.new.note, "ref_url": r.new.ref_url, "data": r.data, "groups": r.groups,
                   "key": r.new.key.map(hex)})
        })
        .collect();
    sqlx::query(RESULTS).bind(Value::from(results).to_string()).execute(&mut *tx).await?;

    let keys: Vec<Value> =
        (batch.results.iter().zip(&ids)).filter_map(|(r, id)| Some(json!([hex(r.new.key?), id]))).collect();
    if !keys.is_empty() {
        sqlx::query(
            "INSERT INTO idempotency_keys (key, result, made_at)
             SELECT unhex(j.value ->> 0), r.id, $2 FROM json_each($1) j JOIN results r ON r.id = j.value ->> 1
             WHERE true ON CONFLICT (key) DO NOTHING",
        )
        .bind(Value::from(keys).to_string())
        .bind(batch.made_at)
        .execute(&mut *tx)
        .await?;
    }
    let told: Vec<Value> =
        (batch.results.iter().zip(&ids)).filter_map(|(r, id)| Some(json!([r.new.told_at.as_ref()?, id]))).collect();
    if !told.is_empty() {
        sqlx::query(
            "INSERT INTO messages (result, root)
             SELECT r.id, j.value ->> 0 FROM json_each($1) j JOIN results r ON r.id = j.value ->> 1",
        )
        .bind(Value::from(told).to_string())
        .execute(&mut *tx)
        .await?;
    }
    let facts: Vec<Value> = batch.facts.iter().map(|(term, nth)| json!([hex(*term), id(*nth)])).collect();
    sqlx::query(
        "INSERT INTO facts (term, submit_time, result, testcase)
         SELECT unhex(j.value ->> 0), r.submit_time, r.id, r.testcase
         FROM json_each($1) j JOIN results r ON r.id = j.value ->> 1",
    )
    .bind(Value::from(facts).to_string())
    .execute(&mut *tx)
    .await?;
    let written = sqlx::query_as(
        "SELECT j.key AS nth, r.id, t.ref_url AS testcase_ref_url
         FROM json_each($1) j JOIN results r ON r.id = j.value JOIN testcases t ON t.id = r.testcase",
    )
    .bind(json!(ids).to_string())
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(written)
}

fn hex(id: Uuid) -> String {
    id.simple().to_string()
}
