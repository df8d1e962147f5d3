//! Reading the log behind its writer: from any number on, only what is on disk.

use std::io;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::disk::{Bytes, Disk};
use super::entry::{self, Entry};
use super::segment::{self, By, Lines};
use super::{Extent, Log, Segment, Shared};

/// Reads records in order; keeps one file open.
pub struct Reader {
    disk: Arc<dyn Disk>,
    shared: Shared,
    place: Option<Place>,
}

/// Where the record `seq` stands.
struct Place {
    recorder: String,
    first: u64,
    file: Arc<dyn Bytes>,
    seq: u64,
    at: u64,
}

/// Where reading begins: a file, and a place in it at or a little before the record.
type Start = (Segment, Arc<dyn Bytes>, u64);

/// Some records in a row, as JSON.
#[derive(Debug)]
pub struct Batch {
    pub records: Vec<Box<RawValue>>,
    /// The number behind the last of them.
    pub next: u64,
}

impl Log {
    /// A reader of what this log has on disk, now and later.
    pub fn reader(&self) -> Reader {
        Reader { disk: self.disk.clone(), shared: self.shared.clone(), place: None }
    }
}

impl Reader {
    /// The records from `from` on, until there are `most` of them or more than `bytes` bytes. Empty at the end of the
    /// log. An error of kind `NotFound` says that the records are deleted, `InvalidData` that they are damaged.
    pub fn read(&mut self, from: u64, most: usize, bytes: usize) -> io::Result<Batch> {
        let mut batch = Batch { records: Vec::new(), next: from };
        let mut size = 0;
        while batch.records.len() < most && size < bytes {
            let (segment, file, at) = match self.place(batch.next)? {
                Some(place) => place,
                None => break,
            };
            let mut lines = Lines::new(&*file, at, segment.len);
            let before = batch.next;
            while batch.records.len() < most && size < bytes {
                let Some(line) = lines.line()? else { break };
                match entry::read(line) {
                    Some(Entry::Record(place)) if place.seq == batch.next => {
                        let json = place.json();
                        size += json.len();
                        batch.records.push(RawValue::from_string(json).map_err(|e| damaged(&segment, before, &e))?);
                        batch.next += 1;
                    }
                    Some(Entry::Record(place)) if place.seq > batch.next => {
                        return Err(damaged(&segment, batch.next, &"it is missing"));
                    }
                    Some(
                        Entry::Record(_)
                        | Entry::Segment(_)
                        | Entry::Duplicate
                        | Entry::Quarantined { .. }
                        | Entry::Listening { .. },
                    ) => {}
                    None => return Err(damaged(&segment, batch.next, &"a line does not match its checksum")),
                }
            }
            let at = lines.at();
            self.remember(&segment, file.clone(), batch.next, at);
            if batch.next == before {
                break;
            }
        }
        Ok(batch)
    }

    fn remember(&mut self, segment: &Segment, file: Arc<dyn Bytes>, seq: u64, at: u64) {
        let recorder = self.shared.lock().recorder.clone();
        self.place = Some(Place { recorder, first: segment.first, file, seq, at });
    }

    /// Where to find `seq`; `None` at the end of the log.
    fn place(&self, seq: u64) -> io::Result<Option<Start>> {
        // Under the lock, so that the file is opened before its name can change.
        let extent = self.shared.lock();
        if seq >= extent.next {
            return Ok(None);
        }
        let segment = holder(&extent, seq)?.clone();
        if let Some(place) = &self.place
            && (&place.recorder, place.first, place.seq) == (&extent.recorder, segment.first, seq)
        {
            return Ok(Some((segment, place.file.clone(), place.at)));
        }
        let file = self.disk.open(&segment.name, false)?;
        drop(extent);
        let at = segment::near(&*file, segment.len, By::Seq, seq)?;
        Ok(Some((segment, file, at)))
    }
}

fn holder(extent: &Extent, seq: u64) -> io::Result<&Segment> {
    extent.segments.iter().rev().find(|segment| segment.first <= seq).ok_or_else(|| {
        let first = extent.segments.first().map_or(1, |segment| segment.first);
        io::Error::new(io::ErrorKind::NotFound, format!("event {seq} is deleted; the log begins with event {first}"))
    })
}

fn damaged(segment: &Segment, seq: u64, why: &dyn std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: cannot read event {seq}: {why}", segment.name))
}
