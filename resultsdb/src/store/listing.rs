//! Results in order of time, a page at a time.

use model::Time;

use super::filter::{Filter, Page, Question, Walk};
use super::sql::Sql;
use super::{COLUMNS, Inner, Result, Store};
use crate::result::StoredResult;

/// The testcases are walked side by side as long as that reads fewer rows than this.
const SIDE_BY_SIDE: i64 = 20_000;

/// From here on a page of all results is looked up by how many there are in each stretch of time.
const FAR: i64 = 1_000;

/// A stretch's number is its microseconds without so many bits; what writes `stretches` has it too: triggers, and on PostgreSQL `append_pg`.
const STRETCH: u32 = 35;

/// Where a page begins.
#[derive(sqlx::FromRow)]
struct Near {
    stretch: i64,
    /// How many results there are in the stretches before it.
    before: i64,
}

impl Store {
    /// A page of the results that match, and whether there are more.
    pub async fn results(&self, filter: &Filter, page: Page) -> Result<(Vec<StoredResult>, bool)> {
        let Some(mut question) = self.inner.resolve(filter).await? else { return Ok((Vec::new(), false)) };
        let walk = self.inner.walk(&mut question).await?;
        let mut skip = page.offset();
        if skip >= FAR && question.is_of_all() {
            let Some(near) = self.inner.near(page).await? else { return Ok((Vec::new(), false)) };
            match page.oldest_first {
                true => question.since.from = Some(Time(near.stretch << STRETCH)),
                false => question.since.until = Some(Time(((near.stretch + 1) << STRETCH) - 1)),
            }
            skip -= near.before;
        }
        let sql = self.inner.page(&question, walk, Some((page, skip)));
        let mut rows: Vec<StoredResult> = sql.rows(self.db()).await?;
        let limit = usize::try_from(page.limit).unwrap_or(0);
        let more = rows.len() > limit;
        rows.truncate(limit);
        Ok((rows, more))
    }
}

impl Inner {
    /// The stretch of time in which a page of all results begins; none when it lies beyond the end.
    async fn near(&self, page: Page) -> db::Result<Option<Near>> {
        let order = if page.oldest_first { "ASC" } else { "DESC" };
        let mut sql = Sql::new(&self.db, "SELECT stretch, upto - results AS before FROM (SELECT stretch, results, ");
        sql.push(&format!("CAST(sum(results) OVER (ORDER BY stretch {order}) AS BIGINT) AS upto FROM stretches) s"));
        sql.push(" WHERE upto > ").int(page.offset()).push(&format!(" ORDER BY stretch {order} LIMIT 1"));
        Ok(sql.rows(&self.db).await?.pop())
    }

    /// A page of a walk that leaves out so many before it, with all that is shown of it; without a page, everything,
    /// newest first.
    pub(super) fn page(&self, question: &Question, walk: Walk, page: Option<(Page, i64)>) -> Sql {
        let (page, skip) = page.unzip();
        let order = if page.is_some_and(|p| p.oldest_first) { "ASC" } else { "DESC" };
        let mut sql = Sql::new(&self.db, "WITH page AS MATERIALIZED (");
        match (walk, page, &question.testcases) {
            (Walk::Testcases, Some(page), Some(ids)) if side_by_side(ids, page) => {
                self.each_testcase(question, ids, page, order, &mut sql);
            }
            _ => {
                let (table, id) = Question::source(walk);
                sql.push("SELECT ").push(if question.repeats(walk) { "DISTINCT " } else { "" });
                sql.push(id).push(" AS id, s.submit_time FROM ").push(table).push(" WHERE ");
                question.conditions(walk, &mut sql);
                question.in_testcases(&mut sql);
                sql.push(&format!(" ORDER BY s.submit_time {order}, {id} {order}"));
            }
        }
        if let Some(page) = page {
            // The limit stands in the text: the planner must know that it is small.
            sql.push(" LIMIT ").push(&page.rows().to_string()).push(" OFFSET ").int(skip.unwrap_or(0));
        }
        sql.push(") SELECT ").push(COLUMNS);
        sql.push(" FROM page CROSS JOIN results r CROSS JOIN testcases t WHERE r.id = page.id AND t.id = r.testcase");
        sql.push(&format!(" ORDER BY page.submit_time {order}, page.id {order}"));
        sql
    }

    /// The newest of each testcase, merged.
    fn each_testcase(&self, question: &Question, ids: &[i64], page: Page, order: &str, sql: &mut Sql) {
        let inner = |sql: &mut Sql, columns: &str| {
            sql.push("SELECT ").push(columns).push(" FROM results s WHERE s.testcase = c.value AND ");
            question.conditions(Walk::Testcases, sql);
            sql.push(&format!(" ORDER BY s.submit_time {order}, s.id {order} LIMIT "));
            sql.int(page.offset().saturating_add(page.rows())).push(")");
        };
        // SQLite has no LATERAL.
        sql.push("SELECT x.id, x.submit_time FROM ").ints_as_table("c", ids);
        sql.either(" CROSS JOIN LATERAL (", " CROSS JOIN results x WHERE x.id IN (");
        let columns = sql.choose("s.id, s.submit_time", "s.id");
        inner(sql, columns);
        sql.either(" x", "");
        sql.push(&format!(" ORDER BY x.submit_time {order}, x.id {order}"));
    }
}

fn side_by_side(ids: &[i64], page: Page) -> bool {
    let count = i64::try_from(ids.len()).unwrap_or(i64::MAX);
    count > 1 && page.offset().saturating_add(page.rows()).saturating_mul(count) <= SIDE_BY_SIDE
}
