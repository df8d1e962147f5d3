//! A wall clock that can be stepped while its process runs. The shim itself is `wallclock.c`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::shim;

/// The shim, compiled, and the folder of the clocks that it shows.
pub struct Wallclock {
    library: PathBuf,
    folder: PathBuf,
}

impl Wallclock {
    #[track_caller]
    pub fn build(folder: &Path) -> Wallclock {
        Wallclock { library: shim::compile("wallclock", folder), folder: folder.to_owned() }
    }

    /// Gives `command` the clock of this name.
    pub fn wear(&self, command: &mut Command, name: &str) {
        command.env("LD_PRELOAD", &self.library).env("WALLCLOCK_FILE", self.file(name));
    }

    /// Sets a clock so many seconds ahead of the true time; its process sees it at once.
    #[track_caller]
    pub fn set(&self, name: &str, seconds: i64) {
        // Renamed into place: who reads it in between reads the old time.
        let coming = self.folder.join(format!("{name}.clock.new"));
        fs::write(&coming, seconds.to_string())
            .and_then(|()| fs::rename(&coming, self.file(name)))
            .expect("it is ours");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.clock"))
    }
}
