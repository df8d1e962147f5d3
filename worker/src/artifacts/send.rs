//! Brings files to the master, piece by piece, from where it says that they end there: so a broken connection, and a
//! worker that has started anew, repeat at most a piece.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use model::{ArtifactPiece, ArtifactStored};
use net::{Backoff, ClientError};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::{Artifact, Left};
use crate::master::Master;

/// Bytes in one request at most.
const PIECE: u64 = 512 * 1024;

/// Files on their way at once, over all jobs: bounds the memory that they take.
static FILES: Semaphore = Semaphore::const_new(2);

/// Sends files, and gives the rest up when `within` has passed: the report of a job does not wait for them for ever. What
/// the master does not have then, and why, is a sentence for people.
pub async fn send(
    master: &Master,
    token: &str,
    folder: &Path,
    artifacts: &[Artifact],
    within: Duration,
) -> Option<String> {
    let (until, mut left) = (Instant::now() + within, Left::default());
    for artifact in artifacts {
        match timeout_at(until, one(master, token, folder, artifact)).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => left.behind(&artifact.name, &why),
            Err(_) => left.behind(&artifact.name, &format!("it was not sent within {}", model::Span(within))),
        }
    }
    left.told()
}

async fn one(master: &Master, token: &str, folder: &Path, artifact: &Artifact) -> Result<(), String> {
    let unreadable = |e: io::Error| format!("cannot be read: {e}");
    let _turn = FILES.acquire().await;
    let file = super::open(&super::path(folder, artifact)).map_err(unreadable)?;
    let (file, size, sha256) = tokio::task::spawn_blocking(move || digest(file).map_err(unreadable))
        .await
        .unwrap_or_else(|e| Err(e.to_string()))?;
    let mut piece = ArtifactPiece { name: artifact.name.clone(), size, sha256, offset: 0 };
    let mut bytes = Bytes::new();
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));
    loop {
        match master.artifact(token, &piece, bytes.clone()).await {
            Ok(ArtifactStored { stored: true, .. }) => return Ok(()),
            Ok(ArtifactStored { size: there, .. }) => {
                backoff.reset();
                piece.offset = there.min(size);
                bytes = read(&file, piece.offset, size).map_err(unreadable)?;
                if bytes.is_empty() {
                    return Err("the master has all of it and does not keep it".to_owned());
                }
            }
            Err(ClientError::Unavailable(_) | ClientError::Refused { status: 401 | 403, .. }) => backoff.wait().await,
            Err(ClientError::Refused { detail, .. }) => return Err(detail),
        }
    }
}

/// How long a file is, and what is in it.
fn digest(mut file: File) -> io::Result<(File, u64, String)> {
    let (mut sha256, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 64 * 1024]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => {
                sha256.update(&buffer[..n]);
                size += n as u64;
            }
        }
    }
    Ok((file, size, hex::encode(sha256.finalize())))
}

fn read(file: &File, offset: u64, size: u64) -> io::Result<Bytes> {
    let length = usize::try_from((size - offset).min(PIECE)).map_err(io::Error::other)?;
    let mut piece = vec![0; length];
    file.read_exact_at(&mut piece, offset)?;
    Ok(piece.into())
}
