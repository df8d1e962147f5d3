//! A small file system of a story's own, to be filled up.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Story;

/// A tmpfs of a few megabytes in the story's folder; dropping it takes it away.
pub struct Tmpfs {
    folder: PathBuf,
}

impl Tmpfs {
    /// Mounts it at `name` in the story's folder. Panics where that is not allowed: it needs root, as `./test` has it
    /// in a container, or within `unshare --user --map-root-user --mount`.
    #[track_caller]
    pub fn mount(story: &Story, name: &str, kilobytes: u64) -> Tmpfs {
        let folder = story.path(name);
        fs::create_dir_all(&folder).expect("the story has a folder");
        let size = format!("size={kilobytes}k,mode=0777");
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "taskotron-story"])
            .arg(&folder)
            .output()
            .expect("there is a program mount");
        assert!(
            done.status.success(),
            "this story needs to mount a tmpfs, and may not ({}): run ./test as root, or as\n\
             unshare --user --map-root-user --mount ./test",
            String::from_utf8_lossy(&done.stderr).trim()
        );
        Tmpfs { folder }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Leaves not one byte of room, until `free`.
    #[track_caller]
    pub fn fill(&self) {
        let mut filler = File::options().create(true).append(true).open(self.filler()).expect("a file can be made");
        for size in [64 << 10, 1] {
            let piece = vec![b'x'; size];
            loop {
                match filler.write(&piece) {
                    Ok(1..) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    other => panic!("failed to fill {}: {other:?}", self.folder.display()),
                }
            }
        }
    }

    /// Gives back what `fill` took.
    #[track_caller]
    pub fn free(&self) {
        fs::remove_file(self.filler()).expect("it was filled");
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily, since a process of the story may still be in it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).output();
    }
}
