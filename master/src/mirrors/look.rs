//! Looking into repositories for the commits that jobs name, and for the folders of searches: aside, since it takes as
//! long as git does, and in each by itself, so that one that is large or damaged holds up no job of another.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use model::source::{Commit, Pin};
use tokio::sync::Semaphore;

use super::Mirrors;
use super::discover::search;
use super::fetch::has;
use super::pinning::{Waiting, pin};
use super::set::Found;
use crate::app::App;
use crate::store::Result;

/// How many repositories are looked into at once.
const AT_ONCE: usize = 4;

/// Jobs of one repository, by their numbers.
pub type Jobs = BTreeMap<i64, Waiting>;

/// The looks that go on.
pub struct Looks {
    /// By the addresses of the repositories, what was asked for since the look began.
    next: Mutex<HashMap<String, Jobs>>,
    permits: Semaphore,
}

impl Default for Looks {
    fn default() -> Looks {
        Looks { next: Mutex::default(), permits: Semaphore::new(AT_ONCE) }
    }
}

impl Looks {
    /// The jobs, where none looks into this repository; else they are left to whoever does.
    fn begin(&self, url: &str, jobs: Jobs) -> Option<Jobs> {
        match self.next.lock().unwrap_or_else(PoisonError::into_inner).entry(url.to_owned()) {
            Entry::Occupied(mut going_on) => {
                going_on.get_mut().extend(jobs);
                None
            }
            Entry::Vacant(free) => {
                free.insert(Jobs::new());
                Some(jobs)
            }
        }
    }

    /// Whether somebody looks into this repository.
    pub fn goes_on(&self, url: &str) -> bool {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).contains_key(url)
    }

    /// What was asked for meanwhile; with nothing the look is over.
    fn go_on(&self, url: &str) -> Option<Jobs> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = std::mem::take(next.get_mut(url)?);
        if jobs.is_empty() {
            next.remove(url);
            return None;
        }
        Some(jobs)
    }
}

/// Sees to it that these jobs of a repository are looked for. Returns at once.
pub fn look_into(app: &App, url: String, jobs: Jobs) {
    let mut jobs = app.mirrors.looks.begin(&url, jobs);
    let app = app.clone();
    tokio::spawn(async move {
        while let Some(these) = jobs {
            // In a task of its own, so that a look that panics is over like another.
            let look = tokio::spawn(look(app.clone(), url.clone(), these));
            if let Ok(Err(error)) = look.await {
                tracing::error!(repository = %url, %error, "cannot look for what jobs want of it; trying again");
            }
            jobs = app.mirrors.looks.go_on(&url);
        }
    });
}

/// Each job goes on as soon as its own commit is found.
async fn look(app: App, url: String, jobs: Jobs) -> Result<()> {
    tokio::select! {
        done = look_for(&app, &url, jobs) => done,
        () = app.stop.cancelled() => Ok(()),
    }
}

/// Looks for each commit once.
async fn look_for(app: &App, url: &str, jobs: Jobs) -> Result<()> {
    let mirrors = &app.mirrors;
    // Never closed.
    let _permit = mirrors.looks.permits.acquire().await;
    let mut by_commit: BTreeMap<Found, Vec<Waiting>> = BTreeMap::new();
    for job in jobs.into_values() {
        by_commit.entry(job.found.clone()).or_default().push(job);
    }
    let mut is_missing = false;
    for (found, jobs) in by_commit {
        let Some(pin_of_all) = mirrors.see(url, found).await else {
            is_missing = true;
            continue;
        };
        let (searches, jobs): (Vec<Waiting>, Vec<Waiting>) = jobs.into_iter().partition(Waiting::is_search);
        let pins: Vec<(i64, Pin)> = jobs.iter().map(|job| (job.row.seq, pin_of_all.clone())).collect();
        pin(app, &pins).await?;
        for job in searches {
            is_missing |= search(app, &job.task, &job.row, &job.wanted, &pin_of_all).await?.is_none();
        }
    }
    if is_missing {
        mirrors.fetch_for_jobs([url.to_owned()].into());
    }
    Ok(())
}

impl Mirrors {
    async fn see(&self, url: &str, found: Found) -> Option<Pin> {
        match found {
            Found::Pin(pin) => Some(pin),
            Found::Commit(commit) => {
                self.has(url, &commit).await.then(|| Pin { reference: commit.to_string(), commit })
            }
            Found::No(_) => None,
        }
    }

    async fn has(&self, url: &str, commit: &Commit) -> bool {
        let set = self.set();
        let Some(shown) = set.get(url) else { return false };
        has(&self.git, &self.repository(url), commit, &shown.heads).await
    }
}
