//! bubblewrap: a program that gives another a file system, processes and a network of its own (bwrap(1)).

use std::io::{self, PipeReader, Read as _};
use std::os::fd::{OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::libc;

use super::cage::KEPT;
use super::landlock::SYSTEM;
use super::spaces::HIDDEN;
use crate::leader::Status;

/// The program, with what it is told for every job of a worker.
#[derive(Debug)]
pub struct Bubblewrap {
    program: PathBuf,
    always: Vec<String>,
}

impl Bubblewrap {
    /// The program, where there is one that can do it here: it needs root or user namespaces. `path` is where it is
    /// looked for.
    pub fn find(path: &str, readable: &[PathBuf], writable: &[PathBuf]) -> Option<Bubblewrap> {
        let program =
            path.split(':').map(|folder| Path::new(folder).join("bwrap")).find(|program| program.is_file())?;
        let found = Bubblewrap { program, always: always(readable, writable) };
        let nothing = ["true".to_owned()];
        let tried = found.around(Path::new("/usr"), &nothing, false, None, libc::STDOUT_FILENO);
        let tried = Command::new(tried.first()?).args(&tried[1..]).stdin(Stdio::null()).output().ok()?;
        let works = tried.status.success() && tells_of_an_end(&tried.stdout);
        if !works {
            let said = String::from_utf8_lossy(&tried.stderr);
            tracing::info!("does not offer bubblewrap, which fails here, or is older than 0.4: {}", said.trim());
        }
        works.then_some(found)
    }

    /// The arguments that run `argv` in `folder`. What becomes of it is told to the descriptor `told`.
    pub fn around(
        &self,
        folder: &Path,
        argv: &[String],
        network: bool,
        secrets: Option<&Path>,
        told: RawFd,
    ) -> Vec<String> {
        let folder = folder.display().to_string();
        let mut all = vec![self.program.display().to_string(), "--json-status-fd".to_owned(), told.to_string()];
        all.extend_from_slice(&self.always);
        if !network {
            all.push("--unshare-net".to_owned());
        }
        if let Some(secrets) = secrets.map(|path| path.display().to_string()) {
            all.extend(["--ro-bind", &secrets, &secrets].map(str::to_owned));
        }
        all.extend(["--bind", &folder, &folder, "--chdir", &folder, "--"].map(str::to_owned));
        all.extend_from_slice(argv);
        all
    }
}

/// What bubblewrap says of the program that it starts (`--json-status-fd`). Its own exit code does not tell that it could
/// not start it from a program that exits with 1, nor a signal from an exit code.
#[derive(Debug)]
pub struct Account(PipeReader);

impl Account {
    /// And where it is told.
    pub fn open() -> io::Result<(Account, OwnedFd)> {
        let (account, told) = io::pipe()?;
        // Our own copy of the other end stays open.
        rustix::io::ioctl_fionbio(&account, true)?;
        Ok((Account(account), told.into()))
    }

    /// How the program ended, where bubblewrap has ended so; none where it could not start it.
    pub fn status(&self, status: Status) -> Option<Status> {
        let Status::Exited(code) = status else { return Some(status) };
        let mut said = [0; 4096];
        let length = (&self.0).read(&mut said).unwrap_or(0);
        if !tells_of_an_end(&said[..length]) {
            return None;
        }
        // As a shell does, and with no way to tell a shell from it.
        let by_signal = (SIGNALLED + 1..=SIGNALLED + libc::SIGRTMAX()).contains(&code);
        Some(if by_signal { Status::Signalled(code - SIGNALLED) } else { status })
    }
}

/// What is added to a signal to make an exit code of it.
const SIGNALLED: i32 = 128;

/// Only an end of the program itself is told.
fn tells_of_an_end(said: &[u8]) -> bool {
    String::from_utf8_lossy(said).contains("\"exit-code\"")
}

fn always(readable: &[PathBuf], writable: &[PathBuf]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut say = |words: &[&str]| all.extend(words.iter().map(|word| (*word).to_owned()));
    say(&["--unshare-user-try", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]);
    say(&["--cap-drop", "ALL"]);
    for (_, kept) in KEPT.iter().filter(|_| nix::unistd::geteuid().is_root()) {
        say(&["--cap-add", kept]);
    }
    for system in SYSTEM.iter().filter(|path| !["/proc", "/sys"].contains(path)) {
        match std::fs::read_link(system) {
            Ok(target) => say(&["--symlink", &target.display().to_string(), system]),
            Err(_) => say(&["--ro-bind-try", system, system]),
        }
    }
    say(&["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]);
    if Path::new(HIDDEN).is_dir() {
        say(&["--tmpfs", HIDDEN]);
    }
    for path in readable.iter().map(|path| path.display().to_string()) {
        say(&["--ro-bind-try", &path, &path]);
    }
    for path in writable.iter().map(|path| path.display().to_string()) {
        say(&["--bind-try", &path, &path]);
    }
    all
}
