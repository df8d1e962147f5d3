//! Looks through the folders of logs: puts to rest what has ended, and removes what is too old. It looks at what is there
//! and not at what it did before, so a crash in the middle of anything is mended the next time round.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use model::JobId;
use tokio::fs;

use super::{Logs, rest};

/// A log that is shorter takes one block of a disk in any case, or few.
const SMALL: u64 = 16 * 1024;

/// After this time whoever wrote a draft is gone.
const DRAFT: Duration = Duration::from_secs(3600);

/// One log as a file.
#[derive(Debug)]
pub struct Loose {
    pub job: JobId,
    path: PathBuf,
}

impl Logs {
    /// Removes what is older than `keep` from one of the 256 folders, and names what could be put to rest, logs that have
    /// not grown for `quiet`; and how many logs were removed.
    pub async fn look_through(&self, first: u8, keep: Duration, quiet: Duration) -> io::Result<(Vec<Loose>, usize)> {
        let (mut loose, mut removed) = (Vec::new(), 0);
        let mut entries = match fs::read_dir(self.folder.join(format!("{first:02x}"))).await {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((loose, removed)),
            other => other?,
        };
        while let Some(entry) = entries.next_entry().await? {
            let (Ok(name), Ok(data)) = (entry.file_name().into_string(), entry.metadata().await) else { continue };
            let age = data.modified()?.elapsed().unwrap_or_default();
            let draft = name.ends_with(".draft");
            if age >= keep || (draft && age >= DRAFT) {
                fs::remove_file(entry.path()).await?;
                removed += usize::from(!draft);
            } else if let Some(job) = ended(&name)
                && age >= quiet
                && (data.len() >= SMALL || fs::try_exists(resting(&entry.path())).await?)
            {
                loose.push(Loose { job, path: entry.path() });
            }
        }
        Ok((loose, removed))
    }

    /// Puts a log to rest whose attempt has ended.
    pub async fn put_to_rest(&self, loose: Loose) -> io::Result<()> {
        let put = move || rest::put(&loose.path, &resting(&loose.path));
        tokio::task::spawn_blocking(put).await.map_err(io::Error::other)?
    }
}

/// Where a log rests.
pub fn resting(log: &Path) -> PathBuf {
    PathBuf::from(format!("{}.zst", log.display()))
}

/// Whose log a file is, if it is one that does not rest.
fn ended(name: &str) -> Option<JobId> {
    let (job, attempt) = name.strip_suffix(".log")?.split_once('.')?;
    attempt.parse::<u32>().ok()?;
    job.parse().ok()
}

/// How long one round may take before the next duty's turn.
pub fn enough(since: Instant) -> bool {
    since.elapsed() > Duration::from_secs(5)
}
