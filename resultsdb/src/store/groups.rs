//! Groups: results that belong together, such as those of one run.

use std::sync::Arc;

use super::filter::Page;
use super::sql::Sql;
use super::{Result, Store};
use crate::pattern::Pattern;
use crate::result::Group;
use crate::term;

/// Which groups are listed.
#[derive(Clone, Debug, Default)]
pub struct GroupFilter {
    pub uuids: Vec<String>,
    pub descriptions: Vec<String>,
    pub descriptions_like: Vec<Pattern>,
}

impl GroupFilter {
    /// What is asked of a row of `groups`, each part behind an AND.
    pub(super) fn conditions(&self, sql: &mut Sql) {
        if !self.uuids.is_empty() {
            sql.push(" AND ").one_of_texts("uuid", &self.uuids);
        }
        if !self.descriptions.is_empty() {
            let hashes: Vec<_> = self.descriptions.iter().map(|d| term::description(d)).collect();
            sql.push(" AND ").one_of_ids("description_hash", &hashes);
        } else if !self.descriptions_like.is_empty() {
            sql.push(" AND ").like("description", &self.descriptions_like);
        }
    }
}

const COLUMNS: &str =
    "uuid, description, ref_url, (SELECT count(*) FROM facts f WHERE f.term = g.term) AS results_count";

impl Store {
    /// Makes a group, or gives the one of this uuid what is given.
    pub async fn put_group(
        &self,
        uuid: &str,
        description: Option<&str>,
        ref_url: Option<&str>,
    ) -> Result<Option<Group>> {
        const TEXT: &str = "
            INSERT INTO groups (uuid, term, description, description_hash, ref_url) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (uuid) DO UPDATE SET
                description = COALESCE(excluded.description, groups.description),
                description_hash = COALESCE(excluded.description_hash, groups.description_hash),
                ref_url = COALESCE(excluded.ref_url, groups.ref_url)";
        let put = || async {
            db::on_write!(self.db(), |pool| {
                let query = sqlx::query(TEXT).bind(uuid).bind(term::group(uuid)).bind(description);
                query.bind(description.map(term::description)).bind(ref_url).execute(pool).await.map(|_| ())?;
                Ok(())
            })
        };
        db::retrying(put).await.map_err(Arc::new)?;
        self.group(uuid).await
    }

    pub async fn group(&self, uuid: &str) -> Result<Option<Group>> {
        let mut sql = Sql::new(self.db(), "SELECT ");
        sql.push(COLUMNS).push(" FROM groups g WHERE uuid = ").text(uuid);
        Ok(sql.rows(self.db()).await?.pop())
    }

    /// A page of groups, the newest first, and whether there are more.
    pub async fn groups(&self, filter: &GroupFilter, page: Page) -> Result<(Vec<Group>, bool)> {
        let mut sql = Sql::new(self.db(), "WITH page AS MATERIALIZED (SELECT * FROM groups WHERE true");
        filter.conditions(&mut sql);
        sql.push(" ORDER BY id DESC LIMIT ").push(&page.rows().to_string()).push(" OFFSET ").int(page.offset());
        sql.push(") SELECT ").push(COLUMNS).push(" FROM page g ORDER BY g.id DESC");
        let mut rows: Vec<Group> = sql.rows(self.db()).await?;
        let limit = usize::try_from(page.limit).unwrap_or(0);
        let more = rows.len() > limit;
        rows.truncate(limit);
        Ok((rows, more))
    }
}
