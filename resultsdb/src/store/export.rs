//! Everything that matches, in order of id, a piece at a time: memory does not grow with what is read.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use db::Db;
use tokio::time::{Instant, sleep};

use super::filter::{Filter, Names, Question, Walk};
use super::groups::GroupFilter;
use super::sql::Sql;
use super::testcases::named;
use super::{Inner, Result, Store};
use crate::result::{Change, NewGroup, StoredResult, Testcase};
use crate::term;

/// How many rows are read at once.
const PIECE: usize = 200;

/// How many results are looked at by one statement.
const LOOK: usize = 5000;

/// How long to wait for those who are storing results right now.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is still to be read.
pub struct Export {
    inner: Inner,
    source: Source,
    /// Ids that match and have not been read yet.
    found: VecDeque<i64>,
}

enum Source {
    /// All that match are found already.
    Found,
    /// Results are looked at in order of id, from after one until another.
    Look { question: Question, after: i64, until: i64 },
}

impl Store {
    /// Results that match and have an id above `after`, as of now.
    pub async fn export(&self, filter: &Filter, after: i64) -> Result<Export> {
        let until = self.settled().await?;
        let mut export = Export { inner: self.inner.clone(), source: Source::Found, found: VecDeque::new() };
        let Some(mut question) = self.inner.resolve(filter).await? else { return Ok(export) };
        match self.inner.walk_each(&mut question).await? {
            walk @ Walk::Facts(_) => {
                let mut sql = Sql::new(self.db(), "SELECT DISTINCT s.result FROM facts s WHERE ");
                question.conditions(walk, &mut sql);
                question.in_testcases(&mut sql);
                sql.push(" AND s.result > ").int(after).push(" AND s.result <= ").int(until).push(" ORDER BY s.result");
                export.found = sql.rows::<(i64,)>(self.db()).await?.into_iter().map(|(id,)| id).collect();
            }
            Walk::Testcases | Walk::Time => export.source = Source::Look { question, after, until },
        }
        Ok(export)
    }

    /// The greatest id below which no result is on its way in any more.
    ///
    /// Ids are given before a result is stored, so a greater one can be seen first. Whoever was storing when the greatest
    /// was read is waited for; on SQLite there is one writer, and nothing to wait for.
    async fn settled(&self) -> Result<i64> {
        const WRITERS: &str = "SELECT DISTINCT virtualtransaction FROM pg_locks
            WHERE relation = 'results'::regclass AND mode = 'RowExclusiveLock' AND granted";
        let pool = match self.db() {
            Db::Pg(pool) => pool,
            Db::Lite { .. } => {
                let sql = Sql::new(self.db(), "SELECT COALESCE(max(id), 0) FROM results");
                return Ok(sql.rows::<(i64,)>(self.db()).await?.pop().map_or(0, |(id,)| id));
            }
        };
        let failed = |e: sqlx::Error| Arc::new(db::Error::from(e));
        let given = "SELECT COALESCE(pg_sequence_last_value(pg_get_serial_sequence('results', 'id')::regclass), 0)";
        let given: i64 = sqlx::query_scalar(given).fetch_one(pool).await.map_err(failed)?;
        let writers = || async { sqlx::query_scalar::<_, String>(WRITERS).fetch_all(pool).await.map_err(failed) };
        let before = writers().await?;
        let deadline = Instant::now() + PATIENCE;
        while !before.is_empty() {
            let now = writers().await?;
            if !before.iter().any(|writer| now.contains(writer)) {
                break;
            }
            if Instant::now() > deadline {
                let why = std::io::Error::new(std::io::ErrorKind::TimedOut, "a result takes very long to be stored");
                return Err(failed(sqlx::Error::Io(why)));
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(given)
    }

    /// Testcases in the order in which they were made, after the one of this name; all that were found when fewer than
    /// asked for come.
    pub async fn export_testcases(&self, names: Option<&Names>, after: Option<&str>) -> Result<Vec<Testcase>> {
        let mut sql = Sql::new(self.db(), "SELECT name, ref_url FROM testcases WHERE ");
        match names {
            Some(names) => named(names, &mut sql),
            None => {
                sql.push("true");
            }
        }
        if let Some(name) = after {
            sql.push(" AND id > (SELECT id FROM testcases WHERE hash = ").id(term::testcase(name)).push(")");
        }
        sql.push(" ORDER BY id LIMIT ").push(&PIECE.to_string());
        Ok(sql.rows(self.db()).await?)
    }

    /// Groups in the order in which they were made, after the one of this place, each with its own. A group may go while
    /// others are read, so its uuid would lead no further.
    pub async fn export_groups(&self, filter: &GroupFilter, after: i64) -> Result<Vec<(i64, NewGroup)>> {
        let mut sql = Sql::new(self.db(), "SELECT id, uuid, description, ref_url FROM groups WHERE id > ");
        sql.int(after);
        filter.conditions(&mut sql);
        sql.push(" ORDER BY id LIMIT ").push(&PIECE.to_string());
        Ok(sql.rows::<NamedGroup>(self.db()).await?.into_iter().map(|group| (group.id, group.whole())).collect())
    }

    /// Where a group stands in the order in which they were made.
    pub async fn place_of_group(&self, uuid: &str) -> Result<Option<i64>> {
        let mut sql = Sql::new(self.db(), "SELECT id FROM groups WHERE uuid = ");
        sql.text(uuid);
        Ok(sql.rows::<(i64,)>(self.db()).await?.pop().map(|(id,)| id))
    }

    /// What these groups say of themselves, by uuid.
    pub async fn groups_named(&self, uuids: &[String]) -> Result<HashMap<String, NewGroup>> {
        if uuids.is_empty() {
            return Ok(HashMap::new());
        }
        let mut sql = Sql::new(self.db(), "SELECT id, uuid, description, ref_url FROM groups WHERE ");
        sql.one_of_texts("uuid", uuids);
        let groups = sql.rows::<NamedGroup>(self.db()).await?.into_iter().map(NamedGroup::whole);
        Ok(groups.map(|group| (group.uuid.clone(), group)).collect())
    }
}

#[derive(sqlx::FromRow)]
struct NamedGroup {
    id: i64,
    uuid: String,
    description: Option<String>,
    ref_url: Option<String>,
}

impl NamedGroup {
    fn whole(self) -> NewGroup {
        NewGroup { uuid: self.uuid, description: Change::Set(self.description), ref_url: Change::Set(self.ref_url) }
    }
}

impl Export {
    /// The next results; none at the end.
    pub async fn next(&mut self) -> Result<Vec<StoredResult>> {
        loop {
            while self.found.is_empty() {
                if !self.look().await? {
                    return Ok(Vec::new());
                }
            }
            let ids: Vec<i64> = self.found.drain(..self.found.len().min(PIECE)).collect();
            let mut results = self.inner.results(&ids).await?;
            results.sort_unstable_by_key(|result| result.id);
            // They may have been pruned meanwhile.
            if !results.is_empty() {
                return Ok(results);
            }
        }
    }

    /// Looks at the next stretch of ids; false when there is none.
    async fn look(&mut self) -> Result<bool> {
        let Source::Look { question, after, until } = &mut self.source else { return Ok(false) };
        let db = &self.inner.db;
        let mut sql = Sql::new(db, "SELECT max(id) FROM (SELECT id FROM results WHERE id > ");
        sql.int(*after).push(" AND id <= ").int(*until).push(" ORDER BY id LIMIT ").push(&LOOK.to_string()).push(") x");
        let Some((Some(last),)) = sql.rows::<(Option<i64>,)>(db).await?.pop() else {
            self.source = Source::Found;
            return Ok(false);
        };
        let mut sql = Sql::new(db, "SELECT s.id FROM results s WHERE ");
        question.conditions(Walk::Time, &mut sql);
        question.in_testcases(&mut sql);
        sql.push(" AND s.id > ").int(*after).push(" AND s.id <= ").int(last).push(" ORDER BY s.id");
        self.found = sql.rows::<(i64,)>(db).await?.into_iter().map(|(id,)| id).collect();
        *after = last;
        Ok(true)
    }
}
