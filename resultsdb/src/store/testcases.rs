//! Testcases: names that results have in common.

use std::sync::Arc;

use super::filter::{Names, Page};
use super::sql::Sql;
use super::{Inner, Result, Store};
use crate::result::Testcase;
use crate::term;

impl Store {
    /// Makes a testcase, or gives the one of this name a new `ref_url` where there is one.
    pub async fn put_testcase(&self, name: &str, ref_url: Option<&str>) -> Result<Testcase> {
        const TEXT: &str = "
            INSERT INTO testcases (hash, name, head, ref_url) VALUES ($1, $2, $3, $4)
            ON CONFLICT (hash) DO UPDATE SET ref_url = COALESCE(excluded.ref_url, testcases.ref_url)
            RETURNING name, ref_url";
        let put = || async {
            db::on_write!(self.db(), |pool| {
                let query = sqlx::query_as(TEXT).bind(term::testcase(name)).bind(name);
                Ok(query.bind(term::head(name)).bind(ref_url).fetch_one(pool).await?)
            })
        };
        db::retrying(put).await.map_err(Arc::new)
    }

    pub async fn testcase(&self, name: &str) -> Result<Option<Testcase>> {
        let mut sql = Sql::new(self.db(), "SELECT name, ref_url FROM testcases WHERE hash = ");
        sql.id(term::testcase(name));
        Ok(sql.rows(self.db()).await?.pop())
    }

    /// A page of testcases by name, and whether there are more.
    pub async fn testcases(&self, names: Option<&Names>, page: Page) -> Result<(Vec<Testcase>, bool)> {
        let mut sql = Sql::new(self.db(), "SELECT name, ref_url FROM testcases WHERE ");
        match names {
            Some(names) => named(names, &mut sql),
            None => {
                sql.push("true");
            }
        }
        // The head alone is indexed; it decides nearly always.
        sql.push(" ORDER BY head, name LIMIT ").push(&page.rows().to_string()).push(" OFFSET ").int(page.offset());
        let mut rows: Vec<Testcase> = sql.rows(self.db()).await?;
        let limit = usize::try_from(page.limit).unwrap_or(0);
        let more = rows.len() > limit;
        rows.truncate(limit);
        Ok((rows, more))
    }
}

impl Inner {
    pub(super) async fn testcases_named(&self, names: &Names) -> db::Result<Vec<i64>> {
        let mut sql = Sql::new(&self.db, "SELECT id FROM testcases WHERE ");
        named(names, &mut sql);
        Ok(sql.rows::<(i64,)>(&self.db).await?.into_iter().map(|(id,)| id).collect())
    }
}

pub(super) fn named(names: &Names, sql: &mut Sql) {
    let hashes: Vec<_> = names.exact.iter().map(|name| term::testcase(name)).collect();
    sql.push("(").one_of_ids("hash", &hashes);
    for pattern in &names.like {
        sql.push(" OR (").within("head", term::head(&pattern.prefix()));
        sql.push(" AND ").like("name", std::slice::from_ref(pattern)).push(")");
    }
    sql.push(")");
}
