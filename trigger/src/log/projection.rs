//! `jobs.csv`: the jobs of the event log as rows, for people and for `jobrunner`.
//!
//! Never a truth: what it lacks or holds torn is made again from the event log. Rows are written behind the commit and
//! synced when a file of the log ends, so a power cut costs a repair and no row.

use std::io::{self, Read as _};
use std::sync::Arc;

use model::joblog;
use tracing::warn;

use super::disk::{Bytes, Disk};
use super::entry::{self, Entry};
use super::segment::{self, By, Lines};
use super::{Extent, OpenError};

/// The file, and how far it is whole.
pub struct Projection {
    file: Arc<dyn Bytes>,
    recorder: String,
    len: u64,
    /// A length that is known to be on disk, and the number of the row behind it.
    synced: (u64, u64),
    /// Whether a sync has failed.
    doubtful: bool,
    /// The number of the row that comes next.
    next: u64,
}

impl Projection {
    /// Opens the file and cuts it behind its last whole row. `trusted` is a length up to which it once was on disk,
    /// and the number of the row behind it; rows from `most` on are none of the log's.
    fn open(disk: &dyn Disk, name: &str, recorder: &str, trusted: (u64, u64), most: u64) -> io::Result<Projection> {
        let file = open_job_log(disk, name)?;
        let mut this =
            Projection { file, recorder: recorder.to_owned(), len: 0, synced: (0, 1), doubtful: false, next: 1 };
        let len = this.file.len()?;
        let (end, job_seq) = trusted;
        let trust = end <= len && this.ends_with_newline(end)?;
        let from_there = if trust { this.check(end, Some(job_seq), most, len)? } else { None };
        let (end, next) = match from_there {
            Some(found) => found,
            None => this.check(0, None, most, len)?.unwrap_or((0, 1)),
        };
        (this.len, this.next) = (end, next);
        if len > end {
            warn!("{name}: {} bytes behind its last whole row are written again", len - end);
            this.file.cut(end)?;
        }
        if end == 0 {
            this.append(header_line().as_bytes())?;
        }
        this.sync()?;
        Ok(this)
    }

    /// Reads rows from `at` on: where the last whole row of this recorder ends, and the number behind it. `None` if
    /// what stands at `at` is not what should.
    fn check(&self, at: u64, expected: Option<u64>, most: u64, len: u64) -> io::Result<Option<(u64, u64)>> {
        let input = From { file: &*self.file, at, end: len };
        let mut rows = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(input);
        let (mut row, mut good, mut next, mut first) = (csv::StringRecord::new(), at, expected.unwrap_or(1), true);
        loop {
            match rows.read_record(&mut row) {
                Ok(true) => {}
                Ok(false) => break,
                Err(e) if e.is_io_error() => return Err(io::Error::other(e)),
                Err(_) => break,
            }
            let end = at + rows.position().byte();
            let is_header = at == 0 && first && row.iter().eq(joblog::COLUMNS);
            let seq = row.get(0).and_then(|seq| seq.parse::<u64>().ok());
            let whole = row.len() == joblog::COLUMNS.len() && self.ends_with_newline(end)? && is_whole(&row);
            let follows = is_header
                || match seq {
                    // A file may hold the rows of recorders before this one, from any number on.
                    Some(seq) if expected.is_none() && row.get(1) != Some(&self.recorder) => seq > 0,
                    Some(seq) if expected.is_none() && next == 1 => seq > 0,
                    Some(seq) => seq == next && row.get(1) == Some(&self.recorder),
                    None => false,
                };
            let ours = !is_header && row.get(1) == Some(&self.recorder);
            if !(whole && follows) || (ours && seq.is_none_or(|seq| seq >= most)) {
                break;
            }
            if ours {
                next = seq.unwrap_or(0) + 1;
            }
            (good, first) = (end, false);
        }
        // A first row that does not fit says that the place itself is wrong; none at all is as it should be.
        Ok((!first || (expected.is_some() && at == len)).then_some((good, next)))
    }

    fn ends_with_newline(&self, end: u64) -> io::Result<bool> {
        let mut last = [0];
        Ok(end > 0 && self.file.read(&mut last, end - 1)? == 1 && last == *b"\n")
    }

    /// The number of the row that comes next.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// A length that is known to be on disk, and the number of the row behind it.
    pub fn synced(&self) -> (u64, u64) {
        self.synced
    }

    /// Appends rows that are numbered from `before` to `after`, if they are the ones that come next.
    pub fn add(&mut self, rows: &[u8], before: u64, after: u64) {
        if before == self.next && self.append(rows).is_ok() {
            self.next = after;
        }
    }

    fn append(&mut self, rows: &[u8]) -> io::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.file.write(rows, self.len) {
            // If even this fails, the next write overwrites what is there.
            let _ = self.file.cut(self.len);
            return Err(error);
        }
        self.len += rows.len() as u64;
        Ok(())
    }

    pub fn sync(&mut self) -> io::Result<()> {
        if let Err(error) = self.file.sync() {
            // The next sync may succeed without what this one has lost, so this file is trusted no more.
            (self.synced, self.doubtful) = ((0, 1), true);
            return Err(error);
        }
        if !self.doubtful {
            self.synced = (self.len, self.next);
        }
        Ok(())
    }

    /// Goes on with the rows of another recorder, from its first.
    pub fn restart(&mut self, recorder: String) {
        (self.recorder, self.next) = (recorder, 1);
    }
}

/// Writes the rows that the event log has and the job log has not.
pub fn catch_up(jobs: &mut Projection, disk: &dyn Disk, extent: &Extent) -> io::Result<()> {
    for (i, segment) in extent.segments.iter().enumerate() {
        let file = disk.open(&segment.name, false)?;
        let after = extent.segments.get(i + 1);
        let past = match after {
            Some(after) => match segment::header(&*disk.open(&after.name, false)?)? {
                Some((header, _)) => header.job_seq <= jobs.next,
                None => false,
            },
            None => false,
        };
        if past {
            continue;
        }
        let mut lines = Lines::new(&*file, segment::near(&*file, segment.len, By::JobSeq, jobs.next)?, segment.len);
        while let Some(line) = lines.line()? {
            let Some(Entry::Record(place)) = entry::read(line) else { continue };
            if !place.has_jobs() || place.job_seq < jobs.next && !reaches(&place, jobs.next) {
                continue;
            }
            let record = place.record()?;
            let mut rows = csv::Writer::from_writer(Vec::new());
            let known = usize::try_from(jobs.next.saturating_sub(record.job_seq)).unwrap_or(usize::MAX);
            for row in joblog::rows(&jobs.recorder, &record).skip(known) {
                rows.write_record(row)?;
            }
            jobs.append(&rows.into_inner().map_err(|e| io::Error::other(e.to_string()))?)?;
            jobs.next = jobs.next.max(record.job_seq + record.jobs.len() as u64);
        }
    }
    Ok(())
}

/// Whether a record has jobs from `next` on, though its first is before.
fn reaches(place: &entry::Place<'_>, next: u64) -> bool {
    place.record().is_ok_and(|record| record.job_seq + record.jobs.len() as u64 > next)
}

/// Whether a row is one that we wrote, or the header: every field can be read, and none holds a block of zeros.
fn is_whole(row: &csv::StringRecord) -> bool {
    let header = joblog::Header::parse(joblog::COLUMNS).expect("the columns are a header");
    let read = row.iter().eq(joblog::COLUMNS) || header.row(row).is_ok_and(|row| row.key_given);
    read && !row.iter().any(|field| field.contains('\0'))
}

fn header_line() -> String {
    format!("{}\n", joblog::COLUMNS.join(","))
}

/// Whether a file is a job log of ours, or empty.
pub fn is_job_log(file: &mut impl io::Read) -> io::Result<bool> {
    let mut begin = Vec::new();
    io::Read::take(file, header_line().len() as u64).read_to_end(&mut begin)?;
    Ok(begin.is_empty() || begin == header_line().as_bytes())
}

/// A part of a file as a stream.
struct From<'a> {
    file: &'a dyn Bytes,
    at: u64,
    end: u64,
}

impl io::Read for From<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let got = self.file.read(&mut buffer[..most], self.at)?;
        self.at += got as u64;
        Ok(got)
    }
}

/// Opens the file; one that is no job log at all is somebody's, and is set aside.
fn open_job_log(disk: &dyn Disk, name: &str) -> io::Result<Arc<dyn Bytes>> {
    let file = disk.open(name, true)?;
    let mut begin = vec![0; header_line().len()];
    let got = file.read(&mut begin, 0)?;
    let torn = header_line().as_bytes().starts_with(&begin[..got]) || begin[..got].iter().all(|byte| *byte == 0);
    if torn {
        return Ok(file);
    }
    let aside = format!("{name}.set-aside");
    warn!("{name} is no job log; it is kept as {aside}");
    disk.rename(name, &aside)?;
    disk.open(name, true)
}

/// Opens the job log of a log.
pub fn open(
    disk: &dyn Disk,
    layout: &super::Layout,
    recorder: &str,
    trusted: (u64, u64),
    most: u64,
) -> Result<Projection, OpenError> {
    Projection::open(disk, &layout.jobs, recorder, trusted, most)
        .map_err(|e| OpenError::io("open the job log", &layout.path(&layout.jobs), e))
}
