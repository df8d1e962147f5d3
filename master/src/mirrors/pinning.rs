//! Giving a job the commit that it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use model::Time;
use model::source::Pin;
use rules::{Repo, Subject, Task, Wanted};
use tokio::time::Instant;

use super::look::{Jobs, look_into};
use super::set::{Found, when};
use super::{Mirrors, Set};
use crate::app::App;
use crate::store::{JobPin, Result, Unpinned};

/// How many waiting jobs are looked at in one go.
const SLICE: u32 = 500;

/// How long a repository that lacks what a job wants is let be before it is fetched for it again.
const AGAIN: Duration = Duration::from_secs(30);

/// What the mirrors show at one moment, to pin jobs by.
#[derive(Clone, Debug, Default)]
pub struct Pins {
    set: Arc<Set>,
    /// A repository that is fetched only when a job wants it must have been fetched since then.
    oldest: Time,
}

impl Pins {
    /// The commit of a job, where it can be told without waiting for anyone: none of a search, which has to look into it.
    /// None where its task comes from no repository; the error says what cannot be rendered.
    pub fn of(&self, task: &Task, job: Subject<'_>) -> std::result::Result<Option<JobPin>, String> {
        let (Some(repo), Some(wanted)) = (task.repo(), task.wanted(job)?) else { return Ok(None) };
        if task.searches(job.params).is_some() {
            return Ok(Some(JobPin::Open(wanted.any())));
        }
        Ok(Some(match self.find(repo, &wanted) {
            Found::Pin(pin) => JobPin::At(pin),
            Found::Commit(_) | Found::No(_) => JobPin::Open(wanted.any()),
        }))
    }

    fn find(&self, repo: &Repo, wanted: &Wanted) -> Found {
        match self.set.get(&wanted.git) {
            Some(mirror) if repo.fixed().is_none() && mirror.fetched_at.is_some_and(|at| at < self.oldest) => {
                Found::No(format!("{} is to be fetched first: {}", wanted.git, when(mirror)))
            }
            Some(_) | None => self.set.find(wanted),
        }
    }
}

impl Mirrors {
    pub fn pins(&self, now: Time) -> Pins {
        Pins { set: self.set(), oldest: now.minus(self.settings.interval).minus(self.settings.interval) }
    }

    /// Why a job has no commit yet.
    pub fn why(&self, task: &Task, subject: Subject<'_>, now: Time) -> Option<String> {
        let (repo, wanted) = (task.repo()?, task.wanted(subject).ok()??);
        let pins = self.pins(now);
        match pins.find(repo, &wanted) {
            Found::No(why) => Some(why),
            Found::Commit(commit) if self.looks.goes_on(&wanted.git) => {
                Some(format!("{commit} is being looked for in {}", wanted.git))
            }
            Found::Commit(commit) => {
                let when = pins.set.get(&wanted.git).map(when)?;
                Some(format!("{} has no commit {commit}; {when}", wanted.git))
            }
            Found::Pin(_) => None,
        }
    }

    /// Fetches those of these repositories that were not fetched for a job just now.
    pub fn fetch_for_jobs(&self, urls: BTreeSet<String>) {
        let urls = self.not_tried(urls);
        if !urls.is_empty() {
            self.look_at(urls);
        }
    }

    fn not_tried(&self, urls: BTreeSet<String>) -> BTreeSet<String> {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        tried.retain(|_, at| now.duration_since(*at) < AGAIN);
        urls.into_iter().filter(|url| tried.insert(url.clone(), now).is_none()).collect()
    }
}

/// A job that waits for its commit, and what the mirrors say to what it wants.
pub struct Waiting {
    pub row: Unpinned,
    pub task: Arc<Task>,
    pub wanted: Wanted,
    pub found: Found,
}

impl Waiting {
    pub fn is_search(&self) -> bool {
        self.task.searches(&self.row.params).is_some()
    }
}

/// The next of those that wait, behind number `after`, which moves on; `None` behind the last of them.
async fn slice(app: &App, pins: &Pins, after: &mut i64) -> Result<Option<Vec<Waiting>>> {
    let rows = app.store.unpinned(*after, SLICE).await?;
    let Some(last) = rows.last() else { return Ok(None) };
    *after = last.seq;
    let mut slice = Vec::new();
    for row in rows {
        let Some(task) = app.tasks.version(row.task_version).await? else { continue };
        let subject =
            Subject { job: row.job, item: &row.item, item_type: &row.item_type, arch: &row.arch, params: &row.params };
        // It rendered when the job was asked for.
        let (Some(repo), Ok(Some(wanted))) = (task.repo(), task.wanted(subject)) else { continue };
        let found = pins.find(repo, &wanted);
        slice.push(Waiting { row, task, wanted, found });
    }
    Ok(Some(slice))
}

/// Gives their commits to the jobs that wait for a branch or tag, and queues them; what is missing for the others is
/// fetched. It waits for no git: what only a repository itself can tell is looked for aside.
pub async fn pin_waiting(app: &App) -> Result<()> {
    let pins_now = app.mirrors.pins(app.store.now().await?);
    let mut after = 0;
    while let Some(waiting) = slice(app, &pins_now, &mut after).await? {
        let (mut pins, mut missing, mut looks) = (Vec::new(), BTreeSet::new(), BTreeMap::new());
        for job in waiting {
            match job.found {
                Found::Pin(pin) if !job.is_search() => pins.push((job.row.seq, pin)),
                Found::Pin(_) | Found::Commit(_) => {
                    looks.entry(job.wanted.git.clone()).or_insert_with(Jobs::new).insert(job.row.seq, job);
                }
                Found::No(_) => drop(missing.insert(job.wanted.git)),
            }
        }
        pin(app, &pins).await?;
        app.mirrors.fetch_for_jobs(missing);
        looks.into_iter().for_each(|(url, jobs)| look_into(app, url, jobs));
    }
    Ok(())
}

/// Gives jobs their commits, and queues them.
pub async fn pin(app: &App, pins: &[(i64, Pin)]) -> Result<()> {
    if pins.is_empty() {
        return Ok(());
    }
    app.store.pin(pins).await?;
    app.store.promote().await.map(drop)
}
