//! One deed to one job: looked for where it can be, and taken from there by a statement that repeats what was seen.

use model::deed::{Did, Settlement};
use model::intake::JobAnswer;
use model::{JobId, JobState, Time};
use serde_json::{Map, Value, json};

use super::{Head, ordered, state_of};
use crate::store::Result;
use crate::store::error::corrupt;
use crate::store::finish::earlier_ends;
use crate::store::mirrors::SOURCE;
use crate::store::moves::{EndedRow, Moves, OutboxRow, QueuedRow};
use crate::store::number::count;
use crate::store::submit::PRIORITY_STEP;
use crate::store::supersede::successor;
use crate::store::text::clean;
use crate::store::tx::{Work, on_tx};
use crate::store::types::{Deed, Ending, Next, Order};

/// How often a job is looked for that goes on meanwhile: from waiting to the queue, to a worker, and back.
const LOOKS: usize = 4;

/// What became of one job.
pub(super) struct Step {
    pub did: Did,
    pub note: String,
    pub new_job: Option<JobId>,
    /// For the audit.
    pub before: Value,
    pub after: Value,
}

impl Step {
    pub(super) fn done(note: impl Into<String>, before: Value, after: Value) -> Step {
        Step { did: Did::Done, note: note.into(), new_job: None, before, after }
    }

    pub(super) fn skipped(note: impl Into<String>) -> Step {
        Step { did: Did::Skipped, ..Step::done(note, Value::Null, Value::Null) }
    }
}

/// Where a job is at the moment.
enum Seen {
    /// Until a moment, or for what is named.
    Waiting {
        until: Time,
        wants: Option<String>,
    },
    Unsettled {
        reason: String,
    },
    Queued,
    /// `stopping` by a person's wish, which no other outweighs.
    Running {
        worker: String,
        stopping: bool,
    },
    Ended(JobState),
}

impl Seen {
    fn state(&self) -> JobState {
        match self {
            Seen::Waiting { .. } | Seen::Unsettled { .. } => JobState::Waiting,
            Seen::Queued => JobState::Queued,
            Seen::Running { .. } => JobState::Running,
            Seen::Ended(state) => *state,
        }
    }

    /// Why nothing is to be done here.
    fn leave(&self) -> Step {
        Step::skipped(match self {
            Seen::Waiting { wants: Some(wants), .. } => format!("it waits for {wants}, and not for a moment"),
            Seen::Waiting { until, wants: None } => format!("it waits until {}", until.to_seconds()),
            Seen::Unsettled { .. } => "it waits for a person: 'taskotron job settle' says what becomes of it".into(),
            Seen::Queued => "it is in the queue".into(),
            Seen::Running { worker, stopping: true } => format!("it is being stopped on {worker} already"),
            Seen::Running { worker, stopping: false } => format!("it runs on {worker}"),
            Seen::Ended(state) => format!("it has ended before: it is {state}, and stays so"),
        })
    }
}

/// What was done to the job, and the state that it was in.
pub(super) async fn one(
    work: &mut Work,
    moves: &mut Moves,
    head: &Head,
    order: &Order<'_>,
    answer: Option<JobAnswer>,
) -> Result<(JobState, Step)> {
    let mut seen = look(work, head).await?;
    if order.deed == Deed::Rerun {
        return Ok((seen.state(), ordered(answer)));
    }
    for _ in 0..LOOKS {
        let step = match order.deed {
            Deed::Cancel => cancel(work, moves, head, &seen, order).await?,
            Deed::Priority(priority) => rank(work, head, &seen, priority).await?,
            Deed::Retry => retry(work, moves, head, &seen).await?,
            Deed::Settle(settlement) => settle(work, moves, head, &seen, settlement, order).await?,
            Deed::Rerun => None,
        };
        if let Some(step) = step {
            return Ok((seen.state(), step));
        }
        seen = look(work, head).await?;
    }
    Ok((seen.state(), Step { did: Did::Failed, ..Step::skipped("it goes from state to state just now: try it again") }))
}

#[derive(sqlx::FromRow)]
struct Row {
    waits: bool,
    until_at: Option<i64>,
    key: Option<String>,
    unsettled: Option<bool>,
    reason: Option<String>,
    queued: bool,
    worker: Option<String>,
    stopping: bool,
    ended: Option<String>,
}

async fn look(work: &mut Work, head: &Head) -> Result<Seen> {
    let row: Row = on_tx!(&mut work.tx, |conn| {
        sqlx::query_as(
            "SELECT w.job IS NOT NULL AS waits, w.until_at, w.key, w.unsettled, w.reason, q.job IS NOT NULL AS queued,
                    l.worker, (l.cancel IS NOT NULL AND NOT l.requeue AND l.successor IS NULL) AS stopping,
                    x.state AS ended
             FROM jobs j LEFT JOIN waiting w ON w.job = j.seq LEFT JOIN queued q ON q.job = j.seq
                  LEFT JOIN leases l ON l.job = j.seq LEFT JOIN ended x ON x.job = j.seq
             WHERE j.seq = $1",
        )
        .bind(head.seq)
        .fetch_one(conn)
        .await?
    });
    if row.unsettled == Some(true) {
        return Ok(Seen::Unsettled { reason: row.reason.unwrap_or_default() });
    }
    if row.waits {
        let wants = row.key.map(|key| match (key.as_str(), row.reason) {
            (SOURCE, _) | (_, None) => "the commit of its task".to_owned(),
            (_, Some(reason)) => format!("its turn ({reason})"),
        });
        return Ok(Seen::Waiting { until: Time(row.until_at.unwrap_or(i64::MAX)), wants });
    }
    if row.queued {
        return Ok(Seen::Queued);
    }
    if let Some(worker) = row.worker {
        return Ok(Seen::Running { worker, stopping: row.stopping });
    }
    match row.ended {
        Some(state) => Ok(Seen::Ended(state_of(&state, head.id)?)),
        None => Err(corrupt("jobs", "state", head.id, "none of the tables that a job can be in")),
    }
}

async fn cancel(
    work: &mut Work,
    moves: &mut Moves,
    head: &Head,
    seen: &Seen,
    order: &Order<'_>,
) -> Result<Option<Step>> {
    let reason = clean(&format!("cancelled by {}: {}", order.actor, order.reason)).into_owned();
    let before = json!({"state": seen.state()});
    let sql = match seen {
        Seen::Waiting { .. } | Seen::Unsettled { .. } => "DELETE FROM waiting WHERE job = $1 RETURNING attempt",
        Seen::Queued => "DELETE FROM queued WHERE job = $1 RETURNING attempt",
        Seen::Running { stopping: true, .. } | Seen::Ended(_) => return Ok(Some(seen.leave())),
        Seen::Running { worker, stopping: false } => {
            // A person's wish to end it outweighs a drain's to have it run elsewhere, and a newer job's.
            let marked = on_tx!(&mut work.tx, |conn| {
                sqlx::query("UPDATE leases SET cancel = $2, requeue = FALSE, successor = NULL WHERE job = $1")
                    .bind(head.seq)
                    .bind(&reason)
                    .execute(conn)
                    .await?
                    .rows_affected()
            });
            let after = json!({"state": JobState::Running, "cancel": reason});
            return Ok((marked > 0).then(|| Step::done(format!("{worker} is told to stop it"), before, after)));
        }
    };
    let attempt: Option<i32> =
        on_tx!(&mut work.tx, |conn| sqlx::query_scalar(sql).bind(head.seq).fetch_optional(conn).await?);
    let Some(attempt) = attempt else { return Ok(None) };
    let (job, state) = (head.seq, JobState::Cancelled);
    moves.ended.push(EndedRow {
        job,
        state,
        reason,
        outcome: None,
        attempts: attempt - 1,
        successor: None,
        keyed: true,
    });
    Ok(Some(Step::done("cancelled", before, json!({"state": state}))))
}

async fn retry(work: &mut Work, moves: &mut Moves, head: &Head, seen: &Seen) -> Result<Option<Step>> {
    let until = match seen {
        Seen::Waiting { until, wants: None } => *until,
        Seen::Waiting { wants: Some(_), .. } | Seen::Unsettled { .. } | Seen::Queued | Seen::Running { .. } => {
            return Ok(Some(seen.leave()));
        }
        Seen::Ended(state) => {
            let note = format!("it has ended before: it is {state}; 'taskotron job rerun' orders it anew");
            return Ok(Some(Step::skipped(note)));
        }
    };
    // One that waits for quiet has no keys yet: it asks for them, now.
    let now = work.now.0;
    let quiet = on_tx!(&mut work.tx, |conn| {
        sqlx::query("UPDATE waiting SET until_at = $2 WHERE job = $1 AND quiet_since IS NOT NULL")
            .bind(head.seq)
            .bind(now)
            .execute(conn)
            .await?
            .rows_affected()
    });
    if quiet > 0 {
        let before = json!({"state": JobState::Waiting, "until": until});
        return Ok(Some(Step::done("waits no longer for quiet", before, json!({"state": JobState::Waiting}))));
    }
    let row: Option<(i32, Option<i64>, i64)> = on_tx!(&mut work.tx, |conn| {
        sqlx::query_as(
            "DELETE FROM waiting WHERE job = $1 AND key IS NULL AND quiet_since IS NULL AND NOT unsettled
             RETURNING attempt, expires_at, COALESCE(rank, (SELECT j.rank FROM jobs j WHERE j.seq = waiting.job))",
        )
        .bind(head.seq)
        .fetch_optional(conn)
        .await?
    });
    let Some((attempt, expires_at, rank)) = row else { return Ok(None) };
    moves.queued.push(QueuedRow { job: head.seq, attempt, needs: head.needs, rank, expires_at });
    let before = json!({"state": JobState::Waiting, "until": until});
    Ok(Some(Step::done("queued, without waiting any longer", before, json!({"state": JobState::Queued}))))
}

/// Everything that the job's rank stands in moves by as much, so that each keeps its meaning.
async fn rank(work: &mut Work, head: &Head, seen: &Seen, priority: i32) -> Result<Option<Step>> {
    let sql = match seen {
        Seen::Waiting { .. } | Seen::Unsettled { .. } => "UPDATE waiting SET rank = rank - $2 WHERE job = $1",
        Seen::Queued => "UPDATE queued SET rank = rank - $2 WHERE job = $1",
        Seen::Running { .. } | Seen::Ended(_) => return Ok(Some(seen.leave())),
    };
    // Writing it as it is locks it: two who change it at once do so one after the other.
    let old: i32 = on_tx!(&mut work.tx, |conn| {
        sqlx::query_scalar("UPDATE jobs SET priority = priority WHERE seq = $1 RETURNING priority")
            .bind(head.seq)
            .fetch_one(conn)
            .await?
    });
    if old == priority {
        return Ok(Some(Step::skipped(format!("its priority is {priority} already"))));
    }
    let earlier = (i64::from(priority) - i64::from(old)) * PRIORITY_STEP.micros();
    let moved = on_tx!(&mut work.tx, |conn| {
        sqlx::query(sql).bind(head.seq).bind(earlier).execute(&mut *conn).await?.rows_affected()
    });
    if moved == 0 {
        return Ok(None);
    }
    on_tx!(&mut work.tx, |conn| {
        sqlx::query("UPDATE jobs SET rank = rank - $2, priority = $3 WHERE seq = $1")
            .bind(head.seq)
            .bind(earlier)
            .bind(priority)
            .execute(&mut *conn)
            .await?;
        sqlx::query("UPDATE keys SET rank = rank - $2 WHERE job = $1")
            .bind(head.seq)
            .bind(earlier)
            .execute(conn)
            .await?;
    });
    let note = format!("priority {priority} instead of {old}");
    Ok(Some(Step::done(note, json!({"priority": old}), json!({"priority": priority}))))
}

async fn settle(
    work: &mut Work,
    moves: &mut Moves,
    head: &Head,
    seen: &Seen,
    settlement: Settlement,
    order: &Order<'_>,
) -> Result<Option<Step>> {
    let Seen::Unsettled { reason } = seen else {
        let left = seen.leave();
        return Ok(Some(Step { note: format!("{}: there is nothing to settle", left.note), ..left }));
    };
    let row: Option<(i32, i64)> = on_tx!(&mut work.tx, |conn| {
        sqlx::query_as(
            "DELETE FROM waiting WHERE job = $1 AND unsettled
             RETURNING attempt, (SELECT j.rank FROM jobs j WHERE j.seq = waiting.job)",
        )
        .bind(head.seq)
        .fetch_optional(conn)
        .await?
    });
    let Some((attempt, rank)) = row else { return Ok(None) };
    let before = json!({"state": JobState::Waiting, "reason": reason});
    let job = head.seq;
    match settlement {
        Settlement::Requeue => {
            if let Some(successor) = successor(work, job).await? {
                moves.ended.push(EndedRow::superseded(job, attempt, successor));
                let note = "superseded: a newer job of its key has come meanwhile";
                return Ok(Some(Step::done(note, before, json!({"state": JobState::Superseded}))));
            }
            moves.queued.push(QueuedRow { job, attempt, needs: head.needs, rank, expires_at: None });
            Ok(Some(Step::done("queued for another attempt", before, json!({"state": JobState::Queued}))))
        }
        Settlement::Ended(outcome) => {
            let ending = ending(work, head, attempt - 1).await?;
            let note = format!("settled as {outcome} by {}: {}", order.actor, order.reason);
            match (order.settled)(&ending, outcome, &note) {
                Next::Ended { state, reason, outcome, results } => {
                    let attempts = attempt - 1;
                    moves.ended.push(EndedRow { job, state, reason, outcome, attempts, successor: None, keyed: true });
                    let row = |result: crate::store::Publication| OutboxRow {
                        key: result.key,
                        job,
                        body: result.body.to_string(),
                    };
                    moves.outbox.extend(results.into_iter().map(row));
                }
                Next::Again { .. } | Next::Unsettled { .. } => {
                    return Err(corrupt("waiting", "unsettled", head.id, "a settlement that settles nothing"));
                }
            }
            let after = json!({"state": JobState::Finished, "outcome": outcome});
            Ok(Some(Step::done(format!("finished as {outcome}"), before, after)))
        }
    }
}

#[derive(sqlx::FromRow)]
struct Settled {
    task_version: i64,
    item_type: String,
    params: String,
    ends: Option<String>,
}

/// What is known of a job whose last attempt found nothing out.
async fn ending(work: &mut Work, head: &Head, attempt: i32) -> Result<Ending> {
    let row: Settled = on_tx!(&mut work.tx, |conn| {
        sqlx::query_as(concat!(
            "SELECT j.task_version, j.item_type, j.params, ",
            earlier_ends!("j.seq"),
            " FROM jobs j WHERE j.seq = $1"
        ))
        .bind(head.seq)
        .fetch_one(conn)
        .await?
    });
    let ends = row.ends.unwrap_or_else(|| "[]".into());
    let params: Map<String, Value> =
        serde_json::from_str(&row.params).map_err(|_| corrupt("jobs", "params", head.id, &row.params))?;
    Ok(Ending {
        job: JobId(head.id),
        attempt: count(attempt),
        task_version: row.task_version,
        task: head.task.clone(),
        item: head.item.clone(),
        item_type: row.item_type,
        arch: head.arch.clone(),
        params,
        ends: serde_json::from_str(&ends).map_err(|_| corrupt("attempts", "how", head.id, &ends))?,
        findings: Vec::new(),
        note: None,
        cancelled: false,
        now: work.now,
    })
}
