//! A stand-in for a power cut: with it, what a process has not synced dies with
//! it. The shim itself, and what it does and does not cover, is `unsynced.c`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The shim, compiled.
pub struct Unsynced {
    library: PathBuf,
}

impl Unsynced {
    /// Compiles it into `folder`.
    #[track_caller]
    pub fn build(folder: &Path) -> Unsynced {
        let library = folder.join("unsynced.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories/kit/unsynced.c");
        let done = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"])
            .arg("-o")
            .args([&library, &source])
            .args(["-ldl", "-lpthread"])
            .output()
            .expect("a C compiler is installed");
        assert!(done.status.success(), "the shim does not compile: {}", String::from_utf8_lossy(&done.stderr));
        Unsynced { library }
    }

    /// Holds back what `command` will write to files whose path ends with
    /// `suffix`, until it syncs them.
    pub fn hold(&self, command: &mut Command, suffix: &str) {
        command.env("LD_PRELOAD", &self.library).env("UNSYNCED_SUFFIX", suffix);
    }
}
