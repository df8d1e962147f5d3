//! The section `[worker]` of the settings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use model::{Sandbox, Size, Span};
use net::Addresses;
use net::vault::Vault;
use serde::{Deserialize, Serialize};
use url::Url;

/// How a worker presents itself, where it keeps its things, and how long it goes on alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where its master is; of several over one database, whichever answers.
    pub master: Addresses,
    /// A file with the worker's own token; none where the master asks for none.
    pub token_file: Option<PathBuf>,
    /// The worker's name in every list, log line and hold.
    pub name: String,
    /// How many jobs run at once.
    pub slots: u32,
    /// What it offers: `arch:x86_64` …
    pub labels: BTreeSet<String>,
    /// Its own folder: workspaces, logs on their way, reports not yet accepted. One worker a folder.
    pub dir: PathBuf,
    /// Bytes on disk for commits of tasks' repositories that no job uses any more, so that the next one need not fetch them.
    pub source_cache: u64,
    /// How long jobs go on while the master cannot be reached.
    pub control_loss_grace: Span,
    /// How long the report of an ended job waits for the files that the job left to be sent.
    pub artifacts_within: Span,
    /// The `PATH` of a job's process.
    pub path: String,
    /// Further variables for every job's process. The names that Taskotron gives itself win.
    pub environment: BTreeMap<String, String>,
    /// What a job may use whose task does not say it, as far as the machine can bound it.
    pub limits: Limits,
    /// What jobs can be kept in; the first is for tasks that do not say. Empty: what the machine has of `landlock` and
    /// `bubblewrap`. `none` must be named here for a job to run without.
    pub sandboxes: Vec<Sandbox>,
    /// Folders and files beside the system's that jobs may read.
    pub readable: Vec<PathBuf>,
    /// Folders beside its workspace that a job may write to.
    pub writable: Vec<PathBuf>,
    /// Whether cgroups are used where they may be.
    pub cgroups: bool,
    /// With fewer bytes free in its folder it takes no jobs.
    pub disk_reserve: u64,
    /// The longest that a job gets between TERM and KILL, whatever its task says.
    pub job_grace: Span,
    /// How long a worker that is told to stop sees jobs to their end; those that would not end in time are handed back.
    pub stop_grace: Span,
    /// How long whoever stops it waits before killing it (systemd's `TimeoutStopSec=`); none is for ever.
    pub stop_timeout: Option<Span>,
    /// What this worker gives to jobs of the tasks that it names.
    pub secrets: Vault,
}

/// The section `[worker.limits]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Of all processes together.
    pub memory: Size,
    /// Processes and threads at once.
    pub processes: u64,
    /// Open files of each process.
    pub files: u64,
    /// What the workspace may take.
    pub disk: Size,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { memory: Size(half_of_memory()), processes: 4096, files: 4096, disk: Size(16 << 30) }
    }
}

/// In whole MiB, for people.
fn half_of_memory() -> u64 {
    let info = rustix::system::sysinfo();
    let bytes = info.totalram as u64 * u64::from(info.mem_unit);
    (bytes / 2) >> 20 << 20
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            master: Url::parse("http://127.0.0.1:8080/").expect("a constant address").into(),
            token_file: None,
            name: host_name(),
            slots: std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
            labels: BTreeSet::from([format!("arch:{}", machine()), "arch:noarch".to_owned()]),
            dir: PathBuf::from("/var/lib/taskotron/worker"),
            source_cache: 2 << 30,
            control_loss_grace: Span::minutes(15),
            artifacts_within: Span::minutes(15),
            path: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            environment: BTreeMap::new(),
            limits: Limits::default(),
            sandboxes: Vec::new(),
            readable: Vec::new(),
            writable: Vec::new(),
            cgroups: true,
            disk_reserve: 100 << 20,
            job_grace: Span::minutes(5),
            stop_grace: Span::minutes(120),
            stop_timeout: None,
            secrets: Vault::default(),
        }
    }
}

impl Settings {
    /// What is wrong with them, if anything is: each grace must have room within the next.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Settings { job_grace, stop_grace, stop_timeout, .. } = self;
        if job_grace >= stop_grace {
            return Err(format!(
                "[worker] job_grace ({job_grace}) is not shorter than stop_grace ({stop_grace}): jobs would be killed \
                 before they could end; make stop_grace longer"
            ));
        }
        if let Some(stop_timeout) = stop_timeout.filter(|timeout| stop_grace >= timeout) {
            return Err(format!(
                "[worker] stop_grace ({stop_grace}) is not shorter than stop_timeout ({stop_timeout}): the worker would \
                 be killed with its jobs; make stop_grace shorter, or TimeoutStopSec= of its unit and stop_timeout longer"
            ));
        }
        self.secrets.check("worker.secrets")
    }

    /// How long after the wish to stop running jobs are told to, so that they have ended when `stop_grace` is over.
    pub(crate) fn until_stopped(&self) -> std::time::Duration {
        self.stop_grace.0.saturating_sub(self.job_grace.0)
    }
}

/// The machine's name.
pub(crate) fn host_name() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_else(|| "worker".to_owned())
}

/// The machine as `uname -m` calls it, and as rules and packages name architectures.
fn machine() -> String {
    rustix::system::uname().machine().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_grace_has_room_within_the_next() {
        let settings = |text| serde_json::from_str::<Settings>(text).unwrap();
        assert_eq!(Settings::default().check(), Ok(()));
        assert_eq!(settings(r#"{"stop_grace": "10m", "stop_timeout": "11m"}"#).check(), Ok(()));
        assert_eq!(settings(r#"{"stop_grace": "10m"}"#).until_stopped().as_secs(), 300);
        let error = settings(r#"{"stop_grace": "5m"}"#).check().unwrap_err();
        assert!(error.starts_with("[worker] job_grace (5m) is not shorter than stop_grace (5m)"), "{error}");
        let error = settings(r#"{"stop_timeout": "90s"}"#).check().unwrap_err();
        assert!(error.contains("stop_grace (2h) is not shorter than stop_timeout (90s)"), "{error}");
    }

    #[test]
    fn settings_have_a_default_for_everything_and_refuse_what_they_do_not_know() {
        let settings: Settings = serde_json::from_str(r#"{"slots": 3, "control_loss_grace": "1m"}"#).unwrap();
        assert_eq!((settings.slots, settings.control_loss_grace), (3, Span::minutes(1)));
        assert!(settings.labels.contains("arch:noarch") && settings.labels.len() == 2);
        assert!(serde_json::from_str::<Settings>(r#"{"slot": 3}"#).is_err());
    }
}
