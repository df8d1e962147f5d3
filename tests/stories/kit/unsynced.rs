//! A stand-in for a power cut: with it, what a process has not synced dies with
//! it. The shim itself, and what it does and does not cover, is `unsynced.c`.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::shim;

/// The shim, compiled.
pub struct Unsynced {
    library: PathBuf,
}

impl Unsynced {
    /// Compiles it into `folder`.
    #[track_caller]
    pub fn build(folder: &Path) -> Unsynced {
        Unsynced { library: shim::compile("unsynced", folder) }
    }

    /// Holds back what `command` will write to files whose path ends with
    /// `suffix`, until it syncs them.
    pub fn hold(&self, command: &mut Command, suffix: &str) {
        command.env("LD_PRELOAD", &self.library).env("UNSYNCED_SUFFIX", suffix);
    }
}
