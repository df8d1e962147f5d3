//! A small file system, where we may mount one.

use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Small(PathBuf);

impl Small {
    /// One that has room for some hundred events, `ballast` bytes of it taken.
    pub fn mount(at: &Path, ballast: usize) -> Option<Small> {
        std::fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"]).arg(at).output().ok()?;
        let small = mounted.status.success().then(|| Small(at.to_owned()))?;
        std::fs::write(small.path("ballast"), vec![1; ballast]).unwrap();
        Some(small)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Makes room.
    pub fn relieve(&self) {
        std::fs::remove_file(self.path("ballast")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
