//! `taskotron.toml`: a section a room, each room's own struct, layered under the environment and the command line.
//!
//! The file is `--settings FILE`, else `/etc/taskotron/taskotron.toml` where it exists. Over it stand the environment's
//! names with `__` (`TASKOTRON_MASTER__LISTEN`), and over those what the command line says. An unknown key is an error
//! that names the nearest known one.

mod layers;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(crate) use layers::leaves;
pub use layers::{Flag, Layers, Origin};

/// All sections. A section that is left out is its room's default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub client: crate::place::Settings,
    pub configuration: Configuration,
    pub tokens: Tokens,
    pub master: master::Settings,
    pub trigger: trigger::Settings,
    pub worker: worker::Settings,
    pub resultsdb: resultsdb::Settings,
}

/// The section `[configuration]`: where rules, kinds and tasks are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Configuration {
    /// A folder; every `*.yml` and `*.yaml` below it is read.
    pub dir: PathBuf,
}

impl Default for Configuration {
    fn default() -> Configuration {
        Configuration { dir: "/etc/taskotron/config".into() }
    }
}

/// The section `[tokens]`: whom a master and a results store let in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tokens {
    /// Lines of HASH ROLE NAME [EXPIRES], as `taskotron token create` writes them.
    pub file: PathBuf,
}

impl Default for Tokens {
    fn default() -> Tokens {
        Tokens { file: "/etc/taskotron/tokens".into() }
    }
}
