//! A worker's own folder, and its lock: two workers never share one.
//!
//! ```text
//! lock       held as long as the worker lives
//! identity   what the master knows the folder's workers by, one after another
//! work/      a folder for each running attempt, removed after it
//! logs/      what running attempts have printed, as far as it is not small
//! guardian   held as long as the worker's guardian lives, which is a moment longer
//! groups/    which process groups run, so that others can end what a worker that is gone has left
//! cgroups    the worker's folders of cgroups, so that others can end what runs in them
//! spares/    what ended attempts left unchanged, for the next ones
//! sources/   commits of tasks' repositories that were fetched
//! artifacts/ files that ended attempts have left, until the master has them
//! reports/   how attempts ended, where the master has not yet taken the report
//! ```

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use model::JobId;
use nix::fcntl::{Flock, FlockArg};
use uuid::Uuid;

use crate::remove::remove_tree;

/// A worker's folder, locked by the worker that works in it.
#[derive(Debug)]
pub struct Home {
    root: PathBuf,
    _lock: Option<Flock<File>>,
}

/// Names one attempt in file names and log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    pub job: JobId,
    /// 1 for the first.
    pub attempt: u32,
}

impl std::fmt::Display for AttemptId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.job, self.attempt)
    }
}

impl std::str::FromStr for AttemptId {
    type Err = ();

    /// Reads a file name back.
    fn from_str(text: &str) -> Result<AttemptId, ()> {
        let (job, attempt) = text.split_once('.').ok_or(())?;
        Ok(AttemptId { job: job.parse().map_err(drop)?, attempt: attempt.parse().map_err(drop)? })
    }
}

impl Home {
    /// Makes what is missing of the folder and locks it; fails while another worker has it.
    pub fn open(dir: &Path) -> anyhow::Result<Home> {
        for part in ["work", "logs", "groups", "artifacts", "reports"] {
            let path = dir.join(part);
            fs::create_dir_all(&path).with_context(|| format!("cannot make the folder {}", path.display()))?;
        }
        // A job's process works elsewhere, so a relative path would lead it astray.
        let root = fs::canonicalize(dir).with_context(|| format!("cannot find the folder {}", dir.display()))?;
        let path = root.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Home { root, _lock: Some(lock) }),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                bail!("another worker works in {}; give this one a folder of its own (`dir`)", root.display())
            }
            Err((_, e)) => Err(e).with_context(|| format!("cannot lock {}", path.display())),
        }
    }

    /// The folder that the worker which is guarded has locked.
    pub fn of_worker(root: &Path) -> Home {
        Home { root: root.to_owned(), _lock: None }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The same for every worker of this folder, and for no other: read, or made. A crash while it is made leaves a file
    /// that makes no sense, and it is made anew.
    pub fn identity(&self) -> anyhow::Result<Uuid> {
        let path = self.root.join("identity");
        let kept = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().ok(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
        };
        if let Some(identity) = kept {
            return Ok(identity);
        }
        let identity = net::clock::uuid();
        fs::write(&path, format!("{identity}\n")).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(identity)
    }

    /// Removes what an earlier worker left: workspaces, and logs and artifacts without a report that waits to be sent.
    pub fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.workspaces())? {
            let path = entry?.path();
            if let Err(e) = remove_tree(&path) {
                tracing::warn!("cannot remove the old workspace {}: {e}", path.display());
            }
        }
        let kept = self.attempts_in("reports")?;
        for part in ["logs", "artifacts"] {
            for entry in fs::read_dir(self.root.join(part))? {
                let entry = entry?;
                let owner: Option<AttemptId> = entry.file_name().to_str().and_then(|name| name.parse().ok());
                if owner.is_none_or(|id| kept.binary_search(&id).is_err()) {
                    remove_tree(&entry.path())?;
                }
            }
        }
        Ok(())
    }

    /// The folder of all workspaces.
    pub fn workspaces(&self) -> PathBuf {
        self.root.join("work")
    }

    pub fn workspace(&self, id: AttemptId) -> PathBuf {
        self.root.join("work").join(id.to_string())
    }

    pub fn sources(&self) -> PathBuf {
        self.root.join("sources")
    }

    /// Names this folder among those of the machine, and no copy of it.
    pub fn mark(&self) -> io::Result<String> {
        let seen = fs::metadata(&self.root)?;
        Ok(format!("taskotron-{:x}-{:x}", seen.dev(), seen.ino()))
    }

    pub fn cgroups(&self) -> PathBuf {
        self.root.join("cgroups")
    }

    pub fn spares(&self) -> PathBuf {
        self.root.join("spares")
    }

    pub fn log(&self, id: AttemptId) -> PathBuf {
        self.root.join("logs").join(id.to_string())
    }

    pub fn artifacts(&self, id: AttemptId) -> PathBuf {
        self.root.join("artifacts").join(id.to_string())
    }

    pub fn group(&self, id: AttemptId) -> PathBuf {
        self.root.join("groups").join(id.to_string())
    }

    pub fn report(&self, id: AttemptId) -> PathBuf {
        self.root.join("reports").join(id.to_string())
    }

    /// The names of what lies in one of the folders; a file that is no attempt's is not ours and is left alone.
    pub fn attempts_in(&self, part: &str) -> io::Result<Vec<AttemptId>> {
        let mut found = Vec::new();
        let entries = match fs::read_dir(self.root.join(part)) {
            // Somebody has removed the worker's whole folder.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(found),
            other => other?,
        };
        for entry in entries {
            if let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
                found.push(id);
            }
        }
        found.sort_unstable();
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_workers_never_share_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        let refusal = Home::open(dir.path()).unwrap_err().to_string();
        assert!(refusal.starts_with("another worker works in "), "{refusal}");
        let identity = home.identity().unwrap();
        drop(home);
        let home = Home::open(dir.path()).unwrap();
        assert_eq!(home.identity().unwrap(), identity, "the next worker of the folder is known for the same");
        fs::write(dir.path().join("identity"), "torn").unwrap();
        assert_ne!(home.identity().unwrap(), identity);
    }

    #[test]
    fn an_attempt_is_read_from_its_file_name() {
        let id = AttemptId { job: JobId::of("1", "t", "i", "x", "noarch"), attempt: 7 };
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("lock".parse::<AttemptId>().is_err());
    }
}
