//! The section `[worker]` of the settings.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use model::Span;
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
    /// How long jobs go on while the master cannot be reached.
    pub control_loss_grace: Span,
    /// The `PATH` of a job's process.
    pub path: String,
    /// Further variables for every job's process. The names that Taskotron gives itself win.
    pub environment: BTreeMap<String, String>,
    /// What this worker gives to jobs of the tasks that it names.
    pub secrets: Vault,
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
            control_loss_grace: Span::minutes(15),
            path: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            environment: BTreeMap::new(),
            secrets: Vault::default(),
        }
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
    fn settings_have_a_default_for_everything_and_refuse_what_they_do_not_know() {
        let settings: Settings = serde_json::from_str(r#"{"slots": 3, "control_loss_grace": "1m"}"#).unwrap();
        assert_eq!((settings.slots, settings.control_loss_grace), (3, Span::minutes(1)));
        assert!(settings.labels.contains("arch:noarch") && settings.labels.len() == 2);
        assert!(serde_json::from_str::<Settings>(r#"{"slot": 3}"#).is_err());
    }
}
