//! The folder in which one attempt works: fresh before it, gone after it.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use model::lease::Lease;

/// One attempt's folder, which is its working folder and its HOME.
#[derive(Clone, Debug)]
pub struct Workspace {
    pub folder: PathBuf,
}

impl Workspace {
    /// Makes the folder and all that the process finds in it. The error is a reason for people.
    pub fn make(folder: PathBuf, lease: &Lease) -> Result<Workspace, String> {
        let workspace = Workspace { folder };
        match workspace.fill(lease) {
            Ok(()) => Ok(workspace),
            Err(reason) => {
                // What was made so far is of no use; what cannot be removed either is swept at the next start.
                let _ = workspace.remove();
                Err(reason)
            }
        }
    }

    pub fn scratch(&self) -> PathBuf {
        self.folder.join("tmp")
    }

    pub fn artifacts(&self) -> PathBuf {
        self.folder.join("artifacts")
    }

    pub fn results(&self) -> PathBuf {
        self.folder.join("results.yml")
    }

    pub fn event(&self) -> PathBuf {
        self.folder.join("event.json")
    }

    fn fill(&self, lease: &Lease) -> Result<(), String> {
        let failed = |what: &Path, e: io::Error| format!("cannot make {}: {e}", what.display());
        // Left by an earlier process, where it could not be removed at the start.
        remove_tree(&self.folder).map_err(|e| format!("cannot clear {}: {e}", self.folder.display()))?;
        private_folder(&self.folder).map_err(|e| failed(&self.folder, e))?;
        if let Some(source) = &lease.task.source {
            copy_tree(Path::new(source), &self.folder)
                .map_err(|e| format!("cannot copy the task's source {source}: {e}"))?;
            // What lies there from the author's own try is no result of this attempt.
            remove_tree(&self.results()).map_err(|e| failed(&self.results(), e))?;
        }
        for folder in [self.scratch(), self.artifacts()] {
            fs::create_dir_all(&folder).map_err(|e| failed(&folder, e))?;
        }
        if let Some(event) = &lease.event {
            let json = serde_json::to_vec(event).map_err(|e| format!("cannot write the event: {e}"))?;
            remove_tree(&self.event()).map_err(|e| failed(&self.event(), e))?;
            fs::write(self.event(), json).map_err(|e| failed(&self.event(), e))?;
        }
        Ok(())
    }

    /// Removes the folder with all that is in it, also what the job made read-only.
    pub fn remove(&self) -> io::Result<()> {
        remove_tree(&self.folder)
    }
}

fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Removes a file or folder; that it is not there is well.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match remove_once(path) {
        // Folders without the write bit: the job is over, so its wish for them no longer counts. A folder that was
        // not empty after all had a process dying in it.
        Err(e) if matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::DirectoryNotEmpty) => {
            unlock_folders(path)?;
            remove_once(path)
        }
        other => other,
    }
}

fn remove_once(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    if found.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

fn unlock_folders(path: &Path) -> io::Result<()> {
    // Links are not followed: a job may have left some that lead out of its folder.
    if !fs::symlink_metadata(path)?.is_dir() {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        unlock_folders(&entry?.path())?;
    }
    Ok(())
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
