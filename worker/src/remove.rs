//! Removing a folder that a job has filled, while something of the job may still be at work in it.
//!
//! Everything is done relative to folders that are open, and no link is followed: where a folder is replaced by a link
//! meanwhile, the link is what is removed. A job may also nest folders deeper than a path or a stack can reach. So one
//! that is not empty is moved up into the first before it is emptied: two folders are open at most, and nothing recurs.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, chmod, fchmod, openat, renameat, unlinkat};
use rustix::io::Errno;
use rustix::path::Arg;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A folder that need not be readable.
const HANDLE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Removes a file or folder, also what was made read-only in it; that it is not there is well.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match openat(CWD, parent, HANDLE, Mode::empty()) {
        Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
        Ok(parent) if remove(&parent, name)? => Ok(()),
        Ok(parent) => Ok(remove_folder(&parent, name)?),
    }
}

fn remove_folder(parent: &OwnedFd, name: impl Arg + Copy) -> Result<(), Errno> {
    let root = open(parent, name)?;
    clear_all(&root, clear(&root)?)?;
    gone(unlinkat(parent, name, AtFlags::REMOVEDIR))
}

/// Removes the folders in `root` that are `waiting`, with all that is in them.
fn clear_all(root: &OwnedFd, mut waiting: Vec<CString>) -> Result<(), Errno> {
    let mut moved = 0;
    while let Some(name) = waiting.pop() {
        match open(root, &*name) {
            Ok(folder) => {
                for inner in clear(&folder)? {
                    waiting.push(move_up(&folder, &inner, root, &mut moved)?);
                }
            }
            // It is something else by now, or gone.
            Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => {}
            Err(e) => return Err(e),
        }
        if !remove(root, &*name)? {
            return Err(Errno::NOTEMPTY);
        }
    }
    Ok(())
}

/// Removes one entry of a folder; false where that is a folder which is not empty.
fn remove(folder: &OwnedFd, name: impl Arg + Copy) -> Result<bool, Errno> {
    let removed = match gone(unlinkat(folder, name, AtFlags::empty())) {
        Err(Errno::ISDIR) => gone(unlinkat(folder, name, AtFlags::REMOVEDIR)),
        other => other,
    };
    match removed {
        Err(Errno::NOTEMPTY) => Ok(false),
        other => other.map(|()| true),
    }
}

fn gone(removed: Result<(), Errno>) -> Result<(), Errno> {
    match removed {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Removes all that is in a folder but for folders that are not empty, which are what comes back.
fn clear(folder: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut full = Vec::new();
    for name in unlocked(folder, || names(folder))? {
        if !unlocked(folder, || remove(folder, &*name))? {
            full.push(name);
        }
    }
    Ok(full)
}

fn names(folder: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let names = Dir::read_from(folder)?.map(|entry| Ok(entry?.file_name().to_owned()));
    names.filter(|name| !matches!(name.as_deref().map(CStr::to_bytes), Ok(b"." | b".."))).collect()
}

/// Moves a folder to the first one, under a name that is free there.
fn move_up(from: &OwnedFd, name: &CStr, root: &OwnedFd, moved: &mut u64) -> Result<CString, Errno> {
    loop {
        *moved += 1;
        let up = CString::new(format!(".{moved}")).map_err(|_| Errno::INVAL)?;
        match renameat(from, name, root, &*up) {
            Err(Errno::NOTEMPTY | Errno::NOTDIR | Errno::ISDIR) => {}
            // What is moved to another folder must be writable itself.
            Err(Errno::ACCESS) => {
                fchmod(open(from, name)?, Mode::RWXU)?;
                return gone(renameat(from, name, root, &*up)).map(|()| up);
            }
            other => return gone(other).map(|()| up),
        }
    }
}

/// Opens a folder, which may forbid that.
fn open(parent: &OwnedFd, name: impl Arg + Copy) -> Result<OwnedFd, Errno> {
    match openat(parent, name, FOLDER, Mode::empty()) {
        Err(Errno::ACCESS) => {
            let handle = openat(parent, name, HANDLE | OFlags::NOFOLLOW, Mode::empty())?;
            chmod(format!("/proc/self/fd/{}", handle.as_raw_fd()), Mode::RWXU)?;
            openat(parent, name, FOLDER, Mode::empty())
        }
        other => other,
    }
}

/// Does it again with the rights that a job has taken from a folder: the job is over, so its wish no longer counts.
fn unlocked<T>(folder: &OwnedFd, work: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
    match work() {
        Err(Errno::ACCESS) => {
            fchmod(folder, Mode::RWXU)?;
            work()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_tree_deeper_than_any_path_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::create_dir(root.join(".1")).unwrap();
        fs::write(root.join(".1/x"), "").unwrap();
        // Made from the inside out, since no path leads there.
        let (mut inner, outer) = (dir.path().join("a"), dir.path().join("b"));
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("file"), "").unwrap();
        for _ in 0..3000 {
            fs::create_dir(&outer).unwrap();
            fs::rename(&inner, outer.join("d")).unwrap();
            fs::rename(&outer, &inner).unwrap();
        }
        inner = root.join("deep");
        fs::rename(dir.path().join("a"), &inner).unwrap();
        fs::set_permissions(&inner, Permissions::from_mode(0o000)).unwrap();
        remove_tree(&root).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_not_a_folder_is_removed_and_what_is_not_there_is_well() {
        let dir = tempfile::tempdir().unwrap();
        let [file, link] = ["file", "link"].map(|name| dir.path().join(name));
        fs::write(&file, "").unwrap();
        symlink("/etc", &link).unwrap();
        for path in [&file, &link, &link, &dir.path().join("no/such")] {
            remove_tree(path).unwrap();
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    /// Only where the tests are not run by root does any of it matter.
    #[test]
    fn what_a_job_has_locked_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        fs::create_dir(root.join("d")).unwrap();
        fs::write(root.join("a/b/file"), "").unwrap();
        fs::write(root.join("d/file"), "").unwrap();
        for (folder, mode) in [("a/b/c", 0o000), ("a/b", 0o500), ("a", 0o444), ("d", 0o000), ("", 0o100)] {
            fs::set_permissions(root.join(folder), Permissions::from_mode(mode)).unwrap();
        }
        remove_tree(&root).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_link_that_takes_a_folders_place_does_not_lead_out() {
        let dir = tempfile::tempdir().unwrap();
        let [outside, root, inner] = ["outside", "root", "root/inner"].map(|name| dir.path().join(name));
        for folder in [&outside, &root, &inner] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("file"), "").unwrap();
        }
        let parent = openat(CWD, dir.path(), HANDLE, Mode::empty()).unwrap();
        let opened = open(&parent, "root").unwrap();
        let waiting = clear(&opened).unwrap();
        assert_eq!(waiting, [c"inner".to_owned()]);
        // What is left of the job does this meanwhile.
        fs::rename(&inner, dir.path().join("away")).unwrap();
        symlink(&outside, &inner).unwrap();
        clear_all(&opened, waiting).unwrap();
        assert!(outside.join("file").exists());
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    }
}
