//! What the files of a log are called, and the lock that keeps a second process out.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::OpenError;

/// The names of one log's files in one folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub folder: PathBuf,
    /// Stands before each name but that of the job log.
    prefix: String,
    /// The job log.
    pub jobs: String,
}

impl Layout {
    /// `events.jsonl`, `jobs.csv` and `quarantine.jsonl` in a folder of their own.
    pub fn folder(folder: &Path) -> Layout {
        Layout { folder: folder.to_owned(), prefix: String::new(), jobs: "jobs.csv".into() }
    }

    /// A job log FILE with `FILE.events.jsonl` and the rest beside it; `None` if FILE cannot be a file's name.
    pub fn beside(file: &Path) -> Option<Layout> {
        let jobs = file.file_name()?.to_str()?.to_owned();
        let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some(Layout { folder: folder.to_owned(), prefix: format!("{jobs}."), jobs })
    }

    /// The log whose active file this is; `None` if it has another name.
    pub fn of_events(file: &Path) -> Option<Layout> {
        let prefix = file.file_name()?.to_str()?.strip_suffix("events.jsonl")?.to_owned();
        let jobs = prefix.strip_suffix('.').unwrap_or("jobs.csv").to_owned();
        let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some(Layout { folder: folder.to_owned(), prefix, jobs })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The segment that is written.
    pub fn active(&self) -> String {
        format!("{}events.jsonl", self.prefix)
    }

    /// A segment on its way to become the active one.
    pub fn coming(&self) -> String {
        format!("{}events.jsonl.new", self.prefix)
    }

    pub fn rotated(&self, first: u64) -> String {
        format!("{}events-{first:020}.jsonl", self.prefix)
    }

    /// The first `seq` of a rotated segment, from its name.
    pub fn first_of(&self, name: &str) -> Option<u64> {
        let digits = name.strip_prefix(&self.prefix)?.strip_prefix("events-")?.strip_suffix(".jsonl")?;
        (digits.len() == 20).then(|| digits.parse().ok()).flatten()
    }

    /// A segment of an earlier recorder in the same folder.
    pub fn retired(&self, recorder: &str, first: u64) -> String {
        format!("{}retired-{recorder}-{first:020}.jsonl", self.prefix)
    }

    /// What was cut off behind `seq` though some of it could be read.
    pub fn damaged(&self, seq: u64) -> String {
        format!("{}damaged-{seq:020}.jsonl", self.prefix)
    }

    pub fn quarantine(&self) -> String {
        format!("{}quarantine.jsonl", self.prefix)
    }

    /// Beside a job log it is that file itself, which nobody puts another in the place of.
    fn lock_file(&self) -> &str {
        if self.prefix.is_empty() { "lock" } else { &self.jobs }
    }

    /// Keeps every other process out until the answer is dropped, or this process ends in whatever way.
    pub(super) fn lock(&self) -> Result<Flock<File>, OpenError> {
        let path = self.path(self.lock_file());
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|e| OpenError::io("open", &path, e))?;
        Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| match e {
            nix::errno::Errno::EWOULDBLOCK => OpenError::Taken(self.folder.clone()),
            e => OpenError::io("lock", &path, io::Error::from(e)),
        })
    }
}

/// Removes a log that nobody needs.
pub fn remove(layout: &Layout) -> io::Result<()> {
    for name in [layout.active(), layout.quarantine(), layout.jobs.clone()] {
        remove_file(&layout.path(&name))?;
    }
    Ok(())
}

/// Removes the quarantine if nothing is in it; it is made again when it is needed.
pub fn remove_empty_quarantine(layout: &Layout) -> io::Result<()> {
    let path = layout.path(&layout.quarantine());
    match std::fs::metadata(&path) {
        Ok(metadata) if metadata.len() == 0 => remove_file(&path),
        Ok(_) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

fn remove_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
