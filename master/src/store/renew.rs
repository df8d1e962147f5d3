//! Keeping leases.

use std::collections::{BTreeSet, HashMap};

use db::on_read;
use model::lease::{Hold, Worker};
use model::{JobId, Span};
use serde_json::json;
use uuid::Uuid;

use super::number::small;
use super::tx::{Tx, Work, on_tx, retrying};
use super::{Result, Store, Token};

impl Store {
    /// One answer for each token, in order. Whoever has its secret may renew a lease: a worker that has started anew keeps
    /// those of ended attempts until it has delivered their reports. With its first claim it gives them up.
    pub async fn renew(&self, worker: &Worker, tokens: &[String], term: Span) -> Result<Vec<Hold>> {
        let parsed: Vec<Option<Token>> = tokens.iter().map(|token| token.parse().ok()).collect();
        let mut asked: Vec<&Token> = parsed.iter().flatten().collect();
        asked.sort_unstable();
        asked.dedup();
        let held = retrying(async || {
            let mut work = self.begin().await?;
            see(&mut work, worker).await?;
            let held = prolong(&mut work, &asked, term).await?;
            work.commit().await?;
            Ok(held)
        })
        .await?;
        let answer = |token: &Option<Token>| match token.as_ref().and_then(|t| held.get(t.secret.as_slice())) {
            None => Hold::Gone,
            Some(None) => Hold::Held,
            Some(Some(reason)) => Hold::Cancel { reason: reason.clone() },
        };
        Ok(parsed.iter().map(answer).collect())
    }

    /// All jobs that run.
    pub async fn running(&self) -> Result<BTreeSet<JobId>> {
        let jobs: Vec<Uuid> = on_read!(self.db(), |pool| {
            sqlx::query_scalar("SELECT j.id FROM leases l JOIN jobs j ON j.seq = l.job").fetch_all(pool).await?
        });
        Ok(jobs.into_iter().map(JobId).collect())
    }

    /// Every lease holds for one full term from now: to be called at boot, before anything is expired, since nobody
    /// could renew while no master served; and when the clock was set, since what it said before means nothing now.
    pub async fn grant_full_term(&self, term: Span) -> Result<u64> {
        retrying(async || {
            let mut work = self.begin().await?;
            let until = work.after(term).0;
            let rows = on_tx!(&mut work.tx, |conn| {
                sqlx::query("UPDATE leases SET expires_at = $1 WHERE expires_at > 0")
                    .bind(until)
                    .execute(conn)
                    .await?
                    .rows_affected()
            });
            work.commit().await?;
            Ok(rows)
        })
        .await
    }
}

async fn see(work: &mut Work, worker: &Worker) -> Result<()> {
    let now = work.now.0;
    on_tx!(&mut work.tx, |conn| {
        sqlx::query(
            "UPDATE workers SET last_seen = $3, clock_ahead = $4, figures = COALESCE($5, figures)
             WHERE name = $1 AND incarnation = $2",
        )
        .bind(&worker.name)
        .bind(worker.incarnation)
        .bind(now)
        .bind(worker.clock.map(|clock| clock.0 - now))
        .bind(worker.figures.as_ref().map(|figures| json!(figures).to_string()))
        .execute(conn)
        .await?;
    });
    Ok(())
}

/// By secret, which no two leases share: why the job is to be stopped, if it is. PostgreSQL takes typed arrays, SQLite
/// JSON; otherwise both do the same.
async fn prolong(work: &mut Work, asked: &[&Token], term: Span) -> Result<HashMap<Vec<u8>, Option<String>>> {
    if asked.is_empty() {
        return Ok(HashMap::new());
    }
    let until = work.after(term).0;
    let rows: Vec<(Vec<u8>, Option<String>)> = match &mut work.tx {
        Tx::Pg(tx) => {
            sqlx::query_as(
                "UPDATE leases l SET expires_at = $4
                 FROM unnest($1::uuid[], $2::int[], $3::bytea[]) AS g (id, attempt, secret), jobs j
                 WHERE j.id = g.id AND l.job = j.seq AND l.attempt = g.attempt AND l.secret = g.secret
                       AND l.expires_at > 0
                 RETURNING l.secret, l.cancel",
            )
            .bind(asked.iter().map(|t| t.job.0).collect::<Vec<_>>())
            .bind(asked.iter().map(|t| small(t.attempt)).collect::<Vec<_>>())
            .bind(asked.iter().map(|t| t.secret.as_slice()).collect::<Vec<_>>())
            .bind(until)
            .fetch_all(&mut **tx)
            .await?
        }
        Tx::Lite(tx) => {
            let row = |t: &&Token| json!([t.job.0.simple().to_string(), t.attempt, hex::encode(t.secret)]);
            sqlx::query_as(
                "UPDATE leases SET expires_at = $2
                 WHERE (job, attempt, secret) IN (
                         SELECT j.seq, g.value->>1, unhex(g.value->>2)
                         FROM json_each($1) g JOIN jobs j ON j.id = unhex(g.value->>0))
                       AND expires_at > 0
                 RETURNING secret, cancel",
            )
            .bind(json!(asked.iter().map(row).collect::<Vec<_>>()).to_string())
            .bind(until)
            .fetch_all(&mut **tx)
            .await?
        }
    };
    Ok(rows.into_iter().collect())
}
