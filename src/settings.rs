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

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../taskotron.example.toml");

    #[test]
    fn the_example_changes_nothing_and_shows_the_defaults() {
        assert_eq!(toml::from_str::<Settings>(EXAMPLE).unwrap(), Settings::default());
        let shown: Vec<_> = leaves("", &toml::Value::Table(toml::from_str(&with_all_shown()).unwrap()));
        let default = leaves("", &toml::Value::try_from(Settings::default()).unwrap());
        // These depend on the machine.
        let own = ["worker.name", "worker.slots", "worker.labels", "worker.limits.memory"];
        let empty = toml::Value::Table(toml::Table::new());
        for (key, value) in default.iter().filter(|(key, value)| !own.contains(&key.as_str()) && *value != empty) {
            assert!(shown.iter().any(|(k, v)| k == key && v == value), "{key} is not shown as {value:?}");
        }
    }

    /// The example with everything in force that it only shows.
    fn with_all_shown() -> String {
        let is_setting = |line: &str| {
            line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|c: char| c == '[' || c.is_ascii_lowercase()))
        };
        EXAMPLE.lines().map(|line| if is_setting(line) { &line[1..] } else { line }).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_the_example_only_shows_can_be_used_and_nothing_is_left_out() {
        let all = with_all_shown();
        let settings = toml::from_str::<Settings>(&all).unwrap();
        assert_eq!(settings.trigger.amqp.as_ref().map(|amqp| amqp.prefetch), Some(500));
        let table: toml::Table = toml::from_str(&all).unwrap();
        let shown: Vec<_> = leaves("", &toml::Value::Table(table)).into_iter().map(|(key, _)| key).collect();
        for (key, _) in leaves("", &toml::Value::try_from(settings).unwrap()) {
            assert!(shown.contains(&key), "{key} is not in the example");
        }
    }
}
