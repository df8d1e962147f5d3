//! Where files lie for good: a folder, of this machine or shared by several masters.
//!
//! This is the seam for another kind of storage: whole files are put under names that are never used again, read from
//! any place, removed, and counted. What names mean is the store's to know. A name is new each time, so that removing an
//! old file never hits a newer one with the same bytes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::fs::{self, File};
use tokio::io::AsyncSeekExt as _;

/// Cheap to clone.
#[derive(Clone)]
pub struct Shelf {
    folder: Arc<Path>,
}

impl Shelf {
    pub fn new(folder: &Path) -> Shelf {
        Shelf { folder: folder.into() }
    }

    /// Takes a whole file over, and answers its name. It is on disk when this returns.
    pub async fn put(&self, file: &Path, sha256: &[u8; 32]) -> io::Result<String> {
        let digest = hex::encode(sha256);
        let name = format!("{}/{digest}.{}", &digest[..2], net::clock::uuid().simple());
        let to = self.path(&name);
        let folder = to.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder).await?;
        File::open(file).await?.sync_data().await?;
        fs::rename(file, &to).await?;
        File::open(folder).await?.sync_all().await?;
        Ok(name)
    }

    /// How long a file is; `None` where there is none.
    pub async fn size(&self, name: &str) -> io::Result<Option<u64>> {
        match fs::metadata(self.path(name)).await {
            Ok(found) => Ok(Some(found.len())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// A file to be read from a place on; `None` where there is none.
    pub async fn open(&self, name: &str, from: u64) -> io::Result<Option<File>> {
        match File::open(self.path(name)).await {
            Ok(mut file) => {
                file.seek(io::SeekFrom::Start(from)).await?;
                Ok(Some(file))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Removes a file; that it is not there is well.
    pub async fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path(name)).await {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// The names that begin with a byte of their content's digest, of files that have lain there for a while.
    pub async fn names(&self, first: u8, older: Duration) -> io::Result<Vec<String>> {
        let part = format!("{first:02x}");
        let names = old_in(&self.folder.join(&part), older).await?;
        Ok(names.into_iter().map(|name| format!("{part}/{name}")).collect())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Removes the files of a folder that were not written for so long.
pub async fn clear(folder: &Path, older: Duration) -> io::Result<()> {
    for name in old_in(folder, older).await? {
        fs::remove_file(folder.join(name)).await?;
    }
    Ok(())
}

async fn old_in(folder: &Path, older: Duration) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut entries = match fs::read_dir(folder).await {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(found),
        other => other?,
    };
    while let Some(entry) = entries.next_entry().await? {
        // One that is gone by now, or from the future, is not old.
        let old = match entry.metadata().await {
            Ok(data) => data.modified()?.elapsed().is_ok_and(|age| age >= older),
            Err(_) => false,
        };
        if let (true, Ok(name)) = (old, entry.file_name().into_string()) {
            found.push(name);
        }
    }
    Ok(found)
}
