//! What a job prints, as far as it is kept.
//!
//! A log only grows at its end, so that what was sent of it stays true. A job that prints more than its limit therefore
//! has the first half of it sent as it comes; of the rest the last half is kept aside and follows at the end, after a
//! line that says how much is missing. Together with that line a log is never longer than the limit (unless the limit
//! is shorter than the line).

use std::sync::Mutex;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::mask::Mask;
use crate::ring::Ring;
use crate::spool::Spool;

/// Room for the line that states a cut.
const CUT_LINE: u64 = 80;

/// Shared by the task that writes it and the one that sends it.
#[derive(Debug)]
pub struct Log {
    state: Mutex<State>,
    /// Wakes the sender when there is more, and whoever waits for a failure.
    changed: Notify,
    failed: Notify,
}

#[derive(Debug)]
struct State {
    spool: Spool,
    /// What hides the job's secrets, where it has some.
    mask: Option<Mask>,
    head: u64,
    tail: u64,
    /// What came after the head, once something did.
    rest: Option<Ring>,
    /// How much came when there was no room for a rest at all.
    dropped: u64,
    heard: Instant,
    failure: Option<String>,
}

impl Log {
    /// Keeps at most `limit` bytes.
    pub fn new(spool: Spool, limit: u64) -> Log {
        let head = limit.div_ceil(2);
        let tail = (limit - head).saturating_sub(CUT_LINE);
        let state =
            State { spool, mask: None, head, tail, rest: None, dropped: 0, heard: Instant::now(), failure: None };
        Log { state: Mutex::new(state), changed: Notify::new(), failed: Notify::new() }
    }

    /// One that ended under an earlier worker.
    pub fn left(spool: Spool) -> Log {
        let head = spool.len();
        let state =
            State { spool, mask: None, head, tail: 0, rest: None, dropped: 0, heard: Instant::now(), failure: None };
        Log { state: Mutex::new(state), changed: Notify::new(), failed: Notify::new() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// From now on this is hidden in what is printed.
    pub fn hide(&self, mask: Option<Mask>) {
        self.state().mask = mask;
    }

    /// Takes what was printed. A log that cannot be written is given up as a whole.
    pub fn append(&self, bytes: &[u8]) {
        let mut state = self.state();
        state.heard = Instant::now();
        if state.failure.is_some() {
            return;
        }
        match state.print(bytes) {
            Ok(()) => drop(state),
            Err(e) => {
                drop(state);
                self.fail(format!("cannot write the job's log: {e}"));
            }
        }
        self.changed.notify_one();
    }

    /// Says that the log is not whole.
    pub fn fail(&self, reason: String) {
        self.state().failure.get_or_insert(reason);
        self.failed.notify_one();
    }

    /// Waits until the log cannot be written; with one waiter at a time.
    pub async fn broken(&self) -> String {
        loop {
            if let Some(reason) = self.state().failure.clone() {
                return reason;
            }
            self.failed.notified().await;
        }
    }

    /// Ends the log: what was kept aside follows, and the cut is stated. The error says why it is not whole, also where
    /// that was so before.
    pub fn close(&self) -> Result<(), String> {
        let mut state = self.state();
        if let Err(e) = state.close() {
            state.failure.get_or_insert(format!("cannot write the end of the job's log: {e}"));
        }
        state.failure.clone().map_or(Ok(()), Err)
    }

    /// When the job printed last; at first, when the log was made.
    pub fn heard(&self) -> Instant {
        self.state().heard
    }

    /// How long the log is by now.
    pub fn len(&self) -> u64 {
        self.state().spool.len()
    }

    /// At most `most` bytes from `offset` on.
    pub fn read(&self, offset: u64, most: usize) -> std::io::Result<Bytes> {
        self.state().spool.read(offset, most)
    }

    /// Returns at once if something was printed since the last time, else when something is; with one waiter at a time.
    pub async fn more(&self) {
        self.changed.notified().await;
    }

    /// Puts all of it on disk.
    pub fn keep(&self) -> std::io::Result<()> {
        self.state().spool.spill()
    }

    /// Removes what is on disk of it.
    pub fn remove(&self) {
        let mut state = self.state();
        if let Err(e) = state.spool.remove() {
            tracing::warn!(file = %state.spool.path().display(), "cannot remove a log that was sent: {e}");
        }
    }
}

impl State {
    fn print(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self.mask.as_mut().map(|mask| mask.feed(bytes)) {
            Some(shown) => self.append(&shown),
            None => self.append(bytes),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let room = usize::try_from(self.head.saturating_sub(self.spool.len())).unwrap_or(usize::MAX).min(bytes.len());
        let (first, rest) = bytes.split_at(room);
        if !first.is_empty() {
            self.spool.append(first)?;
        }
        if rest.is_empty() {
            return Ok(());
        }
        if self.tail == 0 {
            self.dropped += rest.len() as u64;
            return Ok(());
        }
        if self.rest.is_none() {
            let aside = format!("{}.tail", self.spool.path().display());
            self.rest = Some(Ring::new(aside.as_ref(), self.tail)?);
        }
        self.rest.as_mut().map_or(Ok(()), |ring| ring.append(rest))
    }

    fn close(&mut self) -> std::io::Result<()> {
        if let Some(mut mask) = self.mask.take() {
            self.append(&mask.end())?;
        }
        let rest = self.rest.take();
        let lost = self.dropped + rest.as_ref().map_or(0, Ring::lost);
        if lost > 0 {
            self.spool.append(cut_line(lost).as_bytes())?;
        }
        match rest {
            Some(ring) => ring.replay(|piece| self.spool.append(piece)),
            None => Ok(()),
        }
    }
}

/// The line that stands where bytes are missing.
fn cut_line(bytes: u64) -> String {
    format!("\n[… {bytes} bytes of the log were cut here …]\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(dir: &std::path::Path, limit: u64, bytes: &[u8]) -> Vec<u8> {
        let log = Log::new(Spool::new(dir.join("log")), limit);
        bytes.chunks(777).for_each(|piece| log.append(piece));
        log.close().unwrap();
        let whole = log.read(0, usize::MAX / 2).unwrap().to_vec();
        log.remove();
        whole
    }

    #[test]
    fn a_log_within_its_limit_is_whole_and_a_longer_one_states_its_cut() {
        let dir = tempfile::tempdir().unwrap();
        let all: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        assert!(log(dir.path(), 100_080, &all) == all);
        assert!(log(dir.path(), 200_000, &all) == all);
        let cut = log(dir.path(), 40_000, &all);
        assert!(cut.len() <= 40_000 && cut.len() > 39_900);
        assert!(cut.starts_with(&all[..20_000]) && cut.ends_with(&all[100_000 - 19_920..]));
        let line = String::from_utf8(cut[20_000..cut.len() - 19_920].to_vec()).unwrap();
        assert_eq!(line, "\n[… 60080 bytes of the log were cut here …]\n");
        assert_eq!(log(dir.path(), 10, &all[..30]), [&all[..5], cut_line(25).as_bytes()].concat());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "no file is left");
    }
}
