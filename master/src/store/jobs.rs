//! Looking at jobs: pages of them, newest first, and one with all that is known of it.

use db::on_read;
use model::operator::{AttemptView, JobSummary};
use model::{End, JobId, JobState, Limit, Outcome, Policy, Span, Supersede, Time};
use uuid::Uuid;

use super::error::corrupt;
use super::listing::Listing;
use super::number::{count, nat};
use super::types::{Cursor, JobFilter, JobParts, JobPin, Lookup, Place, StaleReport};
use super::{Result, Store};

/// A job with what is known of it in the one table where it is, and the last of its ended attempts.
#[derive(sqlx::FromRow)]
struct Row {
    seq: i64,
    id: Uuid,
    task: String,
    item: String,
    item_type: String,
    arch: String,
    rule: String,
    search: Option<Uuid>,
    event_id: Option<String>,
    created_at: i64,
    waiting_attempt: Option<i32>,
    until_at: Option<i64>,
    quiet_since: Option<i64>,
    key: Option<String>,
    waiting_reason: Option<String>,
    unsettled: Option<bool>,
    queued_attempt: Option<i32>,
    running_attempt: Option<i32>,
    running_since: Option<i64>,
    worker: Option<String>,
    lease_until: Option<i64>,
    cancel: Option<String>,
    attempts: Option<i32>,
    state: Option<String>,
    ended_reason: Option<String>,
    outcome: Option<String>,
    ended_at: Option<i64>,
    how: Option<String>,
    started_at: Option<i64>,
}

macro_rules! select {
    () => {
        "SELECT j.seq, j.id, j.task, j.item, j.item_type, j.arch, j.rule, j.search,
                COALESCE(e.id, j.event_id) AS event_id, j.created_at, w.attempt AS waiting_attempt, w.until_at, w.quiet_since, w.key,
                w.reason AS waiting_reason, w.unsettled,
                q.attempt AS queued_attempt, l.attempt AS running_attempt, l.started_at AS running_since, l.worker,
                l.expires_at AS lease_until, l.cancel, x.attempts, x.state, x.reason AS ended_reason, x.outcome,
                x.ended_at, a.how, a.started_at
         FROM jobs j LEFT JOIN events e ON e.seq = j.event
              LEFT JOIN waiting w ON w.job = j.seq LEFT JOIN queued q ON q.job = j.seq
              LEFT JOIN leases l ON l.job = j.seq LEFT JOIN ended x ON x.job = j.seq
              LEFT JOIN attempts a ON a.job = j.seq
                   AND a.attempt = COALESCE(x.attempts, w.attempt - 1, q.attempt - 1, l.attempt - 1)"
    };
}

impl Row {
    fn read(self) -> Result<(JobSummary, Place)> {
        let job = JobId(self.id);
        let end = self.how.map(|how| read_end(job, &how)).transpose()?;
        let outcome = self.outcome.map(|text| read_outcome("ended", job, &text)).transpose()?;
        // Which attempt it is at, whether that has begun, and where it is.
        let (attempts, place) =
            if let (Some(attempts), Some(state), Some(ended_at)) = (self.attempts, self.state, self.ended_at) {
                let state = state.parse().map_err(|_| corrupt("ended", "state", job, &state))?;
                let reason = self.ended_reason.unwrap_or_default();
                (attempts, Place::Ended { state, reason, ended_at: Time(ended_at), successor: None })
            } else if let (Some(attempt), Some(worker), Some(started_at), Some(until)) =
                (self.running_attempt, self.worker, self.running_since, self.lease_until)
            {
                let (started_at, expires_at) = (Time(started_at), Time(until));
                (attempt, Place::Running { worker, started_at, expires_at, cancel: self.cancel })
            } else if let Some(attempt) = self.queued_attempt {
                (attempt - 1, Place::Queued)
            } else if let Some(attempt) = self.waiting_attempt {
                let reason = self.waiting_reason.unwrap_or_default();
                let place = match (self.unsettled, self.until_at.map(Time), self.quiet_since) {
                    (Some(true), _, _) => Place::Unsettled { reason },
                    (Some(false) | None, Some(until), Some(_)) => Place::Quiet { until, reason },
                    (Some(false) | None, until, _) => Place::Waiting { until, key: self.key, reason },
                };
                (attempt - 1, place)
            } else {
                return Err(corrupt("jobs", "state", job, "none of the tables that a job can be in"));
            };
        let (state, started_at, finished_at) = match &place {
            Place::Waiting { .. } | Place::Quiet { .. } | Place::Unsettled { .. } => {
                (JobState::Waiting, self.started_at.map(Time), None)
            }
            Place::Queued => (JobState::Queued, self.started_at.map(Time), None),
            Place::Running { started_at, .. } => (JobState::Running, Some(*started_at), None),
            Place::Ended { state, ended_at, .. } => (*state, self.started_at.map(Time), Some(*ended_at)),
        };
        let summary = JobSummary {
            id: job,
            key: job,
            state,
            end,
            outcome,
            task: self.task,
            item: self.item,
            item_type: self.item_type,
            arch: self.arch,
            event_id: self.event_id,
            rule: self.rule,
            search: self.search.map(JobId),
            attempts: count(attempts),
            queued_at: Time(self.created_at),
            started_at,
            finished_at,
        };
        Ok((summary, place))
    }
}

fn read_end(job: JobId, how: &str) -> Result<End> {
    serde_json::from_str(how).map_err(|_| corrupt("attempts", "how", job, how))
}

fn read_outcome(table: &'static str, job: JobId, text: &str) -> Result<Outcome> {
    Outcome::parse(text).ok_or_else(|| corrupt(table, "outcome", job, text))
}

/// A table that jobs of some states are in: how its rows are asked for, and the order that its key gives.
struct Source {
    condition: String,
    before: &'static str,
    order: &'static str,
}

/// The tables in which jobs of these states are. Each is asked by itself and gives its own newest, so that its key
/// leads: the few that wait or run are not searched for among all that have ended.
fn sources(states: &[JobState]) -> Vec<Source> {
    // SQLite takes a partial index only for a question that repeats the index's own condition.
    let source = |condition: &str, before, order| Source { condition: condition.to_owned(), before, order };
    let mut sources = Vec::new();
    let mut ended: Vec<&'static str> = Vec::new();
    for state in states {
        match state {
            JobState::Waiting => sources.push(source("w.job IS NOT NULL", "w.job < ?", "w.job DESC")),
            JobState::Queued => sources.push(source("q.job IS NOT NULL", "q.job < ?", "q.job DESC")),
            JobState::Running => sources.push(source("l.job IS NOT NULL", "l.job < ?", "l.job DESC")),
            JobState::Finished => ended.push("x.state = 'finished'"),
            JobState::Cancelled => ended.push("x.state = 'cancelled' AND x.state <> 'finished'"),
            JobState::Superseded => ended.push("x.state = 'superseded' AND x.state <> 'finished'"),
            JobState::Expired => ended.push("x.state = 'expired' AND x.state <> 'finished'"),
        }
    }
    sources.extend(ended.into_iter().map(|condition| source(condition, "x.job < ?", "x.job DESC")));
    if states.is_empty() {
        sources.push(source("TRUE", "j.seq < ?", "j.seq DESC"));
    }
    sources
}

impl Store {
    /// Newest first, with the place at which to go on.
    pub async fn jobs(&self, filter: &JobFilter, after: Cursor, limit: u32) -> Result<(Vec<JobSummary>, Cursor)> {
        let mut states = filter.states.clone();
        states.sort_unstable();
        states.dedup();
        if states.is_empty() && filter.unsettled {
            states = vec![JobState::Waiting];
        }
        if states.is_empty() && filter.outcome.is_some() {
            states = JobState::ALL.into_iter().filter(|state| state.is_end()).collect();
        }
        let event = match &filter.event {
            Some(id) => Some((id, self.event_seq(id).await?)),
            None => None,
        };
        let first = match filter.since {
            Some(since) => Some(self.first_since(since).await?),
            None => None,
        };
        let mut rows: Vec<Row> = Vec::new();
        for source in sources(&states) {
            let mut listing = Listing::new(concat!(select!(), " WHERE TRUE"));
            listing.and(&source.condition);
            listing.number(source.before, after.unwrap_or(i64::MAX));
            narrow(&mut listing, filter, event);
            if let Some(first) = first {
                listing.number("j.seq >= ?", first);
            }
            rows.extend(listing.rows::<Row>(self.db(), source.order, limit).await?);
        }
        rows.sort_by_key(|row| std::cmp::Reverse(row.seq));
        // A job that moved between two statements was seen twice.
        rows.dedup_by_key(|row| row.seq);
        rows.truncate(limit as usize);
        let next = if rows.len() == limit as usize { rows.last().map(|row| row.seq) } else { None };
        Ok((rows.into_iter().map(|row| Ok(row.read()?.0)).collect::<Result<_>>()?, next))
    }

    /// A number below which no job was made at or after `since`: found by halving, since jobs are numbered in the order
    /// in which they are made. (Not quite: those of one moment are numbered by chance, and a clock may be set; so a while
    /// is left, and whoever asks still looks at each row's own time.)
    async fn first_since(&self, since: Time) -> Result<i64> {
        const WHILE: Span = Span::minutes(10);
        let before = since.minus(WHILE).0;
        let last: Option<i64> =
            on_read!(self.db(), |pool| sqlx::query_scalar("SELECT max(seq) FROM jobs").fetch_one(pool).await?);
        let (mut low, mut high) = (0, last.map_or(0, |last| last + 1));
        while low < high {
            let middle = low + (high - low) / 2;
            // Numbers are left out where a transaction came to nothing.
            let next: Option<(i64, i64)> = on_read!(self.db(), |pool| {
                sqlx::query_as("SELECT seq, created_at FROM jobs WHERE seq >= $1 ORDER BY seq LIMIT 1")
                    .bind(middle)
                    .fetch_optional(pool)
                    .await?
            });
            match next {
                Some((seq, created)) if created < before => low = seq + 1,
                Some(_) | None => high = middle,
            }
        }
        Ok(low)
    }

    pub async fn jobs_of_event(&self, id: &str) -> Result<Vec<JobSummary>> {
        /// An event makes some jobs, not thousands.
        const MOST: u32 = 1000;
        let filter = JobFilter { event: Some(id.to_owned()), ..JobFilter::default() };
        Ok(self.jobs(&filter, None, MOST).await?.0)
    }

    /// The jobs that a search has made, in the order of their folders.
    pub async fn found_by(&self, search: JobId) -> Result<Vec<JobSummary>> {
        let rows: Vec<Row> = on_read!(self.db(), |pool| {
            sqlx::query_as(concat!(
                select!(),
                " WHERE j.search = $1 AND j.id <> $1 AND j.rerun_of IS NULL ORDER BY j.seq"
            ))
            .bind(search.0)
            .fetch_all(pool)
            .await?
        });
        rows.into_iter().map(|row| Ok(row.read()?.0)).collect()
    }

    /// The job that a text names: an id, or the beginning of one (4 hex digits or more).
    pub async fn lookup(&self, text: &str) -> Result<Lookup> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let (4..=32, true) = (digits.len(), digits.bytes().all(|b| b.is_ascii_hexdigit())) else {
            return Ok(Lookup::None);
        };
        let bound = |fill: &str| {
            let whole = format!("{digits}{}", fill.repeat(32 - digits.len()));
            Uuid::parse_str(&whole).expect("it is 32 hex digits")
        };
        let ids: Vec<Uuid> = on_read!(self.db(), |pool| {
            sqlx::query_scalar("SELECT id FROM jobs WHERE id BETWEEN $1 AND $2 ORDER BY id LIMIT 2")
                .bind(bound("0"))
                .bind(bound("f"))
                .fetch_all(pool)
                .await?
        });
        Ok(match ids[..] {
            [] => Lookup::None,
            [id] => Lookup::One(JobId(id)),
            _ => Lookup::Several,
        })
    }

    pub async fn job(&self, id: JobId) -> Result<Option<JobParts>> {
        let row: Option<Row> = on_read!(self.db(), |pool| {
            sqlx::query_as(concat!(select!(), " WHERE j.id = $1")).bind(id.0).fetch_optional(pool).await?
        });
        let Some(row) = row else { return Ok(None) };
        let seq = row.seq;
        let (summary, mut place) = row.read()?;
        let asked: Asked = on_read!(self.db(), |pool| {
            sqlx::query_as(
                "SELECT j.priority, j.params, j.generation, j.recorder, j.recorded_at, j.expires_at, j.task_version,
                        s.labels, j.rerun_of, j.source_ref, j.source_commit, j.supersede_key, j.supersede_policy,
                        j.limit_key, j.limit_most,
                        (SELECT n.id FROM ended x JOIN jobs n ON n.seq = x.successor WHERE x.job = j.seq) AS successor
                 FROM jobs j JOIN label_sets s ON s.id = j.needs WHERE j.seq = $1",
            )
            .bind(seq)
            .fetch_one(pool)
            .await?
        });
        if let Place::Ended { successor, .. } = &mut place {
            *successor = asked.successor.map(JobId);
        }
        let (supersede, limit) = (asked.supersede(id)?, asked.limit());
        Ok(Some(JobParts {
            summary,
            place,
            seq,
            priority: asked.priority,
            params: serde_json::from_str(&asked.params).map_err(|_| corrupt("jobs", "params", id, &asked.params))?,
            generation: nat(asked.generation),
            recorder: asked.recorder,
            recorded_at: Time(asked.recorded_at),
            expires_at: asked.expires_at.map(Time),
            task_version: asked.task_version,
            needs: serde_json::from_str(&asked.labels)
                .map_err(|_| corrupt("label_sets", "labels", id, &asked.labels))?,
            source: JobPin::read(asked.source_ref, asked.source_commit),
            supersede,
            limit,
            rerun_of: asked.rerun_of.map(JobId),
        }))
    }

    /// The ended attempts and the running one, first first.
    pub async fn attempts(&self, job: JobId) -> Result<Vec<AttemptView>> {
        let rows: Vec<AttemptRow> = on_read!(self.db(), |pool| {
            sqlx::query_as(
                "SELECT a.attempt, a.worker, a.started_at, a.finished_at, a.ran, a.claimed_end, a.how, a.note, a.outcome,
                        a.enforced, a.log_size
                 FROM attempts a JOIN jobs j ON j.seq = a.job WHERE j.id = $1
                 UNION ALL
                 SELECT l.attempt, l.worker, l.started_at, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0
                 FROM leases l JOIN jobs j ON j.seq = l.job WHERE j.id = $1
                 ORDER BY attempt",
            )
            .bind(job.0)
            .fetch_all(pool)
            .await?
        });
        let read = |row: AttemptRow| {
            Ok(AttemptView {
                attempt: count(row.attempt),
                worker: row.worker,
                started_at: Time(row.started_at),
                finished_at: row.finished_at.map(Time),
                ran: row.ran.map(Span::from_micros),
                claimed_end: row.claimed_end.map(Time),
                end: row.how.map(|how| read_end(job, &how)).transpose()?,
                note: row.note,
                outcome: row.outcome.map(|text| read_outcome("attempts", job, &text)).transpose()?,
                enforced: (row.enforced)
                    .map(|text| serde_json::from_str(&text).map_err(|_| corrupt("attempts", "enforced", job, &text)))
                    .transpose()?
                    .unwrap_or_default(),
                log_size: nat(row.log_size),
            })
        };
        rows.into_iter().map(read).collect()
    }

    /// Reports that came after their lease was lost, in the order in which they came.
    pub async fn stale_reports(&self, job: JobId) -> Result<Vec<StaleReport>> {
        let rows: Vec<(i32, String, i64, String, Option<String>)> = on_read!(self.db(), |pool| {
            sqlx::query_as(
                "SELECT s.attempt, s.worker, s.received_at AS received_at, s.how, s.note
                 FROM stale_reports s JOIN jobs j ON j.seq = s.job WHERE j.id = $1
                 UNION ALL
                 SELECT attempt, worker, received_at, how, note FROM unknown_reports WHERE id = $1
                 ORDER BY received_at",
            )
            .bind(job.0)
            .fetch_all(pool)
            .await?
        });
        let read = |(attempt, worker, received_at, how, note): (i32, String, i64, String, Option<String>)| {
            let end = read_end(job, &how)?;
            Ok(StaleReport { attempt: count(attempt), worker, received_at: Time(received_at), end, note })
        };
        rows.into_iter().map(read).collect()
    }
}

#[derive(sqlx::FromRow)]
struct AttemptRow {
    attempt: i32,
    worker: String,
    started_at: i64,
    finished_at: Option<i64>,
    ran: Option<i64>,
    claimed_end: Option<i64>,
    how: Option<String>,
    note: Option<String>,
    outcome: Option<String>,
    enforced: Option<String>,
    log_size: i64,
}

/// What was asked, beside what a summary says.
#[derive(sqlx::FromRow)]
struct Asked {
    priority: i32,
    params: String,
    generation: i64,
    recorder: String,
    recorded_at: i64,
    expires_at: Option<i64>,
    task_version: i64,
    labels: String,
    rerun_of: Option<Uuid>,
    source_ref: Option<String>,
    source_commit: Option<String>,
    supersede_key: Option<String>,
    supersede_policy: Option<String>,
    limit_key: Option<String>,
    limit_most: Option<i32>,
    successor: Option<Uuid>,
}

impl Asked {
    fn supersede(&self, job: JobId) -> Result<Option<Supersede>> {
        let (Some(key), Some(name)) = (&self.supersede_key, &self.supersede_policy) else { return Ok(None) };
        let policy = Policy::ALL.into_iter().find(|policy| policy.name() == name);
        let policy = policy.ok_or_else(|| corrupt("jobs", "supersede_policy", job, name))?;
        Ok(Some(Supersede { key: key.clone(), policy, quiet: None }))
    }

    fn limit(&self) -> Option<Limit> {
        Some(Limit { key: self.limit_key.clone()?, most: count(self.limit_most?) })
    }
}

fn narrow(listing: &mut Listing, filter: &JobFilter, event: Option<(&String, Option<i64>)>) {
    let texts = [
        ("j.task = ?", &filter.task),
        ("j.item = ?", &filter.item),
        ("j.rule = ?", &filter.rule),
        ("j.arch = ?", &filter.arch),
        ("(l.worker = ? OR EXISTS (SELECT 1 FROM attempts b WHERE b.job = j.seq AND b.worker = ?))", &filter.worker),
    ];
    for (condition, value) in texts {
        if let Some(value) = value {
            listing.text(condition, value);
        }
    }
    match event {
        // A job may have been made before its event came: from a file.
        Some((id, Some(seq))) => listing.text(&format!("(j.event = {seq} OR j.event_id = ?)"), id),
        Some((id, None)) => listing.text("j.event_id = ?", id),
        None => {}
    }
    for (condition, moment) in [("j.created_at >= ?", filter.since), ("j.created_at < ?", filter.until)] {
        if let Some(moment) = moment {
            listing.number(condition, moment.0);
        }
    }
    if filter.unsettled {
        listing.and("w.unsettled");
    }
    if let Some(outcome) = filter.outcome {
        listing.and(match outcome {
            Outcome::Passed => "x.outcome = 'PASSED'",
            Outcome::Info => "x.outcome = 'INFO' AND x.outcome <> 'PASSED'",
            Outcome::NeedsInspection => "x.outcome = 'NEEDS_INSPECTION' AND x.outcome <> 'PASSED'",
            Outcome::Failed => "x.outcome = 'FAILED' AND x.outcome <> 'PASSED'",
            Outcome::Error => "x.outcome = 'ERROR' AND x.outcome <> 'PASSED'",
        });
    }
}
