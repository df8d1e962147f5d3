//! bubblewrap: a program that gives another a file system, processes and a network of its own (bwrap(1)).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::landlock::SYSTEM;

/// What root keeps in a job, as with Landlock.
const KEPT: [&str; 7] =
    ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_SETGID", "CAP_SETUID", "CAP_NET_BIND_SERVICE"];

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
        let tried = found.around(Path::new("/usr"), &nothing, false, None);
        let tried = Command::new(tried.first()?).args(&tried[1..]).stdin(Stdio::null()).output().ok()?;
        if !tried.status.success() {
            let said = String::from_utf8_lossy(&tried.stderr);
            tracing::info!("does not offer bubblewrap, which fails here: {}", said.trim());
        }
        tried.status.success().then_some(found)
    }

    /// The arguments that run `argv` in `folder`.
    pub fn around(&self, folder: &Path, argv: &[String], network: bool, secrets: Option<&Path>) -> Vec<String> {
        let folder = folder.display().to_string();
        let mut all = vec![self.program.display().to_string()];
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

fn always(readable: &[PathBuf], writable: &[PathBuf]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut say = |words: &[&str]| all.extend(words.iter().map(|word| (*word).to_owned()));
    say(&["--unshare-user-try", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]);
    say(&["--cap-drop", "ALL"]);
    for kept in KEPT.iter().filter(|_| nix::unistd::geteuid().is_root()) {
        say(&["--cap-add", kept]);
    }
    for system in SYSTEM.iter().filter(|path| !["/proc", "/sys"].contains(path)) {
        match std::fs::read_link(system) {
            Ok(target) => say(&["--symlink", &target.display().to_string(), system]),
            Err(_) => say(&["--ro-bind-try", system, system]),
        }
    }
    say(&["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]);
    if Path::new("/etc/taskotron").is_dir() {
        say(&["--tmpfs", "/etc/taskotron"]);
    }
    for path in readable.iter().map(|path| path.display().to_string()) {
        say(&["--ro-bind-try", &path, &path]);
    }
    for path in writable.iter().map(|path| path.display().to_string()) {
        say(&["--bind-try", &path, &path]);
    }
    all
}
