//! A task's repository as its author has it: a bare one that is fetched from, and a clone that is pushed from.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::kit::Story;
use crate::site::PATIENCE;

/// Prints its item and its version to the ledger, once its gate is open.
const RUN: &str = r#"#!/bin/sh
while [ ! -e "$GATE" ]; do sleep 0.02; done
echo "$TASKOTRON_JOB_ID $(cat "${0%/*}/version")" >>"$LEDGER"
[ ! -e .git ] && [ ! -e ../.git ]
"#;

pub struct Upstream<'s> {
    story: &'s Story,
    name: &'static str,
}

impl<'s> Upstream<'s> {
    /// With one commit on `main`: version `v1`.
    #[track_caller]
    pub fn new(story: &'s Story, name: &'static str) -> Upstream<'s> {
        let upstream = Upstream::empty(story, name);
        upstream.write("checks/run.sh", RUN);
        // Else two of them could be the same commit.
        upstream.write("name", name);
        let script = upstream.work().join("checks/run.sh");
        fs::set_permissions(script, fs::Permissions::from_mode(0o755)).expect("it is ours");
        upstream.push("v1", "main");
        upstream
    }

    /// With nothing in it, and `main` to be pushed.
    #[track_caller]
    pub fn empty(story: &'s Story, name: &'static str) -> Upstream<'s> {
        let upstream = Upstream { story, name };
        let bare = upstream.bare().display().to_string();
        upstream.git_at(story.folder().to_owned(), &["init", "--quiet", "--bare", "--initial-branch=main", &bare]);
        upstream
            .git_at(story.folder().to_owned(), &["clone", "--quiet", &bare, &upstream.work().display().to_string()]);
        upstream.git(&["checkout", "--quiet", "-B", "main"]);
        upstream
    }

    /// What a task's `source` names.
    pub fn url(&self) -> String {
        format!("file://{}", self.bare().display())
    }

    pub fn bare(&self) -> PathBuf {
        self.story.path(format!("{}.git", self.name))
    }

    /// The clone that its author works in.
    pub fn work(&self) -> PathBuf {
        self.story.path(format!("{}.work", self.name))
    }

    pub fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        self.story.write(self.work().join(path), bytes);
    }

    /// Commits a version with all that was written; its commit.
    #[track_caller]
    pub fn commit(&self, version: &str) -> String {
        self.write("checks/version", version);
        self.commit_all(version)
    }

    /// Commits all that was written; its commit.
    #[track_caller]
    pub fn commit_all(&self, message: &str) -> String {
        self.git(&["add", "."]);
        self.git(&["commit", "--quiet", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Commits a version and pushes it to a branch.
    #[track_caller]
    pub fn push(&self, version: &str, branch: &str) -> String {
        let commit = self.commit(version);
        self.git(&["push", "--quiet", "--force", "origin", &format!("HEAD:{branch}")]);
        commit
    }

    /// Runs git in the clone; what it printed.
    #[track_caller]
    pub fn git(&self, arguments: &[&str]) -> String {
        self.git_at(self.work(), arguments)
    }

    #[track_caller]
    fn git_at(&self, folder: PathBuf, arguments: &[&str]) -> String {
        let mut git = self.story.command("git");
        git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").current_dir(folder);
        git.args(["-c", "user.name=An Author", "-c", "user.email=author@example.org"]).args(arguments);
        let ran = self.story.run(PATIENCE, git);
        assert_eq!(ran.code, Some(0), "git {arguments:?}: {ran:?}");
        ran.out.trim().to_owned()
    }
}
