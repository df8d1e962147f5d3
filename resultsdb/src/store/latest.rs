//! The newest result of each testcase.

use std::collections::HashSet;

use super::filter::{Filter, Question, Walk};
use super::sql::Sql;
use super::{COLUMNS, Inner, Result, Store};
use crate::result::StoredResult;

/// What "latest" is asked of: which results, and what besides the testcase tells them apart.
#[derive(Clone, Debug, Default)]
pub struct Latest {
    /// Its outcomes do not count.
    pub filter: Filter,
    /// Keys of data. For each testcase and each combination of their values there is one newest result.
    pub distinct: Vec<String>,
}

impl Store {
    /// Newest first, never cut.
    pub async fn latest(&self, latest: &Latest) -> Result<Vec<StoredResult>> {
        let mut filter = latest.filter.clone();
        filter.outcomes.clear();
        let Some(mut question) = self.inner.resolve(&filter).await? else { return Ok(Vec::new()) };
        if latest.distinct.is_empty() {
            let walk = self.inner.walk_each(&mut question).await?;
            return Ok(self.inner.newest(&question, walk).rows(self.db()).await?);
        }
        let walk = self.inner.walk(&mut question).await?;
        let mut seen = Combinations::of(&latest.distinct);
        let mut newest = Vec::new();
        let take = |result: StoredResult| {
            if seen.adds(&result) {
                newest.push(result);
            }
        };
        self.inner.page(&question, walk, None).each(self.db(), take).await?;
        Ok(newest)
    }
}

impl Inner {
    fn newest(&self, question: &Question, walk: Walk) -> Sql {
        let mut sql = Sql::new(&self.db, "WITH ");
        let (table, id) = Question::source(walk);
        match walk {
            // All that match are few: gather them and take the newest of each testcase.
            Walk::Facts(_) => {
                sql.push(&format!(
                    "hit AS MATERIALIZED (SELECT {id} AS id, s.submit_time, s.testcase FROM {table} WHERE "
                ));
                question.conditions(walk, &mut sql);
                question.in_testcases(&mut sql);
                sql.push(
                    "), top AS MATERIALIZED (SELECT testcase, max(submit_time) AS submit_time FROM hit GROUP BY testcase), \
                     page AS MATERIALIZED (SELECT DISTINCT hit.id, hit.submit_time FROM hit JOIN top \
                     ON top.testcase = hit.testcase AND top.submit_time = hit.submit_time)",
                );
            }
            // They are many: go down each testcase until one matches.
            Walk::Testcases | Walk::Time => {
                sql.push(
                    "top AS MATERIALIZED (SELECT c.id AS testcase, \
                     (SELECT s.submit_time FROM results s WHERE s.testcase = c.id AND ",
                );
                question.conditions(walk, &mut sql);
                sql.push(" ORDER BY s.submit_time DESC LIMIT 1) AS submit_time FROM testcases c WHERE true");
                if let Some(ids) = &question.testcases {
                    sql.push(" AND ").one_of_ints("c.id", ids);
                }
                sql.push(
                    "), page AS MATERIALIZED (SELECT s.id, s.submit_time FROM top CROSS JOIN results s \
                     WHERE s.testcase = top.testcase AND s.submit_time = top.submit_time AND ",
                );
                question.conditions(walk, &mut sql);
                sql.push(")");
            }
        }
        sql.push(" SELECT ").push(COLUMNS);
        sql.push(" FROM page CROSS JOIN results r CROSS JOIN testcases t WHERE r.id = page.id AND t.id = r.testcase");
        sql.push(" ORDER BY page.submit_time DESC, page.id DESC");
        sql
    }
}

/// The combinations of testcase and values that have been met so far.
pub(super) struct Combinations<'k> {
    keys: &'k [String],
    seen: HashSet<(String, Vec<Option<String>>)>,
}

impl<'k> Combinations<'k> {
    pub(super) fn of(keys: &'k [String]) -> Combinations<'k> {
        Combinations { keys, seen: HashSet::new() }
    }

    /// Of one result, no more combinations than this count: values of different keys multiply.
    const MOST: usize = 4096;

    /// Whether the result stands for a combination that is new.
    pub(super) fn adds(&mut self, result: &StoredResult) -> bool {
        let data = result.data();
        let mut combinations = vec![Vec::new()];
        for key in self.keys {
            let values: Vec<Option<String>> = match data.get(key) {
                Some(values) => values.iter().cloned().map(Some).collect(),
                None => vec![None],
            };
            combinations = (combinations.iter())
                .flat_map(|c: &Vec<Option<String>>| {
                    values.iter().map(move |v| [c.as_slice(), std::slice::from_ref(v)].concat())
                })
                .take(Combinations::MOST)
                .collect();
        }
        let mut new = false;
        for combination in combinations {
            new |= self.seen.insert((result.testcase.clone(), combination));
        }
        new
    }
}
