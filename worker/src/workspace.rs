//! The folder in which one attempt works: fresh before it, gone after it.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use model::lease::Lease;

use crate::remove::remove_tree;
use crate::results::RESULT_YAML;
use crate::spares::{Aside, Spares};

/// One attempt's folder, which is its working folder and its HOME.
#[derive(Debug)]
pub struct Workspace {
    pub folder: PathBuf,
    /// What was made, as it was then; none where there is more to compare than is worth it.
    made: Option<Vec<Seen>>,
}

/// Whatever is done to a file or a folder changes one of these.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    inode: u64,
    mode: u32,
    links: u64,
    size: u64,
    changed: (i64, i64),
}

impl Workspace {
    /// Makes the folder and all that the process finds in it, with a copy of the folder `source` where there is one, of
    /// a spare one where that will do. The error is a reason for people.
    pub fn make(folder: PathBuf, lease: &Lease, source: Option<&Path>, spares: &Spares) -> Result<Workspace, String> {
        let mut workspace = Workspace { folder, made: None };
        match workspace.fill(lease, source, spares) {
            Ok(()) => {
                // A copied source is removed as a whole.
                workspace.made = if source.is_none() { workspace.seen() } else { None };
                Ok(workspace)
            }
            Err(reason) => {
                // What was made so far is of no use; what cannot be removed either is swept at the next start.
                let _ = workspace.remove();
                Err(reason)
            }
        }
    }

    /// Ends it: the folder is a spare one if nothing in it was changed, and else it is removed with all that is in it.
    pub fn leave(self, spares: &Spares) -> io::Result<Option<Aside>> {
        let unchanged = self.made.is_some() && self.made == self.seen();
        match unchanged.then(|| spares.set_aside(&self.folder)).flatten() {
            Some(aside) => Ok(Some(aside)),
            None => self.remove().map(|()| None),
        }
    }

    /// What there is, if that is no more than was made. The clock that stamps changes is a coarse one, so that the
    /// emptiness of the folders is looked at, too.
    fn seen(&self) -> Option<Vec<Seen>> {
        let mut seen = vec![Seen::of(&self.folder)?];
        for name in names(&self.folder).ok()? {
            let path = self.folder.join(name);
            if path != self.event() && names(&path).ok()?.next().is_some() {
                return None;
            }
            seen.push(Seen::of(&path)?);
        }
        Some(seen)
    }

    pub fn scratch(&self) -> PathBuf {
        self.folder.join("tmp")
    }

    pub fn artifacts(&self) -> PathBuf {
        self.folder.join("artifacts")
    }

    pub fn results(&self) -> PathBuf {
        self.folder.join(RESULT_YAML)
    }

    pub fn event(&self) -> PathBuf {
        self.folder.join("event.json")
    }

    fn fill(&self, lease: &Lease, source: Option<&Path>, spares: &Spares) -> Result<(), String> {
        if source.is_none() && spares.give_folder(&self.folder) {
            return self.write_event(lease);
        }
        let failed = |what: &Path, e: io::Error| format!("cannot make {}: {e}", what.display());
        // Left by an earlier process, where it could not be removed at the start.
        remove_tree(&self.folder).map_err(|e| format!("cannot clear {}: {e}", self.folder.display()))?;
        private_folder(&self.folder).map_err(|e| failed(&self.folder, e))?;
        if let Some(source) = source {
            copy_tree(source, &self.folder)
                .map_err(|e| format!("cannot copy the task's source {}: {e}", source.display()))?;
            // What lies there from the author's own try is no result of this attempt.
            remove_tree(&self.results()).map_err(|e| failed(&self.results(), e))?;
        }
        for folder in [self.scratch(), self.artifacts()] {
            fs::create_dir_all(&folder).map_err(|e| failed(&folder, e))?;
        }
        if source.is_some() {
            // One that the source brings may be a link that leads elsewhere.
            remove_tree(&self.event()).map_err(|e| failed(&self.event(), e))?;
        }
        self.write_event(lease)
    }

    /// The event that caused the job; none where none did, whatever a spare folder holds.
    fn write_event(&self, lease: &Lease) -> Result<(), String> {
        let path = self.event();
        let written = match &lease.event {
            Some(event) => {
                let json = serde_json::to_vec(event).map_err(|e| format!("cannot write the event: {e}"))?;
                fs::write(&path, json)
            }
            None => remove_tree(&path),
        };
        written.map_err(|e| format!("cannot make {}: {e}", path.display()))
    }

    /// Removes the folder with all that is in it, also what the job made read-only.
    fn remove(&self) -> io::Result<()> {
        remove_tree(&self.folder)
    }
}

impl Seen {
    fn of(path: &Path) -> Option<Seen> {
        let found = fs::symlink_metadata(path).ok()?;
        let changed = (found.ctime(), found.ctime_nsec());
        Some(Seen { inode: found.ino(), mode: found.mode(), links: found.nlink(), size: found.size(), changed })
    }
}

/// The names in a folder, in their order.
fn names(folder: &Path) -> io::Result<impl Iterator<Item = OsString>> {
    let mut names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names.into_iter())
}

fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Copies a folder's content: files with their permissions, links as links; sockets and pipes are left out.
fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target, kind) = (entry.path(), to.join(entry.file_name()), entry.file_type()?);
        if kind.is_dir() {
            fs::create_dir(&target)?;
            copy_tree(&source, &target)?;
            fs::set_permissions(&target, entry.metadata()?.permissions())?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&source)?, &target)?;
        } else if kind.is_file() {
            fs::copy(&source, &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use model::lease::TaskOrder;
    use model::{Event, JobId, Span};

    use super::*;

    fn lease(event: Option<&str>) -> Lease {
        let event = event.map(|id| Event {
            id: id.into(),
            topic: "t".into(),
            sent_at: None,
            headers: Default::default(),
            body: Default::default(),
            source: "s".into(),
        });
        let task = TaskOrder {
            name: "t".into(),
            run: vec!["true".into()],
            source: None,
            timeout: Span::minutes(1),
            no_output_timeout: None,
            grace: Span::seconds(1),
            exclusive: false,
            results: Vec::new(),
            testcase: String::new(),
            log_limit: 0,
            secrets: Vec::new(),
            artifacts: Vec::new(),
            artifact_limit: 0,
            bounds: Default::default(),
        };
        Lease {
            job: JobId::of("1", "t", "i", "x", "noarch"),
            attempt: 1,
            token: "t".into(),
            task,
            item: "i".into(),
            item_type: "x".into(),
            arch: "noarch".into(),
            params: Default::default(),
            event,
            secrets: Default::default(),
        }
    }

    /// What is left of a workspace in which a job did this: its inode, where it will be used again.
    fn left(spares: &Spares, folder: &Path, event: Option<&str>, job: impl FnOnce(&Workspace)) -> Option<u64> {
        let workspace = Workspace::make(folder.to_owned(), &lease(event), None, spares).unwrap();
        let inode = fs::metadata(folder).unwrap().ino();
        job(&workspace);
        let aside = workspace.leave(spares).unwrap();
        assert!(!folder.exists());
        aside.map(|aside| {
            spares.admit(aside);
            inode
        })
    }

    #[test]
    fn only_a_folder_in_which_nothing_was_changed_is_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let spares = Spares::new(dir.path().join("spares")).unwrap();
        let folder = dir.path().join("1");
        let first = left(&spares, &folder, Some("one"), |_| {}).expect("nothing was changed");
        let again = left(&spares, &folder, Some("two"), |workspace| {
            assert!(fs::read_to_string(workspace.event()).unwrap().contains("two"));
            assert!(workspace.scratch().is_dir() && workspace.artifacts().is_dir());
        });
        assert_eq!(again, Some(first));
        let without = left(&spares, &folder, None, |workspace| assert!(!workspace.event().exists()));
        assert_eq!(without, Some(first));
        let changes: [fn(&Workspace); 6] = [
            |w| fs::write(w.results(), "").unwrap(),
            |w| fs::write(w.scratch().join("x"), "").unwrap(),
            |w| fs::create_dir(w.artifacts().join("x")).unwrap(),
            |w| fs::set_permissions(w.scratch(), Permissions::from_mode(0o777)).unwrap(),
            |w| fs::remove_dir(w.artifacts()).unwrap(),
            |w| fs::write(w.event(), "{}").unwrap(),
        ];
        for (n, change) in changes.into_iter().enumerate() {
            assert_eq!(left(&spares, &folder, Some("three"), change), None, "change {n}");
        }
    }
}
