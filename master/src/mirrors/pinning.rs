//! Giving a job the commit that it runs.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use model::Time;
use model::source::Pin;
use rules::{Repo, Subject, Task, Wanted};
use tokio::time::Instant;

use super::discover::search;
use super::fetch::has;
use super::set::Found;
use super::{Mirrors, Set};
use crate::app::App;
use crate::store::{JobPin, Result};

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
        let fetched_at = self.set.get(&wanted.git).and_then(|row| row.fetched_at);
        let stale = repo.fixed().is_none() && fetched_at.is_none_or(|at| at < self.oldest);
        if stale { Found::No("it is to be fetched first".into()) } else { self.set.find(wanted) }
    }
}

impl Mirrors {
    pub fn pins(&self, now: Time) -> Pins {
        Pins { set: self.set(), oldest: now.minus(self.settings.interval).minus(self.settings.interval) }
    }

    /// Why a job has no commit yet.
    pub fn why(&self, task: &Task, subject: Subject<'_>) -> Option<String> {
        let wanted = task.wanted(subject).ok()??;
        match self.set().find(&wanted) {
            Found::No(why) => Some(why),
            Found::Commit(commit) => Some(format!("{} has no commit {commit}", wanted.git)),
            Found::Pin(_) => None,
        }
    }

    async fn has(&self, wanted: &Wanted, pin: Pin) -> Option<Pin> {
        has(&self.git, &self.repository(&wanted.git), &pin.commit).await.then_some(pin)
    }

    /// Those of these repositories that were not fetched for a job just now.
    fn not_tried(&self, urls: BTreeSet<String>) -> BTreeSet<String> {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        tried.retain(|_, at| now.duration_since(*at) < AGAIN);
        urls.into_iter().filter(|url| tried.insert(url.clone(), now).is_none()).collect()
    }
}

/// Gives their commits to the jobs that wait for one, and queues them; what is missing for the others is fetched.
pub async fn pin_waiting(app: &App) -> Result<usize> {
    let mirrors = &app.mirrors;
    let pins_now = mirrors.pins(app.store.now().await?);
    let (mut after, mut pinned, mut missing) = (0, 0, BTreeSet::new());
    loop {
        let rows = app.store.unpinned(after, SLICE).await?;
        let Some(last) = rows.last() else { break };
        after = last.seq;
        let (mut pins, mut searches) = (Vec::new(), Vec::new());
        for row in &rows {
            let Some(task) = app.tasks.version(row.task_version).await? else { continue };
            let subject = Subject {
                job: row.job,
                item: &row.item,
                item_type: &row.item_type,
                arch: &row.arch,
                params: &row.params,
            };
            // It rendered when the job was asked for.
            let (Some(repo), Ok(Some(wanted))) = (task.repo(), task.wanted(subject)) else { continue };
            let pin = match pins_now.find(repo, &wanted) {
                Found::Pin(pin) => Some(pin),
                Found::Commit(commit) => mirrors.has(&wanted, Pin { reference: commit.to_string(), commit }).await,
                Found::No(_) => None,
            };
            match pin {
                Some(pin) if task.searches(&row.params).is_some() => searches.push((row, task, wanted, pin)),
                Some(pin) => pins.push((row.seq, pin)),
                None => drop(missing.insert(wanted.git)),
            }
        }
        if !pins.is_empty() {
            app.store.pin(&pins).await?;
            app.store.promote().await?;
            pinned += pins.len();
        }
        for (row, task, wanted, pin) in searches {
            match search(app, &task, row, &wanted, &pin).await? {
                Some(made) => pinned += made,
                None => drop(missing.insert(wanted.git)),
            }
        }
    }
    let missing = mirrors.not_tried(missing);
    if !missing.is_empty() {
        mirrors.look_at(missing);
    }
    Ok(pinned)
}
