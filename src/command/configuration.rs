//! Reads a configuration folder: every `*.yml` and `*.yaml` below it.

use std::path::Path;

use anyhow::Context as _;
use rules::Configuration;

use crate::exit::{Exit, Failure, OrExit as _};

/// The files of a configuration as (name, text), in the order of their names. `path` may be one file, too.
pub fn files(path: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    collect(path, true, &mut files).with_context(|| format!("cannot read the configuration {}", path.display()))?;
    if files.is_empty() {
        return Err(Failure::error(Exit::Usage, format!("there is no *.yml or *.yaml below {}", path.display())));
    }
    files.sort_unstable();
    Ok(files)
}

/// The configuration in a folder; what is wrong with it is told whole.
pub fn read(path: &Path) -> anyhow::Result<Configuration> {
    Configuration::parse(&files(path).or_exit(Exit::Usage)?).map_err(|faults| {
        Failure::error(Exit::Usage, format!("the configuration {} is wrong:\n{faults}", path.display()))
    })
}

fn collect(path: &Path, named: bool, files: &mut Vec<(String, String)>) -> anyhow::Result<()> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            // What is hidden belongs to an editor or to git.
            if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                collect(&entry.path(), false, files)?;
            }
        }
        return Ok(());
    }
    if named || path.extension().is_some_and(|ending| ending == "yml" || ending == "yaml") {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        files.push((path.display().to_string(), text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_yaml_file_below_is_read_in_the_order_of_names() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.yml", "a/z.yaml", ".git/c.yml", "notes.txt"] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "rules: []\n").unwrap();
        }
        let names: Vec<_> = files(dir.path()).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a/z.yaml", "b.yml"].map(|name| dir.path().join(name).display().to_string()));
        assert_eq!(Exit::of(&files(&dir.path().join(".git/none")).or_exit(Exit::Usage).unwrap_err()), Exit::Usage);
    }
}
