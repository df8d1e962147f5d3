//! What a listing asks for, and how it becomes one walk through one index.
//!
//! Names and patterns are first turned into ids. Then one condition drives: the narrowest set of facts, else the
//! testcases, else time itself. All others are asked of each row that the walk comes by, and the walk ends when the
//! page is full. Which terms are narrow is counted up to a bound; those beyond it are remembered as common.

use db::Db;
use model::Time;
use uuid::Uuid;

use super::sql::Sql;
use super::{Inner, locked};
use crate::pattern::Pattern;
use crate::term;

/// What results must be like to be listed; every part that is empty lets all through.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub outcomes: Vec<String>,
    pub testcases: Option<Names>,
    /// In one of these groups.
    pub groups: Vec<String>,
    pub since: Range,
    /// For each key, some value of it.
    pub data: Vec<(String, Wanted)>,
}

/// Names given exactly, or by pattern.
#[derive(Clone, Debug, Default)]
pub struct Names {
    pub exact: Vec<String>,
    pub like: Vec<Pattern>,
}

#[derive(Clone, Debug)]
pub enum Wanted {
    OneOf(Vec<String>),
    Like(Vec<Pattern>),
}

/// A stretch of time with both its ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Range {
    pub from: Option<Time>,
    pub until: Option<Time>,
}

/// Which part of a long list is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Counts from 0.
    pub number: i64,
    pub limit: i64,
    /// By time; the newest come first otherwise.
    pub oldest_first: bool,
}

impl Page {
    pub fn offset(&self) -> i64 {
        self.number.saturating_mul(self.limit)
    }

    /// How many rows to read: one more than shown tells whether there is a next page.
    pub(super) fn rows(&self) -> i64 {
        self.limit.saturating_add(1)
    }
}

/// A filter in ids.
pub(super) struct Question {
    outcomes: Vec<String>,
    pub testcases: Option<Vec<i64>>,
    pub since: Range,
    clauses: Vec<Clause>,
    /// Patterns that too many values match: asked of the results themselves.
    checks: Vec<(String, Vec<Pattern>)>,
}

/// The result has one of these terms.
struct Clause {
    terms: Vec<Uuid>,
    weight: Weight,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    /// So many facts say so, or a few more.
    Few(i64),
    Unknown,
    Many,
}

/// What a walk goes along.
#[derive(Clone, Copy)]
pub(super) enum Walk {
    /// The facts of the clause of this place.
    Facts(usize),
    /// The results of each testcase asked for.
    Testcases,
    Time,
}

/// More facts than this are not gathered and sorted.
const MANY: i64 = 20_000;

/// A pattern that more values than this match is asked of the results.
const VALUES: usize = 256;

impl Inner {
    /// Turns a filter into ids; `None` when nothing can match.
    pub(super) async fn resolve(&self, filter: &Filter) -> db::Result<Option<Question>> {
        let mut question = Question {
            outcomes: filter.outcomes.clone(),
            testcases: None,
            since: filter.since,
            clauses: Vec::new(),
            checks: Vec::new(),
        };
        if let Some(names) = &filter.testcases {
            let ids = self.testcases_named(names).await?;
            if ids.is_empty() {
                return Ok(None);
            }
            question.testcases = Some(ids);
        }
        if !filter.groups.is_empty() {
            question.any_of(filter.groups.iter().map(|uuid| term::group(uuid)));
        }
        for (key, wanted) in &filter.data {
            match wanted {
                Wanted::OneOf(values) => question.any_of(values.iter().map(|value| term::fact(key, value))),
                Wanted::Like(patterns) => {
                    let terms = self.terms_like(key, patterns).await?;
                    match terms.len() {
                        0 => return Ok(None),
                        1..=VALUES => question.any_of(terms),
                        _ => question.checks.push((key.clone(), patterns.clone())),
                    }
                }
            }
        }
        let common = locked(&self.known.common);
        for clause in &mut question.clauses {
            if clause.terms.iter().any(|t| common.contains(t)) {
                clause.weight = Weight::Many;
            }
        }
        drop(common);
        Ok(Some(question))
    }

    async fn terms_like(&self, key: &str, patterns: &[Pattern]) -> db::Result<Vec<Uuid>> {
        let trigrams = matches!(self.db, Db::Pg(_));
        let mut sql = Sql::new(&self.db, "SELECT id FROM terms WHERE key = ");
        sql.text(key).push(" AND (");
        for (i, pattern) in patterns.iter().enumerate() {
            sql.push(if i == 0 { "(" } else { " OR (" });
            // By the beginning if there is one, else by trigrams, which PostgreSQL has an index for.
            let prefix = pattern.prefix();
            if !trigrams || !prefix.is_empty() || !pattern.has_trigram() {
                sql.within("place", &term::place(key, &prefix)).push(" AND ");
            }
            sql.like("value", std::slice::from_ref(pattern)).push(")");
        }
        sql.push(") LIMIT ").push(&(VALUES + 1).to_string());
        Ok(sql.rows::<(Uuid,)>(&self.db).await?.into_iter().map(|(id,)| id).collect())
    }

    /// How many facts each term has, counted up to a bound.
    pub(super) async fn count(&self, terms: &[Uuid], bound: i64) -> db::Result<Vec<(Uuid, i64)>> {
        let mut sql = Sql::new(&self.db, "SELECT t.value, (SELECT count(*) FROM (SELECT 1 FROM facts f ");
        sql.push("WHERE f.term = t.value LIMIT ").push(&bound.to_string()).push(") c) FROM ");
        sql.ids_as_table("t", terms);
        sql.rows(&self.db).await
    }

    /// Counts the facts of the clauses that are not known to have many.
    async fn weigh(&self, question: &mut Question) -> db::Result<()> {
        for clause in question.clauses.iter_mut().filter(|c| c.weight == Weight::Unknown) {
            let mut sql = Sql::new(&self.db, "SELECT count(*) FROM (SELECT 1 FROM facts f WHERE ");
            sql.one_of_ids("f.term", &clause.terms).push(" LIMIT ").push(&(MANY + 1).to_string()).push(") c");
            let count = sql.rows::<(i64,)>(&self.db).await?.first().map_or(0, |(count,)| *count);
            clause.weight = if count > MANY { Weight::Many } else { Weight::Few(count) };
            if let (Weight::Many, [one]) = (clause.weight, clause.terms.as_slice()) {
                locked(&self.known.common).add([*one]);
            }
        }
        Ok(())
    }

    /// Chooses how to find the newest that match.
    pub(super) async fn walk(&self, question: &mut Question) -> db::Result<Walk> {
        let unknown: Vec<usize> = question.places(Weight::Unknown);
        // A lone narrow-or-not term in order of time is as good a walk as there can be.
        if let ([one], None) = (unknown.as_slice(), &question.testcases)
            && question.clauses[*one].terms.len() == 1
        {
            return Ok(Walk::Facts(*one));
        }
        self.weigh(question).await?;
        if let Some(narrow) = question.narrowest() {
            return Ok(Walk::Facts(narrow));
        }
        if question.testcases.is_some() {
            return Ok(Walk::Testcases);
        }
        let single = question.clauses.iter().position(|c| c.terms.len() == 1);
        Ok(single.map_or(Walk::Time, Walk::Facts))
    }

    /// Chooses how to find the newest of each testcase.
    pub(super) async fn walk_each(&self, question: &mut Question) -> db::Result<Walk> {
        self.weigh(question).await?;
        Ok(question.narrowest().map_or(Walk::Testcases, Walk::Facts))
    }
}

impl Question {
    fn any_of(&mut self, terms: impl IntoIterator<Item = Uuid>) {
        let mut terms: Vec<Uuid> = terms.into_iter().collect();
        terms.sort_unstable();
        terms.dedup();
        self.clauses.push(Clause { terms, weight: Weight::Unknown });
    }

    fn places(&self, weight: Weight) -> Vec<usize> {
        (0..self.clauses.len()).filter(|&i| self.clauses[i].weight == weight).collect()
    }

    /// The clause with the fewest facts, if they are few enough to be gathered.
    fn narrowest(&self) -> Option<usize> {
        let (place, clause) = self.clauses.iter().enumerate().min_by_key(|(_, c)| c.weight)?;
        (clause.weight < Weight::Unknown).then_some(place)
    }

    /// Whether every result matches.
    pub fn is_of_all(&self) -> bool {
        let Question { outcomes, testcases, since, clauses, checks } = self;
        let whole = since.from.is_none() && since.until.is_none();
        whole && outcomes.is_empty() && testcases.is_none() && clauses.is_empty() && checks.is_empty()
    }

    /// The place of the clause that was added last.
    pub fn last(&self) -> usize {
        self.clauses.len().saturating_sub(1)
    }

    /// Whether a walk may come by one result several times.
    pub fn repeats(&self, walk: Walk) -> bool {
        match walk {
            Walk::Facts(place) => self.clauses[place].terms.len() > 1,
            Walk::Testcases | Walk::Time => false,
        }
    }

    /// The table that a walk goes along, as `s`, and its column of result ids.
    pub fn source(walk: Walk) -> (&'static str, &'static str) {
        match walk {
            Walk::Facts(_) => ("facts s", "s.result"),
            Walk::Testcases | Walk::Time => ("results s", "s.id"),
        }
    }

    /// Everything that is asked of a row `s` of the walk, as `… AND …`.
    pub fn conditions(&self, walk: Walk, sql: &mut Sql) {
        let (_, id) = Question::source(walk);
        sql.push("true");
        for (place, clause) in self.clauses.iter().enumerate() {
            match walk {
                Walk::Facts(driving) if driving == place => {
                    sql.push(" AND ").one_of_ids("s.term", &clause.terms);
                }
                Walk::Facts(_) | Walk::Testcases | Walk::Time => {
                    // As a scalar it is looked up for each row; as EXISTS it might be planned as a join of all.
                    sql.push(" AND (SELECT 1 FROM facts p WHERE ").one_of_ids("p.term", &clause.terms);
                    sql.push(" AND p.submit_time = s.submit_time AND p.result = ")
                        .push(id)
                        .push(" LIMIT 1) IS NOT NULL");
                }
            }
        }
        if let Some(from) = self.since.from {
            sql.push(" AND s.submit_time >= ").int(from.0);
        }
        if let Some(until) = self.since.until {
            sql.push(" AND s.submit_time <= ").int(until.0);
        }
        if !self.outcomes.is_empty() {
            match walk {
                Walk::Facts(_) => sql
                    .push(" AND ")
                    .one_of_texts("(SELECT o.outcome FROM results o WHERE o.id = s.result)", &self.outcomes),
                Walk::Testcases | Walk::Time => sql.push(" AND ").one_of_texts("s.outcome", &self.outcomes),
            };
        }
        for (key, patterns) in &self.checks {
            sql.push(" AND (SELECT 1 FROM results d, ");
            sql.either(
                "jsonb_array_elements_text(d.data::jsonb -> ",
                "json_each(d.data) k, json_each(k.value) v WHERE k.key = ",
            );
            sql.text(key).either(") AS v(value) WHERE ", " AND ").like("v.value", patterns);
            sql.push(" AND d.id = ").push(id).push(" LIMIT 1) IS NOT NULL");
        }
    }

    /// The testcases asked for, as a condition on a row `s`.
    pub fn in_testcases(&self, sql: &mut Sql) {
        if let Some(ids) = &self.testcases {
            sql.push(" AND ").one_of_ints("s.testcase", ids);
        }
    }
}
