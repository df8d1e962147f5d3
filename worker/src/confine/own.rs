//! The worker's own files: its token, and the secrets that it keeps. No job may read them.

use std::fs;
use std::path::{Path, PathBuf};

use model::Sandbox;

use super::landlock::SYSTEM;
use super::spaces::HIDDEN;
use crate::Settings;

/// Where they are, as far as they are not systemd's credentials, which lie where no job looks.
#[derive(Debug)]
pub struct Own(Vec<PathBuf>);

impl Own {
    pub fn of(settings: &Settings) -> Own {
        let secrets = settings.secrets.iter().filter_map(|(_, kept)| kept.file.as_ref());
        Own(settings.token_file.iter().chain(secrets).map(|file| real(file)).collect())
    }

    /// One that every job of a sandbox could read, since it lies in the system. Where jobs can have `namespaces`, and in
    /// bubblewrap, one folder of the system is hidden.
    pub fn shown_in(&self, sandbox: Sandbox, namespaces: bool) -> Option<&Path> {
        let hides = match sandbox {
            Sandbox::Bubblewrap => true,
            Sandbox::Landlock => namespaces,
            // Whoever allows it trusts all tasks.
            Sandbox::None => return None,
        };
        let hidden = real(Path::new(HIDDEN));
        let is_shown =
            |file: &&Path| is_in(file, SYSTEM.iter().map(Path::new)) && !(hides && file.starts_with(&hidden));
        self.0.iter().map(PathBuf::as_path).find(is_shown)
    }

    /// One that lies in what the settings let jobs read.
    pub fn named_in(&self, settings: &Settings) -> Option<&Path> {
        let named = || settings.readable.iter().chain(&settings.writable).map(PathBuf::as_path);
        self.0.iter().map(PathBuf::as_path).find(|file| is_in(file, named()))
    }
}

fn is_in<'a>(file: &Path, mut places: impl Iterator<Item = &'a Path>) -> bool {
    places.any(|place| file.starts_with(real(place)))
}

/// Where a path leads; itself where nothing is there yet.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_or_a_secret_in_the_system_is_seen() {
        let own = |text: &str| Own::of(&serde_json::from_str(text).unwrap());
        let token = own(r#"{"token_file": "/etc/taskotron/worker.token"}"#);
        let file = Some(Path::new("/etc/taskotron/worker.token"));
        assert_eq!(token.shown_in(Sandbox::Landlock, false), file);
        for (sandbox, namespaces) in [(Sandbox::Landlock, true), (Sandbox::Bubblewrap, false), (Sandbox::None, false)] {
            assert_eq!(token.shown_in(sandbox, namespaces), None, "{sandbox}");
        }
        let secret = own(r#"{"secrets": {"a": {"file": "/etc/keys/a"}, "b": {"credential": "b"}}}"#);
        for (sandbox, namespaces) in [(Sandbox::Landlock, true), (Sandbox::Bubblewrap, false)] {
            assert_eq!(secret.shown_in(sandbox, namespaces), Some(Path::new("/etc/keys/a")), "{sandbox}");
        }
        let elsewhere = own(r#"{"token_file": "/var/lib/taskotron/worker.token"}"#);
        assert_eq!(elsewhere.shown_in(Sandbox::Landlock, false), None);
    }

    #[test]
    fn a_sandbox_that_would_show_one_is_not_offered_and_refused_where_it_is_named() {
        let offered = |named: &[Sandbox], bubblewrap, namespaces| {
            let token_file = Some("/etc/taskotron/worker.token".into());
            let settings = Settings { token_file, sandboxes: named.to_vec(), ..Settings::default() };
            super::super::sandboxes(&settings, true, bubblewrap, namespaces).map_err(|e| e.to_string())
        };
        let both = [Sandbox::Landlock, Sandbox::Bubblewrap];
        assert_eq!(offered(&[], true, true), Ok(both.to_vec()));
        assert_eq!(offered(&[], true, false), Ok(vec![Sandbox::Bubblewrap]));
        for (named, bubblewrap) in [(&both[..], true), (&[], false)] {
            let error = offered(named, bubblewrap, false).unwrap_err();
            let want = "in landlock, jobs could read /etc/taskotron/worker.token: put it below /var/lib/taskotron";
            assert!(error.starts_with(want), "{error}");
        }
    }

    #[test]
    fn a_token_in_a_folder_that_jobs_may_read_is_seen_also_by_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let [folder, link] = ["folder", "link"].map(|name| dir.path().join(name));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("token"), "").unwrap();
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        let named = |readable: PathBuf| {
            let token_file = Some(link.join("token"));
            let settings = Settings { token_file, readable: vec![readable], ..Settings::default() };
            Own::of(&settings).named_in(&settings).map(Path::to_owned)
        };
        assert_eq!(named(folder.clone()), Some(real(&folder).join("token")));
        assert_eq!(named(dir.path().join("other")), None);
    }
}
