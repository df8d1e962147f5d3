//! One process under measurement.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long a process may take to stop before it is killed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running program; killed when dropped.
pub struct Room {
    pub name: String,
    child: Child,
    log: PathBuf,
}

/// A program of this installation: `taskotron` itself, or what lies beside it.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("cannot tell where this program is")?;
    Ok(if name == "taskotron" { this } else { this.with_file_name(name) })
}

impl Room {
    /// Starts a program with none of the caller's own settings; what it says goes to a file in `folder`.
    pub fn start(name: &str, program: &Path, arguments: &[String], folder: &Path) -> anyhow::Result<Room> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(program);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("TASKOTRON_") {
                command.env_remove(variable);
            }
        }
        if let Some(filter) = std::env::var_os("TASKOTRON_LOG") {
            command.env("TASKOTRON_LOG", filter);
        }
        command.args(arguments).env("XDG_RUNTIME_DIR", folder).current_dir(folder).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Room { name: name.to_owned(), child, log })
    }

    /// Fails when it has ended, with the last that it said.
    pub fn alive(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(end) => bail!("{} has ended ({end}): {}", self.name, self.last_words()),
        }
    }

    /// Waits for its end by itself.
    pub async fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        Ok(self.child.wait().await?)
    }

    /// SIGTERM, and its end.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let Some(pid) = self.pid() else { return Ok(()) };
        // Gone already is stopped too.
        let _ = kill(pid, Signal::SIGTERM);
        if timeout(PATIENCE, self.child.wait()).await.is_err() {
            eprintln!("{} does not stop and is killed: {}", self.name, self.last_words());
            self.child.kill().await?;
        }
        Ok(())
    }

    /// Resident memory in megabytes (10^6 bytes); none when it has ended.
    pub fn memory(&self) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        Some(kilobytes * 1024.0 / 1e6)
    }

    pub fn last_words(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join(" | ")
    }

    fn pid(&self) -> Option<Pid> {
        Some(Pid::from_raw(i32::try_from(self.child.id()?).ok()?))
    }
}
