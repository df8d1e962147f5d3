//! Looking through /proc for processes that should be gone.

use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A process that was found, as much of it as a message needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    pub pid: i32,
    pub command: String,
}

/// All living processes whose environment has `mark` somewhere in it, such as
/// `TASKOTRON_JOB_ID=…` or a story's folder, or whose working directory lies in
/// it. Zombies have neither; this process itself does not count.
pub fn marked(mark: &str) -> Vec<Left> {
    let me = std::process::id().to_string();
    fs::read_dir("/proc")
        .expect("/proc is mounted")
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            name.to_string_lossy().parse::<i32>().is_ok() && name != *me
        })
        .map(|entry| entry.path())
        .filter(|process| carries(process, mark))
        .filter_map(|process| describe(&process))
        .collect()
}

/// SIGKILL to all of them, and to what they start meanwhile, until none is left.
pub fn kill_marked(mark: &str) {
    for _ in 0..1000 {
        let left = marked(mark);
        if left.is_empty() {
            return;
        }
        for process in left {
            // It may be gone by now; the next look tells.
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
        std::thread::yield_now();
    }
}

fn carries(process: &Path, mark: &str) -> bool {
    let environment = fs::read(process.join("environ")).unwrap_or_default();
    let folder = fs::read_link(process.join("cwd")).unwrap_or_default();
    contains(&environment, mark.as_bytes()) || (mark.starts_with('/') && folder.starts_with(mark))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn describe(process: &Path) -> Option<Left> {
    let command = fs::read(process.join("cmdline")).ok()?;
    Some(Left {
        pid: process.file_name()?.to_str()?.parse().ok()?,
        command: String::from_utf8_lossy(&command).replace('\0', " ").trim_end().into(),
    })
}
