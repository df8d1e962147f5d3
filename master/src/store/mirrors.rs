//! What the mirrors of the tasks' repositories show, and the jobs that wait for a commit of one.

use std::collections::BTreeMap;

use db::on_read;
use model::source::{Commit, MirrorNote, Pin};
use model::{Arch, JobId, Time};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::error::corrupt;
use super::text::clean;
use super::tx::{on_tx, retrying};
use super::{Result, Store};

/// What a job waits for that has no commit yet.
pub(super) const SOURCE: &str = "source";

/// What a job waits for in words, until somebody looks at what the mirror says.
pub(super) const NO_COMMIT: &str = "a commit of its task's repository";

/// A repository as its mirror shows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MirrorRow {
    pub url: String,
    pub heads: Heads,
    /// None before it was fetched for the first time.
    pub fetched_at: Option<Time>,
    /// Why it could not be fetched since.
    pub failed: Option<MirrorNote>,
    /// Newest first.
    pub notes: Vec<MirrorNote>,
    pub wanted_at: Time,
}

/// What a repository's branches and tags stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heads {
    pub branches: BTreeMap<String, Commit>,
    pub tags: BTreeMap<String, Commit>,
}

/// A job without a commit.
#[derive(Clone, Debug)]
pub struct Unpinned {
    pub seq: i64,
    pub job: JobId,
    pub task_version: i64,
    pub item: String,
    pub item_type: String,
    pub arch: Arch,
    pub params: Map<String, Value>,
    /// What makes it newer than others, where that matters.
    pub ordered_at: Option<Time>,
}

#[derive(sqlx::FromRow)]
struct Row {
    version: i64,
    url: Option<String>,
    heads: Option<String>,
    fetched_at: Option<i64>,
    failed: Option<String>,
    failed_since: Option<i64>,
    notes: Option<String>,
    wanted_at: Option<i64>,
}

impl Row {
    fn read(self) -> Result<Option<MirrorRow>> {
        let (Some(url), Some(heads), Some(notes)) = (self.url, self.heads, self.notes) else { return Ok(None) };
        let failed = self.failed.zip(self.failed_since);
        Ok(Some(MirrorRow {
            heads: serde_json::from_str(&heads).map_err(|_| corrupt("mirrors", "heads", &url, &heads))?,
            notes: serde_json::from_str(&notes).map_err(|_| corrupt("mirrors", "notes", &url, &notes))?,
            fetched_at: self.fetched_at.map(Time),
            failed: failed.map(|(what, since)| MirrorNote { what, since: Time(since) }),
            wanted_at: Time(self.wanted_at.unwrap_or_default()),
            url,
        }))
    }
}

#[derive(sqlx::FromRow)]
struct UnpinnedRow {
    seq: i64,
    id: Uuid,
    task_version: i64,
    item: String,
    item_type: String,
    arch: String,
    params: String,
    ordered_at: Option<i64>,
}

impl Store {
    /// How often the mirrors have changed.
    pub async fn mirrors_version(&self) -> Result<i64> {
        Ok(on_read!(self.db(), |pool| sqlx::query_scalar("SELECT version FROM mirror_set").fetch_one(pool).await?))
    }

    /// All mirrors as they are at one moment, and how often they had changed.
    pub async fn mirrors(&self) -> Result<(i64, Vec<MirrorRow>)> {
        let rows: Vec<Row> = on_read!(self.db(), |pool| {
            sqlx::query_as(
                "SELECT s.version, m.url, m.heads, m.fetched_at, m.failed, m.failed_since, m.notes, m.wanted_at
                 FROM mirror_set s LEFT JOIN mirrors m ON TRUE ORDER BY m.url",
            )
            .fetch_all(pool)
            .await?
        });
        let version = rows.first().map_or(0, |row| row.version);
        let mirrors = rows.into_iter().filter_map(|row| row.read().transpose()).collect::<Result<_>>()?;
        Ok((version, mirrors))
    }

    /// Shows these mirrors anew, all at once, and those no more.
    pub async fn swap_mirrors(&self, rows: &[MirrorRow], gone: &[String]) -> Result<()> {
        retrying(async || {
            let mut work = self.begin().await?;
            if !work.active {
                return Ok(());
            }
            on_tx!(&mut work.tx, |conn| {
                sqlx::query("UPDATE mirror_set SET version = version + 1").execute(&mut *conn).await?;
                for row in rows {
                    sqlx::query(
                        "INSERT INTO mirrors (url, heads, fetched_at, failed, failed_since, notes, wanted_at)
                         VALUES ($1, $2, $3, $4, $5, $6, $7)
                         ON CONFLICT (url) DO UPDATE SET heads = excluded.heads, fetched_at = excluded.fetched_at,
                             failed = excluded.failed, failed_since = excluded.failed_since, notes = excluded.notes,
                             wanted_at = excluded.wanted_at",
                    )
                    .bind(&row.url)
                    .bind(serde_json::to_string(&row.heads).unwrap_or_default())
                    .bind(row.fetched_at.map(|at| at.0))
                    .bind(row.failed.as_ref().map(|note| clean(&note.what)))
                    .bind(row.failed.as_ref().map(|note| note.since.0))
                    .bind(serde_json::to_string(&row.notes).unwrap_or_default())
                    .bind(row.wanted_at.0)
                    .execute(&mut *conn)
                    .await?;
                }
                for url in gone {
                    sqlx::query("DELETE FROM mirrors WHERE url = $1").bind(url).execute(&mut *conn).await?;
                }
            });
            work.commit().await
        })
        .await
    }

    /// Jobs that wait for a commit, in their order, behind number `after`.
    pub async fn unpinned(&self, after: i64, limit: u32) -> Result<Vec<Unpinned>> {
        let rows: Vec<UnpinnedRow> = on_read!(self.db(), |pool| {
            sqlx::query_as(
                "SELECT j.seq, j.id, j.task_version, j.item, j.item_type, j.arch, j.params,
                        j.ordered_at
                 FROM waiting w JOIN jobs j ON j.seq = w.job
                 WHERE w.key = 'source' AND w.job > $1 ORDER BY w.job LIMIT $2",
            )
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await?
        });
        let read = |row: UnpinnedRow| {
            let job = JobId(row.id);
            Ok(Unpinned {
                seq: row.seq,
                job,
                task_version: row.task_version,
                item: row.item,
                item_type: row.item_type,
                arch: row.arch,
                params: serde_json::from_str(&row.params).map_err(|_| corrupt("jobs", "params", job, &row.params))?,
                ordered_at: row.ordered_at.map(Time),
            })
        };
        rows.into_iter().map(read).collect()
    }

    /// Gives waiting jobs their commits: [`Store::promote`] queues them, or lets them ask for their keys. A job that was cancelled meanwhile stays as it
    /// is, and so does one that has its commit.
    pub async fn pin(&self, pins: &[(i64, Pin)]) -> Result<()> {
        retrying(async || {
            let mut work = self.begin().await?;
            let now = work.now.0;
            on_tx!(&mut work.tx, |conn| {
                for (seq, pin) in pins {
                    let waited = sqlx::query(
                        "UPDATE waiting SET until_at = $2, key = NULL, reason = $3,
                             quiet_since = (SELECT CASE WHEN j.supersede_policy IS NOT NULL OR j.limit_most IS NOT NULL
                                                        THEN $2 END FROM jobs j WHERE j.seq = $1)
                         WHERE job = $1 AND key = 'source'",
                    )
                    .bind(seq)
                    .bind(now)
                    .bind(format!("has its commit, {}", pin.commit))
                    .execute(&mut *conn)
                    .await?
                    .rows_affected();
                    if waited > 0 {
                        sqlx::query("UPDATE jobs SET source_ref = $2, source_commit = $3 WHERE seq = $1")
                            .bind(seq)
                            .bind(clean(&pin.reference))
                            .bind(pin.commit.as_str())
                            .execute(&mut *conn)
                            .await?;
                    }
                }
            });
            work.commit().await
        })
        .await
    }
}
