//! One log to be read: as it grows, or at rest.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use futures_util::Stream;
use futures_util::stream::unfold;

use super::rest::{FRAME, Resting};
use super::sweep::resting;

#[derive(Debug)]
pub enum LogFile {
    /// As it was printed, and how long it was when it was opened.
    Plain(File, u64),
    Resting(Resting),
}

impl LogFile {
    /// Opens the log that is, or was, at a path; `None` where there is none.
    pub fn open(path: &Path) -> io::Result<Option<LogFile>> {
        // A log is put to rest before the other is removed: so one of them is there.
        match File::open(path) {
            Ok(file) => {
                let size = file.metadata()?.len();
                return Ok(Some(LogFile::Plain(file, size)));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        match Resting::open(&resting(path)) {
            Ok(file) => Ok(Some(LogFile::Resting(file))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    pub fn len(&self) -> u64 {
        match self {
            LogFile::Plain(_, size) => *size,
            LogFile::Resting(file) => file.len(),
        }
    }

    /// Some of the bytes from `offset` up to but without `end`, which is not beyond the log's; none when there are none.
    pub fn read(&self, offset: u64, end: u64) -> io::Result<Vec<u8>> {
        let most = usize::try_from(end.saturating_sub(offset)).unwrap_or(FRAME).min(FRAME);
        match self {
            LogFile::Plain(file, _) => {
                let mut bytes = vec![0; most];
                file.read_exact_at(&mut bytes, offset)?;
                Ok(bytes)
            }
            LogFile::Resting(file) => file.read(offset, most),
        }
    }

    /// The bytes from `offset` up to but without `end`, piece by piece: however long it is, one piece is in memory.
    pub fn stream(self, offset: u64, end: u64) -> impl Stream<Item = io::Result<Vec<u8>>> + Send + use<> {
        unfold((Arc::new(self), offset), move |(file, at)| async move {
            if at >= end {
                return None;
            }
            let reader = file.clone();
            let read = tokio::task::spawn_blocking(move || reader.read(at, end)).await.map_err(io::Error::other);
            Some(match read.flatten() {
                Ok(bytes) => {
                    let next = at + bytes.len() as u64;
                    (Ok(bytes), (file, next))
                }
                Err(e) => (Err(e), (file, end)),
            })
        })
    }
}
