//! `[master]`: what a master can be told.

use std::net::SocketAddr;
use std::path::PathBuf;

use model::Span;
use net::vault::Vault;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::messages::Messages;

/// `[master]`, and what of it other rooms' parts of the same process need.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `postgres://…` or `sqlite:PATH`; without one, `master.sqlite` in the data folder.
    pub database: Option<String>,
    pub listen: SocketAddr,
    /// The address under which people reach the pages; it stands in every result.
    pub public_url: Url,
    /// For logs, and for the database where none is named.
    pub data: PathBuf,
    /// Whether those without a token may read.
    pub public_read: bool,
    /// The site's name.
    pub site: String,
    /// How long a lease holds without being renewed.
    pub lease_term: Span,
    /// A row that was recorded longer ago is refused as expired: the keys of its time may be forgotten.
    pub key_horizon: Span,
    /// A trigger that was not heard from for so long is shown as what stops work, and keeps idle away.
    pub silence: Span,
    /// An event of a pair of triggers that the other has not sent counts as unseen when the other has sent what came so
    /// much later.
    pub pair_grace: Span,
    /// Whether secrets may go to workers over a network without TLS.
    pub secrets_in_the_clear: bool,
    /// What is done to more jobs than this by a filter is asked for twice: by a dry run, and then with a yes.
    pub max_unasked: u32,
    pub resume: Resume,
    /// What this master gives to jobs of the tasks that it names.
    pub secrets: Vault,
    pub mirrors: Mirrors,
    pub logs: LogsKept,
    pub artifacts: ArtifactsKept,
    pub results: Option<Results>,
    /// The bus that is told of jobs; without it none is.
    pub messages: Option<Messages>,
    /// Where people reach the results store's pages, when they do not stand beside this master's.
    pub results_pages: Option<Url>,
}

/// `[master.resume]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Resume {
    /// With more jobs queued than this, a resume asks for `--yes`.
    pub max_backlog: u64,
    /// How many jobs of the backlog are let go a minute; 0 is all at once.
    pub rate: u32,
}

/// `[master.logs]`: what is kept of the logs of ended attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogsKept {
    /// One that was last written longer ago is removed.
    pub keep: Span,
    /// One that was last written longer ago is compressed.
    pub compress_after: Span,
}

impl Default for LogsKept {
    fn default() -> LogsKept {
        LogsKept { keep: Span::days(180), compress_after: Span::minutes(5) }
    }
}

/// `[master.artifacts]`: what is kept of the files that jobs leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArtifactsKept {
    /// One that was stored longer ago is removed.
    pub keep: Span,
    /// Bytes of all of them: the oldest are removed while there are more.
    pub space: u64,
    /// Bytes of one file: a larger one is not taken.
    pub largest: u64,
}

impl Default for ArtifactsKept {
    fn default() -> ArtifactsKept {
        ArtifactsKept { keep: Span::days(30), space: 50 << 30, largest: 1 << 30 }
    }
}

/// `[master.mirrors]`: the repositories of tasks, which this master fetches and workers get from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mirrors {
    /// How often all of them are fetched.
    pub interval: Span,
    /// How a repository may be reached: `https`, `ssh`, `http`, `git`, `file`.
    pub protocols: Vec<String>,
    /// How long one fetch may take, and one worker's.
    pub timeout: Span,
    /// How long a commit is kept that a force-push or a deleted branch has left behind, and a repository that no task and
    /// no job has wanted since.
    pub keep: Span,
    /// Patterns for the topics of events that tell of a push: a repository that such an event names is fetched at once.
    pub topics: Vec<String>,
}

/// `[master.results]`: the results store that findings go to. Without it they stay in the outbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// Its base: `/api/v2.0` follows.
    pub url: Url,
    #[serde(default)]
    pub token_file: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            database: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_url: Url::parse("http://127.0.0.1:8080/").expect("a plain address"),
            data: PathBuf::from("/var/lib/taskotron"),
            public_read: false,
            site: "main".into(),
            lease_term: Span::seconds(60),
            key_horizon: Span::days(400),
            silence: Span::minutes(1),
            pair_grace: Span::minutes(5),
            secrets_in_the_clear: false,
            max_unasked: 100,
            resume: Resume::default(),
            secrets: Vault::default(),
            mirrors: Mirrors::default(),
            logs: LogsKept::default(),
            artifacts: ArtifactsKept::default(),
            results: None,
            messages: None,
            results_pages: None,
        }
    }
}

impl Default for Resume {
    fn default() -> Resume {
        Resume { max_backlog: 10_000, rate: 6_000 }
    }
}

impl Default for Mirrors {
    fn default() -> Mirrors {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Mirrors {
            interval: Span::minutes(5),
            protocols: texts(&["https", "ssh"]),
            timeout: Span::minutes(10),
            keep: Span::days(90),
            topics: texts(&["#.git.receive", "#.git.push.#", "#.push", "#.pull-request.closed"]),
        }
    }
}

impl Settings {
    /// The database's address.
    pub fn database(&self) -> String {
        self.database.clone().unwrap_or_else(|| format!("sqlite:{}", self.data.join("master.sqlite").display()))
    }

    /// Where the results store's pages are, for links: empty where they stand beside ours.
    pub fn results_pages(&self) -> String {
        self.results_pages.as_ref().map(|url| url.as_str().trim_end_matches('/').to_owned()).unwrap_or_default()
    }

    /// The page of a job, for those who read its results elsewhere.
    pub fn job_page(&self, job: model::JobId) -> String {
        format!("{}/jobs/{job}", self.public_url.as_str().trim_end_matches('/'))
    }
}
