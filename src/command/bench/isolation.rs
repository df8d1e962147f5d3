//! What jobs are kept in while something is measured.

use clap::ValueEnum;
use model::Sandbox;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Isolation {
    /// As a worker does by default on this machine
    On,
    /// No cgroup and no sandbox
    Off,
    /// In bubblewrap
    Bubblewrap,
}

impl Isolation {
    pub fn set(self, settings: &mut worker::Settings) {
        match self {
            Isolation::On => {}
            Isolation::Off => (settings.cgroups, settings.sandboxes) = (false, vec![Sandbox::None]),
            Isolation::Bubblewrap => settings.sandboxes = vec![Sandbox::Bubblewrap],
        }
    }

    /// What is added to a figure's name.
    pub fn note(self) -> &'static str {
        match self {
            Isolation::On => "",
            Isolation::Off => ", isolation off",
            Isolation::Bubblewrap => ", bubblewrap",
        }
    }
}
