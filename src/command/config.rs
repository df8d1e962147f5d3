//! `taskotron config`: the settings as they are in force, and where each came from.

use clap::{Args, Subcommand};
use serde::Serialize;
use toml::Value;
use url::Url;

use crate::exit::Exit;
use crate::settings::leaves;

use super::output::{Column, Format, Listed, column};
use super::{Session, output};

#[derive(Subcommand, Debug)]
pub enum Config {
    /// Print every setting that is in force; passwords are left out
    Show(Show),
}

#[derive(Args, Debug)]
pub struct Show {
    /// Say of each where it came from: the default, a file, the environment or an option
    #[arg(long)]
    origin: bool,
}

/// One setting.
#[derive(Serialize)]
struct Setting {
    key: String,
    value: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    origin: String,
}

impl Listed for Setting {
    const COLUMNS: &'static [Column<Setting>] = &[
        column("key", |s| s.key.clone()),
        column("value", |s| s.value.clone()),
        column("origin", |s| s.origin.clone()),
    ];
}

impl Config {
    pub fn run(self, session: &Session) -> anyhow::Result<Exit> {
        let Config::Show(Show { origin }) = self;
        let layers = session.layers(Vec::new())?;
        let values = leaves("", &Value::try_from(layers.settings()?)?);
        if session.format == Format::Table && !origin {
            let text: String = values.iter().map(|(key, value)| format!("{key} = {}\n", shown(value))).collect();
            std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes())?;
            return Ok(Exit::Reached);
        }
        let origin_of = |key: &str| if origin { layers.origin(key).to_string() } else { String::new() };
        let settings = values.iter().map(|(key, value)| Setting {
            key: key.clone(),
            value: shown(value).to_string(),
            origin: origin_of(key),
        });
        output::list(session.format, settings.collect())?;
        Ok(Exit::Reached)
    }
}

/// The value without the passwords of URLs.
fn shown(value: &Value) -> Value {
    match value {
        Value::String(text) => match Url::parse(text) {
            Ok(mut url) if url.password().is_some() => {
                // Only a URL without a host refuses, and then it has no password.
                let _ = url.set_password(Some("..."));
                Value::String(url.to_string())
            }
            _ => value.clone(),
        },
        Value::Array(list) => Value::Array(list.iter().map(shown).collect()),
        value => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        let urls = Value::from(vec!["amqps://me:secret@bus/%2F", "plain"]);
        assert_eq!(shown(&urls).to_string(), r#"["amqps://me:...@bus/%2F", "plain"]"#);
    }
}
