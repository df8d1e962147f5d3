//! One story's place in the world: a folder for everything it makes, and the
//! binaries, started so that they can be found again.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::process::Process;
use super::sweep::{self, Left};
use super::wait::until;

/// The environment variable that names the story's folder in every process it
/// starts. (Jobs do not inherit it, but their workspaces and artifacts are below
/// that folder when the worker's data is.)
const MARK: &str = "TASKOTRON_STORY";

/// Dropping it kills whatever is left of it and removes the folder; with
/// `TASKOTRON_KEEP` set the folder stays and its path is printed.
pub struct Story {
    folder: TempDir,
}

/// What a command that has ended left behind.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; none when a signal ended it.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Story {
    pub fn new() -> Story {
        let folder =
            tempfile::Builder::new().prefix("taskotron-story-").tempdir().expect("a temporary folder can be made");
        Story { folder }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A path in the folder; nothing is made there.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder().join(name)
    }

    /// Writes a file in the folder, with the folders above it, and returns its path.
    pub fn write(&self, name: impl AsRef<Path>, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("it lies in the folder"))
            .and_then(|()| std::fs::write(&path, text))
            .unwrap_or_else(|error| panic!("failed to write {}: {error}", path.display()));
        path
    }

    /// The `taskotron` binary under test, with no arguments yet.
    pub fn taskotron(&self) -> Command {
        self.command(env!("CARGO_BIN_EXE_taskotron"))
    }

    /// The `jobrunner` binary under test, with no arguments yet.
    pub fn jobrunner(&self) -> Command {
        self.command(env!("CARGO_BIN_EXE_jobrunner"))
    }

    /// Python with the real clients in it (`./test` says where it is).
    pub fn python(&self) -> Command {
        let python = env::var_os("TASKOTRON_TEST_PYTHON").unwrap_or("python3".into());
        self.command(&python)
    }

    /// Any program: in the story's folder, with its mark, and with none of the
    /// settings that whoever runs the tests may have for a Taskotron of their own.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("TASKOTRON_") {
                command.env_remove(name);
            }
        }
        command.current_dir(self.folder()).env(MARK, self.folder());
        command
    }

    /// Starts a process that goes on until it is stopped.
    #[track_caller]
    pub fn start(&self, name: &str, command: Command) -> Process {
        Process::start(command, name, self.folder())
    }

    /// Runs a command to its end.
    #[track_caller]
    pub fn run(&self, within: Duration, command: Command) -> Ran {
        // A folder of its own, since any number of commands run in one story.
        let talk = TempDir::new_in(self.folder()).expect("the folder is there");
        let name = Path::new(command.get_program());
        let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut process = Process::start(command, &name, talk.path());
        let status = process.wait(within);
        Ran { code: status.code(), out: process.out(), err: process.err() }
    }

    /// Living processes that this story has started, or that work in its folder.
    pub fn left(&self) -> Vec<Left> {
        sweep::marked(&self.mark())
    }

    /// Proves that nothing is left of it: what has been told to go gets `within`.
    #[track_caller]
    pub fn assert_nothing_left(&self, within: Duration) {
        until(within, "every process of the story to be gone", || {
            let left = self.left();
            if left.is_empty() { Ok(()) } else { Err(left) }
        });
    }

    fn mark(&self) -> String {
        self.folder().display().to_string()
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        sweep::kill_marked(&self.mark());
        if keep() {
            self.folder.disable_cleanup(true);
            eprintln!("kept: {}", self.folder().display());
        }
    }
}

/// Whether folders are to be kept, for looking into them afterwards.
pub fn keep() -> bool {
    env::var_os("TASKOTRON_KEEP").is_some()
}
