//! How many of what there are: workers, jobs by state, what the triggers report.

use db::on_read;
use model::intake::{Pair, TriggerCounts};
use model::operator::{IntakeCounts, JobCounts, WorkerState, WorkerView};
use model::{JobState, Outcome, Span, Time};

use super::error::corrupt;
use super::number::{count, nat};
use super::types::{Demand, Oldest, TriggerView};
use super::{Result, Store};

#[derive(sqlx::FromRow)]
struct WorkerRow {
    name: String,
    labels: String,
    slots: i32,
    version: String,
    host: String,
    clock_ahead: Option<i64>,
    first_seen: i64,
    last_seen: i64,
    running: i64,
    figures: Option<String>,
}

#[derive(sqlx::FromRow)]
struct TriggerRow {
    recorder: String,
    next: i64,
    last_heard: i64,
    generation: i64,
    recorded: i64,
    forwarded: i64,
    quarantined: i64,
    duplicates: i64,
    listening_since: Option<i64>,
    caught_up: Option<i64>,
    repeated: i64,
    pair: Option<String>,
    member: Option<String>,
    last_event: Option<i64>,
    troubles: String,
}

impl Store {
    /// By name. Lost: not seen for three terms.
    pub async fn workers(&self, term: Span) -> Result<Vec<WorkerView>> {
        let lost_before = self.now().await?.minus(Span(term.0 * 3));
        let rows: Vec<WorkerRow> = on_read!(self.db(), |pool| {
            sqlx::query_as(
                "SELECT w.name, w.labels, w.slots, w.version, w.host, w.clock_ahead, w.first_seen, w.last_seen, w.figures,
                        (SELECT count(*) FROM leases l WHERE l.worker = w.name) AS running
                 FROM workers w ORDER BY w.name",
            )
            .fetch_all(pool)
            .await?
        });
        let read = |row: WorkerRow| {
            let state = if Time(row.last_seen) < lost_before {
                WorkerState::Lost
            } else if row.running > 0 {
                WorkerState::Busy
            } else {
                WorkerState::Ready
            };
            Ok(WorkerView {
                labels: serde_json::from_str(&row.labels)
                    .map_err(|_| corrupt("workers", "labels", &row.name, &row.labels))?,
                name: row.name,
                state,
                slots: count(row.slots),
                running: u32::try_from(row.running).unwrap_or(u32::MAX),
                version: row.version,
                host: row.host,
                clock_ahead_ms: row.clock_ahead.map(|micros| micros / 1000),
                figures: row.figures.and_then(|text| serde_json::from_str(&text).ok()),
                last_seen: Time(row.last_seen),
                first_seen: Time(row.first_seen),
            })
        };
        rows.into_iter().map(read).collect()
    }

    pub async fn counts(&self) -> Result<JobCounts> {
        let (waiting, queued, running): (i64, i64, i64) = on_read!(self.db(), |pool| {
            sqlx::query_as(
                "SELECT (SELECT count(*) FROM waiting), (SELECT count(*) FROM queued), (SELECT count(*) FROM leases)",
            )
            .fetch_one(pool)
            .await?
        });
        let mut counts =
            JobCounts { waiting: nat(waiting), queued: nat(queued), running: nat(running), ..JobCounts::default() };
        for (name, total) in self.totals().await? {
            let Some(state) = name.strip_prefix("state:") else { continue };
            match state.parse().map_err(|_| corrupt("tally", "name", &name, total))? {
                JobState::Finished => counts.finished = nat(total),
                JobState::Cancelled => counts.cancelled = nat(total),
                JobState::Superseded => counts.superseded = nat(total),
                JobState::Expired => counts.expired = nat(total),
                JobState::Waiting | JobState::Queued | JobState::Running => {
                    return Err(corrupt("tally", "name", &name, total));
                }
            }
        }
        Ok(counts)
    }

    /// How many jobs are to run, by what they need.
    pub async fn demand(&self) -> Result<Vec<Demand>> {
        let rows: Vec<(String, i64, i64)> = on_read!(self.db(), |pool| {
            sqlx::query_as(
                "SELECT s.labels, CAST(sum(d.queued) AS BIGINT), CAST(sum(d.running) AS BIGINT)
                 FROM (SELECT needs, count(*) AS queued, 0 AS running FROM queued GROUP BY needs
                       UNION ALL SELECT needs, 0, count(*) FROM leases GROUP BY needs) d
                 JOIN label_sets s ON s.id = d.needs
                 GROUP BY s.labels ORDER BY s.labels",
            )
            .fetch_all(pool)
            .await?
        });
        let read = |(labels, queued, running): (String, i64, i64)| {
            let needs = serde_json::from_str(&labels).map_err(|_| corrupt("label_sets", "labels", 0, &labels))?;
            Ok(Demand { needs, queued: nat(queued), running: nat(running) })
        };
        rows.into_iter().map(read).collect()
    }

    pub async fn oldest(&self) -> Result<Oldest> {
        let (queued, result): (Option<i64>, Option<i64>) = on_read!(self.db(), |pool| {
            sqlx::query_as(
                "SELECT (SELECT j.created_at FROM queued q JOIN jobs j ON j.seq = q.job ORDER BY q.job LIMIT 1),
                        (SELECT e.ended_at FROM outbox o JOIN ended e ON e.job = o.job ORDER BY o.seq LIMIT 1)",
            )
            .fetch_one(pool)
            .await?
        });
        Ok(Oldest { queued: queued.map(Time), result: result.map(Time) })
    }

    /// How many reports came too late in the last `within`.
    pub async fn stale_count(&self, within: Span) -> Result<u64> {
        let after = self.now().await?.minus(within).0;
        let n: i64 = on_read!(self.db(), |pool| {
            sqlx::query_scalar(
                "SELECT (SELECT count(*) FROM stale_reports WHERE received_at > $1)
                     + (SELECT count(*) FROM unknown_reports WHERE received_at > $1)",
            )
            .bind(after)
            .fetch_one(pool)
            .await?
        });
        Ok(nat(n))
    }

    /// How many jobs ended with each outcome.
    pub async fn outcome_counts(&self) -> Result<Vec<(Outcome, u64)>> {
        let totals = self.totals().await?.into_iter();
        Ok(totals.filter_map(|(name, n)| Some((Outcome::parse(name.strip_prefix("outcome:")?)?, nat(n)))).collect())
    }

    async fn totals(&self) -> Result<Vec<(String, i64)>> {
        Ok(on_read!(self.db(), |pool| {
            sqlx::query_as("SELECT name, CAST(sum(delta) AS BIGINT) FROM tally GROUP BY name ORDER BY name")
                .fetch_all(pool)
                .await?
        }))
    }

    /// The sum of what the triggers last reported.
    pub async fn intake_counts(&self) -> Result<IntakeCounts> {
        let (recorded, forwarded, quarantined): (i64, i64, i64) = on_read!(self.db(), |pool| {
            sqlx::query_as(
                "SELECT CAST(COALESCE(sum(recorded), 0) AS BIGINT), CAST(COALESCE(sum(forwarded), 0) AS BIGINT),
                        CAST(COALESCE(sum(quarantined), 0) AS BIGINT)
                 FROM triggers",
            )
            .fetch_one(pool)
            .await?
        });
        Ok(IntakeCounts { recorded: nat(recorded), forwarded: nat(forwarded), quarantined: nat(quarantined) })
    }

    /// By name of the recorder.
    pub async fn triggers(&self) -> Result<Vec<TriggerView>> {
        let rows: Vec<TriggerRow> = on_read!(self.db(), |pool| {
            sqlx::query_as(
                "SELECT recorder, next, last_heard, generation, recorded, forwarded, quarantined, duplicates, repeated,
                        pair, member, last_event, listening_since, caught_up, troubles
                 FROM triggers ORDER BY recorder",
            )
            .fetch_all(pool)
            .await?
        });
        let troubles = |row: &TriggerRow| {
            let read = serde_json::from_str(&row.troubles);
            read.map_err(|_| corrupt("triggers", "troubles", &row.recorder, &row.troubles))
        };
        let view = |row: TriggerRow| -> Result<TriggerView> {
            Ok(TriggerView {
                troubles: troubles(&row)?,
                recorder: row.recorder,
                next: nat(row.next),
                last_heard: Time(row.last_heard),
                generation: nat(row.generation),
                counts: TriggerCounts {
                    recorded: nat(row.recorded),
                    forwarded: nat(row.forwarded),
                    quarantined: nat(row.quarantined),
                    duplicates: nat(row.duplicates),
                    listening_since: row.listening_since.map(Time),
                    caught_up: row.caught_up.map(Time),
                },
                repeated: nat(row.repeated),
                last_event: row.last_event.map(Time),
                pair: row.pair.zip(row.member).map(|(name, member)| Pair { name, member }),
            })
        };
        rows.into_iter().map(view).collect()
    }
}
