//! What a job is kept within: what it may use, and what it may touch.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a task asks for its jobs to be kept within. Where it says nothing, a worker applies bounds of its own as well as
/// its machine can; what is said here must be enforced, so that a worker which cannot do it is not given the job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Bounds {
    /// Bytes of memory, of all processes together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Processors' worth of time, of all processes together: 0.5 is half of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<f64>,
    /// Processes and threads at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// Open files of each process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// Bytes on disk that the workspace may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<u64>,
    /// Whether it may reach the network. Unsaid: no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<bool>,
    /// Unsaid: what the worker prefers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,
}

/// A bound that a worker offers to enforce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    Memory,
    Cpus,
    Processes,
    Files,
    Disk,
    Network,
}

/// What keeps a job from the machine's files, processes and network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sandbox {
    /// The kernel's own rules on files and signals, and namespaces where the worker may make them.
    Landlock,
    /// The program bwrap: a file system, processes and a network of its own.
    Bubblewrap,
    /// Nothing but the limits.
    None,
}

impl Bounds {
    /// The least memory that a job can be given: in less a program cannot even be started.
    pub const LEAST_MEMORY: u64 = 16 << 20;

    /// The labels that a worker must offer for them.
    pub fn labels(&self) -> impl Iterator<Item = String> {
        let asked = [
            (self.memory.is_some(), Bound::Memory),
            (self.cpus.is_some(), Bound::Cpus),
            (self.processes.is_some(), Bound::Processes),
            (self.files.is_some(), Bound::Files),
            (self.disk.is_some(), Bound::Disk),
            (self.network == Some(false), Bound::Network),
        ];
        let limits = asked.into_iter().filter(|(asked, _)| *asked).map(|(_, limit)| limit.label());
        limits.chain(self.sandbox.map(Sandbox::label))
    }

    pub fn is_unsaid(&self) -> bool {
        *self == Bounds::default()
    }
}

impl Bound {
    pub const ALL: [Bound; 6] =
        [Bound::Memory, Bound::Cpus, Bound::Processes, Bound::Files, Bound::Disk, Bound::Network];

    pub fn name(self) -> &'static str {
        match self {
            Bound::Memory => "memory",
            Bound::Cpus => "cpus",
            Bound::Processes => "processes",
            Bound::Files => "files",
            Bound::Disk => "disk",
            Bound::Network => "network",
        }
    }

    pub fn label(self) -> String {
        format!("limit:{self}")
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Sandbox {
    pub const ALL: [Sandbox; 3] = [Sandbox::Landlock, Sandbox::Bubblewrap, Sandbox::None];

    pub fn name(self) -> &'static str {
        match self {
            Sandbox::Landlock => "landlock",
            Sandbox::Bubblewrap => "bubblewrap",
            Sandbox::None => "none",
        }
    }

    pub fn label(self) -> String {
        format!("sandbox:{self}")
    }
}

impl fmt::Display for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("unknown sandbox '{0}': it is landlock, bubblewrap or none")]
pub struct UnknownSandbox(String);

impl FromStr for Sandbox {
    type Err = UnknownSandbox;

    fn from_str(text: &str) -> Result<Sandbox, UnknownSandbox> {
        Sandbox::ALL.into_iter().find(|s| s.name() == text).ok_or_else(|| UnknownSandbox(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_what_a_worker_must_offer() {
        let labels = |bounds: Bounds| bounds.labels().collect::<Vec<_>>();
        assert!(labels(Bounds { network: Some(true), ..Bounds::default() }).is_empty());
        let asked = Bounds {
            memory: Some(1),
            disk: Some(1),
            network: Some(false),
            sandbox: Some(Sandbox::None),
            ..Bounds::default()
        };
        assert_eq!(labels(asked), ["limit:memory", "limit:disk", "limit:network", "sandbox:none"]);
    }
}
