//! Bytes that only grow at their end: in memory while they are few, else in a file.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;

/// As many bytes stay in memory. Most jobs print less, and then no file is made.
const IN_MEMORY: usize = 16 * 1024;

#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    bytes: Store,
}

#[derive(Debug)]
enum Store {
    Memory(Vec<u8>),
    File { file: File, length: u64 },
}

impl Spool {
    /// An empty one. The file appears only when it is needed.
    pub fn new(path: PathBuf) -> Spool {
        Spool { path, bytes: Store::Memory(Vec::new()) }
    }

    /// What an earlier worker left on disk.
    pub fn left(path: PathBuf) -> io::Result<Spool> {
        let file = File::open(&path)?;
        let length = file.metadata()?.len();
        Ok(Spool { path, bytes: Store::File { file, length } })
    }

    pub fn len(&self) -> u64 {
        match &self.bytes {
            Store::Memory(bytes) => bytes.len() as u64,
            Store::File { length, .. } => *length,
        }
    }

    pub fn append(&mut self, more: &[u8]) -> io::Result<()> {
        match &mut self.bytes {
            Store::Memory(bytes) if bytes.len() + more.len() <= IN_MEMORY => bytes.extend_from_slice(more),
            Store::Memory(_) => {
                self.spill()?;
                return self.append(more);
            }
            Store::File { file, length } => {
                file.write_all_at(more, *length)?;
                *length += more.len() as u64;
            }
        }
        Ok(())
    }

    /// Puts into the file what is still in memory, so that it can outlive the worker.
    pub fn spill(&mut self) -> io::Result<()> {
        if let Store::Memory(bytes) = &self.bytes {
            let file = File::options().read(true).write(true).create(true).truncate(true).open(&self.path)?;
            file.write_all_at(bytes, 0)?;
            let length = bytes.len() as u64;
            self.bytes = Store::File { file, length };
        }
        Ok(())
    }

    /// At most `most` bytes from `offset` on; none past the end.
    pub fn read(&self, offset: u64, most: usize) -> io::Result<Bytes> {
        let length = usize::try_from(self.len().saturating_sub(offset)).unwrap_or(most).min(most);
        match &self.bytes {
            Store::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                Ok(Bytes::copy_from_slice(&bytes[start..start + length]))
            }
            Store::File { file, .. } => {
                let mut piece = vec![0; length];
                file.read_exact_at(&mut piece, offset)?;
                Ok(piece.into())
            }
        }
    }

    /// Where the file is, or would be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file, where there is one.
    pub fn remove(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.bytes, Store::Memory(Vec::new())) {
            Store::Memory(_) => Ok(()),
            Store::File { .. } => fs::remove_file(&self.path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_bytes_make_no_file_and_many_come_back_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut spool = Spool::new(path.clone());
        let all: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        for piece in all.chunks(1000) {
            spool.append(piece).unwrap();
            assert_eq!(path.exists(), spool.len() > 16 * 1024);
        }
        assert_eq!(spool.read(0, 200_000).unwrap(), all);
        assert_eq!(spool.read(99_990, 100).unwrap(), all[99_990..]);
        assert!(spool.read(100_000, 10).unwrap().is_empty());
        let left = Spool::left(path.clone()).unwrap();
        assert_eq!(left.read(5, 7).unwrap(), all[5..12]);
        spool.remove().unwrap();
        assert!(!path.exists());
    }
}
