//! Many items at once: what `latest` and `results` say of each, in as many statements as for one.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::filter::{Filter, Page, Question, Walk};
use super::latest::{Combinations, Latest};
use super::sql::Sql;
use super::{COLUMNS, Inner, Result, Store};
use crate::result::StoredResult;
use crate::store::filter::Wanted;
use crate::term;

/// The key of data that names an item.
const ITEM: &str = "item";

/// Results of an item that are gathered and sorted together with those of others. An item of more is asked by itself.
const GATHERED: i64 = 2_000;

/// A result, and the term of the item that it is one of.
#[derive(sqlx::FromRow)]
struct Of {
    term: Uuid,
    #[sqlx(flatten)]
    result: StoredResult,
}

impl Store {
    /// For each item what [`Store::latest`] says with the item as one more filter.
    pub async fn latest_of(&self, items: &[String], latest: &Latest) -> Result<Vec<Arc<Vec<StoredResult>>>> {
        let asked = self.inner.sorted_out(items).await?;
        let mut filter = with(&latest.filter, asked.few.iter().map(|item| (*item).clone()).collect());
        filter.outcomes.clear();
        let mut found: HashMap<Uuid, Vec<StoredResult>> = HashMap::new();
        if !asked.few.is_empty()
            && let Some(question) = self.inner.resolve(&filter).await?
        {
            let cut = if latest.distinct.is_empty() { Cut::NEWEST } else { Cut::ALL };
            let sql = self.inner.gathered(&question, &cut);
            let mut seen: HashMap<Uuid, Combinations<'_>> = HashMap::new();
            sql.each(self.db(), |Of { term, result }: Of| {
                let seen = seen.entry(term).or_insert_with(|| Combinations::of(&latest.distinct));
                if latest.distinct.is_empty() || seen.adds(&result) {
                    found.entry(term).or_default().push(result);
                }
            })
            .await?;
        }
        for item in asked.many {
            let alone = Latest { filter: with(&latest.filter, vec![item.clone()]), distinct: latest.distinct.clone() };
            found.insert(term::fact(ITEM, item), self.latest(&alone).await?);
        }
        Ok(each(items, found))
    }

    /// For each item what [`Store::results`] says with the item as one more filter.
    pub async fn results_of(
        &self,
        items: &[String],
        filter: &Filter,
        page: Page,
    ) -> Result<Vec<Arc<(Vec<StoredResult>, bool)>>> {
        let asked = self.inner.sorted_out(items).await?;
        let few = with(filter, asked.few.iter().map(|item| (*item).clone()).collect());
        let limit = usize::try_from(page.limit).unwrap_or(0);
        let mut found: HashMap<Uuid, (Vec<StoredResult>, bool)> = HashMap::new();
        if !asked.few.is_empty()
            && let Some(question) = self.inner.resolve(&few).await?
        {
            let sql = self.inner.gathered(&question, &Cut::page(page));
            sql.each(self.db(), |Of { term, result }: Of| {
                let (rows, more) = found.entry(term).or_default();
                if rows.len() < limit {
                    rows.push(result);
                } else {
                    *more = true;
                }
            })
            .await?;
        }
        for item in asked.many {
            let alone = self.results(&with(filter, vec![item.clone()]), page).await?;
            found.insert(term::fact(ITEM, item), alone);
        }
        Ok(each(items, found))
    }
}

/// What was found of each item, in the order in which they were asked for, however often each was.
fn each<T: Default>(items: &[String], found: HashMap<Uuid, T>) -> Vec<Arc<T>> {
    let found: HashMap<Uuid, Arc<T>> = found.into_iter().map(|(term, rows)| (term, Arc::new(rows))).collect();
    items.iter().map(|item| found.get(&term::fact(ITEM, item)).cloned().unwrap_or_default()).collect()
}

/// A filter with the items as one more condition, which stands last.
fn with(filter: &Filter, items: Vec<String>) -> Filter {
    let mut filter = filter.clone();
    filter.data.push((ITEM.to_owned(), Wanted::OneOf(items)));
    filter
}

/// The items of a request, each once: those whose results can be gathered together, and the others.
struct Asked<'i> {
    few: Vec<&'i String>,
    many: Vec<&'i String>,
}

/// Which of the gathered rows are taken: those whose place, an expression, lies between two numbers.
struct Cut {
    place: &'static str,
    between: (i64, i64),
    order: &'static str,
}

impl Cut {
    const ALL: Cut = Cut { place: "1", between: (1, 1), order: "DESC" };

    /// The newest moment of each testcase.
    const NEWEST: Cut =
        Cut { place: "rank() OVER (PARTITION BY s.term, s.testcase ORDER BY s.submit_time DESC)", ..Cut::ALL };

    /// A page of each item, and one more.
    fn page(page: Page) -> Cut {
        let between = (page.offset().saturating_add(1), page.offset().saturating_add(page.rows()));
        match page.oldest_first {
            true => Cut {
                place: "row_number() OVER (PARTITION BY s.term ORDER BY s.submit_time, s.result)",
                between,
                order: "ASC",
            },
            false => Cut {
                place: "row_number() OVER (PARTITION BY s.term ORDER BY s.submit_time DESC, s.result DESC)",
                between,
                order: "DESC",
            },
        }
    }
}

impl Inner {
    async fn sorted_out<'i>(&self, items: &'i [String]) -> db::Result<Asked<'i>> {
        let by_term: HashMap<Uuid, &String> = items.iter().map(|item| (term::fact(ITEM, item), item)).collect();
        let terms: Vec<Uuid> = by_term.keys().copied().collect();
        let mut asked = Asked { few: Vec::new(), many: Vec::new() };
        for (term, count) in self.count(&terms, GATHERED).await? {
            let Some(item) = by_term.get(&term) else { continue };
            match count {
                0 => {}
                1..GATHERED => asked.few.push(item),
                _ => asked.many.push(item),
            }
        }
        Ok(asked)
    }

    /// The results of all items of a question, which are its last clause, each with its item's term.
    fn gathered(&self, question: &Question, cut: &Cut) -> Sql {
        let walk = Walk::Facts(question.last());
        let Cut { place, between: (first, last), order } = cut;
        let mut sql = Sql::new(&self.db, "WITH hit AS MATERIALIZED (SELECT s.term, s.result AS id, s.submit_time, ");
        sql.push(place).push(" AS place FROM facts s WHERE ");
        question.conditions(walk, &mut sql);
        question.in_testcases(&mut sql);
        sql.push("), page AS MATERIALIZED (SELECT term, id, submit_time FROM hit WHERE place BETWEEN ");
        sql.int(*first).push(" AND ").int(*last).push(") SELECT page.term, ").push(COLUMNS);
        sql.push(" FROM page CROSS JOIN results r CROSS JOIN testcases t WHERE r.id = page.id AND t.id = r.testcase");
        sql.push(&format!(" ORDER BY page.submit_time {order}, page.id {order}"));
        sql
    }
}
