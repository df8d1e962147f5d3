//! One process under test, in a process group of its own.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::wait::{secs, until};

/// A process that writes to `NAME.out` and `NAME.err` in the story's folder and
/// reads nothing. Dropping it kills its group.
pub struct Process {
    name: String,
    child: Child,
    out: PathBuf,
    err: PathBuf,
    end: Option<ExitStatus>,
}

impl Process {
    /// Starts it. A second process of the same name writes on behind the first,
    /// so that what a killed one said is still there after its restart.
    #[track_caller]
    pub fn start(mut command: Command, name: &str, folder: &Path) -> Process {
        let [out, err] = ["out", "err"].map(|end| folder.join(format!("{name}.{end}")));
        let child = command
            .stdin(Stdio::null())
            .stdout(append(&out))
            .stderr(append(&err))
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("failed to start {name} ({command:?}): {error}"));
        Process { name: name.into(), child, out, err, end: None }
    }

    pub fn pid(&self) -> i32 {
        self.group().as_raw()
    }

    /// To the process alone, as a service manager or a person would send it.
    pub fn signal(&self, signal: Signal) {
        if self.end.is_none() {
            kill(self.group(), signal).expect("a process that was not reaped can be signalled");
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.end.is_none() {
            self.end = self.child.try_wait().expect("one's own child can be waited for");
        }
        self.end
    }

    /// Waits for its end; panics with what it said when time is up.
    #[track_caller]
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let what = format!("{} to end", self.name);
        until(within, &what, || self.ended().ok_or_else(|| self.talk()))
    }

    /// SIGTERM, and then as `wait`.
    #[track_caller]
    pub fn stop(&mut self, within: Duration) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait(within)
    }

    /// SIGKILL to the whole group, as when the machine dies; returns when the
    /// process is reaped.
    #[track_caller]
    pub fn kill(&mut self) {
        // Before reaping, while nobody else can have this group's number.
        if self.ended().is_none() {
            let _ = killpg(self.group(), Signal::SIGKILL);
            self.wait(secs(10));
        }
    }

    /// All of stdout so far.
    pub fn out(&self) -> String {
        read(&self.out)
    }

    /// All of stderr so far.
    pub fn err(&self) -> String {
        read(&self.err)
    }

    /// The last lines of both, for a message.
    fn talk(&self) -> Talk {
        Talk([last(&self.out()), last(&self.err())])
    }

    fn group(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("Linux pids fit"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            let _ = killpg(self.group(), Signal::SIGKILL);
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- {} said: {:?}", self.name, self.talk());
        }
    }
}

struct Talk([String; 2]);

impl std::fmt::Debug for Talk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Talk([out, err]) = self;
        write!(f, "\nstdout:\n{out}\nstderr:\n{err}\n")
    }
}

fn append(path: &Path) -> File {
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .unwrap_or_else(|error| panic!("failed to open {}: {error}", path.display()))
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into()
}

fn last(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
