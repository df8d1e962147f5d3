//! What ended attempts left as they had found it, under other names, for the attempts to come.
//!
//! To make a workspace and its record and to remove them again costs the file system more than a short job costs
//! otherwise. A folder in which nothing was changed is as good as a fresh one: it is moved aside and, once all processes
//! of its attempt are known to be gone, to where the next attempt works.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::remove::remove_tree;

/// How many of each kind are kept. A folder waits for the look at all processes, so there are many more than slots.
const MOST: usize = 512;

/// The folder of a worker's spares, which it clears at both ends of its life.
#[derive(Debug)]
pub struct Spares {
    root: PathBuf,
    folders: Mutex<Vec<PathBuf>>,
    records: Mutex<Vec<PathBuf>>,
    /// Numbers their names.
    next: AtomicU64,
}

/// A folder that was moved aside, and in which a process may still be at work.
#[derive(Debug)]
pub struct Aside(PathBuf);

impl Spares {
    /// Begins without any.
    pub fn new(root: PathBuf) -> io::Result<Spares> {
        remove_tree(&root)?;
        fs::create_dir(&root)?;
        Ok(Spares { root, folders: Mutex::default(), records: Mutex::default(), next: AtomicU64::new(0) })
    }

    fn name(&self) -> PathBuf {
        self.root.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// Moves an unchanged workspace aside; none where it is to be removed instead.
    pub fn set_aside(&self, folder: &Path) -> Option<Aside> {
        let aside = self.name();
        (has_room(&self.folders) && fs::rename(folder, &aside).is_ok()).then_some(Aside(aside))
    }

    /// Takes a folder in, of which no process is left.
    pub fn admit(&self, folder: Aside) {
        put(&self.folders, folder.0);
    }

    /// Gives a workspace this name; whether there was one.
    pub fn give_folder(&self, folder: &Path) -> bool {
        take(&self.folders).is_some_and(|spare| fs::rename(spare, folder).is_ok())
    }

    /// Takes the record of a process group away. Whether it was still there: a guardian takes it before it kills.
    pub fn take_record(&self, record: &Path) -> io::Result<bool> {
        let spare = self.name();
        let moved = if has_room(&self.records) {
            fs::rename(record, &spare).map(|()| put(&self.records, spare))
        } else {
            fs::remove_file(record)
        };
        match moved {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// An empty record under this name.
    pub fn give_record(&self, record: &Path) -> io::Result<File> {
        let reused = take(&self.records).and_then(|spare| {
            // Empty before it has the name: what it says would be of another process.
            let file = File::create(&spare).ok()?;
            fs::rename(&spare, record).ok().map(|()| file)
        });
        reused.map_or_else(|| File::create(record), Ok)
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        if let Err(e) = remove_tree(&self.root) {
            tracing::debug!("cannot remove the spares in {}: {e}; the next start does", self.root.display());
        }
    }
}

fn has_room(pool: &Mutex<Vec<PathBuf>>) -> bool {
    pool.lock().unwrap_or_else(PoisonError::into_inner).len() < MOST
}

fn put(pool: &Mutex<Vec<PathBuf>>, path: PathBuf) {
    pool.lock().unwrap_or_else(PoisonError::into_inner).push(path);
}

fn take(pool: &Mutex<Vec<PathBuf>>) -> Option<PathBuf> {
    pool.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_empty_when_it_gets_a_name_and_what_is_gone_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let spares = Spares::new(dir.path().join("spares")).unwrap();
        let (first, second) = (dir.path().join("1"), dir.path().join("2"));
        spares.give_record(&first).unwrap();
        fs::write(&first, "a process").unwrap();
        assert!(spares.take_record(&first).unwrap() && !first.exists());
        assert!(!spares.take_record(&first).unwrap(), "somebody else has taken it");
        spares.give_record(&second).unwrap();
        assert_eq!(fs::read(&second).unwrap(), b"");
        assert_eq!(fs::read_dir(dir.path().join("spares")).unwrap().count(), 0, "it was used again");
        drop(spares);
        assert!(!dir.path().join("spares").exists());
    }
}
