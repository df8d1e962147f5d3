//! Delivering results to the results store: in batches, each result with a key that makes sending it twice harmless.
//!
//! What the store refuses is postponed with its reason and shown; it is never dropped, unless it only announces a result. A foreign ResultsDB has no
//! batches and no keys: there each result is sent by itself, at least once.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use model::{Span, Time};
use net::{Client, ClientError, Secret};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::App;
use crate::settings::Results;
use crate::store::{self, Due};

/// Results that are sent at once.
const BATCH: u32 = 200;

/// How long the store may take over one request. A tick that finds it hanging makes two at most, and has to tell of that
/// before it is given up itself ([`db::in_time`]).
const WITHIN: Duration = Duration::from_secs(10);

const BATCH_PATH: &str = "api/v2.0/batch";
const RESULT_PATH: &str = "api/v2.0/results";

/// What stands between the outbox and the results store, as this master last saw it; nothing where another delivers.
#[derive(Default)]
pub struct Health(Mutex<Trouble>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// The store cannot be reached, or does not let us in: why, and since when.
    pub unavailable: Option<(String, Time)>,
    /// What the store said of single results, by their place in the outbox.
    pub refused: BTreeMap<i64, String>,
}

impl Health {
    pub fn trouble(&self) -> Trouble {
        self.0.lock().expect("no one panics while holding it").clone()
    }

    fn set(&self, change: impl FnOnce(&mut Trouble)) {
        change(&mut self.0.lock().expect("no one panics while holding it"));
    }
}

/// What one tick did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub delivered: usize,
    pub refused: usize,
    /// Whether the store could not be reached: the rest waits.
    pub unavailable: bool,
    /// Whether there may be more that is due.
    pub more: bool,
}

/// The way to the results store.
pub struct Courier {
    client: Option<Client>,
    /// Whether it has turned out to be a store without batches.
    foreign: bool,
    pace: Pace,
    within: Duration,
}

impl Default for Courier {
    fn default() -> Courier {
        Courier { client: None, foreign: false, pace: Pace::default(), within: WITHIN }
    }
}

/// How much is sent at once. Less where the same head is not taken again and again: its batch may take the store longer
/// than anyone waits, or the store may stumble over one of its results.
#[derive(Debug, PartialEq, Eq)]
struct Pace {
    limit: u32,
    /// The head of the outbox that was not taken, and how often.
    stuck: Option<(i64, usize)>,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { limit: BATCH, stuck: None }
    }
}

impl Pace {
    fn went_on(&mut self) {
        *self = Pace { limit: (self.limit * 2).min(BATCH), stuck: None };
    }

    /// So many at once are too many.
    fn halve(&mut self, results: usize) {
        let results = u32::try_from(results).unwrap_or(BATCH);
        *self = Pace { limit: (results / 2).max(1), stuck: None };
    }

    /// How often this head was not taken, once it has failed by itself too.
    fn failed(&mut self, head: i64) -> Option<usize> {
        let before = self.stuck.filter(|(seq, _)| *seq == head).map_or(0, |(_, times)| times);
        self.stuck = Some((head, before + 1));
        let alone = self.limit == 1;
        if before > 0 {
            self.limit = (self.limit / 2).max(1);
        }
        (alone && before > 0).then_some(before + 1)
    }
}

/// The store's answer to a batch: one for each of its results, in order.
#[derive(Debug, Deserialize)]
struct Answers {
    answers: Vec<Answer>,
}

#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    error: Option<Value>,
}

/// What became of some results.
#[derive(Default)]
struct Settled {
    delivered: Vec<i64>,
    refused: Vec<(Due, String)>,
}

impl Settled {
    fn len(&self) -> usize {
        self.delivered.len() + self.refused.len()
    }
}

impl Courier {
    /// A courier that waits for so long for an answer.
    #[cfg(test)]
    pub fn within(within: Duration) -> Courier {
        Courier { within, ..Courier::default() }
    }

    /// Delivers what is due, up to a batch of it, and keeps what became of that: a long backlog is no reason to be away
    /// for long. At a store without batches that is one result, since to send it again would double it.
    pub async fn tick(&mut self, app: &App) -> store::Result<Summary> {
        let mut summary = Summary::default();
        let Some(results) = &app.settings.results else { return Ok(summary) };
        let limit = if self.foreign { 1 } else { self.pace.limit };
        let due = app.store.publications_due(limit).await?;
        let Some(head) = due.first().cloned() else {
            app.outbox.set(|trouble| trouble.unavailable = None);
            return Ok(summary);
        };
        let (asked, full) = (due.len(), due.len() == limit as usize);
        let mut settled = Settled::default();
        let sent = self.send(results, due, &mut settled).await;
        summary.delivered = settled.delivered.len();
        summary.refused = settled.refused.len();
        summary.more = full || settled.len() < asked;
        self.settle(app, settled).await?;
        let Err(why) = sent else {
            if summary.delivered + summary.refused > 0 {
                self.pace.went_on();
            }
            app.outbox.set(|trouble| trouble.unavailable = None);
            return Ok(summary);
        };
        if let Some(times) = self.pace.failed(head.seq)
            && self.pass_over(app, results, head, times, &why).await?
        {
            summary.delivered += 1;
            summary.refused += 1;
            return Ok(summary);
        }
        let now = app.store.now().await?;
        app.outbox.set(|trouble| {
            let since = trouble.unavailable.take().map_or(now, |(_, since)| since);
            trouble.unavailable = Some((why, since));
        });
        // It may be another store, or have another token, when it is back.
        (self.client, self.foreign) = (None, false);
        summary.unavailable = true;
        Ok(summary)
    }

    /// Forgets what it has seen: another master delivers now, and sees for itself.
    pub fn rest(&mut self, app: &App) {
        (self.client, self.foreign, self.pace) = (None, false, Pace::default());
        app.outbox.set(|trouble| *trouble = Trouble::default());
    }

    /// Postpones a result that fails by itself, where another goes through: then it is not the store that is away. Each
    /// `times` tries another one, since the next may be as bad.
    async fn pass_over(
        &mut self,
        app: &App,
        results: &Results,
        head: Due,
        times: usize,
        why: &str,
    ) -> store::Result<bool> {
        let mut others = app.store.publications_due(BATCH).await?;
        others.retain(|due| due.seq != head.seq);
        if others.is_empty() {
            return Ok(false);
        }
        let other = others.swap_remove(times % others.len());
        let mut settled = Settled::default();
        let sent = self.send(results, vec![other], &mut settled).await;
        let goes_through = sent.is_ok() && !settled.delivered.is_empty();
        if goes_through {
            settled.refused.push((head, format!("it fails while others are taken: {why}")));
        }
        self.settle(app, settled).await?;
        Ok(goes_through)
    }

    /// Keeps what became of a batch.
    async fn settle(&self, app: &App, settled: Settled) -> store::Result<()> {
        if !settled.delivered.is_empty() {
            app.store.delivered(&settled.delivered).await?;
            app.metrics.delivered(settled.delivered.len());
            app.outbox.set(|trouble| trouble.refused.retain(|seq, _| !settled.delivered.contains(seq)));
        }
        let now = app.store.now().await?;
        for (due, reason) in settled.refused {
            if passes(&due) {
                self.drop_announcement(app, due, &reason).await?;
                continue;
            }
            app.store.postpone(&[due.seq], now.plus(patience(due.tries)), &reason).await?;
            let seen = app.outbox.trouble().refused.insert(due.seq, reason.clone());
            if seen.is_none() {
                let job = due.publication.body["data"]["job_id"][0].as_str().unwrap_or_default();
                tracing::error!(job.id = job, result = %due.publication.key, reason, "the results store refused a result");
            }
            app.outbox.set(|trouble| drop(trouble.refused.insert(due.seq, reason)));
        }
        Ok(())
    }

    /// A later result says more, and before that this one must not come late: so it is not kept.
    async fn drop_announcement(&self, app: &App, due: Due, reason: &str) -> store::Result<()> {
        app.store.delivered(&[due.seq]).await?;
        let outcome = &due.publication.body["outcome"];
        let job = due.publication.body["data"]["job_id"][0].as_str().unwrap_or_default();
        tracing::error!(
            job.id = job,
            reason,
            "the results store does not take {outcome}, which is dropped: let it know that outcome, or leave it out of \
             the task's `publish`"
        );
        Ok(())
    }

    /// Sends `due` in one request; an error says why it could not be sent. What has turned out to be too much for one, or
    /// for this kind of store, is not settled, and is to be sent again in smaller parts.
    async fn send(&mut self, results: &Results, due: Vec<Due>, settled: &mut Settled) -> Result<(), String> {
        let client = self.client(results)?;
        if self.foreign {
            for due in due {
                single(&client, due, self.within, settled).await?;
            }
            return Ok(());
        }
        match batch(&client, &due, self.within).await {
            Ok(answers) => {
                for (due, answer) in due.into_iter().zip(answers) {
                    match answer.error {
                        None => settled.delivered.push(due.seq),
                        Some(error) => settled.refused.push((due, reason(&error))),
                    }
                }
            }
            Err(ClientError::Unavailable(why)) => return Err(why),
            Err(ClientError::Refused { status: 401 | 403, detail }) => return Err(not_let_in(&detail)),
            Err(ClientError::Refused { status: 404 | 405, .. }) => self.foreign = true,
            // A refusal of a whole batch is one of some result in it, or of its size: halves find out which.
            Err(ClientError::Refused { .. }) if due.len() > 1 => self.pace.halve(due.len()),
            Err(ClientError::Refused { status, detail }) => {
                let said = format!("{status}: {detail}");
                settled.refused.extend(due.into_iter().map(|due| (due, said.clone())));
            }
        }
        Ok(())
    }

    fn client(&mut self, results: &Results) -> Result<Client, String> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let token = match &results.token_file {
            Some(file) => Secret::from_file(file).map_err(|e| e.to_string())?,
            None => Secret::none(),
        };
        let client = Client::new(results.url.clone(), token).map_err(|e| e.to_string())?;
        self.client = Some(client.clone());
        Ok(client)
    }
}

async fn batch(client: &Client, part: &[Due], within: Duration) -> Result<Vec<Answer>, ClientError> {
    let results: Vec<&Value> = part.iter().map(|due| &due.publication.body).collect();
    let Answers { answers } = client.post_within(BATCH_PATH, &json!({ "results": results }), within).await?;
    if answers.len() != part.len() {
        let (got, want) = (answers.len(), part.len());
        return Err(ClientError::Unavailable(format!("the results store answered {got} of {want} results")));
    }
    Ok(answers)
}

/// One result to a store without batches, which knows neither our keys nor the outcome ERROR.
async fn single(client: &Client, due: Due, within: Duration, settled: &mut Settled) -> Result<(), String> {
    let mut body = due.publication.body.clone();
    if let Some(body) = body.as_object_mut() {
        body.remove("idempotency_key");
    }
    let mut answer = client.post_within::<_, Value>(RESULT_PATH, &body, within).await;
    if body["outcome"] == "ERROR" && matches!(answer, Err(ClientError::Refused { status: 400, .. })) {
        body["outcome"] = "NEEDS_INSPECTION".into();
        answer = client.post_within::<_, Value>(RESULT_PATH, &body, within).await;
    }
    match answer {
        Ok(_) => settled.delivered.push(due.seq),
        Err(ClientError::Unavailable(why)) => return Err(why),
        Err(ClientError::Refused { status: 401 | 403, detail }) => return Err(not_let_in(&detail)),
        Err(ClientError::Refused { status, detail }) => settled.refused.push((due, format!("{status}: {detail}"))),
    }
    Ok(())
}

/// Whether it only tells that a result is to come.
fn passes(due: &Due) -> bool {
    matches!(due.publication.body["outcome"].as_str(), Some("QUEUED" | "RUNNING"))
}

fn not_let_in(detail: &str) -> String {
    format!("the results store does not let this master in: {detail}; check [master.results] token_file")
}

fn reason(error: &Value) -> String {
    match error {
        Value::String(text) => text.clone(),
        Value::Object(map) => match map.get("detail").or_else(|| map.get("message")) {
            Some(Value::String(text)) => text.clone(),
            _ => error.to_string(),
        },
        other => other.to_string(),
    }
}

/// How long a refused result rests: a minute at first, an hour at last. A person may mend the store meanwhile.
fn patience(tries: u32) -> Span {
    Span::minutes(1 << tries.min(6)).min(Span::minutes(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_result_rests_longer_each_time() {
        let rests: Vec<_> = (0..8).map(|tries| patience(tries).0.as_secs() / 60).collect();
        assert_eq!(rests, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn a_batch_that_is_not_taken_is_halved_until_its_head_stands_alone() {
        let mut pace = Pace::default();
        assert_eq!((pace.failed(7), pace.limit), (None, 200), "once is no sign");
        let limits: Vec<_> = (0..7).map(|_| (pace.failed(7), pace.limit)).collect();
        assert_eq!(limits, [100, 50, 25, 12, 6, 3, 1].map(|limit| (None, limit)));
        assert_eq!(pace.failed(7), Some(9));
        assert_eq!(pace.failed(8), None, "another head is another matter");
        let limits: Vec<_> = (0..9).map(|_| (pace.went_on(), pace.limit).1).collect();
        assert_eq!(limits, [2, 4, 8, 16, 32, 64, 128, 200, 200]);
    }

    #[test]
    fn what_the_store_says_is_told_in_its_words() {
        assert_eq!(reason(&json!("no")), "no");
        assert_eq!(reason(&json!({"status": 400, "detail": "unknown outcome"})), "unknown outcome");
        assert_eq!(reason(&json!({"code": 7})), r#"{"code":7}"#);
    }
}
