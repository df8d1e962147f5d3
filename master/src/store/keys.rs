//! Keys that only so many jobs have at once, and the lines of those that want them.
//!
//! A job asks for its keys one after the other: for the one that it is serial on, then for its task's limit. It stands
//! in waiting until it has them all, and holds each until it has ended, also over its retries: so whatever is in the
//! queue may run, and no claim looks at keys. Who gives a key back lets the next of its line have it in the same
//! transaction.
//!
//! Settled is a key under a lock of its own, and read in statements that begin after that: so of two transactions that
//! ask for it or give it back, the one that comes later sees what the earlier has done. Locks are taken by step, and
//! sorted within a step.

use std::collections::{BTreeMap, BTreeSet};

use model::operator::Mode;
use model::{JobId, Limit, Policy, Supersede};
use serde_json::json;
use uuid::{Uuid, uuid};

use super::number::nat;
use super::tx::{Tx, Work, on_tx};
use super::types::Behind;
use super::{Result, Store};

/// The namespace of what keys are stored as (version 5 UUIDs).
const KEYS: Uuid = uuid!("9b7c1c0e-5d3a-5b0e-8f57-3f0b64a2c1d4");

/// How many rows of `key_locks` each step has.
const SLOTS: u128 = 16384;

/// So many of a line are looked at together.
const WINDOW: usize = 64;

/// What a job asks for, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Serial = 1,
    Limit = 2,
}

impl Step {
    const ALL: [Step; 2] = [Step::Serial, Step::Limit];

    fn number(self) -> i32 {
        self as i32
    }
}

/// A key as it is stored: of one length, whatever people write.
pub(super) fn stored(of: &serde_json::Value) -> String {
    Uuid::new_v5(&KEYS, of.to_string().as_bytes()).simple().to_string()
}

/// A job with the keys that it must have.
#[derive(Clone, Debug, sqlx::FromRow)]
struct Keyed {
    job: i64,
    rank: i64,
    task: String,
    supersede_key: Option<String>,
    supersede_policy: Option<String>,
    limit_key: Option<String>,
    limit_most: Option<i32>,
}

macro_rules! keyed_columns {
    () => {
        "j.seq AS job, j.rank, j.task, j.supersede_key, j.supersede_policy, j.limit_key, j.limit_most"
    };
}

/// One key that a job asks for.
struct Turn {
    key: String,
    most: i32,
    reason: String,
}

impl Keyed {
    fn turn(&self, step: Step) -> Option<Turn> {
        match step {
            Step::Serial => {
                let serial = self.supersede_policy.as_deref() == Some(Policy::Serial.name());
                let name = self.supersede_key.clone().filter(|_| serial)?;
                let supersede = Supersede { key: name.clone(), policy: Policy::Serial, quiet: None };
                Some(Turn { key: stored(&json!(["serial", name])), most: 1, reason: serial_on(&supersede) })
            }
            Step::Limit => {
                let (name, most) = (self.limit_key.clone()?, self.limit_most?);
                let limit = Limit { key: name.clone(), most: u32::try_from(most).unwrap_or(1) };
                let key = stored(&json!(["limit", self.task, name]));
                Some(Turn { key, most, reason: at_most(&self.task, &limit) })
            }
        }
    }
}

/// "serial on foo"
pub fn serial_on(supersede: &Supersede) -> String {
    format!("{} on {}", supersede.policy.name(), supersede.key)
}

/// "at most 2 of rpmlint at once for foo"
pub fn at_most(task: &str, limit: &Limit) -> String {
    let of = if limit.key.is_empty() { String::new() } else { format!(" for {}", limit.key) };
    format!("at most {} of {task} at once{of}", limit.most)
}

impl Store {
    /// Who is before a job in the line that it stands in.
    pub async fn behind(&self, job: JobId) -> Result<Option<Behind>> {
        let row: Option<(Option<Uuid>, i64, i64)> = db::on_read!(self.db(), |pool| {
            sqlx::query_as(
                "SELECT (SELECT j.id FROM keys h JOIN jobs j ON j.seq = h.job WHERE h.key = t.key AND h.held = TRUE
                         ORDER BY h.rank, h.job LIMIT 1),
                        (SELECT count(*) FROM keys h WHERE h.key = t.key AND h.held = TRUE),
                        (SELECT count(*) FROM keys l WHERE l.key = t.key AND l.held = FALSE
                             AND (l.rank, l.job) < (t.rank, t.job))
                 FROM keys t JOIN jobs w ON w.seq = t.job WHERE w.id = $1 AND NOT t.held",
            )
            .bind(job.0)
            .fetch_optional(pool)
            .await?
        });
        Ok(row.map(|(first, held, ahead)| Behind { first: first.map(JobId), others: nat(held + ahead - 1) }))
    }
}

/// Lets jobs ask for their first key: those that are in no table yet, and those that have waited for something else.
/// Who gets all that it asks for is queued.
pub(super) async fn enter(work: &mut Work, jobs: &[i64]) -> Result<()> {
    if jobs.is_empty() {
        return Ok(());
    }
    macro_rules! select {
        ($among:literal) => {
            concat!("SELECT ", keyed_columns!(), " FROM jobs j WHERE j.seq ", $among, " ORDER BY j.seq")
        };
    }
    let asking: Vec<Keyed> = match &mut work.tx {
        Tx::Pg(tx) => sqlx::query_as(select!("= ANY ($1)")).bind(jobs).fetch_all(&mut **tx).await?,
        Tx::Lite(tx) => {
            let jobs = json!(jobs).to_string();
            sqlx::query_as(select!("IN (SELECT value FROM json_each($1))")).bind(jobs).fetch_all(&mut **tx).await?
        }
    };
    advance(work, asking, Vec::new()).await
}

/// Notes which jobs have keys of which only the newest is wanted, and locks these.
pub(super) async fn have(work: &mut Work, jobs: &[i64], scopes: &[&str]) -> Result<()> {
    macro_rules! insert {
        ($among:literal) => {
            concat!(
                "INSERT INTO keys (job, step, key, rank, held)
                 SELECT seq, 0, scope, rank, TRUE FROM jobs WHERE scope IS NOT NULL AND seq ",
                $among
            )
        };
    }
    match &mut work.tx {
        Tx::Pg(tx) => {
            sqlx::query(insert!("= ANY ($1)")).bind(jobs).execute(&mut **tx).await?;
        }
        Tx::Lite(tx) => {
            let jobs = json!(jobs).to_string();
            sqlx::query(insert!("IN (SELECT value FROM json_each($1))")).bind(jobs).execute(&mut **tx).await?;
        }
    }
    lock(work, scopes.iter().map(|scope| (0, *scope))).await
}

/// Takes the keys from jobs that have ended.
pub(super) async fn leave(work: &mut Work, jobs: &[i64]) -> Result<()> {
    macro_rules! delete {
        ($among:literal) => {
            concat!("DELETE FROM keys WHERE job ", $among, " RETURNING step, key")
        };
    }
    let freed: Vec<(i32, String)> = match &mut work.tx {
        Tx::Pg(tx) => sqlx::query_as(delete!("= ANY ($1)")).bind(jobs).fetch_all(&mut **tx).await?,
        Tx::Lite(tx) => {
            let jobs = json!(jobs).to_string();
            sqlx::query_as(delete!("IN (SELECT value FROM json_each($1))")).bind(jobs).fetch_all(&mut **tx).await?
        }
    };
    advance(work, Vec::new(), freed).await
}

/// Looks at every line: after a time in which not everybody was let on.
pub(super) async fn settle_all(work: &mut Work) -> Result<()> {
    let lines: Vec<(i32, String)> = on_tx!(&mut work.tx, |conn| {
        sqlx::query_as("SELECT DISTINCT step, key FROM keys WHERE NOT held").fetch_all(conn).await?
    });
    advance(work, Vec::new(), lines).await
}

/// Locks the keys of jobs before their rows are taken away: the order that keeps two transactions from waiting for each
/// other.
pub(super) async fn lock_those_of(work: &mut Work, jobs: &[i64]) -> Result<()> {
    let Tx::Pg(tx) = &mut work.tx else { return Ok(()) };
    let keys: Vec<(i32, String)> = sqlx::query_as("SELECT DISTINCT step, key FROM keys WHERE job = ANY ($1)")
        .bind(jobs)
        .fetch_all(&mut **tx)
        .await?;
    lock(work, keys.iter().map(|(step, key)| (*step, key.as_str()))).await
}

/// Step by step: who has got the key of one asks for that of the next.
async fn advance(work: &mut Work, mut asking: Vec<Keyed>, freed: Vec<(i32, String)>) -> Result<()> {
    for step in Step::ALL {
        let (ask, mut through): (Vec<Keyed>, Vec<Keyed>) = asking.into_iter().partition(|job| job.turn(step).is_some());
        let asked = stand_in_line(work, step, &ask).await?;
        let freed = freed.iter().filter(|(of, _)| *of == step.number()).map(|(_, key)| key.clone());
        let keys: BTreeSet<String> = asked.into_iter().chain(freed).collect();
        if !keys.is_empty() {
            lock(work, keys.iter().map(|key| (step.number(), key.as_str()))).await?;
            through.extend(let_on(work, step, keys.into_iter().collect()).await?);
        }
        asking = through;
    }
    queue(work, asking.iter().map(|job| job.job).collect()).await
}

/// Puts jobs into waiting, and into the line of the key that they ask for; which keys these are.
async fn stand_in_line(work: &mut Work, step: Step, ask: &[Keyed]) -> Result<Vec<String>> {
    let turns: Vec<(&Keyed, Turn)> = ask.iter().filter_map(|job| Some((job, job.turn(step)?))).collect();
    if turns.is_empty() {
        return Ok(Vec::new());
    }
    match &mut work.tx {
        Tx::Pg(tx) => {
            let all = |of: &dyn Fn(&Keyed, &Turn) -> i64| turns.iter().map(|(j, t)| of(j, t)).collect::<Vec<_>>();
            sqlx::query(
                "WITH g AS MATERIALIZED (
                     SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[])
                         AS g (job, key, most, rank, name, reason)),
                 line AS (INSERT INTO keys (job, step, key, most, rank) SELECT job, $7, key, most, rank FROM g)
                 INSERT INTO waiting (job, attempt, key, reason, expires_at)
                 SELECT g.job, 1, g.name, g.reason, j.expires_at FROM g JOIN jobs j ON j.seq = g.job
                 ON CONFLICT (job) DO UPDATE SET key = excluded.key, reason = excluded.reason, until_at = NULL,
                     quiet_since = NULL",
            )
            .bind(all(&|j, _| j.job))
            .bind(turns.iter().map(|(_, t)| t.key.as_str()).collect::<Vec<_>>())
            .bind(all(&|_, t| i64::from(t.most)))
            .bind(all(&|j, _| j.rank))
            .bind(turns.iter().map(|(_, t)| t.key.as_str()).collect::<Vec<_>>())
            .bind(turns.iter().map(|(_, t)| t.reason.as_str()).collect::<Vec<_>>())
            .bind(step.number())
            .execute(&mut **tx)
            .await?;
        }
        Tx::Lite(tx) => {
            let row = |(j, t): &(&Keyed, Turn)| json!([j.job, t.key, t.most, j.rank, t.key, t.reason]);
            let rows = json!(turns.iter().map(row).collect::<Vec<_>>()).to_string();
            sqlx::query(
                "INSERT INTO keys (job, step, key, most, rank)
                 SELECT g.value->>0, $2, g.value->>1, g.value->>2, g.value->>3 FROM json_each($1) g",
            )
            .bind(&rows)
            .bind(step.number())
            .execute(&mut **tx)
            .await?;
            sqlx::query(
                "INSERT INTO waiting (job, attempt, key, reason, expires_at)
                 SELECT j.seq, 1, g.value->>4, g.value->>5, j.expires_at
                 FROM json_each($1) g JOIN jobs j ON j.seq = g.value->>0 WHERE true
                 ON CONFLICT (job) DO UPDATE SET key = excluded.key, reason = excluded.reason, until_at = NULL,
                     quiet_since = NULL",
            )
            .bind(rows)
            .execute(&mut **tx)
            .await?;
        }
    }
    Ok(turns.into_iter().map(|(_, turn)| turn.key).collect())
}

/// SQLite has one writer, who need not lock.
async fn lock<'k>(work: &mut Work, keys: impl Iterator<Item = (i32, &'k str)>) -> Result<()> {
    let Tx::Pg(tx) = &mut work.tx else { return Ok(()) };
    let slots: BTreeSet<i32> = keys.map(|(step, key)| slot(step, key)).collect();
    if slots.is_empty() {
        return Ok(());
    }
    sqlx::query("SELECT slot FROM key_locks WHERE slot = ANY ($1) ORDER BY slot FOR UPDATE")
        .bind(slots.into_iter().collect::<Vec<_>>())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// The row of `key_locks` that a key falls on.
fn slot(step: i32, key: &str) -> i32 {
    let within = u128::from_str_radix(key, 16).unwrap_or_default() % SLOTS;
    i32::try_from(within).unwrap_or_default() + step * i32::try_from(SLOTS).unwrap_or_default()
}

/// A job that stands in a line, beside how many hold its key.
#[derive(sqlx::FromRow)]
struct InLine {
    key: String,
    held: i64,
    most: i32,
    #[sqlx(flatten)]
    keyed: Keyed,
}

/// Gives the keys to the next in their lines, as far as they go; who got one.
async fn let_on(work: &mut Work, step: Step, mut keys: Vec<String>) -> Result<Vec<Keyed>> {
    let mut all = Vec::new();
    while !keys.is_empty() {
        let (mut on, more) = next_of(first_of_lines(work, &keys).await?);
        if !on.is_empty() {
            let held = hold(work, step, &on).await?;
            on.retain(|job| held.contains(&job.job));
        }
        all.extend(on);
        keys = more;
    }
    Ok(all)
}

/// Who of these lines is let on: one after the other, and nobody past one who must wait. And the keys of which all that
/// were looked at were let on: there may be more.
fn next_of(lines: Vec<InLine>) -> (Vec<Keyed>, Vec<String>) {
    let mut by_key: BTreeMap<String, Vec<InLine>> = BTreeMap::new();
    for job in lines {
        by_key.entry(job.key.clone()).or_default().push(job);
    }
    let (mut on, mut more) = (Vec::new(), Vec::new());
    for (key, line) in by_key {
        let seen = line.len();
        let next = (0..).zip(line).take_while(|(n, job)| job.held + n < i64::from(job.most));
        let before = on.len();
        on.extend(next.map(|(_, job)| job.keyed));
        if on.len() - before == seen && seen == WINDOW {
            more.push(key);
        }
    }
    (on, more)
}

/// The first of each line, in order, found by the index `(key, held, rank, job)` however long the line is.
///
/// While what was queued up to a job is still to run before an idle, no key goes to a later one: it would not be run, and
/// keep those before it waiting.
async fn first_of_lines(work: &mut Work, keys: &[String]) -> Result<Vec<InLine>> {
    let through = match (work.mode, work.finish_through) {
        (Mode::Draining, Some(last)) => last,
        (Mode::Active | Mode::Draining | Mode::Idle, _) => i64::MAX,
    };
    let window = i64::try_from(WINDOW).unwrap_or(i64::MAX);
    match &mut work.tx {
        Tx::Pg(tx) => Ok(sqlx::query_as(concat!(
            "SELECT k.key, (SELECT count(*) FROM keys h WHERE h.key = k.key AND h.held = TRUE) AS held, t.most, ",
            keyed_columns!(),
            " FROM unnest($1::text[]) AS k (key) CROSS JOIN LATERAL (
                 SELECT l.job, l.rank, l.most FROM keys l WHERE l.key = k.key AND l.held = FALSE AND l.job <= $2
                 ORDER BY l.rank, l.job LIMIT $3) t
               JOIN jobs j ON j.seq = t.job ORDER BY t.rank, t.job"
        ))
        .bind(keys)
        .bind(through)
        .bind(window)
        .fetch_all(&mut **tx)
        .await?),
        Tx::Lite(tx) => Ok(sqlx::query_as(concat!(
            "SELECT k.value AS key, (SELECT count(*) FROM keys h WHERE h.key = k.value AND h.held = TRUE) AS held, t.most, ",
            keyed_columns!(),
            " FROM json_each($1) k JOIN keys t ON +t.key = k.value AND t.job IN (
                   SELECT l.job FROM keys l WHERE l.key = k.value AND l.held = FALSE AND l.job <= $2
                   ORDER BY l.rank, l.job LIMIT $3)
               JOIN jobs j ON j.seq = t.job ORDER BY t.rank, t.job"
        ))
        .bind(json!(keys).to_string())
        .bind(through)
        .bind(window)
        .fetch_all(&mut **tx)
        .await?),
    }
}

/// Who has got the key: not who has ended since it was seen in its line.
async fn hold(work: &mut Work, step: Step, jobs: &[Keyed]) -> Result<BTreeSet<i64>> {
    let jobs: Vec<i64> = jobs.iter().map(|job| job.job).collect();
    macro_rules! update {
        ($among:literal) => {
            concat!("UPDATE keys SET held = TRUE WHERE step = $2 AND job ", $among, " RETURNING job")
        };
    }
    let held: Vec<i64> = match &mut work.tx {
        Tx::Pg(tx) => {
            sqlx::query_scalar(update!("= ANY ($1)")).bind(jobs).bind(step.number()).fetch_all(&mut **tx).await?
        }
        Tx::Lite(tx) => {
            sqlx::query_scalar(update!("IN (SELECT value FROM json_each($1))"))
                .bind(json!(jobs).to_string())
                .bind(step.number())
                .fetch_all(&mut **tx)
                .await?
        }
    };
    Ok(held.into_iter().collect())
}

/// Moves jobs that have all their keys to the queue: from waiting, or from nowhere yet. PostgreSQL in one statement,
/// SQLite in two.
async fn queue(work: &mut Work, jobs: Vec<i64>) -> Result<()> {
    if jobs.is_empty() {
        return Ok(());
    }
    work.woken = true;
    match &mut work.tx {
        Tx::Pg(tx) => {
            sqlx::query(
                "WITH on_ AS (
                     DELETE FROM waiting WHERE job = ANY ($1) RETURNING job, attempt)
                 INSERT INTO queued (job, attempt, needs, rank, expires_at)
                 SELECT j.seq, COALESCE(o.attempt, 1), j.needs, j.rank, j.expires_at
                 FROM jobs j LEFT JOIN on_ o ON o.job = j.seq WHERE j.seq = ANY ($1)",
            )
            .bind(jobs)
            .execute(&mut **tx)
            .await?;
        }
        Tx::Lite(tx) => {
            let jobs = json!(jobs).to_string();
            sqlx::query(
                "INSERT INTO queued (job, attempt, needs, rank, expires_at)
                 SELECT j.seq, COALESCE(w.attempt, 1), j.needs, j.rank, j.expires_at
                 FROM jobs j LEFT JOIN waiting w ON w.job = j.seq
                 WHERE j.seq IN (SELECT value FROM json_each($1))",
            )
            .bind(&jobs)
            .execute(&mut **tx)
            .await?;
            sqlx::query("DELETE FROM waiting WHERE job IN (SELECT value FROM json_each($1))")
                .bind(jobs)
                .execute(&mut **tx)
                .await?;
        }
    }
    Ok(())
}
