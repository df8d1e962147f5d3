//! What was seen in a span, and what became of what somebody else has seen.

use std::collections::{HashMap, HashSet};

use db::{Db, on_read};
use model::missed::{Asked, Fate, Known, Seen};
use model::{JobId, JobState, NewJob, Policy, Supersede, Time};
use serde_json::json;
use uuid::Uuid;

use super::error::corrupt;
use super::number::nat;
use super::text::event_name;
use super::{Result, Store};

/// A place in the events by the time of their recording: that time, and the event's number.
pub type SeenCursor = (Time, i64);

#[derive(sqlx::FromRow)]
struct EventRow {
    seq: i64,
    id: String,
    topic: String,
    sent_at: Option<String>,
    recorded_at: i64,
    recorder: String,
    generation: i64,
    refused: i32,
}

#[derive(sqlx::FromRow)]
struct JobRow {
    event: i64,
    id: Uuid,
    task: String,
    item: String,
    item_type: String,
    arch: String,
    rule: String,
    priority: i32,
    params: String,
    expires_at: Option<i64>,
    supersede_key: Option<String>,
    supersede_policy: Option<String>,
}

impl JobRow {
    fn read(self) -> Result<NewJob> {
        let key = JobId(self.id);
        let policy = |text: &str| {
            let known = Policy::ALL.into_iter().find(|policy| policy.name() == text);
            known.ok_or_else(|| corrupt("jobs", "supersede_policy", key, text))
        };
        let supersede = match (self.supersede_key, self.supersede_policy) {
            (Some(key), Some(text)) => Some(Supersede { key, policy: policy(&text)?, quiet: None }),
            _ => None,
        };
        Ok(NewJob {
            params: serde_json::from_str(&self.params).map_err(|_| corrupt("jobs", "params", key, &self.params))?,
            key,
            task: self.task,
            item: self.item,
            item_type: self.item_type,
            arch: self.arch,
            rule: self.rule,
            priority: self.priority,
            expires_at: self.expires_at.map(Time),
            supersede,
        })
    }
}

impl Store {
    /// The events that were recorded before `until` and behind `after`, oldest first, with the jobs that they caused;
    /// and the place at which to go on.
    pub async fn seen(&self, after: SeenCursor, until: Time, limit: u32) -> Result<(Vec<Seen>, Option<SeenCursor>)> {
        let rows: Vec<EventRow> = on_read!(self.db(), |pool| {
            sqlx::query_as(
                "SELECT seq, id, topic, sent_at, recorded_at, recorder, generation, refused FROM events
                 WHERE recorded_at < $1 AND (recorded_at, seq) > ($2, $3) ORDER BY recorded_at, seq LIMIT $4",
            )
            .bind(until.0)
            .bind(after.0.0)
            .bind(after.1)
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await?
        });
        let Some(last) = rows.last() else { return Ok((Vec::new(), None)) };
        let end = (Time(last.recorded_at), last.seq);
        let next = (rows.len() == limit as usize).then_some(end);
        let mut jobs: HashMap<i64, Vec<NewJob>> = HashMap::new();
        for job in self.jobs_seen(after, end).await? {
            jobs.entry(job.event).or_default().push(job.read()?);
        }
        let seen = |row: EventRow| Seen {
            jobs: jobs.remove(&row.seq).unwrap_or_default(),
            event_time: row.sent_at.as_deref().and_then(Time::parse_loose),
            id: row.id,
            topic: row.topic,
            recorder: row.recorder,
            recorded_at: Time(row.recorded_at),
            generation: nat(row.generation),
            refused: u64::try_from(row.refused).unwrap_or(0),
        };
        Ok((rows.into_iter().map(seen).collect(), next))
    }

    /// The jobs of the events between two places, also those that were submitted before their event came.
    async fn jobs_seen(&self, after: SeenCursor, end: SeenCursor) -> Result<Vec<JobRow>> {
        macro_rules! select {
            ($by:literal) => {
                concat!(
                    "SELECT e.seq AS event, j.id, j.task, j.item, j.item_type, j.arch, j.rule, j.priority, j.params,
                            j.expires_at, j.supersede_key, j.supersede_policy
                     FROM events e JOIN jobs j ON ",
                    $by,
                    " WHERE (e.recorded_at, e.seq) > ($1, $2) AND (e.recorded_at, e.seq) <= ($3, $4)
                        AND j.rerun_of IS NULL AND (j.search IS NULL OR j.search = j.id)"
                )
            };
        }
        Ok(on_read!(self.db(), |pool| {
            sqlx::query_as(concat!(select!("j.event = e.seq"), " UNION ALL ", select!("j.event_id = e.id")))
                .bind(after.0.0)
                .bind(after.1)
                .bind(end.0.0)
                .bind(end.1)
                .fetch_all(pool)
                .await?
        }))
    }

    /// What became of these events and jobs here: one answer for each, in order. Looks up keys only.
    pub async fn known(&self, asked: &[Asked]) -> Result<Vec<Known>> {
        let names: Vec<String> = asked.iter().map(|event| event_name(&event.id)).collect();
        let here = self.known_events(&names).await?;
        let ids: Vec<Uuid> = asked.iter().flat_map(|event| &event.jobs).map(|job| job.0).collect();
        let fates = self.fates(&ids).await?;
        let fate = |job: &JobId| fates.get(&job.0).cloned().unwrap_or(Fate::Missing);
        let known = |(event, name): (&Asked, &String)| Known {
            here: here.contains(name),
            jobs: event.jobs.iter().map(fate).collect(),
        };
        Ok(asked.iter().zip(&names).map(known).collect())
    }

    async fn known_events(&self, names: &[String]) -> Result<HashSet<String>> {
        let rows: Vec<String> = match self.db() {
            Db::Pg(pool) => {
                sqlx::query_scalar("SELECT id FROM events WHERE id = ANY ($1)").bind(names).fetch_all(pool).await?
            }
            Db::Lite { read, .. } => {
                sqlx::query_scalar("SELECT id FROM events WHERE id IN (SELECT value FROM json_each($1))")
                    .bind(json!(names).to_string())
                    .fetch_all(read)
                    .await?
            }
        };
        Ok(rows.into_iter().collect())
    }

    /// One statement finds where the jobs are, another which of them the outbox still holds: in this order, so that a
    /// result that is delivered in between counts as delivered.
    async fn fates(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, Fate>> {
        type Place = (i64, Uuid, Option<String>, Option<String>, Option<Uuid>);
        macro_rules! places {
            ($among:literal) => {
                concat!(
                    "SELECT j.seq, j.id, CASE WHEN w.job IS NOT NULL THEN 'waiting' WHEN q.job IS NOT NULL THEN 'queued'
                                              WHEN l.job IS NOT NULL THEN 'running' ELSE x.state END, x.reason, j.search
                     FROM jobs j LEFT JOIN waiting w ON w.job = j.seq LEFT JOIN queued q ON q.job = j.seq
                          LEFT JOIN leases l ON l.job = j.seq LEFT JOIN ended x ON x.job = j.seq
                     WHERE j.id ",
                    $among
                )
            };
        }
        let places: Vec<Place> = match self.db() {
            Db::Pg(pool) => sqlx::query_as(places!("= ANY ($1)")).bind(ids).fetch_all(pool).await?,
            Db::Lite { read, .. } => {
                let ids: Vec<String> = ids.iter().map(|id| id.simple().to_string()).collect();
                sqlx::query_as(places!("IN (SELECT unhex(value) FROM json_each($1))"))
                    .bind(json!(ids).to_string())
                    .fetch_all(read)
                    .await?
            }
        };
        let seqs: Vec<i64> = places.iter().map(|place| place.0).collect();
        let unsent: HashMap<i64, Option<String>> = self.unsent(&seqs).await?.into_iter().collect();
        let mut fates = HashMap::new();
        for (seq, id, state, reason, search) in places {
            let state = state.ok_or_else(|| corrupt("jobs", "state", id, "none of the tables that a job can be in"))?;
            let state: JobState = state.parse().map_err(|_| corrupt("ended", "state", id, &state))?;
            let fate = match (state, unsent.get(&seq)) {
                // What it found is to be done as well.
                (JobState::Finished, None) if search == Some(id) => {
                    let found: Vec<Uuid> = self.found_by(JobId(id)).await?.iter().map(|job| job.id.0).collect();
                    let fates = Box::pin(self.fates(&found)).await?;
                    fates.into_values().find(|fate| *fate != Fate::Done).unwrap_or(Fate::Done)
                }
                (JobState::Finished, None) => Fate::Done,
                (JobState::Finished, Some(None)) => Fate::Open { state },
                (JobState::Finished, Some(Some(error))) => Fate::Undelivered { error: error.clone() },
                (state, _) if state.is_end() => Fate::Ended { state, reason: reason.unwrap_or_default() },
                (state, _) => Fate::Open { state },
            };
            fates.insert(id, fate);
        }
        Ok(fates)
    }

    /// What the outbox holds of these jobs, with the last error of a delivery that failed.
    async fn unsent(&self, seqs: &[i64]) -> Result<Vec<(i64, Option<String>)>> {
        Ok(match self.db() {
            Db::Pg(pool) => {
                sqlx::query_as("SELECT job, max(error) FROM outbox WHERE job = ANY ($1) GROUP BY job")
                    .bind(seqs)
                    .fetch_all(pool)
                    .await?
            }
            Db::Lite { read, .. } => {
                sqlx::query_as(
                    "SELECT job, max(error) FROM outbox WHERE job IN (SELECT value FROM json_each($1)) GROUP BY job",
                )
                .bind(json!(seqs).to_string())
                .fetch_all(read)
                .await?
            }
        })
    }
}
