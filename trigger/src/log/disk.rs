//! The few things that the log asks of a folder, so that a test can take the power away.
//!
//! All file names are flat: a log never has folders of its own.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A folder.
pub trait Disk: Send + Sync {
    /// Opens a file to be read and written; makes it where `create` says so.
    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn Bytes>>;
    /// Replaces `to`.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// It is no error when there is nothing to remove.
    fn remove(&self, name: &str) -> io::Result<()>;
    fn list(&self) -> io::Result<Vec<String>>;
    /// Returns when the names of the folder are on disk.
    fn sync(&self) -> io::Result<()>;
}

/// An open file.
pub trait Bytes: Send + Sync {
    fn len(&self) -> io::Result<u64>;
    /// Fills the buffer from `at` on, or as much of it as there is; says how much.
    fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;
    /// Writes all of it, or fails having written any part.
    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    fn cut(&self, len: u64) -> io::Result<()>;
    /// Returns when everything written is on disk.
    fn sync(&self) -> io::Result<()>;
}

/// A folder of the file system.
#[derive(Debug)]
pub struct Folder(pub PathBuf);

impl Folder {
    /// Makes the folder, and syncs the one it stands in.
    pub fn make(path: &Path) -> io::Result<Folder> {
        if !path.is_dir() {
            std::fs::create_dir_all(path)?;
            if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
                File::open(parent)?.sync_all()?;
            }
        }
        Ok(Folder(path.to_owned()))
    }
}

impl Disk for Folder {
    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn Bytes>> {
        let file = OpenOptions::new().read(true).write(true).create(create).truncate(false).open(self.0.join(name))?;
        Ok(Arc::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match std::fs::remove_file(self.0.join(name)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        std::fs::read_dir(&self.0)?
            .map(|entry| Ok(entry?.file_name().into_string()))
            // A name that is no UTF-8 is none of ours.
            .filter_map(|name: io::Result<Result<String, _>>| name.map(Result::ok).transpose())
            .collect()
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

impl Bytes for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut got = 0;
        while got < buffer.len() {
            match self.read_at(&mut buffer[got..], at + got as u64) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(got)
    }

    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
