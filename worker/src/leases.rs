//! The leases this worker holds: from the claim until the master has the report.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use crate::boot::Boot;
use crate::halt::Halt;

/// All of them, by token.
#[derive(Debug, Default)]
pub struct Leases {
    held: Mutex<BTreeMap<String, Held>>,
    /// Wakes the renewal when the first one comes.
    came: Notify,
}

#[derive(Debug)]
struct Held {
    term: watch::Sender<Term>,
    halt: watch::Sender<Option<Halt>>,
}

/// How long a lease holds, by this machine's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Term {
    pub until: Instant,
    pub length: Duration,
    /// When a task that must never overlap is killed, by the clock that goes on while the machine is suspended.
    pub last: Boot,
}

/// The moment before a request from which on what it grants is counted: the master's clock cannot have started earlier.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    monotonic: Instant,
    boot: Boot,
}

impl Asked {
    pub fn now() -> Asked {
        Asked { monotonic: Instant::now(), boot: Boot::now() }
    }

    /// The term that was granted for `length`. An eighth of it is left for a killed process to be gone.
    pub fn granted(self, length: Duration) -> Term {
        Term { until: self.monotonic + length, length, last: Boot(self.boot.0 + length * 7 / 8) }
    }
}

/// What the job that a lease is for sees of it.
#[derive(Debug)]
pub struct View {
    pub term: watch::Receiver<Term>,
    pub halt: watch::Receiver<Option<Halt>>,
}

impl Leases {
    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a lease in; none where it is held already.
    pub fn take(&self, token: &str, term: Term) -> Option<View> {
        let mut held = self.held();
        if held.contains_key(token) {
            return None;
        }
        let (term, see_term) = watch::channel(term);
        let (halt, see_halt) = watch::channel(None);
        held.insert(token.to_owned(), Held { term, halt });
        self.came.notify_one();
        Some(View { term: see_term, halt: see_halt })
    }

    /// Lets a lease go: it was lost, or the master has its report.
    pub fn release(&self, token: &str) {
        self.held().remove(token);
    }

    pub fn tokens(&self) -> Vec<String> {
        self.held().keys().cloned().collect()
    }

    /// Returns when there is, or in this moment was, a lease.
    pub async fn some(&self) {
        while self.held().is_empty() {
            self.came.notified().await;
        }
    }

    pub fn renewed(&self, token: &str, term: Term) {
        if let Some(held) = self.held().get(token) {
            held.term.send_replace(term);
        }
    }

    /// Stops the job of a lease, if it still runs. The first reason counts.
    pub fn halt(&self, token: &str, halt: Halt) {
        if let Some(held) = self.held().get(token) {
            held.halt(halt);
        }
    }

    pub fn halt_all(&self, halt: &Halt) {
        self.held().values().for_each(|held| held.halt(halt.clone()));
    }

    /// Never returns; stops the job of a lease while there is time to do so, if it is not renewed, or if its guardian
    /// cannot be `told` by when it kills.
    ///
    /// TERM comes a quarter of the term before its end, KILL a tenth later at most, and soon after that the guardian's.
    pub async fn guard(&self, token: &str, mut term: watch::Receiver<Term>, told: impl Fn(Boot) -> bool) -> Infallible {
        if !told(term.borrow().last) {
            self.halt(token, Halt::LeaseEnds { grace: Duration::ZERO });
        }
        loop {
            let Term { until, length, last } = *term.borrow_and_update();
            // Should a later time not be told, it is killed too early.
            told(last);
            tokio::select! {
                () = sleep_until(until - length / 4) => {
                    // We may have been stopped meanwhile, and there is less time left than there should be, or none.
                    self.halt(token, Halt::LeaseEnds { grace: last.left().min(length / 10) });
                    return std::future::pending().await;
                }
                changed = term.changed() => if changed.is_err() { return std::future::pending().await },
            }
        }
    }
}

impl Held {
    fn halt(&self, halt: Halt) {
        self.halt.send_if_modified(|now| {
            let first = now.is_none();
            now.get_or_insert(halt);
            first
        });
    }
}
