//! Giving work to workers.

use std::time::Duration;

use model::operator::Mode;
use model::{Event, JobId, Span, Time};
use serde_json::json;
use uuid::Uuid;

use super::error::corrupt;
use super::events::Document;
use super::labels::{Sets, satisfied};
use super::moves::{EndedRow, Moves};
use super::number::{count, small};
use super::text::clean;
use super::tx::{Tx, Work, on_tx, retrying};
use super::types::{ClaimRequest, Granted, JobPin, NameTaken, Served};
use super::{Result, Store, Token, messages};

/// How often a claim looks again that found only jobs which others were about to take.
const LOOKS: u32 = 4;

impl Store {
    /// One list for each request, in order; empty where there is nothing, while idle, and at a passive site.
    ///
    /// The same claim again gives the leases that are left of it, and no more. A worker's new incarnation gives up the
    /// leases of its earlier ones: the next [`Store::expire`] ends them as lost. Another worker under the name of one
    /// that was seen within `term` is given nothing, and takes nothing away.
    pub async fn claim(&self, requests: &[ClaimRequest], term: Span) -> Result<Vec<Served>> {
        for look in 1.. {
            let done = retrying(async || self.claim_once(requests, term).await).await?;
            if done.given_up || done.too_late || done.announced {
                self.ring();
            }
            if !done.missed || look == LOOKS {
                return Ok(done.granted);
            }
            tokio::time::sleep(Duration::from_millis(u64::from(look))).await;
        }
        unreachable!("the loop returns")
    }

    async fn claim_once(&self, requests: &[ClaimRequest], term: Span) -> Result<Claimed> {
        let mut work = self.begin().await?;
        let sets = self.label_sets(work.label_sets).await?;
        let mut done = Claimed { granted: vec![Ok(Vec::new()); requests.len()], ..Claimed::default() };
        // In the order of their names, so that two batches wait for each other instead of both.
        let mut order: Vec<usize> = (0..requests.len()).collect();
        order.sort_by_key(|i| &requests[*i].worker.name);
        for i in order {
            done.granted[i] = serve(&mut work, &sets, &requests[i], term, &mut done).await?;
        }
        work.commit().await?;
        Ok(done)
    }
}

#[derive(Default)]
struct Claimed {
    granted: Vec<Served>,
    /// A worker came back as another incarnation.
    given_up: bool,
    /// Some jobs were pointless by now, and have ended.
    too_late: bool,
    /// There is something to deliver, to the results store or to the bus.
    announced: bool,
    /// There was work that a concurrent claim held at that moment; perhaps it has left some.
    missed: bool,
}

async fn serve(work: &mut Work, sets: &Sets, request: &ClaimRequest, term: Span, done: &mut Claimed) -> Result<Served> {
    // Holds the worker's row: the same claim, sent twice at once, is served one after the other.
    match see_worker(work, request, term).await? {
        Seen::Here => {}
        Seen::Dead => return Ok(Ok(Vec::new())),
        Seen::Stranger(taken) => return Ok(Err(taken)),
    }
    let mut rows = leases_of(work, request).await?;
    let before = rows.len();
    rows.retain(|row| row.incarnation == Some(request.worker.incarnation));
    if rows.len() < before {
        done.given_up |= give_up(work, request).await?;
    }
    rows.retain(|row| row.claim == Some(request.claim));
    if !rows.is_empty() {
        return rows.into_iter().map(Row::grant).collect::<Result<_>>().map(Ok);
    }
    let Some(through) = through(work) else { return Ok(Ok(Vec::new())) };
    let sets = satisfied(sets, &request.worker.labels);
    let mut granted = Vec::new();
    while !sets.is_empty() && granted.len() < request.slots as usize {
        let slots = request.slots as usize - granted.len();
        let (leased, late): (Vec<Row>, Vec<Row>) =
            take(work, &sets, through, slots, request, term).await?.into_iter().partition(|row| row.secret.is_some());
        let begun: Vec<_> = leased.iter().map(|row| (row.job, row.attempt)).collect();
        done.announced |= messages::running(work, &begun).await?;
        granted.extend(leased);
        if late.is_empty() {
            break;
        }
        done.too_late = true;
        let ended = late.iter().map(|row| EndedRow::expired(row.job, row.attempt)).collect();
        Moves { ended, ..Moves::default() }.write(work).await?;
    }
    if granted.is_empty() && request.slots > 0 {
        done.missed |= any_left(work, &sets, through).await?;
    }
    // What was queued first is given first.
    granted.sort_by_key(|row| (row.rank, row.job));
    let granted: Vec<Granted> = granted.into_iter().map(Row::grant).collect::<Result<_>>()?;
    done.announced |= work.announce_running(&granted).await?;
    Ok(Ok(granted))
}

/// Up to which job work is given out; none at all where the mode or the site forbids it.
fn through(work: &Work) -> Option<i64> {
    match work.mode {
        _ if !work.active => None,
        Mode::Active => Some(i64::MAX),
        Mode::Draining => work.finish_through,
        Mode::Idle => None,
    }
}

/// Who asks for work.
enum Seen {
    Here,
    /// An earlier process of a worker that has started anew: its claim was still held, or came late.
    Dead,
    Stranger(NameTaken),
}

/// So many characters of `incarnations` are kept: the last eight.
const INCARNATIONS: i32 = 8 * 33;

/// Notes that the worker is there, and holds its row; or says who else has its name.
///
/// A restarted worker shows the identity of the one before and takes over at once, for good: what that one had asked
/// takes nothing from it. Another identity has to wait until the name's owner was not seen for a term: by then it holds
/// no lease.
async fn see_worker(work: &mut Work, request: &ClaimRequest, term: Span) -> Result<Seen> {
    let (worker, now) = (&request.worker, work.now);
    let ahead = worker.clock.map(|clock| clock.0 - now.0);
    let seen = on_tx!(&mut work.tx, |conn| {
        sqlx::query(
            "INSERT INTO workers (name, incarnation, labels, slots, version, first_seen, last_seen, identity, host,
                 clock_ahead, incarnations, figures)
             VALUES ($1, $2, $3, $4, $5, $6, $6, $7, $8, $9, $11, $13)
             ON CONFLICT (name) DO UPDATE SET incarnation = excluded.incarnation, labels = excluded.labels,
                 slots = excluded.slots, version = excluded.version, last_seen = excluded.last_seen,
                 identity = excluded.identity, host = excluded.host, clock_ahead = excluded.clock_ahead,
                 figures = COALESCE(excluded.figures, workers.figures),
                 incarnations = CASE WHEN workers.incarnation = excluded.incarnation THEN workers.incarnations
                     ELSE substr(excluded.incarnations || workers.incarnations, 1, $12) END
             WHERE workers.incarnation = excluded.incarnation OR workers.last_seen <= $10
                 OR ((workers.identity = excluded.identity OR workers.identity IS NULL OR excluded.identity IS NULL)
                     AND workers.incarnations NOT LIKE '%' || excluded.incarnations || '%')",
        )
        .bind(&worker.name)
        .bind(worker.incarnation)
        .bind(json!(worker.labels).to_string())
        .bind(small(worker.slots))
        .bind(&worker.version)
        .bind(now.0)
        .bind(worker.identity)
        .bind(clean(&worker.host))
        .bind(ahead)
        .bind(now.minus(term).0)
        .bind(format!("{} ", worker.incarnation.simple()))
        .bind(INCARNATIONS)
        .bind(worker.figures.as_ref().map(|figures| json!(figures).to_string()))
        .execute(&mut *conn)
        .await?
        .rows_affected()
    });
    if seen > 0 {
        return Ok(Seen::Here);
    }
    let (host, incarnation, last_seen, identity): (String, Uuid, i64, Option<Uuid>) = on_tx!(&mut work.tx, |conn| {
        sqlx::query_as("SELECT host, incarnation, last_seen, identity FROM workers WHERE name = $1")
            .bind(&worker.name)
            .fetch_one(conn)
            .await?
    });
    let same = identity == worker.identity || identity.is_none() || worker.identity.is_none();
    Ok(if same { Seen::Dead } else { Seen::Stranger(NameTaken { host, incarnation, last_seen: Time(last_seen) }) })
}

/// A job on its way to a worker. Without a secret it is past its time and got no lease.
#[derive(sqlx::FromRow)]
struct Row {
    job: i64,
    attempt: i32,
    rank: i64,
    secret: Option<Vec<u8>>,
    incarnation: Option<Uuid>,
    claim: Option<Uuid>,
    id: Uuid,
    item: String,
    item_type: String,
    arch: String,
    params: String,
    task_version: i64,
    source_ref: Option<String>,
    source_commit: Option<String>,
    event_id: Option<String>,
    topic: Option<String>,
    sent_at: Option<String>,
    source: Option<String>,
    document: Option<String>,
}

macro_rules! job_and_event {
    () => {
        "j.id, j.item, j.item_type, j.arch, j.params, j.task_version, j.source_ref, j.source_commit, e.id AS event_id,
         e.topic, e.sent_at, e.source, e.document"
    };
}

impl Row {
    fn grant(self) -> Result<Granted> {
        let job = JobId(self.id);
        let attempt = count(self.attempt);
        let secret: [u8; 16] = self
            .secret
            .and_then(|secret| secret.try_into().ok())
            .ok_or_else(|| corrupt("leases", "secret", job, "not 16 bytes"))?;
        let event = match (self.event_id, self.topic, self.document) {
            (Some(id), Some(topic), Some(document)) => {
                let Document { headers, body } = Document::read(&id, &document)?;
                Some(Event { id, topic, sent_at: self.sent_at, headers, body, source: self.source.unwrap_or_default() })
            }
            _ => None,
        };
        Ok(Granted {
            job,
            attempt,
            token: Token { job, attempt, secret }.to_string(),
            task_version: self.task_version,
            params: serde_json::from_str(&self.params).map_err(|_| corrupt("jobs", "params", job, &self.params))?,
            item: self.item,
            item_type: self.item_type,
            arch: self.arch,
            pin: match JobPin::read(self.source_ref, self.source_commit) {
                Some(JobPin::At(pin)) => Some(pin),
                Some(JobPin::Open(_)) | None => None,
            },
            event,
        })
    }
}

/// The leases that this claim was given before, and those of the worker's other incarnations.
async fn leases_of(work: &mut Work, request: &ClaimRequest) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = on_tx!(&mut work.tx, |conn| {
        sqlx::query_as(concat!(
            "SELECT l.job, l.attempt, l.rank, l.secret, l.incarnation, l.claim, ",
            job_and_event!(),
            " FROM leases l JOIN jobs j ON j.seq = l.job LEFT JOIN events e ON e.seq = j.event
              WHERE l.worker = $1 AND (l.claim = $2 OR (l.incarnation <> $3 AND l.expires_at > 0))"
        ))
        .bind(&request.worker.name)
        .bind(request.claim)
        .bind(request.worker.incarnation)
        .fetch_all(conn)
        .await?
    });
    rows.sort_by_key(|row| (row.rank, row.job));
    Ok(rows)
}

/// The leases of a worker's other incarnations have run out, and cannot be renewed.
async fn give_up(work: &mut Work, request: &ClaimRequest) -> Result<bool> {
    let rows = on_tx!(&mut work.tx, |conn| {
        sqlx::query("UPDATE leases SET expires_at = 0 WHERE worker = $1 AND incarnation <> $2 AND expires_at > 0")
            .bind(&request.worker.name)
            .bind(request.worker.incarnation)
            .execute(conn)
            .await?
            .rows_affected()
    });
    Ok(rows > 0)
}

/// Moves up to `slots` jobs from the queue to leases. Those past their time leave the queue without a lease.
///
/// Each label set has its own walk of the index `(needs, rank, job)`: jobs that this worker may not take are never
/// looked at. PostgreSQL does it in one statement, and skips what another claim is taking; SQLite has one writer, and
/// no DELETE or INSERT inside a SELECT.
async fn take(
    work: &mut Work,
    sets: &[i32],
    through: i64,
    slots: usize,
    request: &ClaimRequest,
    term: Span,
) -> Result<Vec<Row>> {
    let (now, expires_at) = (work.now.0, work.after(term).0);
    let slots = i64::try_from(slots).unwrap_or(i64::MAX);
    match &mut work.tx {
        Tx::Pg(tx) => Ok(sqlx::query_as(concat!(
            "WITH next AS (
                 DELETE FROM queued WHERE job = ANY (ARRAY (
                     SELECT c.job FROM unnest($1::int[]) AS s (needs) CROSS JOIN LATERAL (
                         SELECT q.job, q.rank FROM queued q WHERE q.needs = s.needs AND q.job <= $2
                         ORDER BY q.rank, q.job LIMIT $3 FOR UPDATE SKIP LOCKED) c
                     ORDER BY c.rank, c.job LIMIT $3))
                 RETURNING job, attempt, needs, rank, expires_at),
             taken AS (
                 INSERT INTO leases (job, attempt, needs, rank, secret, worker, incarnation, claim, started_at,
                     expires_at)
                 SELECT job, attempt, needs, rank, uuid_send(gen_random_uuid()), $4, $5, $6, $7, $8 FROM next
                 WHERE expires_at IS NULL OR expires_at > $7
                 RETURNING job, secret, incarnation, claim)
             SELECT n.job, n.attempt, n.rank, t.secret, t.incarnation, t.claim, ",
            job_and_event!(),
            " FROM next n JOIN jobs j ON j.seq = n.job LEFT JOIN taken t ON t.job = n.job
                   LEFT JOIN events e ON e.seq = j.event"
        ))
        .bind(sets)
        .bind(through)
        .bind(slots)
        .bind(&request.worker.name)
        .bind(request.worker.incarnation)
        .bind(request.claim)
        .bind(now)
        .bind(expires_at)
        .fetch_all(&mut **tx)
        .await?),
        Tx::Lite(tx) => {
            let jobs: Vec<i64> = sqlx::query_scalar(
                "SELECT q.job FROM json_each($1) s JOIN queued q ON q.job IN (
                     SELECT c.job FROM queued c WHERE c.needs = s.value AND c.job <= $2
                     ORDER BY c.rank, c.job LIMIT $3)
                 ORDER BY q.rank, q.job LIMIT $3",
            )
            .bind(json!(sets).to_string())
            .bind(through)
            .bind(slots)
            .fetch_all(&mut **tx)
            .await?;
            if jobs.is_empty() {
                return Ok(Vec::new());
            }
            let jobs = json!(jobs).to_string();
            sqlx::query(
                "INSERT INTO leases (job, attempt, needs, rank, secret, worker, incarnation, claim, started_at,
                     expires_at)
                 SELECT job, attempt, needs, rank, randomblob(16), $2, $3, $4, $5, $6 FROM queued
                 WHERE job IN (SELECT value FROM json_each($1)) AND (expires_at IS NULL OR expires_at > $5)",
            )
            .bind(&jobs)
            .bind(&request.worker.name)
            .bind(request.worker.incarnation)
            .bind(request.claim)
            .bind(now)
            .bind(expires_at)
            .execute(&mut **tx)
            .await?;
            let rows = sqlx::query_as(concat!(
                "SELECT n.job, n.attempt, n.rank, t.secret, t.incarnation, t.claim, ",
                job_and_event!(),
                " FROM queued n JOIN jobs j ON j.seq = n.job LEFT JOIN leases t ON t.job = n.job
                       LEFT JOIN events e ON e.seq = j.event
                  WHERE n.job IN (SELECT value FROM json_each($1))"
            ))
            .bind(&jobs)
            .fetch_all(&mut **tx)
            .await?;
            sqlx::query("DELETE FROM queued WHERE job IN (SELECT value FROM json_each($1))")
                .bind(&jobs)
                .execute(&mut **tx)
                .await?;
            Ok(rows)
        }
    }
}

/// Whether there is work for these sets that another claim held just now. Never on SQLite, which has one writer.
async fn any_left(work: &mut Work, sets: &[i32], through: i64) -> Result<bool> {
    match &mut work.tx {
        Tx::Pg(tx) => {
            Ok(sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM queued WHERE needs = ANY ($1) AND job <= $2)")
                .bind(sets)
                .bind(through)
                .fetch_one(&mut **tx)
                .await?)
        }
        Tx::Lite(_) => Ok(false),
    }
}
