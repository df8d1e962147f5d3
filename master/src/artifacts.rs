//! The files that jobs leave for people: taken in piece by piece, checked, and kept once by content.
//!
//! While a file comes it grows in `incoming/`, where two masters that share the folder write the same bytes at the same
//! place. When it is whole and what was promised, it moves to the shelf, and only then does the store know of it.

mod shelf;

use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{ArtifactPiece, ArtifactStored};
use sha2::{Digest as _, Sha256};
use tokio::fs::{self, OpenOptions};

use crate::store::{self, Store, Token};

pub use shelf::Shelf;

/// How many files may be written at once before two of them share a lock.
const LOCKS: usize = 64;

/// All of them. Cheap to clone.
#[derive(Clone)]
pub struct Artifacts {
    store: Store,
    shelf: Shelf,
    incoming: Arc<Path>,
    /// One writer a file.
    locks: Arc<[tokio::sync::Mutex<()>]>,
}

/// Why a piece was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error("the token is of no attempt that runs, or that its report has ended")]
    Gone,
    #[error("what came is not what sha256 promises: it was changed on its way, or while it was sent")]
    Changed,
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("cannot keep an artifact: {0}")]
    Io(#[from] io::Error),
}

impl Artifacts {
    pub fn new(store: Store, folder: &Path) -> Artifacts {
        Artifacts {
            store,
            shelf: Shelf::new(&folder.join("kept")),
            incoming: folder.join("incoming").into(),
            locks: (0..LOCKS).map(|_| tokio::sync::Mutex::new(())).collect(),
        }
    }

    pub fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// Takes a piece of a file; the answer says from where on it is to go on. `sha256` is of the whole.
    pub async fn take(
        &self,
        token: &Token,
        piece: &ArtifactPiece,
        sha256: [u8; 32],
        bytes: &[u8],
    ) -> Result<ArtifactStored, ArtifactError> {
        let whole = ArtifactStored { size: piece.size, stored: true };
        // What is there from another job, or by way of another master, need not come again.
        if piece.offset == 0 && self.keep_known(token, piece, &sha256).await? {
            return Ok(whole);
        }
        // The digits at the end are the random ones in any version of a UUID.
        let _one_writer = self.locks[usize::from(token.job.0.as_bytes()[15]) % LOCKS].lock().await;
        let path = self.path(token, &sha256);
        let size = match self.add(&path, piece, bytes).await? {
            size if size < piece.size => return Ok(ArtifactStored { size, stored: false }),
            size => size,
        };
        if size > piece.size || digest(&path).await? != sha256 {
            fs::remove_file(&path).await?;
            return Err(ArtifactError::Changed);
        }
        if self.keep_known(token, piece, &sha256).await? {
            fs::remove_file(&path).await?;
            return Ok(whole);
        }
        let file = self.shelf.put(&path, &sha256).await?;
        match self.store.keep_artifact(token, piece, &sha256, Some(&file)).await? {
            store::Kept::Yes => Ok(whole),
            store::Kept::NoRight | store::Kept::NotThere => {
                self.shelf.remove(&file).await?;
                Err(ArtifactError::Gone)
            }
        }
    }

    /// Keeps an artifact whose bytes lie on the shelf; whether they do.
    async fn keep_known(&self, token: &Token, piece: &ArtifactPiece, sha256: &[u8; 32]) -> Result<bool, ArtifactError> {
        let Some(file) = self.store.blob(sha256).await? else { return Ok(false) };
        if self.shelf.size(&file).await? != Some(piece.size) {
            return Ok(false);
        }
        match self.store.keep_artifact(token, piece, sha256, None).await? {
            store::Kept::Yes => Ok(true),
            store::Kept::NoRight => Err(ArtifactError::Gone),
            // Removed in this moment.
            store::Kept::NotThere => Ok(false),
        }
    }

    /// A file on its way: whoever sends it again goes on with it.
    fn path(&self, token: &Token, sha256: &[u8; 32]) -> PathBuf {
        self.incoming.join(format!("{}.{}.{}", token.job, token.attempt, hex::encode(sha256)))
    }

    /// Adds what is new of a piece; answers how much there is. One that would leave a hole adds nothing.
    async fn add(&self, path: &Path, piece: &ArtifactPiece, bytes: &[u8]) -> io::Result<u64> {
        fs::create_dir_all(&self.incoming).await?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).await?;
        let size = file.metadata().await?.len();
        let fresh = size.checked_sub(piece.offset).and_then(|known| usize::try_from(known).ok());
        let Some(fresh) = fresh.and_then(|known| bytes.get(known..)).filter(|fresh| !fresh.is_empty()) else {
            return Ok(size);
        };
        let (file, fresh) = (file.into_std().await, fresh.to_vec());
        let grown = size + fresh.len() as u64;
        tokio::task::spawn_blocking(move || file.write_all_at(&fresh, size)).await.map_err(io::Error::other)??;
        Ok(grown)
    }

    /// Removes what began to come before a moment by the file system's clock, and never came as a whole.
    pub async fn clear_incoming(&self, older: std::time::Duration) -> io::Result<()> {
        shelf::clear(&self.incoming, older).await
    }
}

async fn digest(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = fs::File::open(path).await?.into_std().await;
    let read = move || {
        let (mut sha256, mut buffer) = (Sha256::new(), vec![0; 64 * 1024]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(sha256.finalize().into()),
                n => sha256.update(&buffer[..n]),
            }
        }
    };
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
}
