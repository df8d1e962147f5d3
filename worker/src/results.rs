//! What a job found, from what it left behind. Unknown is not OK: what cannot be read is an error, never a pass.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use model::lease::ResultFormat;
use model::{Finding, Outcome};

use crate::result_yaml;

/// Bytes of a results file that are read.
const MAX_SIZE: u64 = 16 * 1024 * 1024;

/// What a job found, and a sentence where there is more to say.
#[derive(Debug, Default, PartialEq)]
pub struct Found {
    pub findings: Vec<Finding>,
    pub note: Option<String>,
}

/// The findings of a process that exited with `code` and may have written `file`.
pub fn of(formats: &[ResultFormat], file: &Path, code: i32) -> Found {
    for format in formats {
        match format {
            ResultFormat::ExitCode => {
                let outcome = if code == 0 { Outcome::Passed } else { Outcome::Failed };
                return Found { findings: vec![Finding::of(outcome)], note: None };
            }
            ResultFormat::ResultYaml => match read(file) {
                Ok(None) => {}
                Ok(Some(text)) => return listed(result_yaml::parse(&text), code),
                Err(e) => return Found { findings: vec![error(format!("results.yml: {e}"))], note: None },
            },
        }
    }
    Found { findings: vec![error(format!("exited with {code} and wrote no results.yml"))], note: None }
}

fn listed(findings: Vec<Finding>, code: i32) -> Found {
    let nothing = findings.is_empty();
    match (nothing, code) {
        (false, 0) => Found { findings, note: None },
        (false, _) => Found { findings, note: Some(format!("exited with {code} after it wrote results.yml")) },
        (true, 0) => {
            let note = "exited with 0, and its results.yml lists no result".to_owned();
            Found { findings: vec![Finding { note: Some(note), ..Finding::of(Outcome::NeedsInspection) }], note: None }
        }
        (true, _) => Found {
            findings: vec![error(format!("exited with {code}, and its results.yml lists no result"))],
            note: None,
        },
    }
}

/// A finding that says that there is no finding.
pub fn error(note: String) -> Finding {
    Finding { note: Some(note), ..Finding::of(Outcome::Error) }
}

/// The file's text; none where there is no file. Only a plain file is read: a link could lead to what the job may not
/// publish, and a pipe would never end.
fn read(file: &Path) -> Result<Option<String>, String> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(file) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) if e.raw_os_error() == Some(nix::libc::ELOOP) => return Err("is a link, not a file".to_owned()),
        Err(e) => return Err(format!("cannot be read: {e}")),
    };
    let size = match file.metadata() {
        Ok(found) if found.is_file() => found.len(),
        Ok(_) => return Err("is not a plain file".to_owned()),
        Err(e) => return Err(format!("cannot be read: {e}")),
    };
    if size > MAX_SIZE {
        return Err(format!("has {size} bytes; at most {MAX_SIZE} are read"));
    }
    let mut text = Vec::new();
    file.take(MAX_SIZE).read_to_end(&mut text).map_err(|e| format!("cannot be read: {e}"))?;
    String::from_utf8(text).map(Some).map_err(|e| {
        let line = e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        format!("line {line}: not UTF-8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::lease::ResultFormat::{ExitCode, ResultYaml};

    fn outcomes(found: &Found) -> Vec<Outcome> {
        found.findings.iter().map(|f| f.outcome).collect()
    }

    #[test]
    fn the_first_format_that_is_present_counts() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("results.yml");
        let both = [ResultYaml, ExitCode];
        assert_eq!(outcomes(&of(&both, &file, 0)), [Outcome::Passed]);
        assert_eq!(outcomes(&of(&both, &file, 3)), [Outcome::Failed]);
        assert_eq!(outcomes(&of(&[ResultYaml], &file, 0)), [Outcome::Error]);
        assert_eq!(outcomes(&of(&[], &file, 0)), [Outcome::Error]);
        std::fs::write(&file, "results:\n- {item: a, outcome: INFO}\n").unwrap();
        assert_eq!(outcomes(&of(&both, &file, 0)), [Outcome::Info]);
        assert_eq!(outcomes(&of(&[ExitCode, ResultYaml], &file, 0)), [Outcome::Passed]);
        assert_eq!(of(&both, &file, 2).note.unwrap(), "exited with 2 after it wrote results.yml");
        std::fs::write(&file, "results: []\n").unwrap();
        assert_eq!(outcomes(&of(&both, &file, 0)), [Outcome::NeedsInspection]);
        assert_eq!(outcomes(&of(&both, &file, 1)), [Outcome::Error]);
    }

    #[test]
    fn what_is_no_plain_text_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let note = |file: &Path| of(&[ResultYaml, ExitCode], file, 0).findings.remove(0).note.unwrap();
        let file = dir.path().join("bytes");
        std::fs::write(&file, b"results:\n- item: \xff\n").unwrap();
        assert_eq!(note(&file), "results.yml: line 2: not UTF-8");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(note(&link), "results.yml: is a link, not a file");
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(note(&pipe), "results.yml: is not a plain file");
        let long = dir.path().join("long");
        std::fs::File::create(&long).unwrap().set_len(MAX_SIZE + 1).unwrap();
        assert_eq!(note(&long), "results.yml: has 16777217 bytes; at most 16777216 are read");
    }
}
