//! What people do to jobs: one transaction for all that one request names. A dry run is the same transaction, thrown
//! away at its end, so that what it tells is what would be done.

mod deed;

use std::collections::{BTreeMap, HashMap};

use model::deed::{Acted, ActedJob, Did};
use model::intake::JobAnswer;
use model::{JobId, JobState, Span};
use serde_json::{Value, json};
use uuid::Uuid;

use self::deed::{Step, one};
use super::error::corrupt;
use super::moves::Moves;
use super::number::nat;
use super::submit::{Wanted, admitted, again, append, events_of, needs};
use super::tx::{Tx, Work, on_tx, retrying};
use super::types::{Act, Candidate, Deed, Obeyed, Order, Request};
use super::{Result, Store, audit, keys};

/// A job that something is to be done to, with what does not change.
#[derive(sqlx::FromRow)]
struct Head {
    seq: i64,
    id: Uuid,
    task: String,
    item: String,
    arch: String,
    needs: i32,
}

impl Store {
    /// Does what is asked to each of these jobs, in the order in which they were made; each with a row in the audit.
    pub async fn act(&self, order: &Order<'_>) -> Result<Obeyed> {
        let candidates = match order.deed {
            Deed::Rerun => self.ordered_anew(order).await?,
            Deed::Cancel | Deed::Priority(_) | Deed::Retry | Deed::Settle(_) => BTreeMap::new(),
        };
        let sets = self.label_sets_of(needs(candidates.values())).await?;
        let (obeyed, ring) = retrying(async || {
            let mut work = self.begin().await?;
            if !order.dry_run
                && let Some(before) = repeated(&mut work, order.request).await?
            {
                return Ok((before, false));
            }
            let heads = heads(&mut work, order.jobs).await?;
            if let Some(unknown) = order.jobs.iter().find(|job| !heads.contains_key(job)) {
                return Ok((Obeyed::Unknown(*unknown), false));
            }
            let mut heads: Vec<Head> = heads.into_values().collect();
            heads.sort_unstable_by_key(|head| head.seq);
            if order.deed != Deed::Rerun {
                let seqs: Vec<i64> = heads.iter().map(|head| head.seq).collect();
                keys::lock_those_of(&mut work, &seqs).await?;
            }
            let causes = events_of(&mut work, candidates.values()).await?;
            let wanted = admitted(candidates.values()).map(|admitted| Wanted::caused(admitted, &causes)).collect();
            let mut made = append(&mut work, &sets, wanted).await?;
            let mut moves = Moves::default();
            let mut jobs = Vec::with_capacity(heads.len());
            for head in heads {
                let answer = candidates.get(&JobId(head.id)).map(|candidate| made.give(candidate));
                let (state, step) = one(&mut work, &mut moves, &head, order, answer).await?;
                if step.did == Did::Done {
                    audit::record(&mut work, &audited(&head, order, &step)).await?;
                }
                let Head { id, task, item, arch, .. } = head;
                let Step { did, note, new_job, .. } = step;
                jobs.push(ActedJob { id: JobId(id), task, item, arch, state, did, note, new_job });
            }
            moves.write(&mut work).await?;
            let ring = work.woken || !moves.queued.is_empty() || !moves.outbox.is_empty() || made.any_new();
            let acted = Acted::new(jobs, order.next.map(str::to_owned));
            if order.dry_run {
                return Ok((Obeyed::Acted(acted), false));
            }
            remember(&mut work, order.request, &acted).await?;
            work.commit().await?;
            Ok((Obeyed::Acted(acted), ring))
        })
        .await?;
        if ring {
            self.ring();
        }
        Ok(obeyed)
    }

    /// What this request was answered with, where it came before.
    pub async fn answered(&self, request: &Request) -> Result<Option<Obeyed>> {
        retrying(async || {
            let mut work = self.begin().await?;
            answer_to(&mut work, request).await
        })
        .await
    }

    /// How many jobs wait for a person, and the first of them.
    pub async fn unsettled(&self) -> Result<Option<(u64, JobId)>> {
        let row: Option<(i64, Uuid)> = db::on_read!(self.db(), |pool| {
            sqlx::query_as(
                "SELECT (SELECT count(*) FROM waiting WHERE unsettled), j.id
                 FROM waiting w JOIN jobs j ON j.seq = w.job WHERE w.unsettled ORDER BY w.job LIMIT 1",
            )
            .fetch_optional(pool)
            .await?
        });
        Ok(row.map(|(jobs, first)| (nat(jobs), JobId(first))))
    }

    /// Forgets the answers to requests that came so long ago.
    pub async fn tidy_requests(&self, keep: Span) -> Result<()> {
        retrying(async || {
            let mut work = self.begin().await?;
            let old = work.now.minus(keep).0;
            on_tx!(&mut work.tx, |conn| {
                sqlx::query("DELETE FROM requests WHERE at < $1").bind(old).execute(conn).await?;
            });
            work.commit().await
        })
        .await
    }

    /// For each job one that asks for the same again.
    async fn ordered_anew(&self, order: &Order<'_>) -> Result<BTreeMap<JobId, Candidate>> {
        let mut candidates = BTreeMap::new();
        for job in order.jobs {
            if let Some(old) = self.job(*job).await? {
                candidates.insert(*job, again(old, &order.request.key, order.fresh.get(job).cloned()));
            }
        }
        Ok(candidates)
    }
}

fn audited(head: &Head, order: &Order<'_>, step: &Step) -> Act {
    Act {
        actor: order.actor.to_owned(),
        action: match order.deed {
            Deed::Cancel => "cancel",
            Deed::Rerun => "rerun",
            Deed::Priority(_) => "priority",
            Deed::Retry => "retry",
            Deed::Settle(_) => "settle",
        },
        object: format!("job {}", head.id),
        reason: order.reason.to_owned(),
        before: step.before.clone(),
        after: step.after.clone(),
    }
}

async fn heads(work: &mut Work, jobs: &[JobId]) -> Result<HashMap<JobId, Head>> {
    let rows: Vec<Head> = match &mut work.tx {
        Tx::Pg(tx) => {
            sqlx::query_as("SELECT seq, id, task, item, arch, needs FROM jobs WHERE id = ANY ($1)")
                .bind(jobs.iter().map(|job| job.0).collect::<Vec<_>>())
                .fetch_all(&mut **tx)
                .await?
        }
        Tx::Lite(tx) => {
            let ids: Vec<String> = jobs.iter().map(|job| job.0.simple().to_string()).collect();
            sqlx::query_as(
                "SELECT seq, id, task, item, arch, needs FROM jobs WHERE id IN (SELECT unhex(value) FROM json_each($1))",
            )
            .bind(json!(ids).to_string())
            .fetch_all(&mut **tx)
            .await?
        }
    };
    Ok(rows.into_iter().map(|head| (JobId(head.id), head)).collect())
}

/// Takes the name of the request, unless it is taken: then what it was answered with. Whoever comes at the same time
/// waits here for the first.
async fn repeated(work: &mut Work, request: &Request) -> Result<Option<Obeyed>> {
    let now = work.now.0;
    let new = on_tx!(&mut work.tx, |conn| {
        sqlx::query(
            "INSERT INTO requests (key, content, at, answer) VALUES ($1, $2, $3, '') ON CONFLICT (key) DO NOTHING",
        )
        .bind(&request.key)
        .bind(request.content.as_slice())
        .bind(now)
        .execute(conn)
        .await?
        .rows_affected()
    });
    if new > 0 { Ok(None) } else { answer_to(work, request).await }
}

async fn answer_to(work: &mut Work, request: &Request) -> Result<Option<Obeyed>> {
    let row: Option<(Vec<u8>, String)> = on_tx!(&mut work.tx, |conn| {
        sqlx::query_as("SELECT content, answer FROM requests WHERE key = $1")
            .bind(&request.key)
            .fetch_optional(conn)
            .await?
    });
    let Some((content, answer)) = row else { return Ok(None) };
    if content != request.content {
        return Ok(Some(Obeyed::OtherRequest));
    }
    let acted = serde_json::from_str(&answer).map_err(|_| corrupt("requests", "answer", &request.key, &answer))?;
    Ok(Some(Obeyed::Acted(acted)))
}

async fn remember(work: &mut Work, request: &Request, acted: &Acted) -> Result<()> {
    on_tx!(&mut work.tx, |conn| {
        sqlx::query("UPDATE requests SET answer = $2 WHERE key = $1")
            .bind(&request.key)
            .bind(json!(acted).to_string())
            .execute(conn)
            .await?;
    });
    Ok(())
}

/// What became of a re-run.
fn ordered(answer: Option<JobAnswer>) -> Step {
    match answer {
        Some(JobAnswer::Submitted { job } | JobAnswer::Exists { job, .. }) => Step {
            new_job: Some(job),
            ..Step::done(format!("ordered anew as {job}"), Value::Null, json!({"job": job}))
        },
        Some(JobAnswer::Refused { reason }) => Step { did: Did::Failed, ..Step::skipped(reason) },
        Some(JobAnswer::Expired) | None => {
            Step { did: Did::Failed, ..Step::skipped("it is not known any more".to_owned()) }
        }
    }
}

/// The states of a job that has not ended, and what an ended one is.
fn state_of(state: &str, job: Uuid) -> Result<JobState> {
    state.parse().map_err(|_| corrupt("ended", "state", job, state))
}
