//! Staged lines go to disk, whole or not at all.

use std::io;
use std::sync::Arc;

use model::Time;
use tracing::{debug, info, warn};

use super::disk::Bytes;
use super::entry::{self, Entry, Header, Note};
use super::listening::Listening;
use super::segment::{self, By, Lines};
use super::{Extent, Log, Next, Segment, Staged, projection};

/// Why a batch is not on disk.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing of it counts: the same may be tried again (the disk is full …).
    #[error("cannot write the event log: {0}")]
    Temporary(io::Error),
    /// What is on disk is not known any more: the process has to end, and a new one begins with what is there.
    #[error("cannot sync the event log, so that this process has to end: {0}")]
    Fatal(io::Error),
}

impl Log {
    /// Writes a batch and returns when it is on disk: one write and one sync for the events, and as much again for the
    /// quarantine if there is something for it.
    pub fn commit(&mut self, staged: &Staged, now: Time) -> Result<(), CommitError> {
        self.tidy().map_err(CommitError::Temporary)?;
        let long = self.options.rotate_at.is_some_and(|most| self.len >= most);
        // A file without a record would get the name of the one after it.
        if long && staged.before.seq > self.shared.lock().segments.last().map_or(0, |active| active.first) {
            self.rotate(staged.before, now)?;
        }
        let quarantine = append(&*self.quarantine, self.quarantine_len, &staged.quarantine);
        let events = quarantine.and_then(|()| append(&*self.active, self.len, &staged.events));
        if let Err(error) = events {
            self.untidy = true;
            // What cannot be cut off now is cut off before the next write.
            let _ = self.tidy();
            return Err(error);
        }
        self.len += staged.events.len() as u64;
        self.quarantine_len += staged.quarantine.len() as u64;
        let (len, after) = (self.len, staged.after);
        self.shared.change(|extent| {
            let active = extent.segments.last_mut().expect("a log has an active file");
            active.len = len;
            extent.next = after.seq;
            extent.duplicates = after.duplicates;
            extent.quarantined = after.quarantined;
            extent.listening.clone_from(&staged.listening);
        });
        Ok(())
    }

    /// Brings the job log up to the event log. Its failures are told and made good the next time: the truth is safe.
    pub fn project(&mut self, staged: &Staged) {
        self.jobs.add(&staged.rows, staged.before.job_seq, staged.after.job_seq);
        if self.jobs.next() != staged.after.job_seq {
            self.catch_up();
        }
    }

    /// Writes what the job log lacks from the event log.
    pub(super) fn catch_up(&mut self) {
        let done = projection::catch_up(&mut self.jobs, &*self.disk, &self.shared.extent());
        if let Err(error) = done {
            warn!(%error, "cannot write {}; it is made good from the event log", self.layout.jobs);
        }
    }

    /// Brings the job log up to date and onto disk, or fails.
    pub fn finish_jobs(&mut self) -> io::Result<()> {
        projection::catch_up(&mut self.jobs, &*self.disk, &self.shared.extent())?;
        self.jobs.sync()?;
        self.disk.sync()
    }

    /// Cuts off what a failed write left.
    fn tidy(&mut self) -> io::Result<()> {
        if self.untidy {
            self.active.cut(self.len)?;
            self.quarantine.cut(self.quarantine_len)?;
            self.untidy = false;
        }
        Ok(())
    }

    /// Sets the active file aside under the number of its first record and begins another.
    fn rotate(&mut self, next: Next, now: Time) -> Result<(), CommitError> {
        if self.jobs.sync().is_err() {
            debug!("the job log cannot be synced; the whole of it is checked at the next start");
        }
        let header = self.header(next, now);
        let (file, len) = self.begin(&header).map_err(CommitError::Temporary)?;
        file.sync().map_err(CommitError::Temporary)?;
        self.replace(file, len, &header).map_err(CommitError::Fatal)
    }

    /// The header of a file that begins with `next`.
    pub(super) fn header(&self, next: Next, now: Time) -> Header {
        Header {
            format: 1,
            recorder: self.recorder.clone(),
            at: now,
            seq: next.seq,
            job_seq: next.job_seq,
            duplicates: next.duplicates,
            quarantined: next.quarantined,
            quarantine_end: self.quarantine_len,
            jobs_end: self.jobs.synced().0,
            jobs_next: self.jobs.synced().1,
            listening: self.listening.clone(),
        }
    }

    /// Makes the coming file with a header, not yet synced, under its passing name.
    fn begin(&self, header: &Header) -> io::Result<(Arc<dyn Bytes>, u64)> {
        let name = self.layout.coming();
        self.disk.remove(&name)?;
        let file = self.disk.open(&name, true)?;
        let mut bytes = Vec::new();
        entry::note(&Note::Segment(header.clone()), &mut bytes);
        file.write(&bytes, 0)?;
        Ok((file, bytes.len() as u64))
    }

    /// Puts the coming file in the place of the active one. A crash between the two renames leaves no active file:
    /// then the next start goes on behind the last rotated one.
    fn replace(&mut self, file: Arc<dyn Bytes>, len: u64, header: &Header) -> io::Result<()> {
        let extent = self.shared.extent();
        let first = extent.segments.last().expect("a log has an active file").first;
        let rotated = self.layout.rotated(first);
        self.disk.rename(&self.layout.active(), &rotated)?;
        self.disk.rename(&self.layout.coming(), &self.layout.active())?;
        self.disk.sync()?;
        (self.active, self.len) = (file, len);
        let segment = Segment { name: self.layout.active(), first: header.seq, began: header.at, len };
        self.shared.change(|extent| {
            extent.segments.last_mut().expect("a log has an active file").name = rotated;
            extent.segments.push(segment);
        });
        Ok(())
    }

    /// Deletes the files that the master has acknowledged whole and that ended longer ago than `keep`.
    pub fn forget(&mut self, acknowledged: u64, now: Time) -> io::Result<usize> {
        let extent = self.shared.extent();
        let over = |pair: &&[Segment]| {
            let [_, after] = pair else { return false };
            after.first <= acknowledged && after.began.plus(self.options.keep) < now
        };
        let old = extent.segments.windows(2).take_while(over).count();
        if old == 0 {
            return Ok(0);
        }
        // First out of sight, so that no reader opens what is about to go.
        self.shared.change(|extent| drop(extent.segments.drain(..old)));
        for segment in &extent.segments[..old] {
            self.disk.remove(&segment.name)?;
            info!("deleted {}: acknowledged by the master, and older than {}", segment.name, self.options.keep);
        }
        self.disk.sync()?;
        Ok(old)
    }

    /// Becomes a new recorder, whose log begins with the records from `from` on, numbered anew.
    ///
    /// For a log that was cut or put back from a copy: the master has already taken other records under the numbers
    /// from `from` on, so these would be passed over. The files of the old recorder are kept under other names.
    pub fn start_over(&mut self, from: u64, recorder: String, now: Time) -> Result<(), CommitError> {
        self.tidy().map_err(CommitError::Temporary)?;
        let old = std::mem::replace(&mut self.recorder, recorder);
        let known = std::mem::take(&mut self.listening);
        let header = self.header(Next::FIRST, now);
        let copied = self.begin(&header).and_then(|(file, len)| {
            let (len, next) = self.copy(from, &*file, len)?;
            file.sync()?;
            Ok((file, len, next))
        });
        let (file, len, next) = match copied {
            Ok(copied) => copied,
            Err(error) => {
                (self.recorder, self.listening) = (old, known);
                return Err(CommitError::Temporary(error));
            }
        };
        self.replace(file, len, &header).map_err(CommitError::Fatal)?;
        self.next = next;
        let extent = self.shared.extent();
        let (active, rest) = extent.segments.split_last().expect("a log has an active file");
        for segment in rest {
            let retired = self.layout.retired(&old, segment.first);
            self.disk.rename(&segment.name, &retired).map_err(CommitError::Fatal)?;
        }
        self.disk.sync().map_err(CommitError::Fatal)?;
        let recorder = self.recorder.clone();
        self.shared.change(|extent| {
            *extent = Extent {
                recorder: recorder.clone(),
                next: next.seq,
                opened_at: 1,
                duplicates: 0,
                quarantined: 0,
                listening: Listening::default(),
                expected: extent.expected.clone(),
                segments: vec![active.clone()],
            };
        });
        self.jobs.restart(recorder);
        self.catch_up();
        Ok(())
    }

    /// Writes the records from `from` on into a file that is `len` long, with new numbers; says how long it is then.
    fn copy(&self, from: u64, into: &dyn Bytes, mut len: u64) -> io::Result<(u64, Next)> {
        let mut next = Next::FIRST;
        let mut out = Vec::new();
        let extent = self.shared.extent();
        for (i, segment) in extent.segments.iter().enumerate() {
            if extent.segments.get(i + 1).is_some_and(|after| after.first <= from) {
                continue;
            }
            let file = self.disk.open(&segment.name, false)?;
            let mut lines = Lines::new(&*file, segment::near(&*file, segment.len, By::Seq, from)?, segment.len);
            while let Some(line) = lines.line()? {
                let Some(Entry::Record(place)) = entry::read(line).filter(|e| is_from(e, from)) else { continue };
                let mut record = place.record()?;
                (record.seq, record.job_seq) = (next.seq, next.job_seq);
                next.seq += 1;
                next.job_seq += record.jobs.len() as u64;
                entry::write(place.mark, &record, &mut out);
                into.write(&out, len)?;
                len += out.len() as u64;
                out.clear();
            }
        }
        Ok((len, next))
    }
}

fn is_from(entry: &Entry<'_>, from: u64) -> bool {
    match entry {
        Entry::Record(place) => place.seq >= from,
        Entry::Segment(_) | Entry::Duplicate | Entry::Quarantined { .. } | Entry::Listening { .. } => false,
    }
}

/// Writes and syncs, or cuts off again what was written.
fn append(file: &dyn Bytes, at: u64, bytes: &[u8]) -> Result<(), CommitError> {
    if bytes.is_empty() {
        return Ok(());
    }
    file.write(bytes, at).map_err(CommitError::Temporary)?;
    file.sync().map_err(|error| {
        // The kernel takes what it could not write for written; a reader after us must not.
        let _ = file.cut(at);
        CommitError::Fatal(error)
    })
}
