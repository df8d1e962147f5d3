//! The logs of attempts, as files: `logs/ab/JOB.ATTEMPT.log`, and `.log.zst` when they rest. They are what a job printed,
//! so they are never trusted.
//!
//! A piece comes with its place. What is there already is never changed: a piece that overlaps it adds only what is
//! new, so that sending a piece again changes nothing, and one that would leave a hole is refused with the size. What is
//! new is written at its place: where two masters that share the folder are sent the same piece, it is there once. A log
//! rests when its attempt has ended, and grows no more.

mod file;
mod rest;
mod sweep;

use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::JobId;
use tokio::fs::{self, File, OpenOptions};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

pub use self::file::LogFile;
pub use self::sweep::enough;

/// How many logs may be written at once before two of them share a lock.
const DOORS: usize = 1024;

/// How often whoever waits for more of a log looks at the file: another master may be the one that writes it.
const LOOK: Duration = Duration::from_millis(200);

/// The folder of all logs. Cheap to clone.
#[derive(Clone)]
pub struct Logs {
    folder: Arc<Path>,
    doors: Arc<[Door]>,
    /// The folders of two hex digits that are known to be there.
    made: Arc<Mutex<[bool; 256]>>,
}

/// What the logs of some jobs share.
#[derive(Default)]
struct Door {
    /// One writer a log: two pieces of one attempt must not both see the same end.
    lock: tokio::sync::Mutex<()>,
    /// Wakes those who wait for more of a log.
    bell: Notify,
}

/// Why a piece was not stored.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// It begins beyond the end: what lies between is missing.
    #[error("the log is {size} bytes long, and the piece begins at {offset}: send from {size}")]
    Hole { size: u64, offset: u64 },
    #[error("cannot write the log: {0}")]
    Io(#[from] io::Error),
}

/// A part of a log, and how long the whole is.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Part {
    pub start: u64,
    pub bytes: Vec<u8>,
    pub size: u64,
}

impl Logs {
    pub fn new(folder: &Path) -> Logs {
        Logs {
            folder: folder.into(),
            doors: (0..DOORS).map(|_| Door::default()).collect(),
            made: Arc::new(Mutex::new([false; 256])),
        }
    }

    fn path(&self, job: JobId, attempt: u32) -> PathBuf {
        let first = job.0.as_bytes()[0];
        self.folder.join(format!("{first:02x}")).join(format!("{job}.{attempt}.log"))
    }

    /// Adds a piece that begins at `offset`; answers how long the log is now.
    pub async fn append(&self, job: JobId, attempt: u32, offset: u64, bytes: &[u8]) -> Result<u64, LogError> {
        let door = self.door(job);
        let _one_writer = door.lock.lock().await;
        // One that rests has all that its attempt's report was sent with.
        if let Some(LogFile::Resting(file)) = self.open(job, attempt).await? {
            return Ok(file.len());
        }
        let file = self.to_write(job, attempt).await?;
        let size = file.metadata().await?.len();
        let Some(known) = size.checked_sub(offset) else {
            return Err(LogError::Hole { size, offset });
        };
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        let Some(fresh) = bytes.get(known..).filter(|fresh| !fresh.is_empty()) else {
            return Ok(size);
        };
        let (file, fresh) = (file.into_std().await, fresh.to_vec());
        let grown = size + fresh.len() as u64;
        tokio::task::spawn_blocking(move || file.write_all_at(&fresh, size)).await.map_err(io::Error::other)??;
        door.bell.notify_waiters();
        Ok(grown)
    }

    fn door(&self, job: JobId) -> &Door {
        // The digits at the end are the random ones in any version of a UUID.
        let [.., a, b] = *job.0.as_bytes();
        &self.doors[usize::from(u16::from_be_bytes([a, b])) % DOORS]
    }

    /// Wakes those who wait for more of a job's logs: something else about it has changed.
    pub fn ring(&self, job: JobId) {
        self.door(job).bell.notify_waiters();
    }

    /// What waits for more of a job's logs; it hears everything from now on.
    pub fn listen(&self, job: JobId) -> Pin<Box<Notified<'_>>> {
        let mut rung = Box::pin(self.door(job).bell.notified());
        rung.as_mut().enable();
        rung
    }

    /// Waits until a log is longer than `known`, or `rung`.
    pub async fn longer(&self, job: JobId, attempt: u32, known: u64, rung: Pin<&mut Notified<'_>>) {
        let grown = async {
            loop {
                tokio::time::sleep(LOOK).await;
                // What cannot be looked at is told by whoever reads it next.
                if self.size(job, attempt).await.is_ok_and(|size| size.is_some_and(|size| size > known)) {
                    return;
                }
            }
        };
        tokio::select! {
            () = rung => {}
            () = grown => {}
        }
    }

    async fn to_write(&self, job: JobId, attempt: u32) -> io::Result<File> {
        let path = self.path(job, attempt);
        let first = usize::from(job.0.as_bytes()[0]);
        let known = self.made.lock().expect("no one panics while holding it")[first];
        if !known && let Some(folder) = path.parent() {
            fs::create_dir_all(folder).await?;
            self.made.lock().expect("no one panics while holding it")[first] = true;
        }
        OpenOptions::new().write(true).create(true).truncate(false).open(path).await
    }

    /// A log to be read; `None` where there is none.
    pub async fn open(&self, job: JobId, attempt: u32) -> io::Result<Option<LogFile>> {
        let path = self.path(job, attempt);
        tokio::task::spawn_blocking(move || LogFile::open(&path)).await.map_err(io::Error::other)?
    }

    /// How long a log is; `None` where there is none.
    pub async fn size(&self, job: JobId, attempt: u32) -> io::Result<Option<u64>> {
        match fs::metadata(self.path(job, attempt)).await {
            Ok(data) => Ok(Some(data.len())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(self.open(job, attempt).await?.map(|file| file.len())),
            Err(e) => Err(e),
        }
    }

    /// The bytes from `start`, at most `most` of them; `None` where there is no log.
    pub async fn read(&self, job: JobId, attempt: u32, start: u64, most: u64) -> io::Result<Option<Part>> {
        let path = self.path(job, attempt);
        let read = move || {
            let Some(file) = LogFile::open(&path)? else { return Ok(None) };
            let size = file.len();
            let (start, end) = (start.min(size), size.min(start.saturating_add(most)));
            let mut bytes = Vec::new();
            while start + (bytes.len() as u64) < end {
                bytes.extend(file.read(start + bytes.len() as u64, end)?);
            }
            Ok(Some(Part { start, bytes, size }))
        };
        tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
    }

    /// The last `most` bytes of a log.
    pub async fn tail(&self, job: JobId, attempt: u32, most: u64) -> io::Result<Option<Part>> {
        let Some(size) = self.size(job, attempt).await? else { return Ok(None) };
        self.read(job, attempt, size.saturating_sub(most), most).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_piece_adds_only_what_is_new_and_never_leaves_a_hole() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::new(dir.path());
        let job = JobId::of("e", "t", "koji_build", "i", "noarch");
        // (offset, piece, the log afterwards; None: refused)
        let table: [(u64, &str, Option<&str>); 8] = [
            (1, "x", None),
            (0, "abc", Some("abc")),
            (0, "abc", Some("abc")),
            (3, "def", Some("abcdef")),
            (2, "cdefgh", Some("abcdefgh")),
            (0, "a", Some("abcdefgh")),
            (9, "j", None),
            (8, "", Some("abcdefgh")),
        ];
        for (offset, piece, after) in table {
            match (logs.append(job, 1, offset, piece.as_bytes()).await, after) {
                (Ok(size), Some(after)) => {
                    let part = logs.read(job, 1, 0, 100).await.unwrap().unwrap();
                    assert_eq!((size, String::from_utf8(part.bytes).unwrap().as_str()), (after.len() as u64, after));
                }
                (Err(LogError::Hole { size, .. }), None) => assert!(size < offset, "{offset} {piece}"),
                (other, _) => panic!("{offset} {piece}: {other:?}"),
            }
        }
        // Another master that writes to the same folder.
        let other = Logs::new(dir.path());
        let pieces: Vec<String> = (0..200).map(|n| format!("line {n}\n")).collect();
        let mut offset = 0;
        for piece in &pieces {
            let (here, there) = tokio::join!(
                logs.append(job, 7, offset, piece.as_bytes()),
                other.append(job, 7, offset, piece.as_bytes())
            );
            offset += piece.len() as u64;
            assert_eq!((here.unwrap(), there.unwrap()), (offset, offset));
        }
        assert_eq!(logs.read(job, 7, 0, 1 << 20).await.unwrap().unwrap().bytes, pieces.concat().into_bytes());

        let tail = logs.tail(job, 1, 3).await.unwrap().unwrap();
        assert_eq!(tail, Part { start: 5, bytes: b"fgh".to_vec(), size: 8 });
        assert_eq!(logs.tail(job, 2, 3).await.unwrap(), None);
    }
}
