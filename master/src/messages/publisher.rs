//! Bringing messages to the broker: in order for each job, each until the broker has confirmed it.
//!
//! What no queue gets, and what the broker refuses, is postponed with its reason, and the later messages of that job with
//! it. While the broker is away nothing is postponed: everything waits.

use std::collections::BTreeMap;
use std::sync::Mutex;

use bus::{Answer, Telegram};
use model::{JobId, Span, Time};

use super::body::telegram;
use crate::app::App;
use crate::store::{self, Message};

/// Messages that are looked at at once.
const BATCH: u32 = 200;

/// What keeps messages from the bus, as this master last saw it; nothing where another tells the bus.
#[derive(Default)]
pub struct Health(Mutex<Option<(String, Time)>>);

impl Health {
    /// Why the broker cannot be reached, or does not let us in, and since when.
    pub fn unavailable(&self) -> Option<(String, Time)> {
        self.0.lock().expect("no one panics while holding it").clone()
    }

    fn set(&self, why: Option<String>, now: Time) {
        let mut health = self.0.lock().expect("no one panics while holding it");
        let since = health.take().map_or(now, |(_, since)| since);
        *health = why.map(|why| (why, since));
    }
}

/// What one tick did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub sent: usize,
    pub refused: usize,
    /// Whether the broker could not be reached: the rest waits.
    pub unavailable: bool,
    /// Whether there may be more that is due.
    pub more: bool,
}

/// The way to the bus.
pub struct Publisher(bus::Publisher);

impl Publisher {
    pub fn new(site: &str) -> Publisher {
        Publisher(bus::Publisher::new("[master.messages]", format!("taskotron master {site}")))
    }

    /// Sends what is due, up to a batch of it: a long backlog is no reason to be away for long.
    pub async fn tick(&mut self, app: &App) -> store::Result<Summary> {
        let mut summary = Summary::default();
        let Some(to) = &app.settings.messages else { return Ok(summary) };
        let due = app.store.messages_due(BATCH).await?;
        let full = due.len() == BATCH as usize;
        for round in rounds(due) {
            let telegrams: Vec<Telegram> = round.iter().map(|m| telegram(m, to, &app.settings)).collect();
            match self.0.send(&to.broker, &to.outlet, &telegrams).await {
                Ok(answers) => self.settle(app, round, answers, &mut summary).await?,
                Err(fault) => {
                    app.messages.set(Some(fault.to_string()), app.store.now().await?);
                    summary.unavailable = true;
                    return Ok(summary);
                }
            }
            // The later messages of what was refused just now wait behind it.
            if summary.refused > 0 {
                break;
            }
        }
        app.messages.set(None, Time(0));
        summary.more = full;
        Ok(summary)
    }

    /// Lets the connection go, and forgets what was wrong with it: another master tells the bus now.
    pub fn rest(&mut self, app: &App) {
        self.0.rest();
        app.messages.set(None, Time(0));
    }

    /// Keeps what became of a round.
    async fn settle(
        &self,
        app: &App,
        round: Vec<Message>,
        answers: Vec<Answer>,
        summary: &mut Summary,
    ) -> store::Result<()> {
        let (mut sent, mut refused) = (Vec::new(), Vec::new());
        for (message, answer) in round.into_iter().zip(answers) {
            match answer {
                Answer::Taken => sent.push(message.seq),
                Answer::Refused(why) => refused.push((message, why)),
            }
        }
        if !sent.is_empty() {
            app.store.messages_sent(&sent).await?;
            app.metrics.told(sent.len());
        }
        let now = app.store.now().await?;
        for (message, why) in &refused {
            if message.tries == 0 {
                tracing::error!(job.id = %message.job, reason = why, "the bus did not take a message; it is kept");
            }
            app.store.postpone_message(message.seq, now.plus(Span(bus::rest(message.tries))), why).await?;
        }
        summary.sent += sent.len();
        summary.refused += refused.len();
        Ok(())
    }
}

/// What is due, in rounds with at most one message of each job: none goes before the one before it is confirmed.
fn rounds(due: Vec<Message>) -> Vec<Vec<Message>> {
    let mut nth: BTreeMap<JobId, usize> = BTreeMap::new();
    let mut rounds: Vec<Vec<Message>> = Vec::new();
    for message in due {
        let n = nth.entry(message.job).or_default();
        if rounds.len() <= *n {
            rounds.push(Vec::new());
        }
        rounds[*n].push(message);
        *n += 1;
    }
    rounds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Stage;

    #[test]
    fn a_round_has_one_message_of_a_job_and_keeps_their_order() {
        let message = |seq: i64, job: &str| Message {
            seq,
            job: JobId::of(job, "t", "y", "i", "noarch"),
            stage: Stage::Queued,
            at: Time(0),
            task: "t".into(),
            item: "i".into(),
            item_type: "y".into(),
            arch: "noarch".into(),
            event: None,
            tries: 0,
        };
        let due = [(1, "a"), (2, "b"), (3, "a"), (4, "a"), (5, "c")].map(|(seq, job)| message(seq, job));
        let seqs: Vec<Vec<i64>> =
            rounds(due.into()).into_iter().map(|round| round.into_iter().map(|m| m.seq).collect()).collect();
        assert_eq!(seqs, [vec![1, 2, 5], vec![3], vec![4]]);
    }
}
