//! The files that a job leaves for people: found when it is over, set aside, and sent ahead of its report.

mod find;
mod send;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, openat, renameat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

pub use send::send;

/// One file that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// What it was called in the workspace.
    pub name: String,
    pub size: u64,
    /// What it is called among the files that were set aside with it.
    file: String,
}

/// What a task asks for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Patterns of paths in the workspace.
    pub patterns: Vec<String>,
    /// How many bytes are taken of one attempt.
    pub limit: u64,
}

/// How many files are taken of one attempt.
const MOST: usize = 1000;

/// Moves what a task wants out of its workspace into a folder that is made for it. What is left behind, and why, is a
/// sentence for people.
pub fn set_aside(workspace: &Path, wanted: &Wanted, into: &Path) -> (Vec<Artifact>, Option<String>) {
    let mut left = Left::default();
    let found = match find::find(workspace, &wanted.patterns, &mut left) {
        Ok(found) if found.files.is_empty() => return (Vec::new(), left.told()),
        Ok(found) => found,
        Err(e) => return (Vec::new(), Some(format!("the artifacts cannot be looked for: {e}"))),
    };
    if let Err(e) = DirBuilder::new().mode(0o700).create(into) {
        return (Vec::new(), Some(format!("the artifacts cannot be set aside: {e}")));
    }
    let (mut taken, mut room) = (Vec::new(), wanted.limit);
    for candidate in found.files {
        if taken.len() == MOST {
            left.behind(&candidate.name, &format!("only {MOST} files are kept"));
        } else if candidate.size > room {
            let size = candidate.size;
            left.behind(&candidate.name, &format!("{size} bytes are more than limits.artifacts has left, {room}"));
        } else {
            let file = taken.len().to_string();
            match take(&found.root, &candidate, &into.join(&file)) {
                Ok(size) => {
                    room = room.saturating_sub(size);
                    taken.push(Artifact { name: candidate.name, size, file });
                }
                Err(why) => left.behind(&candidate.name, &why),
            }
        }
    }
    if taken.is_empty() {
        // It is empty, and else it is cleared at the next start.
        let _ = fs::remove_dir_all(into);
    }
    (taken, left.told())
}

/// Moves one file, if it is still the one that was found. Nothing on the way there may be a link.
fn take(root: &OwnedFd, candidate: &find::Candidate, to: &Path) -> Result<u64, String> {
    let failed = |e: &dyn std::fmt::Display| format!("cannot be kept: {e}");
    let (folder, name) = find::folder_of(root, &candidate.name).map_err(|e| failed(&e))?;
    match renameat(&folder, name, rustix::fs::CWD, to) {
        Ok(()) => {}
        Err(Errno::XDEV) => {
            let file = openat(&folder, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK, Mode::empty());
            let file = File::from(file.map_err(|e| failed(&e))?);
            plain(&file, candidate)?;
            let mut copy =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(|e| failed(&e))?;
            io::copy(&mut io::Read::take(file, candidate.size), &mut copy).map_err(|e| failed(&e))?;
            return copy.metadata().map(|copied| copied.len()).map_err(|e| failed(&e));
        }
        Err(e) => return Err(failed(&e)),
    }
    let size = open(to).map_err(|e| failed(&e)).and_then(|file| plain(&file, candidate));
    if size.is_err() {
        // What was put there instead of what was found.
        let _ = crate::remove::remove_tree(to);
    }
    size
}

/// The size of a file, if it is a plain one, and the one that was found.
fn plain(file: &File, candidate: &find::Candidate) -> Result<u64, String> {
    let found = file.metadata().map_err(|e| format!("cannot be kept: {e}"))?;
    match found.is_file() && (found.dev(), found.ino()) == candidate.inode {
        true => Ok(found.len()),
        false => Err("was exchanged for another".to_owned()),
    }
}

/// Opens what was set aside; a link or a pipe that was put there is not followed, nor waited for.
fn open(path: &Path) -> io::Result<File> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// What is left behind, for a sentence.
#[derive(Debug, Default)]
struct Left {
    first: Vec<String>,
    count: usize,
}

impl Left {
    fn behind(&mut self, name: &str, why: &str) {
        self.count += 1;
        if self.first.len() < 3 {
            self.first.push(format!("{} ({why})", name.escape_debug()));
        }
    }

    fn told(self) -> Option<String> {
        let more = self.count - self.first.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        (self.count > 0).then(|| format!("artifacts that are not kept: {}{more}", self.first.join(", ")))
    }
}

/// Removes what was set aside; that there is nothing is well.
pub fn remove(folder: &Path) -> io::Result<()> {
    crate::remove::remove_tree(folder)
}

/// Where one of them lies.
fn path(folder: &Path, artifact: &Artifact) -> PathBuf {
    folder.join(&artifact.file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_plain_files_of_the_job_are_taken_and_what_is_not_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (work, aside) = (dir.path().join("work"), dir.path().join("aside"));
        fs::create_dir_all(work.join("artifacts/deep/er")).unwrap();
        fs::create_dir_all(work.join("other")).unwrap();
        let write = |name: &str, text: &str| fs::write(work.join(name), text).unwrap();
        write("artifacts/a.txt", "a");
        write("artifacts/deep/er/b", "bb");
        write("top.log", "log");
        write("other/c.log", "not wanted");
        // Of two names of one file both are wanted.
        fs::hard_link(work.join("artifacts/a.txt"), work.join("artifacts/again")).unwrap();
        fs::write(dir.path().join("secret"), "of the worker").unwrap();
        fs::hard_link(dir.path().join("secret"), work.join("artifacts/hard")).unwrap();
        symlink(dir.path().join("secret"), work.join("artifacts/soft")).unwrap();
        symlink(dir.path(), work.join("artifacts/folder")).unwrap();
        nix::unistd::mkfifo(&work.join("artifacts/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        File::create(work.join("artifacts/sparse")).unwrap().set_len(1 << 40).unwrap();
        write("artifacts/two\nlines", "x");
        let wanted = Wanted { patterns: vec!["artifacts/**".into(), "*.log".into()], limit: 1000 };
        let (taken, told) = set_aside(&work, &wanted, &aside);
        let names: Vec<_> = taken.iter().map(|a| (a.name.as_str(), a.size)).collect();
        assert_eq!(names, [("artifacts/a.txt", 1), ("artifacts/again", 1), ("artifacts/deep/er/b", 2), ("top.log", 3)]);
        assert_eq!(fs::read_to_string(path(&aside, &taken[2])).unwrap(), "bb");
        assert!(work.join("other/c.log").exists() && dir.path().join("secret").exists());
        let told = told.unwrap();
        assert!(told.starts_with("artifacts that are not kept: artifacts/folder (is a link"), "{told}");
        assert!(told.ends_with(" and 3 more"), "{told}");
    }

    #[test]
    fn what_is_over_a_limit_is_left_behind_and_the_rest_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("work");
        fs::create_dir(&work).unwrap();
        for (name, size) in [("a", 60), ("b", 60), ("c", 40)] {
            fs::write(work.join(name), vec![0; size]).unwrap();
        }
        let wanted = Wanted { patterns: vec!["*".into()], limit: 100 };
        let (taken, told) = set_aside(&work, &wanted, &dir.path().join("aside"));
        assert_eq!(taken.iter().map(|a| a.name.as_str()).collect::<Vec<_>>(), ["a", "c"]);
        let want = "artifacts that are not kept: b (60 bytes are more than limits.artifacts has left, 40)";
        assert_eq!(told.unwrap(), want);
        let (taken, told) = set_aside(&work, &Wanted { patterns: vec!["x*".into()], limit: 9 }, &dir.path().join("no"));
        assert!(taken.is_empty() && told.is_none() && !dir.path().join("no").exists());
    }
}
