//! The event log: the only truth of a trigger.
//!
//! A folder holds `events.jsonl` (lines as in [`frame`] and [`entry`]; the first is a header that names the recorder),
//! earlier parts of it as `events-FIRST.jsonl`, `quarantine.jsonl` (what could not be read), `jobs.csv` (a projection,
//! made again from the log where it lags) and `lock`. `retired-RECORDER-FIRST.jsonl` are the files of a recorder whose
//! numbers the master had gone past (see [`Log::start_over`]), `damaged-SEQ.jsonl` what was cut off behind a damaged
//! line though some of it could be read; neither is read again, and only a person removes them.
//!
//! Nothing here knows a clock, a socket or a rule. What is acknowledged anywhere has been synced here before.

pub mod disk;
pub mod entry;
pub mod frame;
mod layout;
pub mod listening;
mod open;
mod past;
mod projection;
mod reader;
mod seen;
pub mod segment;
mod stage;
mod write;

#[cfg(test)]
mod crash;
#[cfg(test)]
pub mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::intake::TriggerCounts;
use model::{Span, Time};
use tokio::sync::watch;

pub use layout::{Layout, remove, remove_empty_quarantine};
pub use past::{Past, PastError, Place, Survey};
pub use projection::is_job_log;
pub use reader::Reader;
pub use stage::{Decided, Heard, Ready, Staged};
pub use write::CommitError;

use disk::{Bytes, Disk};
use listening::Listening;
use projection::Projection;
use seen::Seen;

/// What a person may choose about a log.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A file longer than this is set aside and a new one begun; never where there is no number.
    pub rotate_at: Option<u64>,
    /// How many events are remembered to know a repetition; all where there is no number.
    pub window: Option<usize>,
    /// How long an acknowledged file is kept.
    pub keep: Span,
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("another process records in {0}; stop it, or give this one a folder of its own")]
    Taken(PathBuf),
    #[error("cannot {what} {}: {error}", path.display())]
    Io { what: &'static str, path: PathBuf, error: io::Error },
}

impl OpenError {
    fn io(what: &'static str, path: &Path, error: io::Error) -> OpenError {
        OpenError::Io { what, path: path.to_owned(), error }
    }
}

/// The one writer of a log.
pub struct Log {
    disk: Arc<dyn Disk>,
    layout: Layout,
    options: Options,
    recorder: String,
    active: Arc<dyn Bytes>,
    /// How much of the active file is on disk and whole.
    len: u64,
    quarantine: Arc<dyn Bytes>,
    quarantine_len: u64,
    /// Whether the files may be longer than the two lengths say: a write failed.
    untidy: bool,
    /// What the next event to be staged gets; ahead of what is on disk while a batch is being written.
    next: Next,
    seen: Seen,
    /// What its sources have said, ahead of what is on disk as `next` is.
    listening: Listening,
    /// When the last word of a source that still listens was written down.
    noted: Time,
    jobs: Projection,
    shared: Shared,
    /// Held as long as the log is open; none in tests without a file system.
    lock: Option<nix::fcntl::Flock<std::fs::File>>,
}

/// The numbers that run through a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Next {
    seq: u64,
    job_seq: u64,
    duplicates: u64,
    quarantined: u64,
}

impl Next {
    /// Those of an empty log.
    const FIRST: Next = Next { seq: 1, job_seq: 1, duplicates: 0, quarantined: 0 };
}

impl Log {
    pub fn recorder(&self) -> &str {
        &self.recorder
    }

    /// What readers share with this writer.
    pub fn shared(&self) -> Shared {
        self.shared.clone()
    }

    /// How many jobs the log holds, those of deleted files with them.
    pub fn jobs(&self) -> u64 {
        self.next.job_seq - 1
    }
}

/// What the writer lets others see: only what is on disk. Cheap to clone.
#[derive(Clone)]
pub struct Shared {
    extent: Arc<Mutex<Extent>>,
    changed: watch::Sender<u64>,
}

/// How far the log reaches.
#[derive(Clone, Debug)]
pub struct Extent {
    pub recorder: String,
    /// The number of the next record.
    pub next: u64,
    /// What `next` was when the log was opened, or begun anew.
    pub opened_at: u64,
    pub duplicates: u64,
    pub quarantined: u64,
    pub listening: Listening,
    /// What it should listen to; none where nobody has said that, and whatever has spoken counts.
    pub expected: Option<Vec<String>>,
    /// From the oldest; the last one is active. Never empty.
    segments: Vec<Segment>,
}

/// One file of the log.
#[derive(Clone, Debug)]
struct Segment {
    name: String,
    first: u64,
    began: Time,
    /// What may be read of it.
    len: u64,
}

impl Extent {
    /// The oldest record that is still there, or would be.
    pub fn first(&self) -> u64 {
        self.segments.first().map_or(self.next, |segment| segment.first)
    }
}

impl Shared {
    fn new(extent: Extent) -> Shared {
        Shared { changed: watch::Sender::new(extent.next), extent: Arc::new(Mutex::new(extent)) }
    }

    pub fn extent(&self) -> Extent {
        self.lock().clone()
    }

    /// Wakes whoever waits after each commit.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Says what the log's sources are: those of earlier settings do not count any more.
    pub fn expect(&self, sources: Vec<String>) {
        self.lock().expected = Some(sources);
    }

    /// What the trigger counts, given how far the master has acknowledged.
    pub fn counts(&self, acknowledged: u64) -> TriggerCounts {
        let extent = self.lock();
        // Whoever should listen and never has is behind whatever is asked for.
        let listens = extent.expected.as_ref().is_some_and(|expected| !expected.is_empty());
        let coverage = match &extent.expected {
            Some(expected) => extent.listening.of(expected.iter().map(String::as_str)),
            None => extent.listening.all(),
        };
        TriggerCounts {
            recorded: extent.next - 1,
            forwarded: acknowledged.min(extent.next).saturating_sub(1),
            quarantined: extent.quarantined,
            duplicates: extent.duplicates,
            listening_since: coverage.since,
            caught_up: coverage.until.or(listens.then_some(Time::default())),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Extent> {
        // The extent is changed in single assignments: there is nothing half done behind a panic.
        self.extent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Extent)) {
        let mut extent = self.lock();
        change(&mut extent);
        let next = extent.next;
        drop(extent);
        self.changed.send_replace(next);
    }
}
