//! The secrets of running attempts: files of a folder in memory where there is one, gone with the attempt.
//!
//! The worker's own folder names that place (`secrets`, a link), so that whoever clears up after a worker that was killed
//! finds it: its guardian, or the next worker.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use model::lease::Lease;
use net::vault::{Value, Vault};
use rustix::fs::statfs;

use crate::home::{AttemptId, Home};
use crate::remove::remove_tree;

/// The magic number of tmpfs in statfs(2).
const TMPFS: u64 = 0x0102_1994;

/// What begins the name of a folder of ours in a place that is everybody's.
const PREFIX: &str = "taskotron-secrets-";

/// The place for the secrets of all attempts of a worker.
#[derive(Debug)]
pub struct Secrets {
    root: PathBuf,
}

impl Secrets {
    /// Makes it anew; what an earlier worker left is gone.
    pub fn open(home: &Home) -> anyhow::Result<Secrets> {
        clear(home)?;
        let name = format!("{PREFIX}{}", home.identity()?);
        let places = [std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from), Some(PathBuf::from("/dev/shm"))];
        for place in places.into_iter().flatten().filter(|place| in_memory(place)) {
            let root = place.join(&name);
            if private_folder(&root).is_ok() {
                symlink(&root, link(home))?;
                return Ok(Secrets { root });
            }
        }
        let root = link(home);
        private_folder(&root)?;
        tracing::debug!(folder = %root.display(), "no place in memory for secrets; they are on disk while a job runs");
        Ok(Secrets { root })
    }

    /// Lays out what a job's task asks for; none where that is nothing. The error is a reason for people.
    pub fn lay_out(&self, id: AttemptId, values: &BTreeMap<String, Value>) -> Result<Option<PathBuf>, String> {
        if values.is_empty() {
            return Ok(None);
        }
        let folder = self.root.join(id.to_string());
        let made = private_folder(&folder).and_then(|()| {
            values.iter().try_for_each(|(name, value)| {
                let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(folder.join(name))?;
                file.write_all(value.expose())
            })
        });
        match made {
            Ok(()) => Ok(Some(folder)),
            Err(e) => {
                self.remove(id);
                Err(format!("cannot lay out its secrets in {}: {e}", folder.display()))
            }
        }
    }

    /// Takes the secrets of an attempt away.
    pub fn remove(&self, id: AttemptId) {
        let folder = self.root.join(id.to_string());
        if let Err(e) = remove_tree(&folder) {
            tracing::error!(job.id = %id.job, attempt = id.attempt, "cannot remove the secrets in {}: {e}", folder.display());
        }
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        // Whatever stays is removed by the guardian, or by the next worker.
        let _ = remove_tree(&self.root);
    }
}

/// The values that a lease's task asks for: those that came with it, else our own. The error is a reason for people.
pub fn of(lease: &Lease, own: &Vault) -> Result<BTreeMap<String, Value>, String> {
    let task = &lease.task;
    let value = |name: &String| {
        let value = match lease.secrets.get(name) {
            Some(sealed) => sealed.open().map(Value::new),
            None if own.serves(name, &task.name) => own.read(name),
            None => Err(format!("neither the master nor this worker gives it to task {}", task.name)),
        };
        value.map(|value| (name.clone(), value)).map_err(|why| format!("secret '{name}' is not to be had: {why}"))
    };
    task.secrets.iter().map(value).collect()
}

/// Removes the secrets that a worker which is gone has left.
pub fn clear(home: &Home) -> io::Result<()> {
    let link = link(home);
    if let Ok(root) = fs::read_link(&link)
        && root.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX))
    {
        remove_tree(&root)?;
    }
    remove_tree(&link)
}

fn link(home: &Home) -> PathBuf {
    home.root().join("secrets")
}

fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

fn in_memory(place: &Path) -> bool {
    statfs(place).is_ok_and(|found| u64::try_from(found.f_type).is_ok_and(|kind| kind == TMPFS))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use model::JobId;

    use super::*;

    #[test]
    fn secrets_are_files_of_ones_own_and_go_with_the_attempt_or_with_the_next_worker() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        let secrets = Secrets::open(&home).unwrap();
        let id = |n: &str| AttemptId { job: JobId::of(n, "t", "y", "i", "noarch"), attempt: 1 };
        let values = BTreeMap::from([("koji".to_owned(), Value::new(b"hunter2".to_vec()))]);
        assert_eq!(secrets.lay_out(id("0"), &BTreeMap::new()), Ok(None));
        let folder = secrets.lay_out(id("1"), &values).unwrap().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&folder), mode(&folder.join("koji"))), (0o700, 0o400));
        assert_eq!(fs::read(folder.join("koji")).unwrap(), b"hunter2");
        secrets.remove(id("1"));
        assert!(!folder.exists());

        let left = secrets.lay_out(id("2"), &values).unwrap().unwrap();
        // As a worker that is killed: nothing is dropped.
        std::mem::forget(secrets);
        let next = Secrets::open(&home).unwrap();
        assert!(!left.exists(), "the next worker removes it");
        let left = next.lay_out(id("3"), &values).unwrap().unwrap();
        std::mem::forget(next);
        clear(&home).unwrap();
        assert!(!left.exists() && !link(&home).exists(), "and so does the guardian");
    }
}
