//! The last bytes of a stream, on disk.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// A file of fixed size that is written round and round. It has no name, so nothing of it outlives the worker.
#[derive(Debug)]
pub struct Ring {
    file: File,
    size: u64,
    /// How many bytes were ever written.
    written: u64,
}

impl Ring {
    /// `path` is free and stays free; `size` is not 0.
    pub fn new(path: &Path, size: u64) -> io::Result<Ring> {
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        fs::remove_file(path)?;
        Ok(Ring { file, size: size.max(1), written: 0 })
    }

    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        // What would be overwritten in the same breath is not written.
        let skip = bytes.len().saturating_sub(usize::try_from(self.size).unwrap_or(usize::MAX));
        let mut place = self.written + skip as u64;
        let mut rest = &bytes[skip..];
        while !rest.is_empty() {
            let at = place % self.size;
            let room = usize::try_from(self.size - at).unwrap_or(usize::MAX).min(rest.len());
            self.file.write_all_at(&rest[..room], at)?;
            rest = &rest[room..];
            place += room as u64;
        }
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// How many bytes were overwritten.
    pub fn lost(&self) -> u64 {
        self.written.saturating_sub(self.size)
    }

    /// Gives what is there, oldest first, piece by piece.
    pub fn replay(&self, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        let mut place = self.lost();
        while place < self.written {
            let at = place % self.size;
            let length = (self.size - at).min(self.written - place).min(buffer.len() as u64);
            let piece = &mut buffer[..usize::try_from(length).map_err(io::Error::other)?];
            self.file.read_exact_at(piece, at)?;
            take(piece)?;
            place += length;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_keeps_the_last_bytes_however_they_come() {
        let dir = tempfile::tempdir().unwrap();
        let all: Vec<u8> = (0..=255).cycle().take(5000).collect();
        for (size, step) in [(1, 1), (7, 3), (100, 1000), (100, 33), (5000, 999), (9000, 100)] {
            let mut ring = Ring::new(&dir.path().join("ring"), size).unwrap();
            for piece in all.chunks(step) {
                ring.append(piece).unwrap();
            }
            let mut kept = Vec::new();
            ring.replay(|piece| {
                kept.extend_from_slice(piece);
                Ok(())
            })
            .unwrap();
            let start = all.len().saturating_sub(usize::try_from(size).unwrap());
            assert!(kept == all[start..], "ring of {size}, pieces of {step}");
            assert_eq!(ring.lost(), start as u64);
        }
    }
}
