//! One run of git.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

/// Bytes that are read of what git prints; the listing of a large repository's branches and tags has some megabytes.
const MOST_OUTPUT: u64 = 64 << 20;

/// Bytes that are read of what it complains of.
const MOST_COMPLAINTS: u64 = 64 << 10;

/// Settings that hold whatever a repository says of itself: no hook, no helper that asks, one thread and little memory,
/// and nothing that goes on in the background.
const SETTINGS: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.askPass=",
    "core.bigFileThreshold=16m",
    "core.packedGitLimit=128m",
    "core.deltaBaseCacheLimit=16m",
    "credential.helper=",
    "gc.auto=0",
    "maintenance.auto=false",
    "pack.threads=1",
    "pack.windowMemory=64m",
    "index.threads=1",
    "checkout.workers=1",
    "protocol.version=2",
    "safe.directory=*",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "advice.detachedHead=false",
];

/// Variables that say how the machine reaches the network, where that is to be used.
const NETWORK: &[&str] = &[
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SSH_AUTH_SOCK",
];

/// Whoever is killed cannot end what it has started, which would go on and write where its successor does.
#[expect(unsafe_code, reason = "what is done between fork and exec is one system call, which allocates nothing")]
fn die_with_us(command: &mut Command) {
    // SAFETY: see the reason.
    unsafe {
        command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?));
    }
}

/// Why git did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It said no; the text is its own reason, in one line.
    #[error("{0}")]
    Failed(String),
    #[error("it took longer than {}s", .0.as_secs())]
    TooLong(Duration),
    #[error("it has more to say than {} MiB", MOST_OUTPUT >> 20)]
    TooMuch,
    #[error("git cannot be run: {0}")]
    NotRun(#[from] std::io::Error),
}

/// How git is run. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Git {
    protocols: String,
    within: Duration,
    network: bool,
}

/// Whether there is a git on this machine.
pub fn is_installed() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join("git").is_file())
}

impl Git {
    /// With these protocols (`https`, `ssh`, `file` …) and no others; each run ends within that time.
    pub fn new<'a>(protocols: impl IntoIterator<Item = &'a str>, within: Duration) -> Git {
        let protocols: Vec<&str> = protocols.into_iter().collect();
        Git { protocols: protocols.join(":"), within, network: false }
    }

    /// As a person at this machine uses it: every protocol that is no command of its own, and what reaches the network.
    pub fn for_people(within: Duration) -> Git {
        Git::new(["https", "http", "ssh", "git", "file"], within).with_network_of_environment()
    }

    /// By way of the proxies, and with the keys, that the environment names.
    pub fn with_network_of_environment(self) -> Git {
        Git { network: true, ..self }
    }

    pub fn within(&self) -> Duration {
        self.within
    }

    /// A command that is ours to start: its environment is built, not inherited, and it has its own process group.
    pub fn command(&self) -> Command {
        let mut command = Command::new("git");
        command.env_clear();
        let inherited = ["PATH"].iter().chain(if self.network { NETWORK } else { &[] });
        for name in inherited {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("LC_ALL", "C")
            .env("HOME", "/nonexistent")
            .env("XDG_CONFIG_HOME", "/nonexistent")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "/bin/false")
            .env("SSH_ASKPASS", "/bin/false")
            .env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes -oConnectTimeout=15")
            .env("GIT_SSH_VARIANT", "ssh")
            .env("GIT_ALLOW_PROTOCOL", &self.protocols)
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_HTTP_LOW_SPEED_LIMIT", "1")
            .env("GIT_HTTP_LOW_SPEED_TIME", "60")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        die_with_us(&mut command);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command
    }

    /// Runs it in a repository; what it printed.
    pub async fn run<A: AsRef<OsStr>>(
        &self,
        repository: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<String, Error> {
        self.feed(repository, arguments, "").await
    }

    /// The same with something on its standard input.
    pub async fn feed<A: AsRef<OsStr>>(
        &self,
        repository: &Path,
        arguments: impl IntoIterator<Item = A>,
        input: &str,
    ) -> Result<String, Error> {
        let mut command = self.command();
        command.arg("--git-dir").arg(repository).args(arguments);
        self.output(command, input).await
    }

    /// Whether it answers yes: 0 is yes, 1 is no, and anything else a failure.
    pub async fn ask<A: AsRef<OsStr>>(
        &self,
        repository: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<bool, Error> {
        let mut command = self.command();
        command.arg("--git-dir").arg(repository).args(arguments);
        let (status, _, complaints) = self.see_through(command, "").await?;
        match status.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            Some(_) | None => Err(Error::Failed(reason(&complaints, status))),
        }
    }

    pub(crate) async fn done(&self, command: Command) -> Result<String, Error> {
        self.output(command, "").await
    }

    async fn output(&self, command: Command, input: &str) -> Result<String, Error> {
        let (status, output, complaints) = self.see_through(command, input).await?;
        match status.success() {
            // The beginning of a listing would be taken for all of it.
            true if output.len() as u64 >= MOST_OUTPUT => Err(Error::TooMuch),
            true => Ok(output),
            false => Err(Error::Failed(reason(&complaints, status))),
        }
    }

    async fn see_through(&self, mut command: Command, input: &str) -> Result<(ExitStatus, String, String), Error> {
        if !input.is_empty() {
            command.stdin(Stdio::piped());
        }
        let mut running = Running::new(command.spawn()?);
        let seen = tokio::time::timeout(self.within, running.see(input)).await;
        match seen {
            Ok(Ok(seen)) => {
                running.0 = None;
                Ok(seen)
            }
            Ok(Err(e)) => Err(Error::NotRun(e)),
            Err(_) => Err(Error::TooLong(self.within)),
        }
    }
}

/// A run that ends with all that it started when it is waited for no more.
#[derive(Debug)]
pub(crate) struct Running(Option<Child>);

impl Running {
    pub(crate) fn new(child: Child) -> Running {
        Running(Some(child))
    }

    async fn see(&mut self, input: &str) -> std::io::Result<(ExitStatus, String, String)> {
        let Some(child) = self.0.as_mut() else { unreachable!("it is taken away only at its end") };
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            if let Some(mut stdin) = stdin {
                // It may have heard enough.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
        };
        let ((), output, complaints) = tokio::join!(feed, text(stdout, MOST_OUTPUT), text(stderr, MOST_COMPLAINTS));
        let status = child.wait().await?;
        Ok((status, output?, complaints?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(child) = self.0.take() else { return };
        if let Some(group) = child.id().and_then(|id| i32::try_from(id).ok()) {
            // One that is gone already is as good. The runtime reaps it.
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
    }
}

/// What comes out of a pipe, as far as it is not too much; the rest is read and forgotten, so that nobody is held up.
async fn text(pipe: Option<impl AsyncRead + Unpin>, most: u64) -> std::io::Result<String> {
    let Some(mut pipe) = pipe else { return Ok(String::new()) };
    let mut bytes = Vec::new();
    (&mut pipe).take(most).read_to_end(&mut bytes).await?;
    tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// git's reason in one line: what it calls fatal or an error, else the last that it said.
fn reason(complaints: &str, status: ExitStatus) -> String {
    /// Characters of a reason.
    const MOST: usize = 400;
    let mut said = complaints.lines().map(str::trim).filter(|line| !line.is_empty());
    let grave: Vec<&str> =
        said.clone().filter_map(|line| line.strip_prefix("fatal: ").or(line.strip_prefix("error: "))).collect();
    let text = match (grave.is_empty(), said.next_back()) {
        (false, _) => grave.join("; "),
        (true, Some(last)) => last.to_owned(),
        (true, None) => format!("git ended with {status}"),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MOST).collect()
}

/// A path as git's options want it.
pub(crate) fn beside(folder: &Path, ending: &str) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
