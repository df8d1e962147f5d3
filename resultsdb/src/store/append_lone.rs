//! Adding an ordinary single result on PostgreSQL, as nearly all POSTs do: its testcase is there, it has one group at
//! most, and no key. To begin, join and end the parts of the statement for batches takes as long as to write the rows,
//! so this one has neither lists to join nor parts that look for what exists.

use db::Kept;
use sqlx::PgPool;
use uuid::Uuid;

use super::append::{Batch, Written};
use crate::result::NewResult;
use crate::term;

/// Writes nothing and answers with no row unless the testcase is there, and is as the result leaves it.
fn statement(batch: &Batch<'_>, new: &NewResult) -> String {
    let part = |needed: bool, part: &'static str| if needed { part } else { "" };
    [
        FRESH,
        part(!batch.groups.is_empty(), GROUP),
        part(!batch.terms.is_empty(), TERMS),
        part(new.told_at.is_some(), MESSAGE),
        RESULT,
    ]
    .concat()
}

const FRESH: &str = "
WITH
fresh AS MATERIALIZED (
    SELECT nextval('results_id_seq') AS id, id AS testcase, ref_url AS testcase_ref_url FROM testcases
    WHERE hash = $1 AND (NOT $2 OR ref_url IS NOT DISTINCT FROM $3)),";

const GROUP: &str = "
group_written AS (
    INSERT INTO groups AS o (uuid, term, description, description_hash, ref_url)
    SELECT $4, $5, $6, $7, $8 FROM fresh
    WHERE NOT EXISTS (SELECT 1 FROM groups x WHERE x.uuid = $4
                      AND (NOT $9 OR x.description IS NOT DISTINCT FROM $6)
                      AND (NOT $10 OR x.ref_url IS NOT DISTINCT FROM $8))
    ON CONFLICT (uuid) DO UPDATE SET
        description = CASE WHEN $9 THEN excluded.description ELSE o.description END,
        description_hash = CASE WHEN $9 THEN excluded.description_hash ELSE o.description_hash END,
        ref_url = CASE WHEN $10 THEN excluded.ref_url ELSE o.ref_url END),";

const TERMS: &str = "
term_written AS (
    INSERT INTO terms AS o (id, key, value, place)
    SELECT g.* FROM fresh, unnest($11::uuid[], $12::text[], $13::text[], $14::text[]) AS g
    ON CONFLICT (id) DO UPDATE SET unused_since = NULL WHERE o.unused_since IS NOT NULL),";

const MESSAGE: &str = "
told AS (INSERT INTO messages (result, root) SELECT id, $15 FROM fresh),";

const RESULT: &str = "
result_written AS (
    INSERT INTO results (id, testcase, outcome, submit_time, note, ref_url, data, groups)
    SELECT id, testcase, $16, $17, $18, $19, $20, $21 FROM fresh),
counted AS (
    INSERT INTO stretches AS o (stretch, results) SELECT $17 >> 35, 1 FROM fresh
    ON CONFLICT (stretch) DO UPDATE SET results = o.results + 1),
fact_written AS (
    INSERT INTO facts (term, submit_time, result, testcase)
    SELECT f.term, $17, n.id, n.testcase FROM fresh n, unnest($22) AS f(term))
SELECT 0::bigint AS nth, id, testcase_ref_url FROM fresh";

/// Stores a result that is alone in its batch, if it is an ordinary one; no row when it is not.
pub(super) async fn append(kept: &Kept, pool: &PgPool, batch: &Batch<'_>) -> db::Result<Vec<Written>> {
    let ([row], Some((hash, testcase)), true) =
        (&batch.results[..], batch.testcases.first_key_value(), batch.groups.len() < 2)
    else {
        return Ok(Vec::new());
    };
    if row.new.key.is_some() || row.new.id.is_some() {
        return Ok(Vec::new());
    }
    let group = batch.groups.values().next();
    let terms: Vec<_> = batch.terms.iter().collect();
    let query = sqlx::query_as(sqlx::AssertSqlSafe(statement(batch, row.new)))
        .bind(hash)
        .bind(testcase.ref_url.sets())
        .bind(testcase.ref_url.text())
        .bind(group.map(|g| g.uuid.as_str()))
        .bind(group.map(|g| term::group(&g.uuid)))
        .bind(group.and_then(|g| g.description.text()))
        .bind(group.and_then(|g| g.description.text()).map(term::description))
        .bind(group.and_then(|g| g.ref_url.text()))
        .bind(group.map(|g| g.description.sets()))
        .bind(group.map(|g| g.ref_url.sets()))
        .bind(terms.iter().map(|(id, _)| **id).collect::<Vec<Uuid>>())
        .bind(terms.iter().map(|(_, (key, _))| *key).collect::<Vec<_>>())
        .bind(terms.iter().map(|(_, (_, value))| *value).collect::<Vec<_>>())
        .bind(terms.iter().map(|(_, (key, value))| term::place(key, value)).collect::<Vec<_>>())
        .bind(row.new.told_at.as_deref())
        .bind(row.new.outcome.as_str())
        .bind(row.new.submit_time.0)
        .bind(row.new.note.as_deref())
        .bind(row.new.ref_url.as_deref())
        .bind(row.data.as_str())
        .bind(row.groups.as_str())
        .bind(batch.facts.iter().map(|(term, _)| *term).collect::<Vec<_>>());
    kept.run(pool, async |connection| query.fetch_all(connection).await).await
}
