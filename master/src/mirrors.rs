//! The repositories of tasks: fetched aside, looked through, and then shown all at once.
//!
//! A mirror is a bare repository below the master's data; what counts is not what stands in it, but what the store says
//! that it shows ([`Set`]): objects are fetched into it at any time, and a job is pinned to a commit only once all of it
//! is known to be here. A repository that cannot be fetched keeps what it showed, and holds up no other.

mod discover;
mod fetch;
mod heard;
mod look;
mod pinning;
mod serve;
mod set;
mod update;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use git::Git;
use model::source::mirror_name;
use rules::Pattern;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::settings;
use crate::store::{Candidate, JobPin, Result, Store};

use look::Looks;
pub use pinning::{Pins, pin_waiting};
pub use serve::routes;
pub use set::Set;
pub use update::{PATIENCE, Which, tick, update, views, vitals, warnings};

/// How many fetches of each kind, and how many answers to fetches, go on at once.
const AT_ONCE: usize = 4;
const ANSWERS: usize = 8;

/// What a master knows of the mirrors and does with them.
pub struct Mirrors {
    folder: PathBuf,
    git: Git,
    settings: settings::Mirrors,
    store: Store,
    set: RwLock<Arc<Set>>,
    /// Held by whoever fetches the repository of that address.
    busy: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Which of them were looked through since this process began.
    seen: Mutex<BTreeSet<String>>,
    asked: Mutex<Asked>,
    /// Addresses that somebody waits to fetch.
    lined_up: Mutex<BTreeSet<String>>,
    /// When repositories were fetched for jobs that found nothing in them.
    tried: Mutex<HashMap<String, Instant>>,
    /// Of events that may tell of a repository.
    topics: Vec<Pattern>,
    /// Rings when something is asked for.
    bell: Notify,
    looks: Looks,
    /// For fetches that come round; and for those that were asked for, by a job for the most part, which wait for none of
    /// the first.
    fetching: Semaphore,
    fetching_for_jobs: Semaphore,
    answering: Arc<Semaphore>,
}

/// What the next look at the mirrors is to do before its time.
#[derive(Default)]
pub struct Asked {
    /// Addresses to fetch.
    pub urls: BTreeSet<String>,
    /// Whether jobs wait for a commit that nobody has looked for.
    pub jobs: bool,
}

impl Mirrors {
    pub fn new(store: Store, data: &Path, settings: &settings::Mirrors) -> Mirrors {
        let protocols = settings.protocols.iter().map(String::as_str);
        Mirrors {
            folder: data.join("mirrors"),
            git: Git::new(protocols, settings.timeout.0).with_network_of_environment(),
            settings: settings.clone(),
            store,
            set: RwLock::default(),
            busy: Mutex::default(),
            seen: Mutex::default(),
            asked: Mutex::default(),
            lined_up: Mutex::default(),
            tried: Mutex::default(),
            topics: heard::topics(&settings.topics),
            bell: Notify::new(),
            looks: Looks::default(),
            fetching: Semaphore::new(AT_ONCE),
            fetching_for_jobs: Semaphore::new(AT_ONCE),
            answering: Arc::new(Semaphore::new(ANSWERS)),
        }
    }

    /// What all mirrors show, at one moment.
    pub fn set(&self) -> Arc<Set> {
        self.set.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks whether any master has changed what they show; whether one has.
    pub async fn catch_up(&self) -> Result<bool> {
        if self.store.mirrors_version().await? == self.set().version() {
            return Ok(false);
        }
        let (version, rows) = self.store.mirrors().await?;
        *self.set.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Set::new(version, rows));
        Ok(true)
    }

    /// Looks at what was stored just now for jobs that wait for a commit.
    pub fn look_for<'a>(&self, candidates: impl IntoIterator<Item = &'a Candidate>) {
        let open = |candidate: &Candidate| match candidate {
            Candidate::Admitted(admitted) => matches!(admitted.source, Some(JobPin::Open(_))),
            Candidate::Answered(_) => false,
        };
        if candidates.into_iter().any(open) {
            self.look_for_jobs();
        }
    }

    /// Says that jobs may wait for a commit that there is.
    pub fn look_for_jobs(&self) {
        self.ask(|asked| asked.jobs = true);
    }

    /// Says that these repositories have changed.
    pub fn look_at(&self, urls: impl IntoIterator<Item = String>) {
        self.ask(|asked| asked.urls.extend(urls));
    }

    fn ask(&self, what: impl FnOnce(&mut Asked)) {
        what(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner));
        self.bell.notify_one();
    }

    /// Waits until something is asked for.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }

    pub fn interval(&self) -> std::time::Duration {
        self.settings.interval.0
    }

    /// Those of these addresses for which nobody stands in line yet. Whoever is told of them fetches them.
    pub fn line_up(&self, urls: BTreeSet<String>) -> BTreeSet<String> {
        let mut lined_up = self.lined_up.lock().unwrap_or_else(PoisonError::into_inner);
        urls.into_iter().filter(|url| lined_up.insert(url.clone())).collect()
    }

    fn take_asked(&self) -> Asked {
        std::mem::take(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn repository(&self, url: &str) -> PathBuf {
        self.folder.join(format!("{}.git", mirror_name(url)))
    }

    fn lock_of(&self, url: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.entry(url.to_owned()).or_default().clone()
    }
}
