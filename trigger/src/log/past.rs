//! A log that nobody here writes: what another recorder has left, read from its files, as they are and unlocked.
//!
//! It may be a copy from another machine, or still be written: a last line that is not whole is not there yet. Anything
//! else that does not fit is a damage, and told.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Time;
use model::intake::Record;
use serde::Deserialize;

use super::disk::Bytes;
use super::entry::{self, Entry};
use super::listening::{Coverage, Gap, Listening};
use super::segment::{self, Lines};
use super::{Layout, is_job_log};

/// The files of one recorder, from the oldest.
pub struct Past {
    recorder: String,
    files: Vec<(String, Arc<dyn Bytes>)>,
}

/// What a log says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// The latest span that it covers without a gap, and the gaps before it.
    pub coverage: Coverage,
    /// When it covered something for the first time.
    pub since: Option<Time>,
    pub gaps: Vec<Gap>,
    /// Why its numbers cannot be trusted, where that is so.
    pub damage: Option<String>,
    /// When its last record was made.
    pub last: Option<Time>,
}

/// How far a reader has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    file: usize,
    at: u64,
}

/// Why there is nothing to read.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    #[error("{} is no job log and no event log", .0.display())]
    NoLog(PathBuf),
    #[error("{} is not there: the job log alone does not tell what it lacks; copy the event log with it", .0.display())]
    Alone(PathBuf),
    #[error("cannot read {}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
}

impl Past {
    /// Opens a job log with its event log beside it, an event log, or the folder of a trigger.
    pub fn open(path: &Path) -> Result<Past, PastError> {
        let failed = |error| PastError::Io { path: path.to_owned(), error };
        let layout = layout(path)?;
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&layout.folder).map_err(failed)? {
            let Ok(name) = entry.map_err(failed)?.file_name().into_string() else { continue };
            let first = if name == layout.active() { Some(u64::MAX) } else { layout.first_of(&name) };
            let Some(first) = first else { continue };
            let file: Arc<dyn Bytes> = Arc::new(File::open(layout.path(&name)).map_err(failed)?);
            let header = segment::header(&*file).map_err(failed)?;
            let (header, _) = header.ok_or_else(|| PastError::NoLog(layout.path(&name)))?;
            files.push((first, name, header.recorder, file));
        }
        files.sort_by_key(|(first, ..)| *first);
        let Some((u64::MAX, _, recorder, _)) = files.last() else { return Err(PastError::NoLog(path.to_owned())) };
        let recorder = recorder.clone();
        let files = files.into_iter().filter(|(_, _, its, _)| *its == recorder).map(|(_, name, _, file)| (name, file));
        Ok(Past { files: files.collect(), recorder })
    }

    pub fn recorder(&self) -> &str {
        &self.recorder
    }

    /// Reads all of it, and says what it covers.
    pub fn survey(&self) -> io::Result<Survey> {
        let (mut survey, mut next, mut last) = (Survey::default(), None, None);
        // What each source covers now, and what it covers if the gaps are left out.
        let (mut listening, mut first) = (Listening::default(), Listening::default());
        for (i, (name, file)) in self.files.iter().enumerate() {
            let mut lines = Lines::new(&**file, 0, file.len()?);
            while let Some(line) = lines.line()? {
                match entry::read(line) {
                    Some(Entry::Segment(header)) => {
                        if i == 0 && header.seq > 1 {
                            // What was before is deleted.
                            listening = header.listening.from(header.at);
                            first = listening.clone();
                        }
                        survey.expect(&mut next, header.seq, name);
                    }
                    Some(Entry::Record(place)) => {
                        survey.expect(&mut next, place.seq, name);
                        next = Some(place.seq + 1);
                        last = Some(place.json());
                    }
                    Some(Entry::Listening { word, at, to }) => {
                        survey.gaps.extend(listening.hear(&to, word, at));
                        if first.is_new(&to) {
                            first.hear(&to, word, at);
                        }
                    }
                    Some(Entry::Duplicate | Entry::Quarantined { .. }) => {}
                    None => survey.break_at(name, next),
                }
            }
        }
        (survey.coverage, survey.since) = (listening.all(), first.all().since);
        survey.last = last.map(|json| serde_json::from_str::<At>(&json)).transpose()?.map(|at| at.recorded_at);
        Ok(survey)
    }

    /// The next records, at most so many; none at the end.
    pub fn read(&self, place: &mut Place, most: usize) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        while let Some((_, file)) = self.files.get(place.file) {
            let mut lines = Lines::new(&**file, place.at, file.len()?);
            while records.len() < most {
                let Some(line) = lines.line()? else { break };
                if let Some(Entry::Record(found)) = entry::read(line) {
                    records.push(found.record()?);
                }
            }
            place.at = lines.at();
            if records.len() == most || place.file + 1 == self.files.len() {
                break;
            }
            *place = Place { file: place.file + 1, at: 0 };
        }
        Ok(records)
    }
}

#[derive(Deserialize)]
struct At {
    recorded_at: Time,
}

impl Survey {
    /// The spans between `since` and `until` that it does not cover.
    pub fn lacks(&self, since: Time, until: Time) -> Vec<Gap> {
        let end = self.coverage.until;
        let edges = [
            self.since.map(|began| Gap { from: since, to: began.min(until) }),
            end.map(|end| Gap { from: end.max(since), to: until }),
        ];
        let within = self.gaps.iter().map(|gap| Gap { from: gap.from.max(since), to: gap.to.min(until) });
        let mut lacks: Vec<Gap> = edges.into_iter().flatten().chain(within).filter(|gap| gap.from < gap.to).collect();
        lacks.sort_by_key(|gap| gap.from);
        lacks
    }

    fn expect(&mut self, next: &mut Option<u64>, seq: u64, name: &str) {
        match *next {
            Some(wanted) if wanted != seq => self.break_at(name, Some(wanted)),
            Some(_) | None => *next = Some(seq),
        }
    }

    fn break_at(&mut self, name: &str, next: Option<u64>) {
        let behind = next.map_or(0, |next| next.saturating_sub(1));
        self.damage.get_or_insert_with(|| format!("{name} is damaged or cut behind event {behind}"));
    }
}

/// What the files beside a path are called.
fn layout(path: &Path) -> Result<Layout, PastError> {
    let failed = |error| PastError::Io { path: path.to_owned(), error };
    if path.is_dir() {
        return Ok(Layout::folder(path));
    }
    if let Some(layout) = Layout::of_events(path) {
        return Ok(layout);
    }
    let mut file = File::open(path).map_err(failed)?;
    if !is_job_log(&mut file).map_err(failed)? {
        return Err(PastError::NoLog(path.to_owned()));
    }
    let layout = Layout::beside(path).ok_or_else(|| PastError::NoLog(path.to_owned()))?;
    // A trigger's own job log stands beside an event log of another name.
    let own = Layout::folder(&layout.folder);
    let found = [layout.clone(), own.clone()]
        .into_iter()
        .find(|each| each.path(&each.active()).exists() && (each.path(&each.jobs) == path || *each == layout));
    found.ok_or_else(|| PastError::Alone(layout.path(&layout.active())))
}
