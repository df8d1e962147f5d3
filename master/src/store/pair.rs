//! Two triggers of a pair see the same events on queues of their own; here what they sent is compared, once.
//!
//! The first of the two to send an event leaves it in `unpaired`, and the second takes it from there and compares. So an
//! event that the second has not seen is one that is still there although the second has come past it: although it has
//! sent an event that the first had sent well after that one. Both moments are of the database's clock when the first
//! sent them, and so neither a trigger's clock nor an hour's backlog makes a difference where there is none.

use std::collections::{BTreeSet, HashMap};

use db::on_read;
use model::intake::Pair;
use model::operator::{Differs, Divergence};
use model::{JobId, Span, Time};
use serde_json::json;
use uuid::Uuid;

use super::error::corrupt;
use super::number::{int, nat};
use super::tx::{Tx, Work, on_tx, retrying};
use super::types::{Cursor, NewEvent, PairTrouble};
use super::{Result, Store};

/// Counts go no further: whoever reads them wants to know whether there are some.
const MOST: u64 = 1000;

/// How many old rows are forgotten in one transaction.
const SLICE: i64 = 5000;

/// What is unpaired although the other has come past it: `$1` is the grace.
macro_rules! unseen {
    () => {
        "unpaired u JOIN pairings p ON p.pair = u.pair AND p.other = u.member
             AND u.since >= p.began AND u.since <= p.passed - $1"
    };
}

/// Compares a batch of one of a pair with what the other has sent, and keeps what the other has not. `events` are
/// given with their numbers, and whether they were new.
pub(super) async fn compare(
    work: &mut Work,
    pair: &Pair,
    events: &[NewEvent],
    stored: impl Iterator<Item = (i64, bool)>,
) -> Result<()> {
    let (mut fresh, mut again) = (Vec::new(), Vec::new());
    for (event, (seq, new)) in events.iter().zip(stored) {
        if new { fresh.push((seq, event)) } else { again.push((seq, event)) }
    }
    keep(work, pair, &fresh).await?;
    let mut firsts = take(work, pair, &again).await?;
    if firsts.is_empty() {
        return Ok(());
    }
    come_past(work, pair, &firsts).await?;
    let mut differing = 0;
    for (seq, event) in again {
        let Some(first) = firsts.remove(&seq) else { continue };
        let mine = keys(event);
        if mine != first.decided {
            diverge(work, pair, seq, &first, &mine, event.generation).await?;
            differing += 1;
        }
    }
    if differing > 0 {
        tracing::warn!(
            pair = pair.name,
            trigger = pair.member,
            events = differing,
            "the other trigger of the pair has asked for other jobs; see 'taskotron event divergences'"
        );
    }
    Ok(())
}

fn keys(event: &NewEvent) -> BTreeSet<Uuid> {
    event.decided.iter().map(|key| key.0).collect()
}

fn bytes(keys: &BTreeSet<Uuid>) -> Vec<u8> {
    keys.iter().flat_map(|key| *key.as_bytes()).collect()
}

/// What the one of a pair sent first.
struct First {
    member: String,
    since: i64,
    decided: BTreeSet<Uuid>,
}

async fn keep(work: &mut Work, pair: &Pair, fresh: &[(i64, &NewEvent)]) -> Result<()> {
    if fresh.is_empty() {
        return Ok(());
    }
    let now = work.now.0;
    match &mut work.tx {
        Tx::Pg(tx) => {
            sqlx::query(
                "INSERT INTO unpaired (event, pair, member, since, decided)
                 SELECT g.event, $3, $4, $5, g.decided FROM unnest($1::bigint[], $2::bytea[]) AS g (event, decided)",
            )
            .bind(fresh.iter().map(|(seq, _)| *seq).collect::<Vec<_>>())
            .bind(fresh.iter().map(|(_, event)| bytes(&keys(event))).collect::<Vec<_>>())
            .bind(&pair.name)
            .bind(&pair.member)
            .bind(now)
            .execute(&mut **tx)
            .await?;
        }
        Tx::Lite(tx) => {
            let row = |(seq, event): &(i64, &NewEvent)| json!([seq, hex::encode(bytes(&keys(event)))]);
            sqlx::query(
                "INSERT INTO unpaired (event, pair, member, since, decided)
                 SELECT g.value->>0, $2, $3, $4, unhex(g.value->>1) FROM json_each($1) g",
            )
            .bind(json!(fresh.iter().map(row).collect::<Vec<_>>()).to_string())
            .bind(&pair.name)
            .bind(&pair.member)
            .bind(now)
            .execute(&mut **tx)
            .await?;
        }
    }
    Ok(())
}

/// Takes what the other of the pair has sent of these events.
async fn take(work: &mut Work, pair: &Pair, again: &[(i64, &NewEvent)]) -> Result<HashMap<i64, First>> {
    if again.is_empty() {
        return Ok(HashMap::new());
    }
    let seqs: BTreeSet<i64> = again.iter().map(|(seq, _)| *seq).collect();
    let rows: Vec<(i64, String, i64, Vec<u8>)> =
        match &mut work.tx {
            Tx::Pg(tx) => {
                sqlx::query_as(
                    "DELETE FROM unpaired WHERE event = ANY ($1) AND pair = $2 AND member <> $3
                 RETURNING event, member, since, decided",
                )
                .bind(seqs.into_iter().collect::<Vec<_>>())
                .bind(&pair.name)
                .bind(&pair.member)
                .fetch_all(&mut **tx)
                .await?
            }
            Tx::Lite(tx) => sqlx::query_as(
                "DELETE FROM unpaired WHERE event IN (SELECT value FROM json_each($1)) AND pair = $2 AND member <> $3
                 RETURNING event, member, since, decided",
            )
            .bind(json!(seqs).to_string())
            .bind(&pair.name)
            .bind(&pair.member)
            .fetch_all(&mut **tx)
            .await?,
        };
    let read = |(event, member, since, decided): (i64, String, i64, Vec<u8>)| {
        let key = |key: &[u8]| Uuid::from_slice(key).map_err(|e| corrupt("unpaired", "decided", event, e));
        let decided = decided.chunks(16).map(key).collect::<Result<_>>()?;
        Ok((event, First { member, since, decided }))
    };
    rows.into_iter().map(read).collect()
}

/// Notes how far each of the two has come in what the other has sent: the other has had all of these before.
async fn come_past(work: &mut Work, pair: &Pair, firsts: &HashMap<i64, First>) -> Result<()> {
    let now = work.now.0;
    let mut steps: Vec<(&str, &str, i64, i64)> = Vec::new();
    for other in firsts.values().map(|first| first.member.as_str()).collect::<BTreeSet<_>>() {
        let since = || firsts.values().filter(|first| first.member == other).map(|first| first.since);
        let (began, passed) = (since().min().unwrap_or(now), since().max().unwrap_or(now));
        steps.push((&pair.member, other, began, passed));
        steps.push((other, &pair.member, now, now));
    }
    // In one order for both, so that two batches wait for each other instead of both.
    steps.sort_unstable();
    for (member, other, began, passed) in steps {
        on_tx!(&mut work.tx, |conn| {
            sqlx::query(
                "INSERT INTO pairings (pair, member, other, began, passed) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (pair, member, other) DO UPDATE SET passed = excluded.passed
                 WHERE excluded.passed > pairings.passed",
            )
            .bind(&pair.name)
            .bind(member)
            .bind(other)
            .bind(began)
            .bind(passed)
            .execute(conn)
            .await?;
        });
    }
    Ok(())
}

async fn diverge(
    work: &mut Work,
    pair: &Pair,
    seq: i64,
    first: &First,
    mine: &BTreeSet<Uuid>,
    generation: u64,
) -> Result<()> {
    let only =
        |one: &BTreeSet<Uuid>, other: &BTreeSet<Uuid>| json!(one.difference(other).collect::<Vec<_>>()).to_string();
    let now = work.now.0;
    on_tx!(&mut work.tx, |conn| {
        sqlx::query(
            "INSERT INTO divergences (event, pair, first, second, second_generation, only_first, only_second, found_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (event) DO NOTHING",
        )
        .bind(seq)
        .bind(&pair.name)
        .bind(&first.member)
        .bind(&pair.member)
        .bind(int(generation))
        .bind(only(&first.decided, mine))
        .bind(only(mine, &first.decided))
        .bind(now)
        .execute(conn)
        .await?;
    });
    Ok(())
}

#[derive(sqlx::FromRow)]
struct Row {
    seq: i64,
    id: String,
    topic: String,
    pair: String,
    first: String,
    second: String,
    at: i64,
    first_generation: i64,
    second_generation: Option<i64>,
    only_first: Option<String>,
    only_second: Option<String>,
}

impl Row {
    fn read(self) -> Result<Divergence> {
        let jobs = |column, text: &str| -> Result<Vec<JobId>> {
            serde_json::from_str(text).map_err(|_| corrupt("divergences", column, self.seq, text))
        };
        let differs = match (self.second_generation, &self.only_first, &self.only_second) {
            (Some(second_generation), Some(only_first), Some(only_second)) => Differs::Decided {
                first_generation: nat(self.first_generation),
                second_generation: nat(second_generation),
                only_first: jobs("only_first", only_first)?,
                only_second: jobs("only_second", only_second)?,
            },
            _ => Differs::Unseen,
        };
        Ok(Divergence {
            event_id: self.id,
            topic: self.topic,
            pair: self.pair,
            first: self.first,
            second: self.second,
            at: Time(self.at),
            differs,
        })
    }
}

/// `$2` is the event before which to begin, `$3` the event that is looked for or 0, `$4` the number of rows.
const LIST: &str = concat!(
    "SELECT x.seq, e.id, e.topic, x.pair, x.first, x.second, x.at, e.generation AS first_generation,
            x.second_generation, x.only_first, x.only_second
     FROM (SELECT * FROM (
               SELECT d.event AS seq, d.pair, d.first, d.second, d.found_at AS at, d.second_generation, d.only_first,
                      d.only_second
               FROM divergences d WHERE d.event < $2 AND ($3 = 0 OR d.event = $3) ORDER BY d.event DESC LIMIT $4) a
           UNION ALL
           SELECT * FROM (
               SELECT u.event, u.pair, u.member, p.member, u.since, CAST(NULL AS BIGINT), CAST(NULL AS TEXT),
                      CAST(NULL AS TEXT)
               FROM ",
    unseen!(),
    "           WHERE u.event < $2 AND ($3 = 0 OR u.event = $3) ORDER BY u.event DESC LIMIT $4) b) x
     JOIN events e ON e.seq = x.seq
     ORDER BY x.seq DESC LIMIT $4"
);

impl Store {
    /// Where the triggers of a pair differ, newest event first. What the second has not sent counts only when it has
    /// sent what the first had sent `grace` later.
    pub async fn divergences(&self, grace: Span, after: Cursor, limit: u32) -> Result<(Vec<Divergence>, Cursor)> {
        let rows = self.diverging(grace, after.unwrap_or(i64::MAX), 0, i64::from(limit)).await?;
        let next = if rows.len() == limit as usize { rows.last().map(|row| row.seq) } else { None };
        Ok((rows.into_iter().map(Row::read).collect::<Result<_>>()?, next))
    }

    /// The same of one event.
    pub async fn divergences_of(&self, event: &str, grace: Span) -> Result<Vec<Divergence>> {
        let Some(seq) = self.event_seq(event).await? else { return Ok(Vec::new()) };
        let rows = self.diverging(grace, i64::MAX, seq, 10).await?;
        rows.into_iter().map(Row::read).collect()
    }

    async fn diverging(&self, grace: Span, before: i64, event: i64, limit: i64) -> Result<Vec<Row>> {
        Ok(on_read!(self.db(), |pool| {
            sqlx::query_as(LIST).bind(grace.micros()).bind(before).bind(event).bind(limit).fetch_all(pool).await?
        }))
    }

    /// What was found in the last `within`, by pair and kind; no count goes beyond a thousand.
    pub async fn pair_troubles(&self, grace: Span, within: Span) -> Result<Vec<PairTrouble>> {
        type Row = (String, String, String, i64, i64, i64);
        let after = self.now().await?.minus(within).0;
        let rows: Vec<Row> = on_read!(self.db(), |pool| {
            sqlx::query_as(concat!(
                "SELECT pair, first, second, unseen, count(*), min(at) FROM (
                     SELECT * FROM (
                         SELECT pair, first, second, CAST(0 AS BIGINT) AS unseen, found_at AS at FROM divergences
                         WHERE found_at >= $2 ORDER BY found_at DESC LIMIT $3) a
                     UNION ALL
                     SELECT * FROM (
                         SELECT u.pair, u.member, p.member, CAST(1 AS BIGINT), u.since FROM ",
                unseen!(),
                "        WHERE u.since >= $2 ORDER BY u.since DESC LIMIT $3) b) x
                 GROUP BY pair, first, second, unseen ORDER BY pair, first, second, unseen"
            ))
            .bind(grace.micros())
            .bind(after)
            .bind(int(MOST))
            .fetch_all(pool)
            .await?
        });
        let read = |(pair, first, second, unseen, events, since): Row| PairTrouble {
            pair,
            first,
            second,
            unseen: unseen > 0,
            events: nat(events),
            since: Time(since),
        };
        Ok(rows.into_iter().map(read).collect())
    }

    /// Forgets what was found, and what was never paired, longer ago than `keep`.
    pub async fn tidy_pairs(&self, keep: Span) -> Result<()> {
        loop {
            let rows = retrying(async || {
                let mut work = self.begin().await?;
                let old = work.now.minus(keep).0;
                let rows = on_tx!(&mut work.tx, |conn| {
                    let unpaired = sqlx::query(
                        "DELETE FROM unpaired WHERE event IN (
                             SELECT event FROM unpaired WHERE since < $1 ORDER BY since LIMIT $2)",
                    )
                    .bind(old)
                    .bind(SLICE)
                    .execute(&mut *conn)
                    .await?;
                    let found = sqlx::query(
                        "DELETE FROM divergences WHERE event IN (
                             SELECT event FROM divergences WHERE found_at < $1 ORDER BY found_at LIMIT $2)",
                    )
                    .bind(old)
                    .bind(SLICE)
                    .execute(conn)
                    .await?;
                    unpaired.rows_affected() + found.rows_affected()
                });
                work.commit().await?;
                Ok(rows)
            })
            .await?;
            if rows == 0 {
                return Ok(());
            }
        }
    }
}
