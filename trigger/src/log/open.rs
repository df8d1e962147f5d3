//! Opening a log: what is whole is taken over, what is torn is cut off.

use std::io;
use std::sync::Arc;

use model::Time;
use tracing::{info, warn};

use super::disk::{Bytes, Disk, Folder};
use super::entry::{self, Entry, Header, Mark, Note};
use super::listening::Listening;
use super::seen::Seen;
use super::segment::{self, By, Lines};
use super::{Extent, Layout, Log, Next, OpenError, Options, Segment, Shared, frame, projection};

/// What one file holds, up to its first damaged line.
struct Contents {
    next: Next,
    listening: Listening,
    marks: Vec<Mark>,
    quarantine_end: u64,
    end: u64,
}

impl Log {
    /// Opens the log, or makes it. `fresh` names the recorder if there is none yet.
    pub fn open(layout: Layout, options: Options, fresh: &str, now: Time) -> Result<Log, OpenError> {
        let disk = Folder::make(&layout.folder).map_err(|e| OpenError::io("make", &layout.folder, e))?;
        let lock = layout.lock()?;
        let mut log = Log::open_on(Arc::new(disk), layout, options, fresh, now)?;
        log.lock = Some(lock);
        Ok(log)
    }

    /// As [`Log::open`], on a folder that the caller keeps others out of.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        layout: Layout,
        options: Options,
        fresh: &str,
        now: Time,
    ) -> Result<Log, OpenError> {
        let name = layout.active();
        let failed = |error| OpenError::io("open the event log", &layout.path(&name), error);
        let (header, segments) = find(&*disk, &layout, fresh, now).map_err(failed)?;
        let active = disk.open(&name, false).map_err(failed)?;
        let mut contents = scan(&*active, &header).map_err(failed)?;
        if cut(&*disk, &*active, &layout, &contents).map_err(failed)? {
            contents.listening = Listening::default();
        }

        let mut seen = Seen::new(options.window);
        let earlier = earlier_marks(&*disk, &segments, contents.next.seq, options.window).map_err(failed)?;
        for mark in earlier.into_iter().chain(contents.marks) {
            seen.add(mark);
        }

        let (quarantine, quarantine_len) =
            open_quarantine(&*disk, &layout.quarantine(), contents.quarantine_end).map_err(failed)?;
        let trusted = (header.jobs_end, header.jobs_next);
        let jobs = projection::open(&*disk, &layout, &header.recorder, trusted, contents.next.job_seq)?;
        disk.sync().map_err(failed)?;

        let extent = Extent {
            recorder: header.recorder.clone(),
            next: contents.next.seq,
            opened_at: contents.next.seq,
            duplicates: contents.next.duplicates,
            quarantined: contents.next.quarantined,
            listening: contents.listening.clone(),
            expected: None,
            segments: with_active(segments, &name, &header, contents.end),
        };
        let mut log = Log {
            disk,
            options,
            recorder: header.recorder,
            active,
            len: contents.end,
            quarantine,
            quarantine_len,
            untidy: false,
            next: contents.next,
            seen,
            listening: contents.listening,
            noted: Time::default(),
            jobs,
            shared: Shared::new(extent),
            lock: None,
            layout,
        };
        log.catch_up();
        Ok(log)
    }
}

fn with_active(mut segments: Vec<Segment>, name: &str, header: &Header, len: u64) -> Vec<Segment> {
    segments.push(Segment { name: name.to_owned(), first: header.seq, began: header.at, len });
    segments
}

/// Finds the active file, or makes one behind the last rotated one; says what the rotated ones of its recorder are.
fn find(disk: &dyn Disk, layout: &Layout, fresh: &str, now: Time) -> io::Result<(Header, Vec<Segment>)> {
    let names = disk.list()?;
    if names.contains(&layout.coming()) {
        disk.remove(&layout.coming())?;
    }
    let mut rotated = Vec::new();
    for name in &names {
        let Some(first) = layout.first_of(name) else { continue };
        let file = disk.open(name, false)?;
        match segment::header(&*file)? {
            Some((header, _)) => rotated.push((first, name.clone(), header, file.len()?)),
            None => warn!("{name} has no readable header, so it is not read"),
        }
    }
    rotated.sort_by_key(|(first, ..)| *first);

    let active = match names.contains(&layout.active()) {
        true => segment::header(&*disk.open(&layout.active(), false)?)?.map(|(header, _)| header),
        false => None,
    };
    let header = match active {
        Some(header) => header,
        None => {
            if names.contains(&layout.active()) {
                let aside = layout.damaged(rotated.last().map_or(0, |(first, ..)| *first));
                warn!("{} has no readable header; it is kept as {aside}", layout.active());
                disk.rename(&layout.active(), &aside)?;
            }
            let header = match rotated.last() {
                Some((_, name, header, _)) => following(&*disk.open(name, false)?, header, now)?,
                None => first_header(fresh, now),
            };
            make(disk, layout, &header)?;
            header
        }
    };

    let mut segments = Vec::new();
    for (first, name, its, len) in rotated {
        if its.recorder == header.recorder {
            segments.push(Segment { name, first, began: its.at, len });
        } else {
            disk.rename(&name, &layout.retired(&its.recorder, first))?;
        }
    }
    Ok((header, segments))
}

fn first_header(fresh: &str, now: Time) -> Header {
    Header {
        format: 1,
        recorder: fresh.to_owned(),
        at: now,
        seq: 1,
        job_seq: 1,
        duplicates: 0,
        quarantined: 0,
        quarantine_end: 0,
        jobs_end: 0,
        jobs_next: 1,
        listening: Listening::default(),
    }
}

/// The header of a file that goes on where another ends.
fn following(file: &dyn Bytes, header: &Header, now: Time) -> io::Result<Header> {
    let contents = scan(file, header)?;
    Ok(Header {
        at: now,
        seq: contents.next.seq,
        job_seq: contents.next.job_seq,
        duplicates: contents.next.duplicates,
        quarantined: contents.next.quarantined,
        quarantine_end: contents.quarantine_end,
        jobs_end: 0,
        jobs_next: 1,
        listening: contents.listening,
        ..header.clone()
    })
}

/// Makes an active file that holds a header only; it appears whole or not at all.
fn make(disk: &dyn Disk, layout: &Layout, header: &Header) -> io::Result<()> {
    let file = disk.open(&layout.coming(), true)?;
    let mut bytes = Vec::new();
    entry::note(&Note::Segment(header.clone()), &mut bytes);
    file.write(&bytes, 0)?;
    file.sync()?;
    disk.rename(&layout.coming(), &layout.active())?;
    disk.sync()
}

/// Reads a file up to its first damaged line.
fn scan(file: &dyn Bytes, header: &Header) -> io::Result<Contents> {
    let mut next = Next {
        seq: header.seq,
        job_seq: header.job_seq,
        duplicates: header.duplicates,
        quarantined: header.quarantined,
    };
    let mut listening = header.listening.clone();
    let (mut marks, mut quarantine_end, mut end, mut last) = (Vec::new(), header.quarantine_end, 0, None);
    let mut lines = Lines::new(file, 0, file.len()?);
    while let Some(line) = lines.line()? {
        match entry::read(line) {
            Some(Entry::Segment(_)) if end == 0 => {}
            Some(Entry::Record(place)) if place.seq == next.seq => {
                next.seq += 1;
                marks.push(place.mark);
                last = Some(end);
            }
            Some(Entry::Duplicate) => next.duplicates += 1,
            Some(Entry::Quarantined { end }) => {
                next.quarantined += 1;
                quarantine_end = end;
            }
            Some(Entry::Listening { word, at, to }) => drop(listening.hear(&to, word, at)),
            Some(Entry::Segment(_) | Entry::Record(_)) | None => break,
        }
        end = lines.at();
    }
    if let Some(at) = last {
        let mut lines = Lines::new(file, at, end);
        if let Some(Entry::Record(place)) = lines.line()?.and_then(entry::read) {
            let record = place.record().map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            next.job_seq = record.job_seq + record.jobs.len() as u64;
        }
    }
    Ok(Contents { next, listening, marks, quarantine_end, end })
}

/// Cuts off what stands behind the last good line. If some of it is good, more than a write was torn, and it is kept:
/// true then, since the log lacks it.
fn cut(disk: &dyn Disk, file: &dyn Bytes, layout: &Layout, contents: &Contents) -> io::Result<bool> {
    let len = file.len()?;
    let mut good = 0;
    if len > contents.end {
        let mut lines = Lines::new(file, contents.end, len);
        while let Some(line) = lines.line()? {
            good += u64::from(frame::read(line).is_some());
        }
        if good > 0 {
            let name = layout.damaged(contents.next.seq);
            keep(disk, file, &name, contents.end, len)?;
            warn!(
                "the event log is damaged behind event {}: {good} good lines behind the damage are not used any more; \
                 they are kept in {name}",
                contents.next.seq - 1
            );
        } else {
            info!("cut {} bytes of an unfinished write off the event log", len - contents.end);
        }
        file.cut(contents.end)?;
    }
    // Also what an earlier process wrote and did not sync.
    file.sync()?;
    Ok(good > 0)
}

fn keep(disk: &dyn Disk, file: &dyn Bytes, name: &str, from: u64, to: u64) -> io::Result<()> {
    let copy = disk.open(name, true)?;
    let mut buffer = vec![0; 1 << 20];
    let mut at = from;
    while at < to {
        let got = file.read(&mut buffer, at)?;
        if got == 0 {
            break;
        }
        copy.write(&buffer[..got], at - from)?;
        at += got as u64;
    }
    copy.cut(at - from)?;
    copy.sync()?;
    disk.sync()
}

/// The marks of the latest events before the active file, as far as the window reaches.
fn earlier_marks(disk: &dyn Disk, rotated: &[Segment], next: u64, window: Option<usize>) -> io::Result<Vec<Mark>> {
    let from = window.map_or(1, |window| next.saturating_sub(window as u64));
    let mut marks = Vec::new();
    for (i, segment) in rotated.iter().enumerate() {
        if rotated.get(i + 1).is_some_and(|after| after.first <= from) {
            continue;
        }
        let file = disk.open(&segment.name, false)?;
        let mut lines = Lines::new(&*file, segment::near(&*file, segment.len, By::Seq, from)?, segment.len);
        while let Some(line) = lines.line()? {
            match entry::read(line) {
                Some(Entry::Record(place)) if place.seq >= from => marks.push(place.mark),
                Some(
                    Entry::Record(_)
                    | Entry::Segment(_)
                    | Entry::Duplicate
                    | Entry::Quarantined { .. }
                    | Entry::Listening { .. },
                ) => {}
                None => warn!("{} has a damaged line", segment.name),
            }
        }
    }
    Ok(marks)
}

/// Opens the quarantine and cuts off what no commit accounts for. If a person has emptied it, it begins anew.
fn open_quarantine(disk: &dyn Disk, name: &str, end: u64) -> io::Result<(Arc<dyn Bytes>, u64)> {
    let file = disk.open(name, true)?;
    let len = file.len()?.min(end);
    file.cut(len)?;
    file.sync()?;
    Ok((file, len))
}
