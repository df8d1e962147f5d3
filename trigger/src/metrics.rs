//! What a trigger counts, for whoever shows it.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use model::Time;

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
    /// Whether a source is consuming now.
    pub connected: AtomicBool,
    /// Whether the log cannot be written at the moment, so that nothing is acknowledged.
    pub stalled: AtomicBool,
}

impl Metrics {
    /// When the last delivery came.
    pub fn last_delivery(&self) -> Option<Time> {
        match self.last_delivery.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Time(micros)),
        }
    }
}
