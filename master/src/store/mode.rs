//! Whether work is given out: a person sets it, an observation makes draining idle, and only a person undoes it.
//!
//! Every change is made alone: a claim that saw the mode before has committed, and one that comes after sees it.

use std::time::Duration;

use db::on_read;
use model::operator::{Backlog, IdleRequest, Mode, OnDeadline};
use model::{Span, Time};
use uuid::Uuid;

use super::error::corrupt;
use super::lane::line_up;
use super::number::nat;
use super::text::clean;
use super::tx::{Work, on_tx, retrying, retrying_within};
use super::types::{Act, ModeRow, Observed, Release};
use super::window::edge;
use super::{Result, Store, audit, keys};

/// A trigger that has been silent for so long has been taken away: it is no longer expected, and idle does not wait for it.
pub const GIVEN_UP: Span = Span::days(1);

/// How long a resume may take, which moves the whole backlog at once; `taskotron resume` waits for as long.
const RESUMING: Duration = Duration::from_secs(600);

pub(super) fn parse(text: &str) -> Option<Mode> {
    [Mode::Active, Mode::Draining, Mode::Idle].into_iter().find(|mode| mode.name() == text)
}

fn on_deadline_name(on: OnDeadline) -> &'static str {
    match on {
        OnDeadline::Wait => "wait",
        OnDeadline::Requeue => "requeue",
        OnDeadline::Kill => "kill",
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    mode: String,
    set_by: String,
    reason: String,
    since: i64,
    deadline: Option<i64>,
    on_deadline: String,
    finish_through: Option<i64>,
}

const SELECT: &str = "SELECT mode, set_by, reason, since, deadline, on_deadline, finish_through FROM mode";

impl Row {
    fn read(self) -> Result<ModeRow> {
        let on_deadline = [OnDeadline::Wait, OnDeadline::Requeue, OnDeadline::Kill]
            .into_iter()
            .find(|on| on_deadline_name(*on) == self.on_deadline)
            .ok_or_else(|| corrupt("mode", "on_deadline", 1, &self.on_deadline))?;
        Ok(ModeRow {
            mode: parse(&self.mode).ok_or_else(|| corrupt("mode", "mode", 1, &self.mode))?,
            by: self.set_by,
            reason: self.reason,
            since: Time(self.since),
            deadline: self.deadline.map(Time),
            on_deadline,
            finish_through: self.finish_through,
        })
    }
}

pub(super) async fn read(work: &mut Work) -> Result<ModeRow> {
    let row: Row = on_tx!(&mut work.tx, |conn| sqlx::query_as(SELECT).fetch_one(conn).await?);
    row.read()
}

impl Store {
    pub async fn mode(&self) -> Result<ModeRow> {
        let row: Row = on_read!(self.db(), |pool| sqlx::query_as(SELECT).fetch_one(pool).await?);
        row.read()
    }

    /// Stops giving out work. While draining, this request takes the place of the one before; while idle nothing
    /// changes.
    pub async fn drain(&self, request: &IdleRequest, act: &Act) -> Result<ModeRow> {
        let row = retrying(async || {
            let mut work = self.begin_alone().await?;
            if work.mode == Mode::Idle {
                return read(&mut work).await;
            }
            let since = if work.mode == Mode::Draining { read(&mut work).await?.since } else { work.now };
            let deadline = request.deadline.map(|span| work.after(span).0);
            on_tx!(&mut work.tx, |conn| {
                sqlx::query(
                    "UPDATE mode SET mode = 'draining', set_by = $1, reason = $2, since = $3, deadline = $4,
                         on_deadline = $5,
                         finish_through = CASE WHEN $6 THEN (SELECT COALESCE(max(seq), 0) FROM jobs) END",
                )
                .bind(&act.actor)
                .bind(clean(&request.reason))
                .bind(since.0)
                .bind(deadline)
                .bind(on_deadline_name(request.on_deadline))
                .bind(request.finish_queue)
                .execute(conn)
                .await?;
            });
            let row = read(&mut work).await?;
            (work.mode, work.finish_through) = (row.mode, row.finish_through);
            // A key may be free that only those have waited for who came after the request before.
            keys::settle_all(&mut work).await?;
            audit::record(&mut work, act).await?;
            work.commit().await?;
            Ok(row)
        })
        .await?;
        self.ring();
        Ok(row)
    }

    /// Draining becomes idle when nothing runs, nothing is unsent, and the triggers have nothing left. What one has that
    /// was not heard from for longer than `silence` is not known.
    pub async fn observe_idle(&self, silence: Span) -> Result<Observed> {
        retrying(async || {
            let mut work = self.begin_alone().await?;
            if work.mode != Mode::Draining {
                return Ok(Observed { mode: read(&mut work).await?, waiting_for: Vec::new() });
            }
            let waiting_for = against_idle(&mut work, silence).await?;
            if waiting_for.is_empty() {
                become_idle(&mut work).await?;
            }
            let mode = read(&mut work).await?;
            work.commit().await?;
            Ok(Observed { mode, waiting_for })
        })
        .await
    }

    /// Gives out work again, and closes the window of an idle. What has waited is let go at this rate, in jobs a
    /// minute; all at once where it is 0.
    pub async fn resume(&self, act: &Act, rate: u32) -> Result<(ModeRow, Release)> {
        let done = retrying_within(RESUMING, async || {
            let mut work = self.begin_alone().await?;
            if work.mode == Mode::Active {
                return Ok((read(&mut work).await?, Release { held: 0, until: work.now }));
            }
            let (now, edge) = (work.now.0, edge(&mut work).await?);
            let reason = format!("in the backlog that {} lets go at {rate} jobs a minute", clean(&act.actor));
            let release = line_up(&mut work, rate, &reason).await?;
            on_tx!(&mut work.tx, |conn| {
                sqlx::query(
                    "UPDATE mode SET mode = 'active', set_by = $1, reason = $2, since = $3, deadline = NULL,
                         on_deadline = 'wait', finish_through = NULL",
                )
                .bind(&act.actor)
                .bind(clean(&act.reason))
                .bind(now)
                .execute(&mut *conn)
                .await?;
                sqlx::query(
                    "UPDATE windows SET resumed_at = $1, positions_at_resume = $2, events_at_resume = $3
                     WHERE resumed_at IS NULL",
                )
                .bind(now)
                .bind(edge.positions)
                .bind(edge.events)
                .execute(conn)
                .await?;
            });
            work.finish_through = None;
            keys::settle_all(&mut work).await?;
            audit::record(&mut work, act).await?;
            let row = read(&mut work).await?;
            work.commit().await?;
            Ok((row, release))
        })
        .await?;
        self.ring();
        Ok(done)
    }

    /// What waits for a resume, by rule and task, most first; and what became pointless since the mode was set.
    pub async fn backlog(&self) -> Result<Vec<Backlog>> {
        let rows: Vec<(String, String, i64, i64)> = on_read!(self.db(), |pool| {
            sqlx::query_as(
                "SELECT rule, task, CAST(sum(jobs) AS BIGINT) AS jobs, CAST(sum(stale) AS BIGINT) AS stale FROM (
                     SELECT j.rule, j.task, count(*) AS jobs, 0 AS stale
                     FROM (SELECT job FROM queued
                           UNION ALL SELECT job FROM waiting WHERE NOT unsettled) b JOIN jobs j ON j.seq = b.job
                     GROUP BY j.rule, j.task
                     UNION ALL
                     SELECT j.rule, j.task, 0, count(*)
                     FROM ended x JOIN jobs j ON j.seq = x.job, mode m
                     WHERE x.state IN ('expired', 'superseded') AND x.state <> 'finished' AND m.mode <> 'active'
                       AND x.ended_at >= m.since
                     GROUP BY j.rule, j.task) c
                 GROUP BY rule, task ORDER BY 3 DESC, 4 DESC, rule, task",
            )
            .fetch_all(pool)
            .await?
        });
        let read = |(rule, task, jobs, stale)| Backlog { rule, task, jobs: nat(jobs), stale: nat(stale) };
        Ok(rows.into_iter().map(read).collect())
    }
}

/// What stands between draining and idle, one sentence each.
async fn against_idle(work: &mut Work, silence: Span) -> Result<Vec<String>> {
    let through = work.finish_through.unwrap_or(0);
    let (running, unsent, untold, first): (i64, i64, i64, i64) = on_tx!(&mut work.tx, |conn| {
        sqlx::query_as(
            "SELECT (SELECT count(*) FROM leases), (SELECT count(*) FROM outbox), (SELECT count(*) FROM messages),
                    (SELECT count(*) FROM queued WHERE job <= $1) + (SELECT count(*) FROM waiting WHERE job <= $1)",
        )
        .bind(through)
        .fetch_one(conn)
        .await?
    });
    let mut sentences = Vec::new();
    let mut say = |n: i64, one: &str, many: &str| match n {
        0 => {}
        1 => sentences.push(format!("1 {one}")),
        n => sentences.push(format!("{n} {many}")),
    };
    say(running, "job runs", "jobs run");
    say(first, "job that was queued before is still to run", "jobs that were queued before are still to run");
    say(unsent, "result is not yet delivered", "results are not yet delivered");
    say(untold, "message is not yet on the bus", "messages are not yet on the bus");
    let unsettled: Vec<Uuid> = on_tx!(&mut work.tx, |conn| {
        sqlx::query_scalar(
            "SELECT j.id FROM waiting w JOIN jobs j ON j.seq = w.job WHERE w.unsettled ORDER BY w.job LIMIT 10",
        )
        .fetch_all(conn)
        .await?
    });
    for job in unsettled {
        sentences.push(format!(
            "job {job} waits for a person, and what its last attempt began may not be over: 'taskotron job settle {job}'"
        ));
    }
    let triggers: Vec<(String, i64, i64, i64)> = on_tx!(&mut work.tx, |conn| {
        sqlx::query_as("SELECT recorder, next, recorded, last_heard FROM triggers ORDER BY recorder")
            .fetch_all(conn)
            .await?
    });
    for (recorder, next, recorded, last_heard) in triggers {
        let silent = work.now.since(Time(last_heard));
        if silent >= GIVEN_UP {
            continue;
        }
        if silent > silence {
            let last = Time(last_heard).to_seconds();
            sentences.push(format!(
                "trigger {recorder} was last heard from at {last}: what it has left is unknown; if it will not come back, \
                 'taskotron trigger forget {recorder}'"
            ));
        } else if recorded >= next {
            sentences.push(format!("trigger {recorder} has {} events that are not yet here", recorded - next + 1));
        }
    }
    Ok(sentences)
}

async fn become_idle(work: &mut Work) -> Result<()> {
    let (now, edge) = (work.now.0, edge(work).await?);
    on_tx!(&mut work.tx, |conn| {
        sqlx::query(
            "INSERT INTO windows (set_by, reason, idle_at, positions_at_idle, events_at_idle)
             SELECT set_by, reason, $1, $2, $3 FROM mode WHERE mode = 'draining'",
        )
        .bind(now)
        .bind(edge.positions)
        .bind(edge.events)
        .execute(&mut *conn)
        .await?;
        sqlx::query(
            "UPDATE mode SET mode = 'idle', since = $1, deadline = NULL, on_deadline = 'wait', finish_through = NULL",
        )
        .bind(now)
        .execute(conn)
        .await?;
    });
    Ok(())
}
