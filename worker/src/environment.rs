//! The environment of a job's process: built, never inherited.

use std::collections::BTreeMap;
use std::path::Path;

use model::lease::{Lease, environment};

use crate::Settings;
use crate::workspace::Workspace;

/// All variables of the process that works on `lease` in `workspace`.
pub fn build(
    settings: &Settings,
    lease: &Lease,
    workspace: &Workspace,
    secrets: Option<&Path>,
) -> BTreeMap<String, String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut env = settings.environment.clone();
    let mut set = |name: &str, value: String| env.insert(name.to_owned(), value);
    set("PATH", settings.path.clone());
    set("HOME", text(&workspace.folder));
    set("TMPDIR", text(&workspace.scratch()));
    set("LANG", "C.UTF-8".to_owned());
    for (name, value) in environment(lease) {
        set(name, value);
    }
    set("TASKOTRON_ATTEMPT", lease.attempt.to_string());
    set("TASKOTRON_ARTIFACTS", text(&workspace.artifacts()));
    set("TASKOTRON_RESULTS", text(&workspace.results()));
    if lease.event.is_some() {
        set("TASKOTRON_EVENT", text(&workspace.event()));
    }
    if let Some(folder) = secrets {
        set("TASKOTRON_SECRETS", text(folder));
    }
    env
}
