//! Adding results on PostgreSQL: one statement, which is its own transaction, so a lone POST costs one round trip.

use db::Kept;
use sqlx::PgPool;
use uuid::Uuid;

use super::append::{Batch, Written};
use super::append_lone;
use crate::result::Change;
use crate::term;

/// Rows that another writer has just made are not visible here, so what exists is read only where nothing is to be
/// written; everything else goes through ON CONFLICT … RETURNING, which sees it. Parts that have nothing to write are left
/// out: to begin and end a part that does nothing takes as long as to write a row.
fn statement(batch: &Batch<'_>) -> String {
    let keyed = batch.results.iter().any(|row| row.new.key.is_some());
    let told = batch.results.iter().any(|row| row.new.told_at.is_some());
    let part = |needed: bool, part: &'static str| if needed { part } else { "" };
    [
        TESTCASES,
        part(!batch.groups.is_empty(), GROUPS),
        part(!batch.terms.is_empty(), TERMS),
        NUMBERED,
        part(keyed, KEYS),
        FRESH,
        part(keyed, NOT_YET_KNOWN),
        RESULTS,
        part(told, MESSAGES),
        FACTS,
    ]
    .concat()
}

const TESTCASES: &str = "
WITH
case_given AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bool[])
        AS g(hash, name, head, ref_url, sets)),
case_written AS (
    INSERT INTO testcases AS o (hash, name, head, ref_url)
    SELECT hash, name, head, ref_url FROM case_given g
    WHERE NOT EXISTS (SELECT 1 FROM testcases x WHERE x.hash = g.hash
                      AND (NOT g.sets OR x.ref_url IS NOT DISTINCT FROM g.ref_url))
    ON CONFLICT (hash) DO UPDATE SET ref_url = CASE
        WHEN (SELECT g.sets FROM case_given g WHERE g.hash = excluded.hash) THEN excluded.ref_url ELSE o.ref_url END
    RETURNING id, hash, ref_url),
cases AS MATERIALIZED (
    SELECT id, hash, ref_url FROM case_written
    UNION ALL
    SELECT x.id, x.hash, x.ref_url FROM case_given g JOIN testcases x ON x.hash = g.hash
    WHERE g.hash NOT IN (SELECT hash FROM case_written)),";

const GROUPS: &str = "
group_given AS MATERIALIZED (
    SELECT * FROM unnest($6::text[], $7::uuid[], $8::text[], $9::uuid[], $10::text[], $11::bool[], $12::bool[])
        AS g(uuid, term, description, description_hash, ref_url, describes, refers)),
group_written AS (
    INSERT INTO groups AS o (uuid, term, description, description_hash, ref_url)
    SELECT uuid, term, description, description_hash, ref_url FROM group_given g
    WHERE NOT EXISTS (SELECT 1 FROM groups x WHERE x.uuid = g.uuid
                      AND (NOT g.describes OR x.description IS NOT DISTINCT FROM g.description)
                      AND (NOT g.refers OR x.ref_url IS NOT DISTINCT FROM g.ref_url))
    ON CONFLICT (uuid) DO UPDATE SET (description, description_hash, ref_url) = (
        SELECT CASE WHEN g.describes THEN excluded.description ELSE o.description END,
               CASE WHEN g.describes THEN excluded.description_hash ELSE o.description_hash END,
               CASE WHEN g.refers THEN excluded.ref_url ELSE o.ref_url END
        FROM group_given g WHERE g.uuid = excluded.uuid)),";

const TERMS: &str = "
term_written AS (
    INSERT INTO terms AS o (id, key, value, place)
    SELECT * FROM unnest($13::uuid[], $14::text[], $15::text[], $16::text[])
    ON CONFLICT (id) DO UPDATE SET unused_since = NULL WHERE o.unused_since IS NOT NULL),";

const NUMBERED: &str = "
numbered AS MATERIALIZED (
    SELECT COALESCE(g.given, nextval('results_id_seq')) AS id, g.*
    FROM (SELECT * FROM unnest($17::uuid[], $18::text[], $19::bigint[], $20::text[], $21::text[], $22::text[],
                               $23::text[], $24::uuid[], $28::text[], $29::bigint[]) WITH ORDINALITY
              AS g(hash, outcome, submit_time, note, ref_url, data, groups, key, told_at, given, nth)
          ORDER BY nth) g),";

const KEYS: &str = "
key_written AS (
    INSERT INTO idempotency_keys (key, result, made_at)
    SELECT key, id, $27 FROM numbered WHERE key IS NOT NULL ORDER BY key
    ON CONFLICT (key) DO NOTHING RETURNING key),";

const FRESH: &str = "
fresh AS MATERIALIZED (
    SELECT n.*, c.id AS testcase, c.ref_url AS testcase_ref_url FROM numbered n JOIN cases c ON c.hash = n.hash";

const NOT_YET_KNOWN: &str = "
WHERE n.key IS NULL OR n.key IN (SELECT key FROM key_written)";

const RESULTS: &str = "
),
result_written AS (
    INSERT INTO results (id, testcase, outcome, submit_time, note, ref_url, data, groups)
    SELECT id, testcase, outcome, submit_time, note, ref_url, data, groups FROM fresh ORDER BY id),
counted AS (
    INSERT INTO stretches AS o (stretch, results)
    SELECT submit_time >> 35, count(*) FROM fresh GROUP BY 1 ORDER BY 1
    ON CONFLICT (stretch) DO UPDATE SET results = o.results + excluded.results),";

const MESSAGES: &str = "
told AS (
    INSERT INTO messages (result, root) SELECT id, told_at FROM fresh WHERE told_at IS NOT NULL ORDER BY id),";

const FACTS: &str = "
fact_written AS (
    INSERT INTO facts (term, submit_time, result, testcase)
    SELECT f.term, n.submit_time, n.id, n.testcase
    FROM unnest($25::uuid[], $26::bigint[]) AS f(term, nth) JOIN fresh n ON n.nth = f.nth + 1)
SELECT nth - 1 AS nth, id, testcase_ref_url FROM fresh";

pub(super) async fn append(kept: &Kept, pool: &PgPool, batch: &Batch<'_>) -> db::Result<Vec<Written>> {
    let written = append_lone::append(kept, pool, batch).await?;
    if !written.is_empty() {
        return Ok(written);
    }
    let cases: Vec<_> = batch.testcases.iter().collect();
    let groups: Vec<_> = batch.groups.values().collect();
    let terms: Vec<_> = batch.terms.iter().collect();
    let described = |c: &Change| c.text().map(term::description);
    let results = &batch.results;
    let query = sqlx::query_as(sqlx::AssertSqlSafe(statement(batch)))
        .bind(cases.iter().map(|(hash, _)| **hash).collect::<Vec<Uuid>>())
        .bind(cases.iter().map(|(_, c)| c.name.as_str()).collect::<Vec<_>>())
        .bind(cases.iter().map(|(_, c)| term::head(&c.name)).collect::<Vec<_>>())
        .bind(cases.iter().map(|(_, c)| c.ref_url.text()).collect::<Vec<_>>())
        .bind(cases.iter().map(|(_, c)| c.ref_url.sets()).collect::<Vec<_>>())
        .bind(groups.iter().map(|g| g.uuid.as_str()).collect::<Vec<_>>())
        .bind(groups.iter().map(|g| term::group(&g.uuid)).collect::<Vec<_>>())
        .bind(groups.iter().map(|g| g.description.text()).collect::<Vec<_>>())
        .bind(groups.iter().map(|g| described(&g.description)).collect::<Vec<_>>())
        .bind(groups.iter().map(|g| g.ref_url.text()).collect::<Vec<_>>())
        .bind(groups.iter().map(|g| g.description.sets()).collect::<Vec<_>>())
        .bind(groups.iter().map(|g| g.ref_url.sets()).collect::<Vec<_>>())
        .bind(terms.iter().map(|(id, _)| **id).collect::<Vec<Uuid>>())
        .bind(terms.iter().map(|(_, (key, _))| *key).collect::<Vec<_>>())
        .bind(terms.iter().map(|(_, (_, value))| *value).collect::<Vec<_>>())
        .bind(terms.iter().map(|(_, (key, value))| term::place(key, value)).collect::<Vec<_>>())
        .bind(results.iter().map(|r| r.testcase).collect::<Vec<_>>())
        .bind(results.iter().map(|r| r.new.outcome.as_str()).collect::<Vec<_>>())
        .bind(results.iter().map(|r| r.new.submit_time.0).collect::<Vec<_>>())
        .bind(results.iter().map(|r| r.new.note.as_deref()).collect::<Vec<_>>())
        .bind(results.iter().map(|r| r.new.ref_url.as_deref()).collect::<Vec<_>>())
        .bind(results.iter().map(|r| r.data.as_str()).collect::<Vec<_>>())
        .bind(results.iter().map(|r| r.groups.as_str()).collect::<Vec<_>>())
        .bind(results.iter().map(|r| r.new.key).collect::<Vec<_>>())
        .bind(batch.facts.iter().map(|(term, _)| *term).collect::<Vec<_>>())
        .bind(batch.facts.iter().map(|(_, nth)| *nth).collect::<Vec<_>>())
        .bind(batch.made_at)
        .bind(results.iter().map(|r| r.new.told_at.as_deref()).collect::<Vec<_>>())
        .bind(results.iter().map(|r| r.new.id).collect::<Vec<_>>());
    kept.run(pool, async |connection| query.fetch_all(connection).await).await
}
