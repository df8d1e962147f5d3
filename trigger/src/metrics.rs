//! What a trigger counts, for whoever shows it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use model::{Span, Time};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::trouble::Troubles;

/// Under which the troubles of the event log stand.
const LOG: &str = "log";

/// Counters of one trigger. `recorded`, `duplicates`, `quarantined` and `forwarded` count since the log began, the
/// others since the process did.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Deliveries taken from sources.
    pub received: AtomicU64,
    pub recorded: AtomicU64,
    /// Jobs decided; those in the log's records.
    pub jobs: AtomicU64,
    pub duplicates: AtomicU64,
    pub quarantined: AtomicU64,
    /// Deliveries that the broker marked as sent before.
    pub redelivered: AtomicU64,
    /// Connections to the bus after the first.
    pub reconnects: AtomicU64,
    /// Events that the master has acknowledged.
    pub forwarded: AtomicU64,
    /// Microseconds since 1970; 0 while there was none.
    pub last_delivery: AtomicI64,
    /// Microseconds between the publisher's time and ours, of the last event that names its time.
    pub lag: AtomicI64,
    /// Queues to consume, and those that are consumed now.
    pub queues: AtomicU64,
    pub consumed: AtomicU64,
    pub troubles: Troubles,
}

/// Counts for as long as it lives.
pub struct Counted<'a>(&'a AtomicU64);

impl Counted<'_> {
    pub fn by(counter: &AtomicU64) -> Counted<'_> {
        counter.fetch_add(1, Ordering::Relaxed);
        Counted(counter)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Whether there is a bus, and all of its queues are consumed.
    pub fn is_connected(&self) -> bool {
        let queues = self.queues.load(Ordering::Relaxed);
        queues > 0 && self.consumed.load(Ordering::Relaxed) == queues
    }

    /// Notes that the log cannot be written, so that nothing is acknowledged. Says whether that is new.
    pub fn stall(&self, why: &std::io::Error, now: Time) -> bool {
        self.troubles.begin(LOG, format!("cannot write its event log, and takes nothing until it can: {why}"), now)
    }

    /// Notes that it can be written. Says whether that is new.
    pub fn unstall(&self) -> bool {
        self.troubles.end(LOG)
    }

    pub fn is_stalled(&self) -> bool {
        self.troubles.has(LOG)
    }

    /// All numbers, as Prometheus reads them.
    pub fn text(&self) -> String {
        let mut registry = Registry::with_prefix("taskotron_trigger");
        for (name, help, value) in [
            ("deliveries", "Deliveries taken from sources", &self.received),
            ("events_recorded", "Events in the log", &self.recorded),
            ("events_forwarded", "Events that the master has acknowledged", &self.forwarded),
            ("events_repeated", "Deliveries of events that the log had already", &self.duplicates),
            ("deliveries_quarantined", "Deliveries that could not be read", &self.quarantined),
            ("deliveries_redelivered", "Deliveries that the broker marked as sent before", &self.redelivered),
            ("jobs", "Jobs decided", &self.jobs),
            ("reconnects", "Connections to the bus after the first", &self.reconnects),
        ] {
            let counter = Counter::<u64>::default();
            counter.inc_by(value.load(Ordering::Relaxed));
            registry.register(name, help, counter);
        }
        let seconds = |micros: &AtomicI64| Span::from_micros(micros.load(Ordering::Relaxed)).0.as_secs_f64();
        for (name, help, value) in [
            ("queues", "Queues to consume", self.queues.load(Ordering::Relaxed) as f64),
            ("queues_consumed", "Queues that are consumed now", self.consumed.load(Ordering::Relaxed) as f64),
            ("troubles", "Things that keep it from its work now", self.troubles.list().len() as f64),
            ("last_delivery_seconds", "When the last delivery came, since 1970", seconds(&self.last_delivery)),
            ("lag_seconds", "From the publisher's time to ours, of the last event", seconds(&self.lag)),
        ] {
            let gauge = Gauge::<f64, AtomicU64>::default();
            gauge.set(value);
            registry.register(name, help, gauge);
        }
        let mut text = String::new();
        encode(&mut text, &registry).expect("writing to a String cannot fail");
        text
    }

    /// When the last delivery came.
    pub fn last_delivery(&self) -> Option<Time> {
        match self.last_delivery.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Time(micros)),
        }
    }
}
