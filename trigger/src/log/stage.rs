//! Deliveries in hand become lines, numbered and in order, before anything is written.
//!
//! Staging is done once for a batch and writing is tried until it succeeds, so nothing here may be done twice.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use model::intake::{Became, Record};
use model::{Content, Event, NewJob, Span, Time, joblog};
use serde_json::json;
use tracing::{info, warn};

use super::entry::{self, Mark, Note};
use super::listening::{Listening, Word};
use super::seen::Novelty;
use super::{Log, Next, frame};
use crate::decode::Reason;
use crate::delivery::Delivery;
use crate::metrics::Metrics;

/// What the rules made of one event.
#[derive(Clone, Debug, Default)]
pub struct Decided {
    pub generation: u64,
    pub matched: Vec<String>,
    pub jobs: Vec<NewJob>,
}

/// A delivery as far as it can be dealt with before its place in the log is known.
#[derive(Debug)]
pub enum Ready {
    Event { event: Event, content: Content, decided: Decided },
    Unreadable { delivery: Delivery, reason: Reason },
    Heard(Heard),
}

/// A source's word about its own listening.
#[derive(Clone, Debug)]
pub struct Heard {
    pub word: Word,
    pub at: Time,
    /// What it listens to.
    pub to: Arc<str>,
}

/// That a source still listens is written down this often: whoever reads the files knows it no more exactly.
const NOTED: Span = Span::seconds(30);

/// Lines that wait to be written.
pub struct Staged {
    pub(super) events: Vec<u8>,
    pub(super) quarantine: Vec<u8>,
    /// The rows of the job log, and the number behind the last of them.
    pub(super) rows: Vec<u8>,
    /// What became of each delivery of the batch, in order.
    became: Vec<Became>,
    pub(super) before: Next,
    pub(super) after: Next,
    pub(super) listening: Listening,
}

impl Staged {
    /// Takes what became of the next `n` deliveries of the batch.
    pub fn became(&mut self, n: usize) -> Vec<Became> {
        let rest = self.became.split_off(n.min(self.became.len()));
        std::mem::replace(&mut self.became, rest)
    }

    /// Adds what the batch changes to the counters, once it is on disk.
    pub fn count(&self, metrics: &Metrics) {
        let add = |counter: &std::sync::atomic::AtomicU64, before: u64, after: u64| {
            counter.fetch_add(after - before, Ordering::Relaxed);
        };
        add(&metrics.recorded, self.before.seq, self.after.seq);
        add(&metrics.jobs, self.before.job_seq, self.after.job_seq);
        add(&metrics.duplicates, self.before.duplicates, self.after.duplicates);
        add(&metrics.quarantined, self.before.quarantined, self.after.quarantined);
    }
}

impl Log {
    /// Numbers a batch. `decide` is asked again for an event whose id another event already has, since job keys are
    /// made of ids.
    pub fn stage(&mut self, batch: Vec<Ready>, now: Time, decide: impl Fn(&Event) -> Decided) -> Staged {
        let mut staged = Staged {
            events: Vec::with_capacity(batch.len() * 1024),
            quarantine: Vec::new(),
            rows: Vec::new(),
            became: Vec::with_capacity(batch.len()),
            before: self.next,
            after: self.next,
            listening: Listening::default(),
        };
        let mut rows = csv::Writer::from_writer(Vec::new());
        for ready in batch {
            match ready {
                Ready::Event { event, content, decided } => {
                    self.stage_event(event, content, decided, now, &decide, &mut staged, &mut rows);
                }
                Ready::Unreadable { delivery, reason } => self.stage_unreadable(&delivery, reason, now, &mut staged),
                Ready::Heard(heard) => self.stage_word(heard, &mut staged),
            }
        }
        staged.rows = rows.into_inner().expect("a vector takes every write");
        (staged.after, staged.listening) = (self.next, self.listening.clone());
        staged
    }

    #[expect(clippy::too_many_arguments, reason = "one step of the loop above, with all that the loop has")]
    fn stage_event(
        &mut self,
        mut event: Event,
        content: Content,
        mut decided: Decided,
        now: Time,
        decide: &impl Fn(&Event) -> Decided,
        staged: &mut Staged,
        rows: &mut csv::Writer<Vec<u8>>,
    ) {
        let mark = Mark::of(&event.id, content);
        match self.seen.add(mark) {
            Novelty::New => {}
            Novelty::Duplicate => {
                self.next.duplicates += 1;
                staged.became.push(Became::Duplicate { id: event.id.clone() });
                entry::note(&Note::Duplicate { id: event.id, at: now }, &mut staged.events);
                return;
            }
            Novelty::Beside => {
                let id = event.id_beside_another();
                warn!(event.id = id, "another event has the id {} with other content; this one is now {id}", event.id);
                event.id = id;
                decided = decide(&event);
            }
        }
        let Decided { generation, matched, jobs } = decided;
        let Next { seq, job_seq, .. } = self.next;
        let record = Record { seq, job_seq, recorded_at: now, generation, event, matched, jobs };
        entry::write(mark, &record, &mut staged.events);
        for row in joblog::rows(&self.recorder, &record) {
            rows.write_record(row).expect("a vector takes every write");
        }
        staged.became.push(Became::Recorded { id: record.event.id, seq });
        self.next.seq += 1;
        self.next.job_seq += record.jobs.len() as u64;
    }

    fn stage_word(&mut self, heard: Heard, staged: &mut Staged) {
        let Heard { at, to, .. } = heard;
        let word = match heard.word {
            // Of what was before this log knows nothing, or not any more.
            Word::Again if self.listening.is_new(&to) => Word::Began,
            word => word,
        };
        self.listening.hear(&to, word, at);
        if word != Word::Still || at.since(self.noted) >= NOTED {
            self.noted = at;
            entry::note(&Note::Listening { word, at, to: to.to_string() }, &mut staged.events);
        }
    }

    fn stage_unreadable(&mut self, delivery: &Delivery, reason: Reason, now: Time, staged: &mut Staged) {
        info!(
            reason = reason.name(),
            topic = delivery.topic,
            "a delivery from {} is set aside: {reason}",
            delivery.source
        );
        let line = json!({
            "reason": reason,
            "received_at": now,
            "source": &*delivery.source,
            "topic": delivery.topic,
            "properties": delivery.properties,
            "length": delivery.length,
            "bytes": BASE64_STANDARD.encode(&delivery.bytes),
        });
        frame::write(line.to_string().as_bytes(), &mut staged.quarantine);
        staged.became.push(Became::Quarantined { reason: reason.to_string() });
        self.next.quarantined += 1;
        let end = self.quarantine_len + staged.quarantine.len() as u64;
        entry::note(&Note::Quarantined { reason, at: now, end }, &mut staged.events);
    }
}
