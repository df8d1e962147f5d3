//! How much of the disk a job's workspace takes.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::libc;

/// Bytes that a folder and all in it take, counted until they are more than `most`. What was removed meanwhile counts as
/// nothing; what lies too deep to be measured counts as too much.
pub fn of(folder: &Path, most: u64) -> u64 {
    let (mut taken, mut linked) = (0_u64, HashSet::new());
    let mut inside = vec![folder.to_owned()];
    while let Some(folder) = inside.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.raw_os_error() == Some(libc::ENAMETOOLONG) || e.kind() == ErrorKind::InvalidFilename => {
                return u64::MAX;
            }
            Err(_) => continue,
        };
        for entry in entries.flatten() {
            // Of the entry itself, also where it is a link.
            let Ok(seen) = entry.metadata() else { continue };
            // The second name of a file takes nothing.
            if seen.is_dir() || seen.nlink() < 2 || linked.insert(seen.ino()) {
                taken = taken.saturating_add(seen.blocks() * 512);
            }
            if taken > most {
                return taken;
            }
            if seen.is_dir() {
                inside.push(entry.path());
            }
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_and_second_names_take_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("in")).unwrap();
        fs::write(dir.path().join("in/full"), vec![1; 1 << 20]).unwrap();
        fs::hard_link(dir.path().join("in/full"), dir.path().join("again")).unwrap();
        fs::File::create(dir.path().join("sparse")).unwrap().set_len(1 << 30).unwrap();
        let taken = of(dir.path(), u64::MAX);
        assert!((1 << 20..2 << 20).contains(&taken), "{taken}");
        assert!(of(dir.path(), 1000) > 1000);
    }
}
