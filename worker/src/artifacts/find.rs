//! Looks for the files that a task wants kept, in a folder that a hostile job has filled. Links are never followed.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use model::is_artifact_name;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;

use super::Left;

/// How many entries are looked at, and how deep.
const MOST: usize = 100_000;
const DEEPEST: usize = 32;

/// A file that may be kept.
#[derive(Debug)]
pub struct Candidate {
    pub name: String,
    pub size: u64,
    /// Device and number.
    pub inode: (u64, u64),
    /// How many names it has.
    links: u64,
}

/// What was found, sorted by name.
#[derive(Debug)]
pub struct Found {
    pub root: OwnedFd,
    pub files: Vec<Candidate>,
}

struct Search<'a> {
    patterns: GlobSet,
    /// The folders that some pattern begins with.
    beginnings: Vec<&'a str>,
    files: Vec<Candidate>,
    seen: usize,
    left: &'a mut Left,
}

pub fn find(root: &Path, patterns: &[String], left: &mut Left) -> Result<Found, String> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(GlobBuilder::new(pattern).literal_separator(true).build().map_err(|e| e.to_string())?);
    }
    let root = openat(CWD, root, FOLDER, Mode::empty()).map_err(|e| e.to_string())?;
    let mut search = Search {
        patterns: set.build().map_err(|e| e.to_string())?,
        beginnings: patterns.iter().map(|pattern| beginning(pattern)).collect(),
        files: Vec::new(),
        seen: 0,
        left,
    };
    if !patterns.is_empty() {
        search.folder(&root, "", 0).map_err(|e| e.to_string())?;
    }
    let Search { mut files, left, .. } = search;
    // A further name may be one of a file of somebody else.
    let mut names: HashMap<(u64, u64), u64> = HashMap::new();
    files.iter().for_each(|file| *names.entry(file.inode).or_default() += 1);
    files.retain(|file| {
        let own = file.links <= names[&file.inode];
        if !own {
            left.behind(&file.name, "has another name elsewhere");
        }
        own
    });
    files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(Found { root, files })
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The open folder that a path below `root` lies in, and its last part.
pub fn folder_of<'a>(root: &OwnedFd, name: &'a str) -> Result<(OwnedFd, &'a str), Errno> {
    let mut folder = root.try_clone().map_err(|_| Errno::MFILE)?;
    let (parents, last) = name.rsplit_once('/').unwrap_or(("", name));
    for part in parents.split('/').filter(|part| !part.is_empty()) {
        folder = openat(&folder, part, FOLDER, Mode::empty())?;
    }
    Ok((folder, last))
}

/// Machines differ in how wide a number of links is.
fn wide(n: impl Into<u64>) -> u64 {
    n.into()
}

/// The whole parts of a pattern before the first that is more than a name.
fn beginning(pattern: &str) -> &str {
    let special = pattern.find(['*', '?', '[', '{', '\\']).unwrap_or(pattern.len());
    pattern[..special].rsplit_once('/').map_or("", |(folder, _)| folder)
}

impl Search<'_> {
    /// Whether something below a folder may be wanted.
    fn may_hold(&self, folder: &str) -> bool {
        let within = |outer: &str, inner: &str| {
            outer.is_empty() || inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.beginnings.iter().any(|begin| within(begin, folder) || within(folder, begin))
    }

    fn folder(&mut self, folder: &OwnedFd, path: &str, depth: usize) -> Result<(), Errno> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                entries.push(entry.file_name().to_owned());
            }
            self.seen += 1;
            if self.seen > MOST {
                if self.seen == MOST + 1 {
                    self.left.behind(path, &format!("only {MOST} files are looked at"));
                }
                break;
            }
        }
        entries.sort_unstable();
        for entry in entries {
            let name = entry.to_string_lossy();
            let name = if path.is_empty() { name.into_owned() } else { format!("{path}/{name}") };
            let Ok(found) = statat(folder, &entry, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let kind = FileType::from_raw_mode(found.st_mode);
            if kind == FileType::Directory {
                if self.may_hold(&name) {
                    self.further(folder, &entry, &name, depth);
                }
            } else if !self.patterns.is_match(&name) {
                // Not wanted.
            } else if kind == FileType::Symlink {
                self.left.behind(&name, "is a link");
            } else if kind != FileType::RegularFile {
                self.left.behind(&name, "is not a plain file");
            } else if !is_artifact_name(&name) || entry.to_str().is_err() {
                self.left.behind(&name, "its name cannot be kept");
            } else {
                let size = u64::try_from(found.st_size).unwrap_or(0);
                let inode = (found.st_dev, found.st_ino);
                self.files.push(Candidate { name, size, inode, links: wide(found.st_nlink) });
            }
        }
        Ok(())
    }

    fn further(&mut self, folder: &OwnedFd, entry: &std::ffi::CStr, name: &str, depth: usize) {
        if depth == DEEPEST {
            return self.left.behind(name, "lies too deep");
        }
        let opened = openat(folder, entry, FOLDER, Mode::empty());
        if let Err(e) = opened.and_then(|inner| self.folder(&inner, name, depth + 1)) {
            self.left.behind(name, &format!("cannot be looked into: {e}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_begins_with_its_whole_parts() {
        let table =
            [("artifacts/**", "artifacts"), ("*.log", ""), ("a/b/c.xml", "a/b"), ("a/b*/c", "a"), ("a/{b,c}/d", "a")];
        for (pattern, begin) in table {
            assert_eq!(beginning(pattern), begin, "{pattern}");
        }
    }
}
