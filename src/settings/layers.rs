//! Puts the layers of the settings over each other and remembers where every value came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use toml::{Table, Value};

use crate::exit::{Exit, Failure, OrExit as _};

use super::Settings;

/// The file that is read where none is named.
const SYSTEM: &str = "/etc/taskotron/taskotron.toml";
/// What the names of settings in the environment begin with; the rest has at least one `__`.
const PREFIX: &str = "TASKOTRON_";

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    File(PathBuf),
    Environment(String),
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(name) => write!(f, "option {name}"),
        }
    }
}

/// A value of the command line: the option's name, the setting's path, and what it is set to.
pub type Flag = (&'static str, &'static str, Value);

/// The layers, merged.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    values: Table,
    /// By path: `master.listen`. A value inside a table that came whole has the table's.
    origins: BTreeMap<String, Origin>,
    /// The file's name and text, for errors that point at a line.
    file: Option<(PathBuf, String)>,
}

impl Layers {
    /// Reads the file and the environment, and puts `flags` over them.
    pub fn load(file: Option<&Path>, flags: Vec<Flag>) -> anyhow::Result<Layers> {
        let path = match file {
            Some(path) => Some(path.to_owned()),
            None => Some(PathBuf::from(SYSTEM)).filter(|path| path.exists()),
        };
        let text = path.map(|path| {
            let text = std::fs::read_to_string(&path);
            let text = text.with_context(|| format!("cannot read the settings {}", path.display()))?;
            anyhow::Ok((path, text))
        });
        Layers::of(text.transpose().or_exit(Exit::Usage)?, std::env::vars(), flags)
    }

    fn of(
        file: Option<(PathBuf, String)>,
        environment: impl Iterator<Item = (String, String)>,
        flags: Vec<Flag>,
    ) -> anyhow::Result<Layers> {
        let mut layers = Layers { file, ..Layers::default() };
        if let Some((path, text)) = layers.file.clone() {
            let table: Table = toml::from_str(&text).map_err(|e| wrong_file(&path, &e))?;
            layers.merge(table, &Origin::File(path));
        }
        let mut set: Vec<_> = environment.filter_map(|(name, text)| Some((setting(&name)?, name, text))).collect();
        // A table that is set whole must not undo one of its own values.
        set.sort();
        for (path, name, text) in set {
            layers.set(&path, value(&text), Origin::Environment(name));
        }
        for (option, path, value) in flags {
            layers.set(path, value, Origin::Flag(option.to_owned()));
        }
        Ok(layers)
    }

    /// The settings that the layers amount to.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let e = match self.values.clone().try_into::<Settings>() {
            Ok(settings) => return Ok(settings),
            Err(e) => e,
        };
        // The environment has no quotes: what looks like a number may have been meant as text.
        for (path, origin) in &self.origins {
            if let Origin::Environment(name) = origin
                && let Ok(text) = std::env::var(name)
            {
                let mut other = self.clone();
                other.set(path, Value::String(text), origin.clone());
                if let Ok(settings) = other.values.try_into() {
                    return Ok(settings);
                }
            }
        }
        if let Some((path, text)) = &self.file
            && let Err(e) = toml::from_str::<Settings>(text)
        {
            return Err(wrong_file(path, &e));
        }
        Err(self.wrong(e.message()))
    }

    /// Where the value at a path came from.
    pub fn origin(&self, path: &str) -> &Origin {
        let mut path = path;
        loop {
            if let Some(origin) = self.origins.get(path) {
                return origin;
            }
            match path.rsplit_once('.') {
                Some((table, _)) => path = table,
                None => return &Origin::Default,
            }
        }
    }

    fn merge(&mut self, table: Table, origin: &Origin) {
        for (path, value) in leaves("", &Value::Table(table)) {
            self.set(&path, value, origin.clone());
        }
    }

    fn set(&mut self, path: &str, value: Value, origin: Origin) {
        let mut table = &mut self.values;
        let (tables, key) = path.rsplit_once('.').unwrap_or(("", path));
        for name in tables.split('.').filter(|name| !name.is_empty()) {
            let inner = table.entry(name).or_insert_with(|| Value::Table(Table::new()));
            if !inner.is_table() {
                *inner = Value::Table(Table::new());
            }
            table = inner.as_table_mut().expect("it was made a table just now");
        }
        table.insert(key.to_owned(), value);
        let below = format!("{path}.");
        self.origins.retain(|known, _| !known.starts_with(&below));
        self.origins.insert(path.to_owned(), origin);
    }

    /// A fault that is not in the file: it names the variable or option that it most likely came from.
    fn wrong(&self, message: &str) -> anyhow::Error {
        let named = quoted(message).next();
        let is_named = |path: &str| named.is_some_and(|name| path.split('.').any(|part| part == name));
        let is_above_file = |origin: &Origin| matches!(origin, Origin::Environment(_) | Origin::Flag(_));
        let suspects = self.origins.iter().filter(|(_, origin)| is_above_file(origin));
        let named: Vec<_> = suspects.clone().filter(|(path, _)| is_named(path)).map(|(_, o)| o.to_string()).collect();
        let all: Vec<_> = suspects.map(|(_, origin)| origin.to_string()).collect();
        let from = if named.is_empty() { all } else { named };
        let from = if from.is_empty() { String::new() } else { format!(" ({})", from.join(", ")) };
        Failure::error(Exit::Usage, format!("the settings are wrong: {}{}{from}", message.trim_end(), hint(message)))
    }
}

fn wrong_file(path: &Path, error: &toml::de::Error) -> anyhow::Error {
    let hint = hint(error.message());
    Failure::error(
        Exit::Usage,
        format!("the settings {} are wrong: {}{hint}", path.display(), error.to_string().trim_end()),
    )
}

/// The path of a setting by its name in the environment: `TASKOTRON_MASTER__LISTEN` is `master.listen`.
fn setting(name: &str) -> Option<String> {
    let rest = name.strip_prefix(PREFIX).filter(|rest| rest.contains("__"))?;
    Some(rest.split("__").map(str::to_lowercase).collect::<Vec<_>>().join("."))
}

/// The environment's text as TOML where it is some, else as text.
fn value(text: &str) -> Value {
    let parsed = toml::from_str::<Table>(&format!("value = {text}")).ok().filter(|table| table.len() == 1);
    parsed.and_then(|mut table| table.remove("value")).unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Every value that is not a table, by its path; an empty table is a value.
pub(crate) fn leaves(path: &str, value: &Value) -> Vec<(String, Value)> {
    match value {
        Value::Table(table) if path.is_empty() || !table.is_empty() => table
            .iter()
            .flat_map(|(key, value)| {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                leaves(&path, value)
            })
            .collect(),
        value => vec![(path.to_owned(), value.clone())],
    }
}

/// The names that a message gives in backticks.
fn quoted(message: &str) -> impl Iterator<Item = &str> {
    message.split('`').skip(1).step_by(2)
}

/// "; did you mean `x`?" for a message about an unknown key.
fn hint(message: &str) -> String {
    if !message.starts_with("unknown field") {
        return String::new();
    }
    let mut names = quoted(message);
    let Some(wrong) = names.next() else { return String::new() };
    let known: Vec<_> = names.map(str::to_owned).collect();
    let known = if known.is_empty() { of_buses() } else { known };
    let near = known.iter().map(|name| (strsim::damerau_levenshtein(wrong, name), name)).min();
    near.filter(|(distance, _)| *distance <= 1 + wrong.len() / 3)
        .map_or_else(String::new, |(_, name)| format!("; did you mean `{name}`?"))
}

/// The keys of the sections about a bus: of what is flattened into them serde names none.
fn of_buses() -> Vec<String> {
    let tables = [Value::try_from(trigger::amqp::Settings::default()), Value::try_from(master::Messages::default())];
    let tables = tables.into_iter().filter_map(|table| table.ok()?.as_table().cloned());
    tables.flat_map(|table| table.into_iter().map(|(key, _)| key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(file: &str, environment: &[(&str, &str)], flags: Vec<Flag>) -> anyhow::Result<Layers> {
        let environment = environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        Layers::of(Some(("t.toml".into(), file.to_owned())), environment, flags)
    }

    #[test]
    fn flags_stand_over_the_environment_over_the_file_over_the_default() {
        let layers = layers(
            "[master]\nlisten = \"127.0.0.1:1\"\nsite = \"a\"\n[master.resume]\nmax_backlog = 1\n[worker]\nslots = 1\n",
            &[
                ("TASKOTRON_MASTER__LISTEN", "127.0.0.1:2"),
                ("TASKOTRON_MASTER__RESUME__MAX_BACKLOG", "2"),
                ("TASKOTRON_WORKER__LABELS", r#"["arch:s390x"]"#),
                ("TASKOTRON_URL", "http://elsewhere/"),
            ],
            vec![("--listen", "master.listen", Value::String("127.0.0.1:3".into()))],
        );
        let layers = layers.unwrap();
        let settings = layers.settings().unwrap();
        assert_eq!(settings.master.listen, "127.0.0.1:3".parse().unwrap());
        assert_eq!((settings.master.site.as_str(), settings.master.resume.max_backlog), ("a", 2));
        assert_eq!((settings.worker.slots, settings.worker.labels.len()), (1, 1));
        assert_eq!(layers.origin("master.listen").to_string(), "option --listen");
        assert_eq!(
            layers.origin("master.resume.max_backlog").to_string(),
            "environment TASKOTRON_MASTER__RESUME__MAX_BACKLOG"
        );
        assert_eq!(layers.origin("master.site").to_string(), "t.toml");
        assert_eq!(*layers.origin("master.lease_term"), Origin::Default);
    }

    #[test]
    fn an_unknown_key_is_denied_with_the_nearest_name() {
        let of = |file: &str, environment: &[(&str, &str)]| {
            let error = layers(file, environment, vec![]).and_then(|l| l.settings()).unwrap_err();
            assert_eq!(Exit::of(&error), Exit::Usage);
            error.to_string()
        };
        let in_file = of("[master]\nlisten = \"127.0.0.1:1\"\nlease_tern = \"1m\"\n", &[]);
        assert!(in_file.contains("t.toml") && in_file.contains("line 3"), "{in_file}");
        assert!(in_file.contains("did you mean `lease_term`?"), "{in_file}");
        let of_a_bus = of("[master.messages]\nurl = [\"amqp://a\"]\n", &[]);
        assert!(of_a_bus.contains("line 1") && of_a_bus.contains("did you mean `urls`?"), "{of_a_bus}");
        let in_environment = of("", &[("TASKOTRON_WORKR__SLOTS", "1")]);
        assert!(in_environment.contains("did you mean `worker`?"), "{in_environment}");
        assert!(in_environment.contains("TASKOTRON_WORKR__SLOTS"), "{in_environment}");
    }

    #[test]
    fn the_environments_text_is_toml_where_it_is_some() {
        assert_eq!(value("3"), Value::Integer(3));
        assert_eq!(value("true"), Value::Boolean(true));
        assert_eq!(value("open"), Value::String("open".into()));
        assert_eq!(value("3\nother = 4"), Value::String("3\nother = 4".into()));
        assert_eq!(setting("TASKOTRON_URL"), None);
        assert_eq!(setting("TASKOTRON_A__B_C__D").as_deref(), Some("a.b_c.d"));
    }
}
