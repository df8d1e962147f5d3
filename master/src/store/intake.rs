//! What triggers send: events, the jobs decided from them, and the cursor, in one transaction.

use std::collections::{BTreeMap, HashMap};

use db::on_read;
use model::Content;
use serde_json::json;

use super::number::{int, nat};
use super::submit::{Wanted, admitted, append, needs, unfit};
use super::text::{beginning, clean, event_name, event_name_beside};
use super::tx::{Tx, Work, on_tx, retrying};
use super::types::{Act, Batch, Candidate, Intake, NewEvent};
use super::{Result, Store, audit, pair};

impl Store {
    /// The number of the event that is wanted next from this recorder: 1 from one that is unknown.
    pub async fn cursor(&self, recorder: &str) -> Result<u64> {
        let next: Option<i64> = on_read!(self.db(), |pool| {
            sqlx::query_scalar("SELECT next FROM triggers WHERE recorder = $1")
                .bind(recorder)
                .fetch_optional(pool)
                .await?
        });
        Ok(next.map_or(1, nat))
    }

    /// Stores a batch whole or not at all. One without events only says that its trigger is there.
    pub async fn intake(&self, batch: &Batch) -> Result<Intake> {
        let candidates: Vec<&Candidate> = batch.events.iter().flat_map(|event| &event.jobs).collect();
        let sets = self.label_sets_of(needs(candidates.iter().copied())).await?;
        let (intake, new) = retrying(async || {
            let mut work = self.begin().await?;
            let next = hear(&mut work, batch).await?;
            let Some((first, last)) = batch.events.first().zip(batch.events.last()) else {
                work.commit().await?;
                return Ok((Intake::Stored { next, jobs: Vec::new() }, false));
            };
            if first.seq != next {
                return Ok((Intake::Elsewhere { next }, false));
            }
            let stored = store_events(&mut work, &batch.recorder, &batch.events).await?;
            let wanted =
                batch.events.iter().zip(&stored.seqs).flat_map(|(event, seq)| {
                    admitted(&event.jobs).map(|admitted| Wanted { admitted, event: Some(*seq) })
                });
            let mut answers = append(&mut work, &sets, wanted.collect()).await?;
            let next = last.seq + 1;
            move_cursor(&mut work, &batch.recorder, next, stored.repeated()).await?;
            if let Some(pair) = &batch.pair {
                pair::compare(&mut work, pair, &batch.events, stored.each()).await?;
            }
            work.commit().await?;
            let new = answers.any_new();
            Ok((Intake::Stored { next, jobs: candidates.iter().map(|c| answers.give(c)).collect() }, new))
        })
        .await?;
        if new {
            self.ring();
        }
        Ok(intake)
    }

    /// Forgets a trigger that will not come back, so that nothing waits to hear from it.
    pub async fn forget_trigger(&self, recorder: &str, act: &Act) -> Result<bool> {
        retrying(async || {
            let mut work = self.begin().await?;
            let rows = on_tx!(&mut work.tx, |conn| {
                sqlx::query("DELETE FROM triggers WHERE recorder = $1")
                    .bind(recorder)
                    .execute(conn)
                    .await?
                    .rows_affected()
            });
            if rows > 0 {
                audit::record(&mut work, act).await?;
            }
            work.commit().await?;
            Ok(rows > 0)
        })
        .await
    }
}

impl NewEvent {
    /// How many jobs were decided from it.
    fn asked(&self) -> i32 {
        i32::try_from(self.jobs.len()).unwrap_or(i32::MAX)
    }

    /// How many of them this master does not run.
    fn refused(&self) -> i32 {
        let refused = self.jobs.iter().filter(|candidate| match candidate {
            Candidate::Answered(_) => true,
            Candidate::Admitted(admitted) => unfit(admitted).is_some(),
        });
        i32::try_from(refused.count()).unwrap_or(i32::MAX)
    }
}

/// Notes what a trigger says of itself, and holds its row, so that one batch of a recorder follows another.
async fn hear(work: &mut Work, batch: &Batch) -> Result<u64> {
    let now = work.now;
    let next: i64 = on_tx!(&mut work.tx, |conn| {
        sqlx::query_scalar(
            "INSERT INTO triggers (recorder, next, last_heard, generation, recorded, forwarded, quarantined, duplicates,
                 pair, member, listening_since, caught_up, troubles)
             VALUES ($1, 1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
             ON CONFLICT (recorder) DO UPDATE SET last_heard = excluded.last_heard, generation = excluded.generation,
                 recorded = excluded.recorded, forwarded = excluded.forwarded, quarantined = excluded.quarantined,
                 duplicates = excluded.duplicates, pair = excluded.pair, member = excluded.member,
                 listening_since = excluded.listening_since, caught_up = excluded.caught_up,
                 troubles = excluded.troubles
             RETURNING next",
        )
        .bind(&batch.recorder)
        .bind(now.0)
        .bind(int(batch.generation))
        .bind(int(batch.counts.recorded))
        .bind(int(batch.counts.forwarded))
        .bind(int(batch.counts.quarantined))
        .bind(int(batch.counts.duplicates))
        .bind(batch.pair.as_ref().map(|pair| &pair.name))
        .bind(batch.pair.as_ref().map(|pair| &pair.member))
        .bind(batch.counts.listening_since.map(|at| at.0))
        .bind(batch.counts.caught_up.map(|at| at.0))
        .bind(json!(batch.troubles).to_string())
        .fetch_one(conn)
        .await?
    });
    Ok(nat(next))
}

async fn move_cursor(work: &mut Work, recorder: &str, next: u64, repeated: u64) -> Result<()> {
    let now = work.now.0;
    on_tx!(&mut work.tx, |conn| {
        sqlx::query("UPDATE triggers SET next = $2, repeated = repeated + $3, last_event = $4 WHERE recorder = $1")
            .bind(recorder)
            .bind(int(next))
            .bind(int(repeated))
            .bind(now)
            .execute(conn)
            .await?;
    });
    Ok(())
}

struct Stored {
    /// The number of each event of the batch, in order.
    seqs: Vec<i64>,
    /// Which of them were not there before.
    new: Vec<bool>,
}

impl Stored {
    fn repeated(&self) -> u64 {
        self.new.iter().filter(|new| !**new).count() as u64
    }

    /// The number of each event, and whether it was not there before.
    fn each(&self) -> impl Iterator<Item = (i64, bool)> {
        self.seqs.iter().copied().zip(self.new.iter().copied())
    }
}

/// Stores the events that are new. The same id with the same content is the same event; with other content it is
/// stored beside it, under another id.
async fn store_events(work: &mut Work, recorder: &str, events: &[NewEvent]) -> Result<Stored> {
    let mut names: Vec<String> = events.iter().map(|e| event_name(&e.event.id)).collect();
    let contents: Vec<Content> = events.iter().map(|e| e.event.content()).collect();
    let mut seqs: Vec<Option<i64>> = vec![None; events.len()];
    let mut known: HashMap<String, (i64, Content)> = HashMap::new();
    let mut stored_now = vec![false; events.len()];
    while seqs.contains(&None) {
        let open: Vec<usize> = (0..events.len()).filter(|i| seqs[*i].is_none()).collect();
        load(work, open.iter().map(|i| names[*i].as_str()), &mut known).await?;
        let mut new: BTreeMap<String, usize> = BTreeMap::new();
        for i in open {
            let beside = event_name_beside(&events[i].event);
            match known.get(&names[i]) {
                Some((seq, content)) if *content == contents[i] || names[i] == beside => {
                    seqs[i] = Some(*seq);
                }
                Some(_) => {
                    tracing::warn!(event.id = %names[i], stored_as = %beside, "another event has this id");
                    names[i] = beside;
                }
                // The second of one name is judged in the next round, beside the first.
                None => {
                    new.entry(names[i].clone()).or_insert(i);
                }
            }
        }
        for (id, seq) in insert_events(work, recorder, events, &contents, &new).await? {
            let i = new[&id];
            seqs[i] = Some(seq);
            stored_now[i] = true;
            known.insert(id, (seq, contents[i]));
        }
    }
    Ok(Stored { seqs: seqs.into_iter().flatten().collect(), new: stored_now })
}

/// Adds the events of these names that are stored to `known`.
async fn load<'a>(
    work: &mut Work,
    names: impl Iterator<Item = &'a str>,
    known: &mut HashMap<String, (i64, Content)>,
) -> Result<()> {
    let mut names: Vec<&str> = names.filter(|name| !known.contains_key(*name)).collect();
    names.sort_unstable();
    names.dedup();
    let rows: Vec<(String, i64, Vec<u8>)> = match &mut work.tx {
        Tx::Pg(tx) => {
            sqlx::query_as("SELECT id, seq, content FROM events WHERE id = ANY ($1)")
                .bind(names)
                .fetch_all(&mut **tx)
                .await?
        }
        Tx::Lite(tx) => {
            sqlx::query_as("SELECT id, seq, content FROM events WHERE id IN (SELECT value FROM json_each($1))")
                .bind(json!(names).to_string())
                .fetch_all(&mut **tx)
                .await?
        }
    };
    for (id, seq, content) in rows {
        let content = content.try_into().map_err(|c| super::error::corrupt("events", "content", &id, c))?;
        known.insert(id, (seq, Content(content)));
    }
    Ok(())
}

/// Gives back the ids that were new, with their numbers; one that somebody else has just stored is left out.
async fn insert_events(
    work: &mut Work,
    recorder: &str,
    events: &[NewEvent],
    contents: &[Content],
    new: &BTreeMap<String, usize>,
) -> Result<Vec<(String, i64)>> {
    if new.is_empty() {
        return Ok(Vec::new());
    }
    let document = |e: &NewEvent| json!({"headers": e.event.headers, "body": e.event.body}).to_string();
    let rows = match &mut work.tx {
        Tx::Pg(tx) => {
            let all = |of: &dyn Fn(&NewEvent) -> i64| new.values().map(|i| of(&events[*i])).collect::<Vec<_>>();
            let texts = |of: &dyn Fn(&NewEvent) -> String| new.values().map(|i| of(&events[*i])).collect::<Vec<_>>();
            sqlx::query_as(
                "INSERT INTO events (id, content, topic, sent_at, recorded_at, recorder, recorder_seq, generation,
                     source, matched, document, asked, refused)
                 SELECT g.id, g.content, g.topic, g.sent_at, g.recorded_at, $13, g.seq, g.generation, g.source,
                     g.matched, g.document, g.asked, g.refused
                 FROM unnest($1::text[], $2::bytea[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[],
                     $8::text[], $9::text[], $10::text[], $11::int[], $12::int[])
                     AS g (id, content, topic, sent_at, recorded_at, seq, generation, source, matched, document, asked,
                           refused)
                 ON CONFLICT (id) DO NOTHING
                 RETURNING id, seq",
            )
            .bind(new.keys().map(String::as_str).collect::<Vec<_>>())
            .bind(new.values().map(|i| contents[*i].0.as_slice()).collect::<Vec<_>>())
            .bind(texts(&|e| clean(beginning(&e.event.topic)).into_owned()))
            .bind(new.values().map(|i| events[*i].event.sent_at.as_deref().map(clean)).collect::<Vec<_>>())
            .bind(all(&|e| e.recorded_at.0))
            .bind(all(&|e| int(e.seq)))
            .bind(all(&|e| int(e.generation)))
            .bind(texts(&|e| clean(&e.event.source).into_owned()))
            .bind(texts(&|e| json!(e.matched).to_string()))
            .bind(texts(&document))
            .bind(new.values().map(|i| events[*i].asked()).collect::<Vec<_>>())
            .bind(new.values().map(|i| events[*i].refused()).collect::<Vec<_>>())
            .bind(recorder)
            .fetch_all(&mut **tx)
            .await?
        }
        Tx::Lite(tx) => {
            let rows: Vec<_> = new
                .iter()
                .map(|(id, i)| {
                    let e = &events[*i];
                    json!([
                        id,
                        hex::encode(contents[*i].0),
                        clean(beginning(&e.event.topic)),
                        e.event.sent_at.as_deref().map(clean),
                        e.recorded_at.0,
                        e.seq,
                        e.generation,
                        clean(&e.event.source),
                        json!(e.matched).to_string(),
                        document(e),
                        e.asked(),
                        e.refused(),
                    ])
                })
                .collect();
            sqlx::query_as(
                "INSERT INTO events (id, content, topic, sent_at, recorded_at, recorder, recorder_seq, generation,
                     source, matched, document, asked, refused)
                 SELECT r.value->>0, unhex(r.value->>1), r.value->>2, r.value->>3, r.value->>4, $2, r.value->>5,
                     r.value->>6, r.value->>7, r.value->>8, r.value->>9, r.value->>10, r.value->>11
                 FROM json_each($1) r WHERE true
                 ON CONFLICT (id) DO NOTHING
                 RETURNING id, seq",
            )
            .bind(json!(rows).to_string())
            .bind(recorder)
            .fetch_all(&mut **tx)
            .await?
        }
    };
    Ok(rows)
}
