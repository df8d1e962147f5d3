//! Making jobs: each key once, whoever asks and however often.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};

use model::intake::JobAnswer;
use model::{JobId, JobState, NewJob, Policy, Span, Supersede};
use serde_json::json;
use sqlx::Row as _;
use uuid::Uuid;

use super::error::corrupt;
use super::labels::{self, Sets};
use super::mirrors::{NO_COMMIT, SOURCE};
use super::number::{int, small};
use super::supersede::{New, place};
use super::text::{clean, event_name, fits};
use super::tx::{Tx, Work, retrying};
use super::types::{Admitted, Candidate, Fresh, JobParts, JobPin};
use super::{Result, Store, messages};

/// How much earlier a job runs for each step of its priority.
pub(super) const PRIORITY_STEP: Span = Span::minutes(1);

/// A job to make, with the event that caused it where that is stored.
pub(super) struct Wanted<'a> {
    pub admitted: &'a Admitted,
    pub event: Option<i64>,
}

impl<'a> Wanted<'a> {
    /// With its cause, where that is among these events.
    pub(super) fn caused(admitted: &'a Admitted, causes: &HashMap<String, i64>) -> Wanted<'a> {
        let event = admitted.event.as_ref().and_then(|id| causes.get(&event_name(id)).copied());
        Wanted { admitted, event }
    }
}

/// The answers to a batch in which each key may occur more than once.
pub(super) struct Answers(HashMap<JobId, JobAnswer>);

impl Answers {
    /// The answer to this candidate; whoever asks for a key again is told that it exists.
    pub(super) fn give(&mut self, candidate: &Candidate) -> JobAnswer {
        match candidate {
            Candidate::Answered(answer) => answer.clone(),
            Candidate::Admitted(admitted) => {
                let job = admitted.job.key;
                let again = JobAnswer::Exists { job, state: JobState::Queued };
                match self.0.entry(job) {
                    Entry::Vacant(_) => unreachable!("every admitted job was asked for"),
                    Entry::Occupied(mut entry) => match entry.get() {
                        JobAnswer::Submitted { .. } => entry.insert(again),
                        JobAnswer::Exists { .. } | JobAnswer::Expired | JobAnswer::Refused { .. } => {
                            entry.get().clone()
                        }
                    },
                }
            }
        }
    }

    pub(super) fn any_new(&self) -> bool {
        self.0.values().any(|answer| matches!(answer, JobAnswer::Submitted { .. }))
    }
}

impl Store {
    /// One answer for each candidate, in order.
    pub async fn submit(&self, candidates: &[Candidate]) -> Result<Vec<JobAnswer>> {
        let sets = self.label_sets_of(needs(candidates)).await?;
        let (answers, new) = retrying(async || {
            let mut work = self.begin().await?;
            let causes = events_of(&mut work, candidates).await?;
            let wanted = admitted(candidates).map(|admitted| Wanted::caused(admitted, &causes)).collect();
            let mut answers = append(&mut work, &sets, wanted).await?;
            work.commit().await?;
            let new = answers.any_new();
            Ok((candidates.iter().map(|c| answers.give(c)).collect(), new))
        })
        .await?;
        if new {
            self.ring();
        }
        Ok(answers)
    }
}

/// A job that asks for the same as `old`; the same `request` gives the same job. `fresh` is the task as it is configured
/// now: without it the old version runs, at the old commit. It takes its turn like any other, but a person's wish supersedes
/// nothing, and is not superseded.
pub(super) fn again(old: JobParts, request: &str, fresh: Option<Fresh>) -> Candidate {
    let s = old.summary;
    let searches = s.is_search();
    // A search looks anew, also where its task is gone.
    let source = old.source.map(|pin| if searches { JobPin::Open(pin.reference().to_owned()) } else { pin });
    let before = Fresh { task_version: old.task_version, needs: old.needs, source, limit: old.limit, searches };
    let Fresh { task_version, needs, source, limit, searches } = fresh.unwrap_or(before);
    let cause = format!("rerun:{request}:{}", s.id);
    let key = JobId::of(&cause, &s.task, &s.item_type, &s.item, &s.arch);
    Candidate::Admitted(Box::new(Admitted {
        job: NewJob {
            key,
            task: s.task,
            item: s.item,
            item_type: s.item_type,
            arch: s.arch,
            rule: s.rule,
            priority: old.priority,
            params: old.params,
            // Whoever asks for it now does not find it pointless.
            expires_at: None,
            supersede: old.supersede.filter(|s| s.policy == Policy::Serial),
        },
        task_version,
        needs,
        source,
        limit,
        recorder: old.recorder,
        recorded_at: old.recorded_at,
        ordered_at: old.recorded_at,
        generation: old.generation,
        event: s.event_id,
        rerun_of: Some(s.id),
        search: if searches { Some(key) } else { s.search.filter(|search| *search != s.id) },
    }))
}

pub(super) fn admitted<'a>(candidates: impl IntoIterator<Item = &'a Candidate>) -> impl Iterator<Item = &'a Admitted> {
    candidates.into_iter().filter_map(|candidate| match candidate {
        Candidate::Admitted(admitted) => Some(&**admitted),
        Candidate::Answered(_) => None,
    })
}

/// The distinct label sets that these jobs need and that can be stored; a job that needs another is refused.
pub(super) fn needs<'a>(candidates: impl IntoIterator<Item = &'a Candidate>) -> BTreeSet<&'a [String]> {
    let mut needs: BTreeSet<&[String]> = admitted(candidates).map(|admitted| admitted.needs.as_slice()).collect();
    needs.retain(|needs| fits(&labels::text(needs)));
    needs
}

/// The numbers of the events that are named as causes and are stored.
pub(super) async fn events_of<'a>(
    work: &mut Work,
    candidates: impl IntoIterator<Item = &'a Candidate>,
) -> Result<HashMap<String, i64>> {
    let mut ids: Vec<String> =
        admitted(candidates).filter_map(|admitted| admitted.event.as_deref().map(event_name)).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(String, i64)> = match &mut work.tx {
        Tx::Pg(tx) => {
            sqlx::query_as("SELECT id, seq FROM events WHERE id = ANY ($1)").bind(ids).fetch_all(&mut **tx).await?
        }
        Tx::Lite(tx) => {
            sqlx::query_as("SELECT id, seq FROM events WHERE id IN (SELECT value FROM json_each($1))")
                .bind(json!(ids).to_string())
                .fetch_all(&mut **tx)
                .await?
        }
    };
    Ok(rows.into_iter().collect())
}

/// Makes the jobs whose key is new, and queues them; the first of several with one key counts.
pub(super) async fn append(work: &mut Work, sets: &Sets, mut wanted: Vec<Wanted<'_>>) -> Result<Answers> {
    let mut keys = HashSet::new();
    wanted.retain(|w| keys.insert(w.admitted.job.key));
    let mut answers: HashMap<JobId, JobAnswer> = HashMap::new();
    wanted.retain(|w| match unfit(w.admitted) {
        Some(reason) => {
            answers.insert(w.admitted.job.key, JobAnswer::Refused { reason });
            false
        }
        None => true,
    });
    if wanted.is_empty() {
        return Ok(Answers(answers));
    }
    let made = insert(work, sets, &wanted).await?;
    work.announce_queued(&wanted, &made).await?;
    messages::queued(work, &wanted, &made).await?;
    if wanted.iter().any(is_keyed) {
        let is_made = |w: &Wanted<'_>| made.get(&w.admitted.job.key.0).copied().filter(|_| is_keyed(w));
        let new = |w: &Wanted<'_>| {
            let (job, supersede) = (is_made(w)?, supersede(w.admitted));
            let open = matches!(w.admitted.source, Some(JobPin::Open(_)));
            Some(New { job, scope: scope(w.admitted), supersede: supersede.cloned(), open })
        };
        place(work, wanted.iter().filter_map(new).collect()).await?;
    }
    answers.extend(made.into_keys().map(JobId).map(|job| (job, JobAnswer::Submitted { job })));
    let there: Vec<Uuid> =
        wanted.iter().map(|w| w.admitted.job.key).filter(|k| !answers.contains_key(k)).map(|k| k.0).collect();
    for (id, state) in states(work, &there).await? {
        let state = state.parse().map_err(|_| corrupt("ended", "state", id, &state))?;
        answers.insert(JobId(id), JobAnswer::Exists { job: JobId(id), state });
    }
    match wanted.iter().find(|w| !answers.contains_key(&w.admitted.job.key)) {
        Some(w) => Err(corrupt("jobs", "state", w.admitted.job.key, "none of the tables that a job can be in")),
        None => Ok(Answers(answers)),
    }
}

/// Whether other jobs have a say in when it may run: it is not queued at once.
fn is_keyed(wanted: &Wanted<'_>) -> bool {
    supersede(wanted.admitted).is_some() || wanted.admitted.limit.is_some()
}

fn supersede(admitted: &Admitted) -> Option<&Supersede> {
    admitted.job.supersede.as_ref().filter(|supersede| supersede.policy != Policy::None)
}

/// Among whom only the newest is wanted.
fn scope(admitted: &Admitted) -> Option<String> {
    let job = &admitted.job;
    super::supersede::scope(&job.task, &job.arch, supersede(admitted)?)
}

/// Why a job cannot be stored: one that no index takes must not stop the others.
pub(super) fn unfit(admitted: &Admitted) -> Option<String> {
    let (job, labels) = (&admitted.job, labels::text(&admitted.needs));
    let (none, supersede) = (String::new(), supersede(admitted));
    if supersede.is_some_and(|supersede| supersede.key.trim().is_empty()) {
        return Some("its supersede policy has no key".into());
    }
    let texts = [
        ("task has", &job.task),
        ("item has", &job.item),
        ("rule has", &job.rule),
        ("labels have", &labels),
        ("supersede key has", supersede.map_or(&none, |supersede| &supersede.key)),
        ("concurrency key has", admitted.limit.as_ref().map_or(&none, |limit| &limit.key)),
    ];
    let (what, text) = texts.into_iter().find(|(_, text)| !fits(text))?;
    Some(format!("its {what} {} bytes, which is more than can be stored", text.len()))
}

/// Gives back the ids that were new, with their numbers. What is keyed is not queued.
///
/// PostgreSQL takes typed arrays and queues in the same statement; SQLite has no INSERT inside a SELECT, so it takes
/// JSON and queues what the first statement made. On both the numbers follow the order of the batch; PostgreSQL inserts
/// in the order of the keys all the same, so that of two batches with the same keys one waits for the other, and not
/// both.
async fn insert(work: &mut Work, sets: &Sets, wanted: &[Wanted<'_>]) -> Result<HashMap<Uuid, i64>> {
    let now = work.now.0;
    let rank = |w: &Wanted<'_>| now.saturating_sub(i64::from(w.admitted.job.priority) * PRIORITY_STEP.micros());
    let unknown_cause =
        |w: &Wanted<'_>| if w.event.is_none() { w.admitted.event.as_deref().map(event_name) } else { None };
    let limit = |w: &Wanted<'_>| w.admitted.limit.clone();
    let ordered_at = |w: &Wanted<'_>| scope(w.admitted).map(|_| w.admitted.ordered_at.0);
    match &mut work.tx {
        Tx::Pg(tx) => {
            fn all<'w, T>(wanted: &'w [Wanted<'w>], of: impl Fn(&'w Wanted<'w>) -> T) -> Vec<T> {
                wanted.iter().map(of).collect()
            }
            let made: Vec<(Uuid, i64)> = sqlx::query_as(
                "WITH numbered AS MATERIALIZED (
                     SELECT nextval(pg_get_serial_sequence('jobs', 'seq')), u.* FROM unnest($1::uuid[], $2::text[],
                         $3::text[], $4::text[], $5::text[], $6::text[], $7::int[], $8::int[], $9::bigint[],
                         $10::bigint[], $11::text[], $12::bigint[], $13::text[], $14::text[], $15::bigint[],
                         $16::bigint[], $17::bigint[], $18::text[], $19::text[], $20::uuid[], $22::text[], $23::text[],
                         $26::text[], $27::int[], $28::text[], $29::bigint[], $30::uuid[]) AS u (id)),
                 made AS (
                     INSERT INTO jobs (seq, id, task, item, item_type, arch, rule, priority, needs, rank, task_version,
                         params, event, event_id, recorder, recorded_at, generation, expires_at, supersede_key,
                         supersede_policy, rerun_of, source_ref, source_commit, limit_key, limit_most, scope,
                         ordered_at, search, created_at)
                     OVERRIDING SYSTEM VALUE SELECT n.*, $21 FROM numbered n ORDER BY n.id
                     ON CONFLICT (id) DO NOTHING
                     RETURNING seq, id, needs, rank, expires_at, supersede_policy, limit_most,
                         source_ref IS NOT NULL AND source_commit IS NULL AS open),
                 queue AS (
                     INSERT INTO queued (job, attempt, needs, rank, expires_at)
                     SELECT seq, 1, needs, rank, expires_at FROM made
                     WHERE NOT open AND supersede_policy IS NULL AND limit_most IS NULL),
                 wait AS (
                     INSERT INTO waiting (job, attempt, key, reason, expires_at)
                     SELECT seq, 1, $24, $25, expires_at FROM made WHERE open)
                 SELECT id, seq FROM made",
            )
            .bind(all(wanted, |w| w.admitted.job.key.0))
            .bind(all(wanted, |w| clean(&w.admitted.job.task)))
            .bind(all(wanted, |w| clean(&w.admitted.job.item)))
            .bind(all(wanted, |w| clean(&w.admitted.job.item_type)))
            .bind(all(wanted, |w| clean(&w.admitted.job.arch)))
            .bind(all(wanted, |w| clean(&w.admitted.job.rule)))
            .bind(all(wanted, |w| w.admitted.job.priority))
            .bind(all(wanted, |w| sets[&w.admitted.needs]))
            .bind(all(wanted, rank))
            .bind(all(wanted, |w| w.admitted.task_version))
            .bind(all(wanted, |w| json!(w.admitted.job.params).to_string()))
            .bind(all(wanted, |w| w.event))
            .bind(all(wanted, unknown_cause))
            .bind(all(wanted, |w| clean(&w.admitted.recorder)))
            .bind(all(wanted, |w| w.admitted.recorded_at.0))
            .bind(all(wanted, |w| int(w.admitted.generation)))
            .bind(all(wanted, |w| w.admitted.job.expires_at.map(|t| t.0)))
            .bind(all(wanted, |w| supersede(w.admitted).map(|s| clean(&s.key))))
            .bind(all(wanted, |w| supersede(w.admitted).map(|s| s.policy.name())))
            .bind(all(wanted, |w| w.admitted.rerun_of.map(|id| id.0)))
            .bind(now)
            .bind(all(wanted, |w| w.admitted.source.as_ref().map(|pin| clean(pin.reference()))))
            .bind(all(wanted, |w| w.admitted.source.as_ref().and_then(JobPin::commit)))
            .bind(SOURCE)
            .bind(NO_COMMIT)
            .bind(all(wanted, |w| limit(w).map(|limit| clean(&limit.key).into_owned())))
            .bind(all(wanted, |w| limit(w).map(|limit| small(limit.most))))
            .bind(all(wanted, |w| scope(w.admitted)))
            .bind(all(wanted, ordered_at))
            .bind(all(wanted, |w| w.admitted.search.map(|id| id.0)))
            .fetch_all(&mut **tx)
            .await?;
            Ok(made.into_iter().collect())
        }
        Tx::Lite(tx) => {
            let rows: Vec<_> = wanted
                .iter()
                .map(|w| {
                    let (job, s, limit) = (&w.admitted.job, supersede(w.admitted), limit(w));
                    json!([
                        job.key.0.simple().to_string(),
                        clean(&job.task),
                        clean(&job.item),
                        clean(&job.item_type),
                        clean(&job.arch),
                        clean(&job.rule),
                        job.priority,
                        sets[&w.admitted.needs],
                        rank(w),
                        w.admitted.task_version,
                        json!(job.params).to_string(),
                        w.event,
                        unknown_cause(w),
                        clean(&w.admitted.recorder),
                        w.admitted.recorded_at.0,
                        w.admitted.generation,
                        job.expires_at.map(|t| t.0),
                        s.map(|s| clean(&s.key)),
                        s.map(|s| s.policy.name()),
                        w.admitted.rerun_of.map(|id| id.0.simple().to_string()),
                        w.admitted.source.as_ref().map(|pin| clean(pin.reference())),
                        w.admitted.source.as_ref().and_then(JobPin::commit),
                        limit.as_ref().map(|limit| clean(&limit.key)),
                        limit.as_ref().map(|limit| limit.most),
                        scope(w.admitted),
                        ordered_at(w),
                        w.admitted.search.map(|id| id.0.simple().to_string()),
                    ])
                })
                .collect();
            let made = sqlx::query(
                "INSERT INTO jobs (id, task, item, item_type, arch, rule, priority, needs, rank, task_version,
                     params, event, event_id, recorder, recorded_at, generation, expires_at, supersede_key,
                     supersede_policy, rerun_of, source_ref, source_commit, limit_key, limit_most, scope, ordered_at,
                     search, created_at)
                 SELECT unhex(r.value->>0), r.value->>1, r.value->>2, r.value->>3, r.value->>4, r.value->>5,
                     r.value->>6, r.value->>7, r.value->>8, r.value->>9, r.value->>10, r.value->>11, r.value->>12,
                     r.value->>13, r.value->>14, r.value->>15, r.value->>16, r.value->>17, r.value->>18,
                     unhex(r.value->>19), r.value->>20, r.value->>21, r.value->>22, r.value->>23, r.value->>24,
                     r.value->>25, unhex(r.value->>26), $2
                 FROM json_each($1) r WHERE true
                 ON CONFLICT (id) DO NOTHING
                 RETURNING seq, id",
            )
            .bind(json!(rows).to_string())
            .bind(now)
            .fetch_all(&mut **tx)
            .await?;
            let seqs = made.iter().map(|row| row.try_get("seq")).collect::<sqlx::Result<Vec<i64>>>()?;
            sqlx::query(
                "INSERT INTO queued (job, attempt, needs, rank, expires_at)
                 SELECT seq, 1, needs, rank, expires_at FROM jobs
                 WHERE seq IN (SELECT value FROM json_each($1)) AND supersede_policy IS NULL AND limit_most IS NULL
                     AND NOT (source_ref IS NOT NULL AND source_commit IS NULL)",
            )
            .bind(json!(seqs).to_string())
            .execute(&mut **tx)
            .await?;
            if wanted.iter().any(|w| matches!(w.admitted.source, Some(JobPin::Open(_)))) {
                sqlx::query(
                    "INSERT INTO waiting (job, attempt, key, reason, expires_at)
                     SELECT seq, 1, $2, $3, expires_at FROM jobs WHERE seq IN (SELECT value FROM json_each($1))
                         AND source_ref IS NOT NULL AND source_commit IS NULL",
                )
                .bind(json!(seqs).to_string())
                .bind(SOURCE)
                .bind(NO_COMMIT)
                .execute(&mut **tx)
                .await?;
            }
            let id = |row: &sqlx::sqlite::SqliteRow| row.try_get("id");
            Ok(made.iter().zip(seqs).map(|(row, seq)| Ok((id(row)?, seq))).collect::<sqlx::Result<_>>()?)
        }
    }
}

/// Where jobs are that exist.
async fn states(work: &mut Work, ids: &[Uuid]) -> Result<Vec<(Uuid, String)>> {
    macro_rules! select {
        ($among:literal) => {
            concat!(
                "SELECT j.id, CASE WHEN w.job IS NOT NULL THEN 'waiting' WHEN q.job IS NOT NULL THEN 'queued'
                                   WHEN l.job IS NOT NULL THEN 'running' ELSE COALESCE(e.state, '') END
                 FROM jobs j LEFT JOIN waiting w ON w.job = j.seq LEFT JOIN queued q ON q.job = j.seq
                      LEFT JOIN leases l ON l.job = j.seq LEFT JOIN ended e ON e.job = j.seq
                 WHERE j.id ",
                $among
            )
        };
    }
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    Ok(match &mut work.tx {
        Tx::Pg(tx) => sqlx::query_as(select!("= ANY ($1)")).bind(ids).fetch_all(&mut **tx).await?,
        Tx::Lite(tx) => {
            let ids: Vec<String> = ids.iter().map(|id| id.simple().to_string()).collect();
            sqlx::query_as(select!("IN (SELECT unhex(value) FROM json_each($1))"))
                .bind(json!(ids).to_string())
                .fetch_all(&mut **tx)
                .await?
        }
    })
}
