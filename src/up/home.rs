//! The data folder of `up`: one process at a time, a token file a role, and the note by which commands find it.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use model::Role;
use net::{Grant, Secret, Tokens};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::exit::{Exit, Failure, OrExit as _};
use crate::place::{self, Note};

/// A folder that this process alone uses.
pub struct Home {
    dir: PathBuf,
    note: Option<Note>,
    _lock: Flock<File>,
}

impl Home {
    /// Takes the folder, which is made where it is missing.
    pub fn open(dir: &Path) -> anyhow::Result<Home> {
        let cannot = || format!("cannot use the data folder {}", dir.display());
        std::fs::create_dir_all(dir).with_context(cannot).or_exit(Exit::Usage)?;
        let dir = dir.canonicalize().with_context(cannot).or_exit(Exit::Usage)?;
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(dir.join("lock"));
        let file = file.with_context(cannot).or_exit(Exit::Usage)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Home { dir, note: None, _lock: lock }),
            Err((_, Errno::EWOULDBLOCK)) => Err(Failure::error(
                Exit::Conflict,
                format!("another 'taskotron up' uses {}: stop it, or name another folder with --data", dir.display()),
            )),
            Err((_, e)) => Err(e).with_context(cannot).or_exit(Exit::Usage),
        }
    }

    /// The path of something in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where a role's token is.
    pub fn token_file(&self, role: Role) -> PathBuf {
        self.path(&format!("{role}.token"))
    }

    /// The token of a role.
    pub fn token(&self, role: Role) -> anyhow::Result<Secret> {
        Ok(Secret::from_file(&self.token_file(role))?)
    }

    /// Sees to it that every role has a token and that the servers know its hash. Tokens stay the same over restarts;
    /// one whose file was deleted is made anew, and the old one is worth nothing any more.
    pub fn tokens(&self, public_read: bool) -> anyhow::Result<Tokens> {
        let file = self.path("tokens");
        let known = match std::fs::read_to_string(&file) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text.with_context(|| format!("cannot read {}", file.display()))?,
        };
        let mut lines = Vec::new();
        for role in Role::ALL {
            let secret = self.keep_token(role)?;
            let grant = Grant { name: role.to_string(), role, expires: None };
            lines.push(Tokens::line(&secret, &grant).expect("a token that is kept is not empty"));
        }
        // Lines of up's own names are replaced; those that people added stay.
        let ours = |line: &str| {
            let words: Vec<_> = line.split_whitespace().collect();
            words.len() == 3 && words[1] == words[2] && words[2].parse::<Role>().is_ok()
        };
        let others = known.lines().filter(|line| !ours(line)).map(str::to_owned);
        let text: String = lines.into_iter().chain(others).map(|line| line + "\n").collect();
        if text != known {
            replace(&file, &text).with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(Tokens::from_file(&file, public_read)?)
    }

    fn keep_token(&self, role: Role) -> anyhow::Result<Secret> {
        let path = self.token_file(role);
        if path.exists() {
            let secret = Secret::from_file(&path)?;
            if secret.expose().is_some() {
                return Ok(secret);
            }
        }
        let secret = Secret::random();
        let text = format!("{}\n", secret.expose().expect("a random secret is not empty"));
        replace(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(secret)
    }

    /// Leaves the note by which commands of this user find this process.
    pub fn announce(&mut self, url: url::Url) {
        let note = Note { url, token_file: self.token_file(Role::Operator), pid: std::process::id() };
        for folder in self.places() {
            if let Err(e) = note.leave(&folder) {
                tracing::warn!(error = %e, folder = %folder.display(), "commands will not find this process by themselves");
            }
        }
        self.note = Some(note);
    }

    fn places(&self) -> Vec<PathBuf> {
        [Some(self.dir.clone()), place::runtime_folder()].into_iter().flatten().collect()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Some(note) = self.note.take() {
            for folder in self.places() {
                note.take_away(&folder);
            }
        }
    }
}

/// Writes a file that only its owner reads, whole or not at all.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn tokens_stay_over_restarts_and_only_their_owner_reads_them() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let first = {
            let home = Home::open(&data).unwrap();
            let tokens = home.tokens(false).unwrap();
            let secret = home.token(Role::Operator).unwrap();
            assert_eq!(tokens.check(secret.expose().unwrap(), net::clock::now()).unwrap().role, Role::Operator);
            assert!(matches!(Home::open(&data), Err(e) if Exit::of(&e) == Exit::Conflict));
            secret
        };
        for name in ["operator.token", "reader.token", "tokens"] {
            let mode = std::fs::metadata(data.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let added = "00".repeat(32) + " worker qa04\n";
        let known = std::fs::read_to_string(data.join("tokens")).unwrap() + &added;
        std::fs::write(data.join("tokens"), &known).unwrap();
        std::fs::remove_file(data.join("worker.token")).unwrap();

        let home = Home::open(&data).unwrap();
        let tokens = home.tokens(false).unwrap();
        assert_eq!(home.token(Role::Operator).unwrap(), first);
        assert_eq!(tokens.grants().len(), Role::ALL.len() + 1);
        let text = std::fs::read_to_string(data.join("tokens")).unwrap();
        assert!(text.ends_with(&added) && text != known, "the worker's token is another one");
    }
}
