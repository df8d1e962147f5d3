//! Files in which a job says what it found. Only plain files are read: a link could lead to what the job may not
//! publish, and a pipe would never end.

use std::fs::{self, File};
use std::io::{self, BufRead, Read as _};
use std::path::{Component, Path, PathBuf};

use globset::GlobBuilder;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

/// Bytes of one file that are read.
pub const MAX_SIZE: u64 = 16 << 20;

/// Files of one format, and how many names and how deep is looked for them.
const MAX_FILES: usize = 1000;
const MAX_NAMES: usize = 200_000;
const MAX_DEPTH: usize = 40;

/// Opens a file below `root`; none where there is none. No part of its path may be a link.
pub fn open(root: &Path, path: &Path) -> Result<Option<File>, String> {
    let mut parts = path.components().peekable();
    let mut folder = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| format!("cannot be read: {e}"))?;
    while let Some(part) = parts.next() {
        let Component::Normal(part) = part else { return Err("is not below the working folder".to_owned()) };
        let last = parts.peek().is_none();
        let how = if last { OFlags::NONBLOCK | OFlags::NOCTTY } else { OFlags::PATH | OFlags::DIRECTORY };
        folder = match openat(&folder, part, how | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
            Ok(opened) => opened,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) if last => return Err("is a link, not a file".to_owned()),
            Err(Errno::LOOP | Errno::NOTDIR) if !last => return Err("lies behind a link or a file".to_owned()),
            Err(e) => return Err(format!("cannot be read: {e}")),
        };
    }
    let file = File::from(folder);
    let size = match file.metadata() {
        Ok(found) if found.is_file() => found.len(),
        Ok(_) => return Err("is not a plain file".to_owned()),
        Err(e) => return Err(format!("cannot be read: {e}")),
    };
    match size {
        0..=MAX_SIZE => Ok(Some(file)),
        size => Err(format!("has {size} bytes; at most {MAX_SIZE} are read")),
    }
}

/// All of a file as text.
pub fn text(file: File) -> Result<String, String> {
    let mut text = Vec::new();
    file.take(MAX_SIZE).read_to_end(&mut text).map_err(|e| format!("cannot be read: {e}"))?;
    String::from_utf8(text).map_err(|e| {
        let line = e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        format!("line {line}: not UTF-8")
    })
}

/// What lies below `root` and is named by one of the patterns, in the order of the names; whatever it is.
pub fn find(root: &Path, patterns: &[String]) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let leads_on = |folder: &Path| fs::symlink_metadata(root.join(folder)).is_ok_and(|found| found.is_dir());
    for text in patterns {
        let pattern = GlobBuilder::new(text).literal_separator(true).build();
        let pattern = pattern.map_err(|e| format!("'{text}' is no pattern: {}", e.kind()))?.compile_matcher();
        // Above the first wildcard there is one way to go.
        let is_plain = |part: &&str| !part.contains(['*', '?', '[', '{']);
        let parts: Vec<&str> = text.split('/').collect();
        let base: PathBuf = parts.iter().copied().take_while(is_plain).collect();
        if base.components().count() == parts.len() {
            found.extend(fs::symlink_metadata(root.join(&base)).is_ok().then_some(base));
        } else if base.ancestors().all(leads_on) {
            let mut names = 0;
            walk(root, &base, 0, &mut names, &mut |path| {
                if pattern.is_match(path) {
                    found.push(path.to_owned());
                }
            })?;
        }
    }
    found.sort();
    found.dedup();
    match found.len() {
        0..=MAX_FILES => Ok(found),
        n => Err(format!("{n} files match {}; at most {MAX_FILES} are read", patterns.join(" and "))),
    }
}

/// Shows all that is no folder; links are not followed.
fn walk(
    root: &Path,
    folder: &Path,
    depth: usize,
    names: &mut usize,
    show: &mut impl FnMut(&Path),
) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Ok(());
    }
    // What cannot be read has no results in it; the job could have made it so.
    for entry in fs::read_dir(root.join(folder)).into_iter().flatten().flatten() {
        *names += 1;
        if *names > MAX_NAMES {
            return Err(format!("there are more than {MAX_NAMES} files to look through: name a folder"));
        }
        let path = folder.join(entry.file_name());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(root, &path, depth + 1, names, show)?,
            Ok(_) | Err(_) => show(&path),
        }
    }
    Ok(())
}

/// Counts the lines that were read, so that whatever is wrong has its place.
#[derive(Debug)]
pub struct Lines<R> {
    inner: R,
    ended: u64,
}

impl<R> Lines<R> {
    pub fn of(inner: R) -> Lines<R> {
        Lines { inner, ended: 0 }
    }

    /// The number of the line that is being read.
    pub fn line(&self) -> u64 {
        self.ended + 1
    }
}

impl<R: BufRead> io::Read for Lines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.fill_buf()?.len().min(buffer.len());
        let bytes = self.inner.fill_buf()?;
        buffer[..n].copy_from_slice(&bytes[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl<R: BufRead> BufRead for Lines<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        // What is consumed was shown before, so nothing is read here.
        let bytes = self.inner.fill_buf().unwrap_or_default();
        self.ended += bytes[..n.min(bytes.len())].iter().filter(|b| **b == b'\n').count() as u64;
        self.inner.consume(n);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_a_plain_file_that_no_link_leads_to_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/file"), "x").unwrap();
        let why = |path: &str| open(root, Path::new(path)).unwrap_err();
        assert_eq!(text(open(root, Path::new("a/b/file")).unwrap().unwrap()).unwrap(), "x");
        assert!(open(root, Path::new("a/c/file")).unwrap().is_none());
        symlink("file", root.join("a/b/link")).unwrap();
        symlink("b", root.join("a/c")).unwrap();
        assert_eq!(why("a/b/link"), "is a link, not a file");
        assert_eq!(why("a/c/file"), "lies behind a link or a file");
        assert_eq!(why("../file"), "is not below the working folder");
        assert_eq!(why("/etc/passwd"), "is not below the working folder");
        nix::unistd::mkfifo(&root.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(why("pipe"), "is not a plain file");
        assert_eq!(why("a"), "is not a plain file");
        File::create(root.join("long")).unwrap().set_len(500 << 20).unwrap();
        assert_eq!(why("long"), "has 524288000 bytes; at most 16777216 are read");
        fs::write(root.join("bytes"), b"results:\n- item: \xff\n").unwrap();
        assert_eq!(text(open(root, Path::new("bytes")).unwrap().unwrap()).unwrap_err(), "line 2: not UTF-8");
    }

    #[test]
    fn patterns_find_files_and_no_link_leads_astray() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("a/target/surefire-reports")).unwrap();
        for name in ["a/target/surefire-reports/TEST-x.xml", "a/target/surefire-reports/x.txt", "junit.xml"] {
            fs::write(root.join(name), "").unwrap();
        }
        symlink("/", root.join("all")).unwrap();
        let found = |patterns: &[&str]| {
            let patterns: Vec<_> = patterns.iter().map(|p| (*p).to_owned()).collect();
            find(root, &patterns).unwrap()
        };
        assert_eq!(found(&["junit.xml", "*.xml"]), [Path::new("junit.xml")]);
        assert_eq!(found(&["**/TEST-*.xml"]), [Path::new("a/target/surefire-reports/TEST-x.xml")]);
        assert_eq!(found(&["a/**/*"]).len(), 2);
        assert!(found(&["absent.xml", "absent/*.xml", "all/etc/*"]).is_empty());
        assert_eq!(found(&["al[l]"]), [Path::new("all")], "a link is found, to be refused");
    }
}
