//! Secrets by name: where each is kept, and which tasks may have it. A value is read when it is needed, and never printed.
//!
//! `[worker.secrets.NAME]` and `[master.secrets.NAME]` are of one kind. What is kept here is only where a value is; it comes
//! from a file that nobody else can read, or from the credentials that systemd gives to a service.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Bytes that a secret may have.
const LARGEST: u64 = 64 << 10;

/// Where systemd lays a service's credentials (systemd.exec(5)).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// All secrets of one section.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Vault(BTreeMap<String, Kept>);

/// Where one secret is kept, and for whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kept {
    /// A file that is its owner's alone (0600 or 0400).
    pub file: Option<PathBuf>,
    /// The name of a systemd credential (`LoadCredential=` of the unit) instead.
    pub credential: Option<String>,
    /// The tasks that may have it; no other gets it.
    pub tasks: Vec<String>,
}

/// A secret's bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Value(Vec<u8>);

impl Value {
    pub fn new(bytes: Vec<u8>) -> Value {
        Value(bytes)
    }

    /// The bytes themselves, to be handed to a job; never to be logged.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Value(…)")
    }
}

/// What a worker offers that may give this secret to this task.
pub fn label(secret: &str, task: &str) -> String {
    format!("secret:{secret}/{task}")
}

impl Vault {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&String, &Kept)> {
        self.0.iter()
    }

    /// Whether this task may have this secret from here.
    pub fn serves(&self, secret: &str, task: &str) -> bool {
        self.0.get(secret).is_some_and(|kept| kept.tasks.iter().any(|name| name == task))
    }

    /// A label for each task that may have something from here.
    pub fn labels(&self) -> impl Iterator<Item = String> {
        self.0.iter().flat_map(|(name, kept)| kept.tasks.iter().map(move |task| label(name, task)))
    }

    /// What is wrong with this section, if anything is: each secret is read once, and forgotten.
    pub fn check(&self, section: &str) -> Result<(), String> {
        for (name, kept) in &self.0 {
            let wrong = |what: String| format!("[{section}.{name}] {what}");
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(plain) {
                return Err(wrong(
                    "a secret's name has letters, digits, '_', '-' and '.', and is the name of a file".into(),
                ));
            }
            if let Some(task) = kept.tasks.iter().find(|task| task.chars().any(|c| c.is_whitespace() || c == ',')) {
                return Err(wrong(format!("'{task}' is no task's name")));
            }
            self.read(name).map_err(wrong)?;
        }
        Ok(())
    }

    /// A secret's value as it is now. The error says what to do, and nothing of the value.
    pub fn read(&self, name: &str) -> Result<Value, String> {
        let kept = self.0.get(name).ok_or_else(|| format!("there is no secret '{name}' here"))?;
        let (path, credential) = match (&kept.file, &kept.credential) {
            (Some(file), None) => (file.clone(), false),
            (None, Some(credential)) => {
                let dir = std::env::var_os(CREDENTIALS).ok_or_else(|| {
                    format!("credential '{credential}' is not here: the unit has no LoadCredential={credential}:…")
                })?;
                (PathBuf::from(dir).join(credential), true)
            }
            (Some(_), Some(_)) | (None, None) => {
                return Err("names where it is by 'file' or by 'credential', by one of them".into());
            }
        };
        let cannot = |e: io::Error| format!("cannot read {}: {e}", path.display());
        let file = File::open(&path).map_err(cannot)?;
        let found = file.metadata().map_err(cannot)?;
        let path = path.display();
        if !found.is_file() {
            return Err(format!("{path} is no file"));
        }
        // systemd guards the folder of the credentials, and may let the service's group read them.
        let others = if credential { 0o037 } else { 0o077 };
        if found.mode() & others != 0 {
            return Err(format!("{path} can be read by others ({:o}): chmod 600 {path}", found.mode() & 0o7777));
        }
        let me = nix::unistd::geteuid().as_raw();
        if found.uid() != me && found.uid() != 0 {
            return Err(format!("{path} belongs to user {}, who could change it: chown {me} {path}", found.uid()));
        }
        let mut bytes = Vec::new();
        let read = file.take(LARGEST + 1).read_to_end(&mut bytes);
        read.map_err(|e| format!("cannot read {path}: {e}"))?;
        match bytes.len() as u64 {
            0 => Err(format!("{path} is empty")),
            n if n > LARGEST => Err(format!("{path} has more than {LARGEST} bytes")),
            _ => Ok(Value(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_is_read_only_where_nobody_else_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("koji");
        fs::write(&file, "hunter2\n").unwrap();
        let vault: Vault =
            serde_json::from_value(json!({"koji": {"file": file, "tasks": ["rpmlint", "abi"]}})).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let error = vault.check("worker.secrets").unwrap_err();
        assert!(error.starts_with("[worker.secrets.koji]") && error.contains("chmod 600"), "{error}");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(vault.check("worker.secrets"), Ok(()));
        let value = vault.read("koji").unwrap();
        assert_eq!((value.expose(), format!("{value:?}").as_str()), (&b"hunter2\n"[..], "Value(…)"));
        assert!(vault.serves("koji", "abi") && !vault.serves("koji", "other") && !vault.serves("pulp", "abi"));
        assert_eq!(vault.labels().collect::<Vec<_>>(), ["secret:koji/rpmlint", "secret:koji/abi"]);
        fs::write(&file, "").unwrap();
        assert!(vault.read("koji").unwrap_err().ends_with("is empty"));
        assert!(vault.read("pulp").unwrap_err().contains("no secret 'pulp'"));
    }

    #[test]
    fn a_secret_is_kept_in_one_place_under_the_name_of_a_file() {
        for (section, said) in [
            (json!({"a": {"tasks": ["t"]}}), "by one of them"),
            (json!({"a": {"file": "/x", "credential": "y"}}), "by one of them"),
            (json!({"../a": {"file": "/x"}}), "the name of a file"),
            (json!({".a": {"file": "/x"}}), "the name of a file"),
            (json!({"a": {"file": "/no/such/file"}}), "cannot read /no/such/file"),
            (json!({"a": {"credential": "koji"}}), "LoadCredential=koji"),
        ] {
            let vault: Vault = serde_json::from_value(section.clone()).unwrap();
            let error = vault.check("s").unwrap_err();
            assert!(error.contains(said), "{section}: {error}");
        }
        assert!(serde_json::from_value::<Vault>(json!({"a": {"fil": "/x"}})).is_err());
    }
}
