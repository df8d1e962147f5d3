//! Where a task's files come from, and which commit of a repository a job runs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use crate::Time;

/// The label that a worker offers which can fetch a commit, and that every task with a repository needs.
pub const GIT_LABEL: &str = "source:git";

/// The whole name of a commit: 40 hex digits, or 64 in a repository of SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String)]
pub struct Commit(String);

/// What is no whole name of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a commit is 40 or 64 hex digits")]
pub struct NotACommit;

impl Commit {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As people write it to each other.
    pub fn short(&self) -> &str {
        &self.0[..10]
    }
}

impl FromStr for Commit {
    type Err = NotACommit;

    fn from_str(text: &str) -> Result<Commit, NotACommit> {
        let whole = matches!(text.len(), 40 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if whole { Ok(Commit(text.to_owned())) } else { Err(NotACommit) }
    }
}

impl TryFrom<String> for Commit {
    type Error = NotACommit;

    fn try_from(text: String) -> Result<Commit, NotACommit> {
        text.parse()
    }
}

impl From<Commit> for String {
    fn from(commit: Commit) -> String {
        commit.0
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which commit a job runs, and the branch or tag that named it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pin {
    pub reference: String,
    pub commit: Commit,
}

/// What a worker fills a job's workspace with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Source {
    /// A folder on the worker, which is copied.
    Path(String),
    /// A commit of a repository, by way of the master's mirror of it.
    Git(Checkout),
}

/// One commit of a repository, or a folder of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Checkout {
    /// The repository, as the task names it.
    pub git: String,
    /// The branch or tag that named the commit when the job was queued.
    #[serde(rename = "ref")]
    pub reference: String,
    pub commit: Commit,
    /// The folder of it that becomes the workspace; without one it is all of it.
    #[serde(default)]
    pub path: Option<String>,
}

/// What a job's task is taken from, as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobSource {
    pub git: String,
    /// The branch or tag; while the commit is not known, all that would do, the first first.
    #[serde(rename = "ref")]
    pub reference: String,
    /// None while the job waits for its mirror to have one.
    pub commit: Option<Commit>,
    #[serde(default)]
    pub path: Option<String>,
}

impl From<Checkout> for JobSource {
    fn from(checkout: Checkout) -> JobSource {
        let Checkout { git, reference, commit, path } = checkout;
        JobSource { git, reference, commit: Some(commit), path }
    }
}

/// `https://… main at 0123…, folder tests`
impl fmt::Display for JobSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.git, self.reference)?;
        match &self.commit {
            Some(commit) => write!(f, " at {commit}")?,
            None => f.write_str(" (no commit yet)")?,
        }
        self.path.as_ref().map_or(Ok(()), |path| write!(f, ", folder {path}"))
    }
}

/// The name of a repository's mirror: the end of its address, and enough of its hash to tell two of one name apart.
pub fn mirror_name(url: &str) -> String {
    let path = url.trim_end_matches('/').trim_end_matches(".git");
    let last = path.rsplit(['/', ':']).next().unwrap_or_default();
    let word: String = last.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).take(40).collect();
    let hash = hex::encode(&Sha256::digest(url)[..5]);
    format!("{}-{hash}", word.trim_start_matches('-'))
}

/// `GET /api/v1/mirrors`, and the answer to `POST /api/v1/mirrors/update`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Mirrors {
    pub items: Vec<MirrorView>,
}

/// `POST /api/v1/mirrors/update`: fetches now.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MirrorUpdate {
    /// Addresses or names of mirrors; none is all of them.
    #[serde(default)]
    pub repos: Vec<String>,
}

/// One repository that the master mirrors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MirrorView {
    /// Below `/git/`.
    pub name: String,
    pub git: String,
    pub branches: u64,
    pub tags: u64,
    /// When all that the mirror shows was last seen to be what the repository has.
    pub fetched_at: Option<Time>,
    /// Why it could not be fetched since: what it shows is older.
    pub failed: Option<MirrorNote>,
    /// What happened to its branches that an author did not mean to happen to a job, newest first: a force-push, a branch
    /// that was deleted.
    #[serde(default)]
    pub notes: Vec<MirrorNote>,
    /// The tasks of the configuration in force that come from it.
    #[serde(default)]
    pub tasks: Vec<String>,
}

/// Something about a mirror, and since when it is so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MirrorNote {
    pub what: String,
    pub since: Time,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_has_a_name_that_is_a_folder_and_tells_two_repositories_apart() {
        let name = |url| mirror_name(url);
        assert_eq!(name("https://pagure.io/task-rpmlint.git"), "task-rpmlint-551a2533aa");
        assert_ne!(name("https://a/x.git"), name("https://b/x.git"));
        for url in ["https://a/..", "ssh://git@h/--upload-pack=x", "git@h:-x.git", "file:///", "https://a/%2e%2e/ü b"]
        {
            let name = name(url);
            assert!(!name.contains(['/', '.', ' ']) && name.len() < 60, "{name}");
            assert!(url == "file:///" || !name.starts_with("--"), "{name}");
        }
    }

    #[test]
    fn only_a_whole_name_is_a_commit() {
        let sha1 = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(sha1.parse::<Commit>().unwrap().short(), "0123456789");
        for text in ["main", "0123456", &sha1.to_uppercase(), &format!("{sha1}0"), "--upload-pack=x"] {
            assert_eq!(text.parse::<Commit>(), Err(NotACommit), "{text}");
        }
        assert!(serde_json::from_str::<Commit>("\"main\"").is_err());
        assert!(format!("{sha1}{}", &sha1[..24]).parse::<Commit>().is_ok());
    }
}
