//! Where the master is that a command talks to, and with which token.
//!
//! Asked in this order, the first that answers wins: the command's own options and the environment, the section
//! `[client]` of the settings, a `taskotron up` that runs on this machine.

use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use net::{Client, Secret};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::exit::{Exit, Failure, OrExit as _};

/// Where the token of a machine that was set up by an administrator is.
const SYSTEM_TOKEN: &str = "/etc/taskotron/operator.token";

/// The folder that `up` uses, and commands look into, where none is named.
pub const DATA: &str = "taskotron-data";

/// The results store's database in the folder of an `up`, where no other is named.
pub const RESULTS: &str = "resultsdb.sqlite";

/// The file by which a running `up` is found.
pub const NOTE: &str = "up.json";

/// The options by which a command is told where to go.
#[derive(Args, Clone, Debug, Default)]
#[group(skip)]
#[command(next_help_heading = "Where to go")]
pub struct Options {
    /// The master's address, for example `https://taskotron.example.org`
    ///
    /// Without it: the settings' `[client]`, else a `taskotron up` that runs on this machine.
    #[arg(long, env = "TASKOTRON_URL", value_name = "URL", global = true, hide_env_values = true)]
    pub url: Option<String>,
    /// A file with the token to show; TASKOTRON_TOKEN may hold the token itself
    ///
    /// An empty or unreadable file is no token. Reading is often open to everyone; changing never is.
    #[arg(long, env = "TASKOTRON_TOKEN_FILE", value_name = "FILE", global = true)]
    pub token_file: Option<OsString>,
}

/// The section `[client]` of the settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The master's address.
    pub url: Option<Url>,
    /// A file with the token that commands show.
    pub token_file: Option<PathBuf>,
}

/// What a running `up` leaves where commands look: where it listens and where an operator's token is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Note {
    pub url: Url,
    pub token_file: PathBuf,
    pub pid: u32,
}

impl Options {
    /// A client for the master that these options, the environment, the settings or a running `up` name.
    pub fn client(&self, settings: &Settings) -> anyhow::Result<Client> {
        let note = running();
        let given = self.url.as_deref().filter(|text| !text.trim().is_empty()).map(str::parse);
        let given = given.transpose().context("the master's address is no URL").or_exit(Exit::Usage)?;
        let url = given.or_else(|| settings.url.clone()).or_else(|| note.as_ref().map(|n| n.url.clone()));
        let Some(url): Option<Url> = url else {
            return Err(Failure::error(
                Exit::CannotTell,
                "no master is known here: set TASKOTRON_URL, or start one with 'taskotron up'",
            ));
        };
        let token = self.token(settings, note.as_ref().filter(|n| n.url == url));
        Client::new(url, token).or_exit(Exit::Usage)
    }

    fn token(&self, settings: &Settings, note: Option<&Note>) -> Secret {
        if let Ok(text) = std::env::var("TASKOTRON_TOKEN")
            && !text.trim().is_empty()
        {
            return Secret::new(&text);
        }
        // A file that is named is the last word, also where it is empty: nobody is given a greater right by accident.
        if let Some(file) = &self.token_file {
            return read(Path::new(file), true);
        }
        if let Some(file) = &settings.token_file {
            return read(file, true);
        }
        match note {
            Some(note) => read(&note.token_file, false),
            None => read(Path::new(SYSTEM_TOKEN), false),
        }
    }
}

/// The token in a file, or none; `named` files that cannot be read are worth a word.
fn read(file: &Path, named: bool) -> Secret {
    if file.as_os_str().is_empty() {
        return Secret::none();
    }
    Secret::from_file(file).unwrap_or_else(|e| {
        if named {
            eprintln!("{e}: going on without a token");
        }
        Secret::none()
    })
}

/// The `up` that runs on this machine for this user, or in this folder.
fn running() -> Option<Note> {
    let folders = [runtime_folder(), Some(PathBuf::from(DATA))];
    folders.into_iter().flatten().filter(|folder| is_ours(folder)).find_map(|folder| Note::read(&folder))
}

impl Note {
    fn read(folder: &Path) -> Option<Note> {
        serde_json::from_slice(&std::fs::read(folder.join(NOTE)).ok()?).ok()
    }

    /// Leaves the note in a folder, which is made where it is missing.
    pub fn leave(&self, folder: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let (new, file) = (folder.join(format!(".{NOTE}.{}", self.pid)), folder.join(NOTE));
        std::fs::write(&new, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(new, file)
    }

    /// Takes the note away where it is still this one.
    pub fn take_away(&self, folder: &Path) {
        if Note::read(folder).as_ref() == Some(self) {
            // Whoever finds a note of a process that has ended is told that the address does not answer.
            let _ = std::fs::remove_file(folder.join(NOTE));
        }
    }
}

/// The folder of this user for what lives as long as the machine runs; made where it is missing.
pub fn runtime_folder() -> Option<PathBuf> {
    let uid = nix::unistd::geteuid();
    let base = std::env::var_os("XDG_RUNTIME_DIR").filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = base.or_else(|| Some(PathBuf::from(format!("/run/user/{uid}"))).filter(|p| p.is_dir()));
    let folder = match base {
        Some(base) => base.join("taskotron"),
        None => std::env::temp_dir().join(format!("taskotron-{uid}")),
    };
    if std::fs::create_dir(&folder).is_ok() {
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).ok()?;
    }
    is_ours(&folder).then_some(folder)
}

/// Whether only this user can have written there: what a stranger left would send our token to the stranger.
fn is_ours(folder: &Path) -> bool {
    std::fs::symlink_metadata(folder)
        .is_ok_and(|m| m.is_dir() && m.uid() == nix::unistd::geteuid().as_raw() && m.mode() & 0o022 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_or_unreadable_token_file_is_no_token() {
        let dir = tempfile::tempdir().unwrap();
        let (empty, full) = (dir.path().join("empty"), dir.path().join("full"));
        std::fs::write(&empty, "\n").unwrap();
        std::fs::write(&full, "secret\n").unwrap();
        let options = |file: &Path| Options { url: None, token_file: Some(file.into()) };
        let note = Note { url: "http://127.0.0.1:1/".parse().unwrap(), token_file: full.clone(), pid: 1 };
        let token = |file: &Path| options(file).token(&Settings::default(), Some(&note));
        assert_eq!(token(&empty), Secret::none());
        assert_eq!(token(&dir.path().join("absent")), Secret::none());
        assert_eq!(token(Path::new("")), Secret::none());
        assert_eq!(token(&full).expose(), Some("secret"));
        assert_eq!(Options::default().token(&Settings::default(), Some(&note)).expose(), Some("secret"));
    }

    #[test]
    fn a_note_is_left_and_only_its_own_is_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let note = Note { url: "http://127.0.0.1:1/".parse().unwrap(), token_file: "t".into(), pid: 1 };
        note.leave(dir.path()).unwrap();
        assert_eq!(Note::read(dir.path()), Some(note.clone()));
        Note { pid: 2, ..note.clone() }.take_away(dir.path());
        assert_eq!(Note::read(dir.path()), Some(note.clone()));
        note.take_away(dir.path());
        assert_eq!(Note::read(dir.path()), None);
    }
}
