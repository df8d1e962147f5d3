//! What is known of the files that jobs left. Their bytes are kept once by content (`blobs`), and lie elsewhere.
//!
//! Whoever needs a blob, or finds that nobody does, first writes to its row: so the two never pass each other.

use db::on_read;
use model::{Artifact, ArtifactPiece, JobId, Span, Time};

use super::number::{count, int, nat, small};
use super::token::MAY_ADD;
use super::tx::{Work, on_tx, retrying};
use super::{Result, Store, Token};

/// How many rows one transaction removes.
const SLICE: i64 = 200;

/// What became of the wish to keep a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    Yes,
    /// The token is of no attempt that runs, or that its report has ended.
    NoRight,
    /// Its bytes are not there.
    NotThere,
}

/// Which artifacts are to go.
#[derive(Clone, Copy, Debug)]
pub enum GiveUp {
    /// Those that were stored longer ago.
    Older(Span),
    /// The oldest, until together they have so many bytes.
    Bytes(u64),
}

/// One artifact, and where its bytes lie; none when they were removed.
#[derive(Clone, Debug)]
pub struct Stored {
    pub artifact: Artifact,
    pub file: Option<String>,
}

type Row = (i32, String, i64, Vec<u8>, i64, Option<i64>, Option<String>);

impl Store {
    /// Where bytes of this digest lie.
    pub async fn blob(&self, sha256: &[u8; 32]) -> Result<Option<String>> {
        Ok(on_read!(self.db(), |pool| {
            sqlx::query_scalar("SELECT file FROM blobs WHERE sha256 = $1")
                .bind(sha256.as_slice())
                .fetch_optional(pool)
                .await?
        }))
    }

    /// Keeps an artifact of an attempt; again changes nothing. `file` is where its bytes lie now, none where they were
    /// there before.
    pub async fn keep_artifact(
        &self,
        token: &Token,
        piece: &ArtifactPiece,
        sha256: &[u8; 32],
        file: Option<&str>,
    ) -> Result<Kept> {
        retrying(async || {
            let mut work = self.begin().await?;
            let Some(job) = may_keep(&mut work, token).await? else { return Ok(Kept::NoRight) };
            let now = work.now.0;
            let rows = on_tx!(&mut work.tx, |conn| {
                let query = match file {
                    // Of two that came at once the last is used, and the other is cleared away.
                    Some(_) => {
                        "INSERT INTO blobs (sha256, size, file, stored_at) VALUES ($1, $2, $3, $4)
                         ON CONFLICT (sha256) DO UPDATE SET file = excluded.file"
                    }
                    None => "UPDATE blobs SET stored_at = stored_at WHERE sha256 = $1 AND size = $2",
                };
                let query = sqlx::query(query).bind(sha256.as_slice()).bind(int(piece.size));
                let query = if let Some(file) = file { query.bind(file).bind(now) } else { query };
                query.execute(conn).await?.rows_affected()
            });
            if rows == 0 {
                return Ok(Kept::NotThere);
            }
            on_tx!(&mut work.tx, |conn| {
                sqlx::query(
                    "INSERT INTO artifacts (job, attempt, name, size, sha256, stored_at) VALUES ($1, $2, $3, $4, $5, $6)
                     ON CONFLICT (job, attempt, name) DO UPDATE
                     SET size = excluded.size, sha256 = excluded.sha256, stored_at = excluded.stored_at,
                         removed_at = NULL",
                )
                .bind(job)
                .bind(small(token.attempt))
                .bind(&piece.name)
                .bind(int(piece.size))
                .bind(sha256.as_slice())
                .bind(now)
                .execute(conn)
                .await?;
            });
            work.commit().await?;
            Ok(Kept::Yes)
        })
        .await
    }

    /// What a job's attempts left, in their order.
    pub async fn artifacts(&self, job: JobId) -> Result<Vec<Artifact>> {
        let rows: Vec<Row> = on_read!(self.db(), |pool| {
            sqlx::query_as(
                "SELECT a.attempt, a.name, a.size, a.sha256, a.stored_at, a.removed_at, NULL
                 FROM artifacts a JOIN jobs j ON j.seq = a.job WHERE j.id = $1 ORDER BY a.attempt, a.name",
            )
            .bind(job.0)
            .fetch_all(pool)
            .await?
        });
        Ok(rows.into_iter().map(|row| stored(row).artifact).collect())
    }

    /// One of them: of an attempt, or of the last that left one of this name.
    pub async fn artifact(&self, job: JobId, attempt: Option<u32>, name: &str) -> Result<Option<Stored>> {
        let row: Option<Row> = on_read!(self.db(), |pool| {
            sqlx::query_as(
                "SELECT a.attempt, a.name, a.size, a.sha256, a.stored_at, a.removed_at, b.file
                 FROM artifacts a JOIN jobs j ON j.seq = a.job LEFT JOIN blobs b ON b.sha256 = a.sha256
                 WHERE j.id = $1 AND a.name = $2 AND ($3 = 0 OR a.attempt = $3) ORDER BY a.attempt DESC LIMIT 1",
            )
            .bind(job.0)
            .bind(name)
            .bind(small(attempt.unwrap_or(0)))
            .fetch_optional(pool)
            .await?
        });
        Ok(row.map(stored))
    }

    /// How many bytes all of them take.
    pub async fn artifact_space(&self) -> Result<u64> {
        let bytes: i64 = on_read!(self.db(), |pool| {
            sqlx::query_scalar("SELECT CAST(coalesce(sum(size), 0) AS BIGINT) FROM blobs").fetch_one(pool).await?
        });
        Ok(nat(bytes))
    }

    /// Gives up some artifacts, the oldest first: how many they were, and the files that nobody needs any more. There may
    /// be more to give up until it answers that there are none.
    pub async fn give_up_artifacts(&self, which: GiveUp) -> Result<(usize, Vec<String>)> {
        retrying(async || {
            let mut work = self.begin().await?;
            let now = work.now.0;
            let (before, bytes) = match which {
                GiveUp::Older(age) => (work.now.minus(age).0, i64::MAX),
                GiveUp::Bytes(bytes) => (i64::MAX, int(bytes)),
            };
            let mut given_up: Vec<Vec<u8>> = on_tx!(&mut work.tx, |conn| {
                sqlx::query_scalar(
                    "UPDATE artifacts SET removed_at = $1
                     WHERE (job, attempt, name) IN (
                         SELECT job, attempt, name FROM (
                             SELECT job, attempt, name,
                                    sum(size) OVER (ORDER BY stored_at, job, attempt, name) - size AS older
                             FROM (SELECT * FROM artifacts WHERE removed_at IS NULL AND stored_at < $2
                                   ORDER BY stored_at, job, attempt, name LIMIT $3) o) s
                         WHERE older < $4)
                     RETURNING sha256",
                )
                .bind(now)
                .bind(before)
                .bind(SLICE)
                .bind(bytes)
                .fetch_all(conn)
                .await?
            });
            let count = given_up.len();
            given_up.sort_unstable();
            given_up.dedup();
            let mut files = Vec::new();
            for sha256 in given_up {
                files.extend(let_go(&mut work, &sha256).await?);
            }
            work.commit().await?;
            Ok((count, files))
        })
        .await
    }

    /// Which of the files that begin with a byte of their content's digest are needed.
    pub async fn blobs_from(&self, first: u8) -> Result<Vec<String>> {
        let (from, to) = (vec![first], first.checked_add(1).map(|next| vec![next]));
        Ok(on_read!(self.db(), |pool| {
            sqlx::query_scalar("SELECT file FROM blobs WHERE sha256 >= $1 AND ($2 IS NULL OR sha256 < $2)")
                .bind(from)
                .bind(to)
                .fetch_all(pool)
                .await?
        }))
    }
}

/// The number of the token's job, if its attempt may still leave something.
async fn may_keep(work: &mut Work, token: &Token) -> Result<Option<i64>> {
    Ok(on_tx!(&mut work.tx, |conn| {
        sqlx::query_scalar(MAY_ADD)
            .bind(token.job.0)
            .bind(small(token.attempt))
            .bind(token.secret.as_slice())
            .fetch_optional(conn)
            .await?
    }))
}

/// Forgets a blob that no artifact needs. Whoever is about to need it has written to its row, or waits for us.
async fn let_go(work: &mut Work, sha256: &[u8]) -> Result<Option<String>> {
    on_tx!(&mut work.tx, |conn| {
        sqlx::query("UPDATE blobs SET stored_at = stored_at WHERE sha256 = $1").bind(sha256).execute(conn).await?;
    });
    Ok(on_tx!(&mut work.tx, |conn| {
        sqlx::query_scalar(
            "DELETE FROM blobs WHERE sha256 = $1
                 AND NOT EXISTS (SELECT 1 FROM artifacts WHERE sha256 = $1 AND removed_at IS NULL)
             RETURNING file",
        )
        .bind(sha256)
        .fetch_optional(conn)
        .await?
    }))
}

fn stored((attempt, name, size, sha256, stored_at, removed_at, file): Row) -> Stored {
    let artifact = Artifact {
        attempt: count(attempt),
        name,
        size: nat(size),
        sha256: hex::encode(sha256),
        stored_at: Time(stored_at),
        removed_at: removed_at.map(Time),
    };
    Stored { file: file.filter(|_| artifact.removed_at.is_none()), artifact }
}
