//! Reading one file of the event log, in constant memory.

use std::io;

use super::disk::Bytes;
use super::entry::{self, Entry, Header};

const CHUNK: usize = 256 << 10;

/// No line of ours is longer: past this a file is taken for damaged.
const LONGEST: usize = 512 << 20;

/// The whole lines of a file between two places.
pub struct Lines<'a> {
    file: &'a dyn Bytes,
    /// Where in the file the unread part of the buffer begins.
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    start: usize,
}

impl<'a> Lines<'a> {
    /// From `at`, where a line must begin, to `end`.
    pub fn new(file: &'a dyn Bytes, at: u64, end: u64) -> Lines<'a> {
        Lines { file, at, end, buffer: Vec::new(), start: 0 }
    }

    /// Where the next line begins.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The next line without its newline; `None` where no whole line is left.
    pub fn line(&mut self) -> io::Result<Option<&[u8]>> {
        let mut searched = self.start;
        let newline = loop {
            if let Some(n) = self.buffer[searched..].iter().position(|b| *b == b'\n') {
                break searched + n;
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            searched = self.buffer.len();
            let from = self.at + searched as u64;
            let more = usize::try_from(self.end.saturating_sub(from)).unwrap_or(CHUNK).min(CHUNK.max(searched));
            if more == 0 || searched > LONGEST {
                return Ok(None);
            }
            self.buffer.resize(searched + more, 0);
            let got = self.file.read(&mut self.buffer[searched..], from)?;
            self.buffer.truncate(searched + got);
            if got == 0 {
                return Ok(None);
            }
        };
        let line = &self.buffer[self.start..newline];
        self.at += line.len() as u64 + 1;
        self.start = newline + 1;
        Ok(Some(line))
    }
}

/// Reads the header of a file and says where it ends; `None` if the first line is no header.
pub fn header(file: &dyn Bytes) -> io::Result<Option<(Header, u64)>> {
    let mut lines = Lines::new(file, 0, file.len()?);
    let header = match lines.line()?.and_then(entry::read) {
        Some(Entry::Segment(header)) => header,
        Some(Entry::Record(_) | Entry::Duplicate | Entry::Quarantined { .. } | Entry::Listening { .. }) | None => {
            return Ok(None);
        }
    };
    Ok(Some((header, lines.at())))
}

/// What a file's records are searched by.
#[derive(Clone, Copy, Debug)]
pub enum By {
    Seq,
    JobSeq,
}

/// A place from which reading on finds the record that `by` asks for with few lines before it.
///
/// Halves the file instead of remembering offsets: lines can be found from any byte, and their numbers only grow.
pub fn near(file: &dyn Bytes, end: u64, by: By, wanted: u64) -> io::Result<u64> {
    let (mut low, mut high) = (0, end);
    while high - low > CHUNK as u64 {
        let middle = low + (high - low) / 2;
        match key_after(file, middle, high, by)? {
            Some((at, key)) if key <= wanted => low = at,
            Some(_) | None => high = middle,
        }
    }
    Ok(low)
}

/// The first record that begins at or behind `from` and before `end`.
fn key_after(file: &dyn Bytes, from: u64, end: u64, by: By) -> io::Result<Option<(u64, u64)>> {
    // From one byte earlier on, so that a line beginning just here is found.
    let mut lines = Lines::new(file, from - 1, file.len()?);
    lines.line()?;
    loop {
        let at = lines.at();
        if at >= end {
            return Ok(None);
        }
        match lines.line()?.map(entry::read) {
            Some(Some(Entry::Record(place))) => {
                return Ok(Some((
                    at,
                    match by {
                        By::Seq => place.seq,
                        By::JobSeq => place.job_seq,
                    },
                )));
            }
            Some(
                Some(Entry::Segment(_) | Entry::Duplicate | Entry::Quarantined { .. } | Entry::Listening { .. }) | None,
            ) => {}
            None => return Ok(None),
        }
    }
}
