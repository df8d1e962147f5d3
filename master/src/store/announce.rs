//! What is published of a job beside what it found: decided by whoever the store was given, in the transaction that
//! moves the job, and written with it. Tasks that ask for none of it cost a look into memory.

use std::collections::HashMap;
use std::sync::Arc;

use model::JobId;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::error::corrupt;
use super::moves::EndedRow;
use super::submit::Wanted;
use super::tx::{Tx, Work, on_tx};
use super::types::{Announce, Granted, Moved, Publication, Step};
use super::{Result, Store};

impl Store {
    /// Says who decides; before anything is moved. Without it nothing is announced.
    pub fn announce_by(&self, announcer: Arc<dyn Announce>) {
        // A store has one master: a second would say the same.
        let _ = self.inner.announcer.set(announcer);
    }

    pub(super) fn announcer(&self) -> Option<Arc<dyn Announce>> {
        self.inner.announcer.get().cloned()
    }
}

/// A job that ended with no findings.
#[derive(sqlx::FromRow)]
struct Unjudged {
    seq: i64,
    id: Uuid,
    task_version: i64,
    item: String,
    item_type: String,
    arch: String,
    params: String,
}

impl Work {
    /// Announces jobs that were made just now; `made` are the ids that were new.
    pub(super) async fn announce_queued(&mut self, wanted: &[Wanted<'_>], made: &HashMap<Uuid, i64>) -> Result<()> {
        let Some(by) = self.announcer.clone() else { return Ok(()) };
        let mut said = Vec::new();
        for w in wanted {
            let job = &w.admitted.job;
            let is_new = made.contains_key(&job.key.0) && !w.admitted.is_search();
            if is_new && self.announces(&*by, w.admitted.task_version).await? {
                let moved = Moved {
                    job: job.key,
                    task_version: w.admitted.task_version,
                    item: &job.item,
                    item_type: &job.item_type,
                    arch: &job.arch,
                    params: &job.params,
                    step: Step::Queued,
                };
                said.extend(by.publication(&moved).map(|said| (job.key, said)));
            }
        }
        self.publish(said).await.map(drop)
    }

    /// Announces jobs that a worker gets; whether there is something to deliver.
    pub(super) async fn announce_running(&mut self, granted: &[Granted]) -> Result<bool> {
        let Some(by) = self.announcer.clone() else { return Ok(false) };
        let mut said = Vec::new();
        // It is told once: a job that is tried again has not stopped running for whoever waits.
        for g in granted.iter().filter(|g| g.attempt == 1) {
            if self.announces(&*by, g.task_version).await? {
                let moved = Moved {
                    job: g.job,
                    task_version: g.task_version,
                    item: &g.item,
                    item_type: &g.item_type,
                    arch: &g.arch,
                    params: &g.params,
                    step: Step::Running,
                };
                said.extend(by.publication(&moved).map(|said| (g.job, said)));
            }
        }
        self.publish(said).await
    }

    /// Takes back what was announced of jobs that end with no findings.
    pub(super) async fn announce_unjudged(&mut self, ended: &[EndedRow]) -> Result<()> {
        let Some(by) = self.announcer.clone() else { return Ok(()) };
        let jobs: Vec<i64> = ended.iter().filter(|row| row.outcome.is_none()).map(|row| row.job).collect();
        if jobs.is_empty() {
            return Ok(());
        }
        let mut said = Vec::new();
        for job in self.unjudged(&jobs).await? {
            if !self.announces(&*by, job.task_version).await? {
                continue;
            }
            let Some(end) = ended.iter().find(|row| row.job == job.seq) else { continue };
            let params: Map<String, Value> =
                serde_json::from_str(&job.params).map_err(|_| corrupt("jobs", "params", JobId(job.id), &job.params))?;
            let attempts = u32::try_from(end.attempts).unwrap_or(0);
            let moved = Moved {
                job: JobId(job.id),
                task_version: job.task_version,
                item: &job.item,
                item_type: &job.item_type,
                arch: &job.arch,
                params: &params,
                step: Step::Unjudged { reason: &end.reason, attempts },
            };
            said.extend(by.publication(&moved).map(|said| (moved.job, said)));
        }
        self.publish(said).await.map(drop)
    }

    /// Whether jobs of this version of a task are announced. One that was not read yet, another master's, is read here.
    async fn announces(&mut self, by: &dyn Announce, version: i64) -> Result<bool> {
        if let Some(known) = by.announces(version) {
            return Ok(known);
        }
        let found: Option<(String, String)> = on_tx!(&mut self.tx, |conn| {
            sqlx::query_as("SELECT name, definition FROM tasks WHERE id = $1")
                .bind(version)
                .fetch_optional(conn)
                .await?
        });
        let (name, definition) = found.unwrap_or_default();
        by.learn(version, &name, serde_json::from_str(&definition).ok().as_ref());
        Ok(by.announces(version).unwrap_or(false))
    }

    async fn unjudged(&mut self, jobs: &[i64]) -> Result<Vec<Unjudged>> {
        macro_rules! select {
            ($among:literal) => {
                concat!(
                    "SELECT seq, id, task_version, item, item_type, arch, params FROM jobs
                     WHERE (search IS NULL OR search <> id) AND seq ",
                    $among
                )
            };
        }
        Ok(match &mut self.tx {
            Tx::Pg(tx) => sqlx::query_as(select!("= ANY ($1)")).bind(jobs).fetch_all(&mut **tx).await?,
            Tx::Lite(tx) => {
                sqlx::query_as(select!("IN (SELECT value FROM json_each($1))"))
                    .bind(json!(jobs).to_string())
                    .fetch_all(&mut **tx)
                    .await?
            }
        })
    }

    /// Puts announcements into the outbox; whether there are any.
    async fn publish(&mut self, said: Vec<(JobId, Publication)>) -> Result<bool> {
        if said.is_empty() {
            return Ok(false);
        }
        let now = self.now.0;
        match &mut self.tx {
            Tx::Pg(tx) => {
                let body = |(_, said): &(JobId, Publication)| said.body.to_string();
                sqlx::query(
                    "INSERT INTO outbox (key, job, body, due_at, announces)
                     SELECT g.key, j.seq, g.body, $4, TRUE
                     FROM unnest($1::uuid[], $2::uuid[], $3::text[]) WITH ORDINALITY AS g (key, id, body, n)
                         JOIN jobs j ON j.id = g.id
                     ORDER BY g.n
                     ON CONFLICT (key) DO NOTHING",
                )
                .bind(said.iter().map(|(_, said)| said.key).collect::<Vec<_>>())
                .bind(said.iter().map(|(job, _)| job.0).collect::<Vec<_>>())
                .bind(said.iter().map(body).collect::<Vec<_>>())
                .bind(now)
                .execute(&mut **tx)
                .await?;
            }
            Tx::Lite(tx) => {
                let row = |(job, said): &(JobId, Publication)| {
                    json!([said.key.simple().to_string(), job.0.simple().to_string(), said.body.to_string()])
                };
                sqlx::query(
                    "INSERT INTO outbox (key, job, body, due_at, announces)
                     SELECT unhex(r.value->>0), j.seq, r.value->>2, $2, TRUE
                     FROM json_each($1) r JOIN jobs j ON j.id = unhex(r.value->>1) WHERE true
                     ON CONFLICT (key) DO NOTHING",
                )
                .bind(json!(said.iter().map(row).collect::<Vec<_>>()).to_string())
                .bind(now)
                .execute(&mut **tx)
                .await?;
            }
        }
        Ok(true)
    }
}
