//! Jobs of which only the newest is wanted: those of one task and arch that have a key in common.
//!
//! Newer is whose event was sent later. So it does not matter in which order events come: one that comes late, from a
//! replay after an outage or by another trigger, is superseded by what has long been here, whatever became of that.
//! Jobs of one event are as new as each other.
//!
//! Who comes settles it, under a lock of the key, for all that are there: what has not begun ends, in the same
//! transaction. What runs is marked with its successor; the end of its attempt is its own end then.

use std::collections::{BTreeMap, BTreeSet};

use model::{JobId, Policy, Span, Supersede, Time};
use serde_json::json;
use uuid::Uuid;

use super::moves::{EndedRow, Moves};
use super::tx::{Tx, Work, on_tx};
use super::{Result, keys};

/// A wait for quiet that begins anew with each newer job is over after so many times its length.
const LONGEST_QUIET: i32 = 10;

/// A job that was just made, and is in no table of a state yet.
#[derive(Clone, Debug)]
pub(super) struct New {
    pub job: i64,
    pub scope: Option<String>,
    pub supersede: Option<Supersede>,
    /// Whether it waits for a commit of its task's repository; it asks for its keys when it has one.
    pub open: bool,
}

/// Among whom only the newest is wanted.
pub(super) fn scope(task: &str, arch: &str, supersede: &Supersede) -> Option<String> {
    match supersede.policy {
        Policy::KeepLatestQueued | Policy::CancelPrevious => {
            Some(keys::stored(&json!(["newest", task, arch, supersede.key])))
        }
        Policy::Serial | Policy::None => None,
    }
}

/// Puts new jobs where they belong that others have a say in.
pub(super) async fn place(work: &mut Work, new: Vec<New>) -> Result<()> {
    let scoped: Vec<&New> = new.iter().filter(|new| new.scope.is_some()).collect();
    let mut replaced = BTreeMap::new();
    if !scoped.is_empty() {
        replaced = settle(work, &scoped).await?;
    }
    let (mut quiet, mut at_once) = (Vec::new(), Vec::new());
    for new in &new {
        let since = match new.scope.as_ref().and_then(|scope| replaced.get(scope)) {
            Some(settled) if settled.outdated.contains(&new.job) => continue,
            Some(settled) => settled.quiet_since.map_or(work.now, Time),
            None => work.now,
        };
        if new.open {
            continue;
        }
        match new.supersede.as_ref().and_then(|supersede| Some((supersede, supersede.quiet?))) {
            Some((supersede, span)) => quiet.push(Quiet::new(new.job, supersede, span, since, work.now)),
            None => at_once.push(new.job),
        }
    }
    be_quiet(work, &quiet).await?;
    keys::enter(work, &at_once).await
}

/// A job with what tells who is newer, and what it would do to the older.
#[derive(Clone, Debug, sqlx::FromRow)]
struct Rival {
    scope: String,
    job: i64,
    id: Uuid,
    ordered_at: i64,
    recorded_at: i64,
    event: Option<i64>,
    event_id: Option<String>,
    search: Option<Uuid>,
    policy: String,
    rank: i64,
    /// Whether it is still to run, or runs. One that waits for a person is left to that person: what its last attempt began
    /// may not be over, so it keeps its keys, and keeps idle away.
    live: bool,
    quiet_since: Option<i64>,
}

impl Rival {
    fn age(&self) -> (i64, i64, i64) {
        (self.ordered_at, self.recorded_at, self.job)
    }

    fn is_of_the_same_event(&self, other: &Rival) -> bool {
        if self.search.is_some() && self.search == other.search {
            return true;
        }
        let named = self.event.is_some() || self.event_id.is_some();
        named && self.event == other.event && self.event_id == other.event_id
    }

    fn makes_way_for(&self, newest: &Rival) -> bool {
        self.age() < newest.age() && !self.is_of_the_same_event(newest)
    }
}

/// One that a newer job takes the place of.
struct Outdated<'r> {
    rival: &'r Rival,
    by: &'r Rival,
}

/// Which of the live jobs of one scope are not wanted any more.
fn outdated(rivals: &[Rival]) -> Vec<Outdated<'_>> {
    let Some(newest) = rivals.iter().max_by_key(|rival| rival.age()) else { return Vec::new() };
    let older = rivals.iter().filter(|rival| rival.live && rival.makes_way_for(newest));
    older.map(|rival| Outdated { rival, by: newest }).collect()
}

/// The newer job that a job makes way for, where there is one. Its keys are locked.
pub(super) async fn successor(work: &mut Work, job: i64) -> Result<Option<i64>> {
    let scope: Option<String> = on_tx!(&mut work.tx, |conn| {
        sqlx::query_scalar("SELECT scope FROM jobs WHERE seq = $1").bind(job).fetch_one(conn).await?
    });
    let Some(scope) = scope else { return Ok(None) };
    let rivals = rivals(work, &[&scope]).await?;
    let newest = rivals.iter().max_by_key(|rival| rival.age());
    let this = rivals.iter().find(|rival| rival.job == job);
    Ok(this.zip(newest).filter(|(this, newest)| this.makes_way_for(newest)).map(|(_, newest)| newest.job))
}

/// What became of one scope.
#[derive(Default)]
struct Settled {
    outdated: BTreeSet<i64>,
    /// The best place in the queue of those that have ended: it is the successor's now, so that a key on which much
    /// happens gets its turn all the same.
    rank: Option<i64>,
    /// The same for the wait for quiet.
    quiet_since: Option<i64>,
}

async fn settle(work: &mut Work, new: &[&New]) -> Result<BTreeMap<String, Settled>> {
    let scopes: BTreeSet<&str> = new.iter().filter_map(|new| new.scope.as_deref()).collect();
    let scopes: Vec<&str> = scopes.into_iter().collect();
    keys::have(work, &new.iter().map(|new| new.job).collect::<Vec<_>>(), &scopes).await?;
    let mut by_scope: BTreeMap<String, Vec<Rival>> = BTreeMap::new();
    for rival in rivals(work, &scopes).await? {
        by_scope.entry(rival.scope.clone()).or_default().push(rival);
    }
    let fresh: BTreeSet<i64> = new.iter().filter(|new| !new.open).map(|new| new.job).collect();
    let all: Vec<Outdated<'_>> = by_scope.values().flat_map(|rivals| outdated(rivals)).collect();
    let ended = end(work, &all, &fresh).await?;
    let mut settled: BTreeMap<String, Settled> = BTreeMap::new();
    for Outdated { rival, .. } in &all {
        let settled = settled.entry(rival.scope.clone()).or_default();
        settled.outdated.insert(rival.job);
        if ended.contains(&rival.job) {
            settled.rank = settled.rank.into_iter().chain([rival.rank]).min();
            settled.quiet_since = settled.quiet_since.into_iter().chain(rival.quiet_since).min();
        }
    }
    let inherits = |new: &&&New| {
        let settled = settled.get(new.scope.as_deref()?)?;
        Some((new.job, settled.rank?)).filter(|(job, _)| !settled.outdated.contains(job))
    };
    inherit(work, new.iter().filter_map(|new| inherits(&new)).collect()).await?;
    Ok(settled)
}

/// Those of these scopes that have not ended, and the newest that there ever was.
async fn rivals(work: &mut Work, scopes: &[&str]) -> Result<Vec<Rival>> {
    macro_rules! select {
        ($scopes:literal) => {
            concat!(
                "SELECT j.scope, j.seq AS job, j.id, j.ordered_at, j.recorded_at, j.event, j.event_id, j.search,
                        j.supersede_policy AS policy, j.rank,
                        k.job IS NOT NULL AND NOT COALESCE(w.unsettled, FALSE) AS live, w.quiet_since
                 FROM jobs j LEFT JOIN keys k ON k.job = j.seq AND k.step = 0 LEFT JOIN waiting w ON w.job = j.seq
                 WHERE j.seq IN (
                     SELECT h.job FROM keys h WHERE h.step = 0 AND h.key IN (SELECT s.value FROM ",
                $scopes,
                ") UNION SELECT (SELECT n.seq FROM jobs n WHERE n.scope = s.value
                                 ORDER BY n.ordered_at DESC, n.recorded_at DESC, n.seq DESC LIMIT 1) FROM ",
                $scopes,
                ")"
            )
        };
    }
    Ok(match &mut work.tx {
        Tx::Pg(tx) => {
            sqlx::query_as(select!("unnest($1::text[]) AS s (value)")).bind(scopes).fetch_all(&mut **tx).await?
        }
        Tx::Lite(tx) => {
            let scopes = json!(scopes).to_string();
            sqlx::query_as(select!("json_each($1) s")).bind(scopes).fetch_all(&mut **tx).await?
        }
    })
}

/// How often it is looked where a job is that moves meanwhile: a claim takes it, or its lease ends and it is to be tried
/// again.
const LOOKS: u32 = 3;

/// Marks those that run, and ends those that do not; which these were.
async fn end(work: &mut Work, all: &[Outdated<'_>], fresh: &BTreeSet<i64>) -> Result<BTreeSet<i64>> {
    let mut moves = Moves::default();
    let (mut left, mut ended) = (BTreeMap::new(), BTreeSet::new());
    for outdated in all {
        if fresh.contains(&outdated.rival.job) {
            moves.ended.push(outdated.end(1));
        } else {
            left.insert(outdated.rival.job, outdated);
        }
    }
    for _ in 0..LOOKS {
        if left.is_empty() {
            break;
        }
        for job in mark(work, &left).await? {
            left.remove(&job);
        }
        let jobs: Vec<i64> = left.keys().copied().collect();
        if jobs.is_empty() {
            break;
        }
        keys::lock_those_of(work, &jobs).await?;
        for (job, attempt) in unqueue(work, &jobs).await? {
            if let Some(outdated) = left.remove(&job) {
                moves.ended.push(outdated.end(attempt));
                ended.insert(job);
            }
        }
    }
    // What is left has ended by itself, or waits for a person by now.
    if !moves.ended.is_empty() {
        moves.write(work).await?;
    }
    Ok(ended)
}

impl Outdated<'_> {
    /// `attempt` is the one that does not come.
    fn end(&self, attempt: i32) -> EndedRow {
        EndedRow::superseded(self.rival.job, attempt, self.by.job)
    }

    fn stops(&self) -> bool {
        self.by.policy == Policy::CancelPrevious.name()
    }
}

/// Notes the successors of those that run; who is stopped for it hears so with its next renewal. One that a person has
/// cancelled ends so. Which of them run.
async fn mark(work: &mut Work, left: &BTreeMap<i64, &Outdated<'_>>) -> Result<Vec<i64>> {
    let why = |o: &Outdated<'_>| format!("superseded by job {}", JobId(o.by.id));
    macro_rules! update {
        ($of:literal, $columns:literal) => {
            concat!(
                "UPDATE leases SET
                     successor = CASE WHEN cancel IS NULL OR requeue THEN COALESCE(successor, g.heir) ELSE successor END,
                     cancel = CASE WHEN g.stops AND (cancel IS NULL OR requeue) THEN g.why ELSE cancel END,
                     requeue = requeue AND NOT g.stops
                 FROM (SELECT ",
                $columns,
                " FROM ",
                $of,
                ") g WHERE leases.job = g.job RETURNING leases.job"
            )
        };
    }
    Ok(match &mut work.tx {
        Tx::Pg(tx) => {
            sqlx::query_scalar(update!(
                "unnest($1::bigint[], $2::bigint[], $3::boolean[], $4::text[]) AS u (job, heir, stops, why)",
                "job, heir, stops, why"
            ))
            .bind(left.keys().copied().collect::<Vec<_>>())
            .bind(left.values().map(|o| o.by.job).collect::<Vec<_>>())
            .bind(left.values().map(|o| o.stops()).collect::<Vec<_>>())
            .bind(left.values().map(|o| why(o)).collect::<Vec<_>>())
            .fetch_all(&mut **tx)
            .await?
        }
        Tx::Lite(tx) => {
            let rows: Vec<_> = left.iter().map(|(job, o)| json!([job, o.by.job, o.stops(), why(o)])).collect();
            sqlx::query_scalar(update!(
                "json_each($1)",
                "value->>0 AS job, value->>1 AS heir, value->>2 AS stops, value->>3 AS why"
            ))
            .bind(json!(rows).to_string())
            .fetch_all(&mut **tx)
            .await?
        }
    })
}

/// Takes jobs out of waiting and out of the queue: (job, attempt to come).
async fn unqueue(work: &mut Work, jobs: &[i64]) -> Result<Vec<(i64, i32)>> {
    let mut rows: Vec<(i64, i32)> = Vec::new();
    match &mut work.tx {
        Tx::Pg(tx) => {
            for sql in [
                "DELETE FROM waiting WHERE job = ANY ($1) AND NOT unsettled RETURNING job, attempt",
                "DELETE FROM queued WHERE job = ANY ($1) RETURNING job, attempt",
            ] {
                rows.extend(sqlx::query_as::<_, (i64, i32)>(sql).bind(jobs).fetch_all(&mut **tx).await?);
            }
        }
        Tx::Lite(tx) => {
            let jobs = json!(jobs).to_string();
            for sql in [
                "DELETE FROM waiting WHERE job IN (SELECT value FROM json_each($1)) AND NOT unsettled RETURNING job, attempt",
                "DELETE FROM queued WHERE job IN (SELECT value FROM json_each($1)) RETURNING job, attempt",
            ] {
                rows.extend(sqlx::query_as::<_, (i64, i32)>(sql).bind(&jobs).fetch_all(&mut **tx).await?);
            }
        }
    }
    Ok(rows)
}

/// Gives new jobs the place in the queue of those that they supersede, where it is the better one.
async fn inherit(work: &mut Work, ranks: Vec<(i64, i64)>) -> Result<()> {
    if ranks.is_empty() {
        return Ok(());
    }
    match &mut work.tx {
        Tx::Pg(tx) => {
            let (jobs, ranks): (Vec<i64>, Vec<i64>) = ranks.into_iter().unzip();
            sqlx::query(
                "UPDATE jobs j SET rank = g.rank FROM unnest($1::bigint[], $2::bigint[]) AS g (job, rank)
                 WHERE j.seq = g.job AND g.rank < j.rank",
            )
            .bind(jobs)
            .bind(ranks)
            .execute(&mut **tx)
            .await?;
        }
        Tx::Lite(tx) => {
            sqlx::query(
                "UPDATE jobs SET rank = g.value->>1 FROM json_each($1) g
                 WHERE jobs.seq = g.value->>0 AND g.value->>1 < jobs.rank",
            )
            .bind(json!(ranks).to_string())
            .execute(&mut **tx)
            .await?;
        }
    }
    Ok(())
}

/// A job that waits whether another comes for its key.
struct Quiet {
    job: i64,
    until: i64,
    since: i64,
    reason: String,
}

impl Quiet {
    fn new(job: i64, supersede: &Supersede, span: Span, since: Time, now: Time) -> Quiet {
        let longest = Span(span.0 * u32::try_from(LONGEST_QUIET).unwrap_or(1));
        let until = now.plus(span).min(since.plus(longest)).max(now);
        let reason = format!("{}: unless another comes", keys::serial_on(supersede));
        Quiet { job, until: until.0, since: since.0, reason }
    }
}

async fn be_quiet(work: &mut Work, quiet: &[Quiet]) -> Result<()> {
    if quiet.is_empty() {
        return Ok(());
    }
    match &mut work.tx {
        Tx::Pg(tx) => {
            sqlx::query(
                "INSERT INTO waiting (job, attempt, until_at, quiet_since, reason, expires_at)
                 SELECT j.seq, 1, g.until_at, g.since, g.reason, j.expires_at
                 FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[]) AS g (job, until_at, since, reason)
                      JOIN jobs j ON j.seq = g.job",
            )
            .bind(quiet.iter().map(|q| q.job).collect::<Vec<_>>())
            .bind(quiet.iter().map(|q| q.until).collect::<Vec<_>>())
            .bind(quiet.iter().map(|q| q.since).collect::<Vec<_>>())
            .bind(quiet.iter().map(|q| q.reason.as_str()).collect::<Vec<_>>())
            .execute(&mut **tx)
            .await?;
        }
        Tx::Lite(tx) => {
            let rows: Vec<_> = quiet.iter().map(|q| json!([q.job, q.until, q.since, q.reason])).collect();
            sqlx::query(
                "INSERT INTO waiting (job, attempt, until_at, quiet_since, reason, expires_at)
                 SELECT j.seq, 1, g.value->>1, g.value->>2, g.value->>3, j.expires_at
                 FROM json_each($1) g JOIN jobs j ON j.seq = g.value->>0",
            )
            .bind(json!(rows).to_string())
            .execute(&mut **tx)
            .await?;
        }
    }
    Ok(())
}
