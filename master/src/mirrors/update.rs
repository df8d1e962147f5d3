//! Fetching mirrors, and showing together what was fetched together.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

use model::operator::Warning;
use model::source::{MirrorNote, MirrorView, mirror_name};
use model::vitals::MirrorVitals;
use model::{Span, Time};
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::fetch::fetch;
use super::pin_waiting;
use crate::app::App;
use crate::store::{MirrorRow, Result};

/// How long what was fetched waits for what is still being fetched, to be shown together with it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How long a repository that no task names by a fixed address is kept up to date after a job has wanted it.
const RECENT: Span = Span::days(1);

/// How long a force-push or a deleted branch is told, and how many of them.
const TOLD: Span = Span::days(7);
const MOST_TOLD: usize = 20;

/// For how long it is worth a warning.
const WARNED: Span = Span::days(1);

/// Which repositories to fetch.
#[derive(Clone, Debug)]
pub enum Which {
    /// All that are kept up to date; those being fetched just now are left to that.
    Due,
    /// These. A job wants them, where they are not a task's own.
    These(BTreeSet<String>),
}

/// What became of an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub fetched: usize,
    pub failed: usize,
    /// Shown by themselves when they are ready.
    pub later: usize,
}

/// The repositories that the tasks of the configuration in force name, and which tasks those are.
fn named(app: &App) -> BTreeMap<String, Vec<String>> {
    let configuration = app.live().configuration;
    let mut named: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, task) in configuration.tasks() {
        if let Some(url) = task.repo().and_then(|repo| repo.fixed()) {
            named.entry(url.to_owned()).or_default().push(name.clone());
        }
    }
    named
}

/// What is due: with `due` all repositories, else what was asked for since. Fetches go on after it has returned.
pub async fn tick(app: &App, due: bool) -> Result<()> {
    let changed = app.mirrors.catch_up().await?;
    let asked = app.mirrors.take_asked();
    if due {
        forget(app).await?;
        go_on(app.clone(), Which::Due);
    }
    // One that is in line will see what this one would.
    let urls = app.mirrors.line_up(asked.urls);
    if !urls.is_empty() {
        go_on(app.clone(), Which::These(urls));
    }
    if changed || asked.jobs || due {
        pin_waiting(app).await?;
    }
    Ok(())
}

fn go_on(app: App, which: Which) {
    tokio::spawn(async move {
        if let Err(error) = update(&app, which, PATIENCE).await {
            tracing::error!(%error, "cannot show what was fetched of the tasks' repositories; trying again");
        }
    });
}

/// Removes the mirrors that no task and no job has wanted for long.
async fn forget(app: &App) -> Result<()> {
    let (named, now) = (named(app), app.store.now().await?);
    let set = app.mirrors.set();
    let old = |row: &&MirrorRow| !named.contains_key(&row.url) && row.wanted_at < now.minus(app.mirrors.settings.keep);
    let gone: Vec<String> = set.all().filter(old).map(|row| row.url.clone()).collect();
    if gone.is_empty() {
        return Ok(());
    }
    app.store.swap_mirrors(&[], &gone).await?;
    for url in &gone {
        let repository = app.mirrors.repository(url);
        if let Err(e) = tokio::fs::remove_dir_all(&repository).await {
            tracing::warn!("cannot remove the mirror {}: {e}", repository.display());
        }
    }
    app.mirrors.catch_up().await.map(drop)
}

/// Fetches repositories and shows what came, all of it at once; each that keeps the others waiting for longer than
/// `patience` follows by itself.
pub async fn update(app: &App, which: Which, patience: Duration) -> Result<Summary> {
    let named = named(app);
    let (urls, by_job, in_turn) = match which {
        // Nothing may fail before they are fetched: each stands in line until then.
        Which::These(urls) => (urls, true, true),
        Which::Due => {
            let (set, now) = (app.mirrors.set(), app.store.now().await?);
            let recent = set.all().filter(|row| row.wanted_at > now.minus(RECENT)).map(|row| row.url.clone());
            (named.keys().cloned().chain(recent).collect::<BTreeSet<_>>(), false, false)
        }
    };
    let mut fetching = JoinSet::new();
    for url in urls {
        let wanted = by_job || named.contains_key(&url);
        let app = app.clone();
        fetching.spawn(async move {
            tokio::select! {
                done = fetch_one(app.clone(), url, wanted, in_turn) => done,
                () = app.stop.cancelled() => None,
            }
        });
    }
    let (mut done, until) = (Vec::new(), Instant::now() + patience);
    while let Ok(Some(fetched)) = tokio::time::timeout_at(until, fetching.join_next()).await {
        // One that panicked has said so, and is tried again.
        done.extend(fetched.ok().flatten());
    }
    let mut summary = show(app, done).await?;
    summary.later = fetching.len();
    if summary.later > 0 {
        tokio::spawn(show_each(app.clone(), fetching));
    }
    Ok(summary)
}

/// Nothing waits for the next one, which may never come.
async fn show_each(app: App, mut fetching: JoinSet<Option<Done>>) {
    while let Some(fetched) = fetching.join_next().await {
        if let Err(error) = show(&app, fetched.ok().flatten().into_iter().collect()).await {
            tracing::error!(%error, "cannot show what was fetched of the tasks' repositories; trying again");
        }
    }
}

/// What was fetched, and the right to be the only one who does: until it is shown.
struct Done {
    row: MirrorRow,
    _here: OwnedMutexGuard<()>,
    _elsewhere: File,
}

async fn fetch_one(app: App, url: String, wanted: bool, in_turn: bool) -> Option<Done> {
    let mirrors = &app.mirrors;
    // Without the lock: who waits for a permit must not keep a job's own fetch of that repository waiting too.
    let routine = if in_turn { None } else { Some(mirrors.fetching.acquire().await.ok()?) };
    let lock = mirrors.lock_of(&url);
    let here = if in_turn { lock.lock_owned().await } else { lock.try_lock_owned().ok()? };
    mirrors.lined_up.lock().unwrap_or_else(PoisonError::into_inner).remove(&url);
    let failed = |why: String| {
        tracing::warn!(repository = %url, "cannot fetch a task's repository: {why}");
        why
    };
    let elsewhere = loop {
        match lock_file(&mirrors.folder, &mirror_name(&url)) {
            Ok(Some(file)) => break file,
            Ok(None) if in_turn => tokio::time::sleep(Duration::from_millis(200)).await,
            // Another master is at it.
            Ok(None) => return None,
            Err(e) => {
                failed(format!("cannot lock its mirror in {}: {e}", mirrors.folder.display()));
                return None;
            }
        }
    };
    let _permit = match routine {
        Some(permit) => permit,
        None => mirrors.fetching_for_jobs.acquire().await.ok()?,
    };
    // Whoever had the lock before may have changed what it shows.
    if let Err(error) = mirrors.catch_up().await {
        failed(error.to_string());
        return None;
    }
    let now = app.store.now().await.ok()?;
    let before = mirrors.set().get(&url).cloned().unwrap_or_default();
    let whole = !mirrors.seen.lock().unwrap_or_else(PoisonError::into_inner).contains(&url);
    let keep = mirrors.settings.keep;
    let fetched = fetch(&mirrors.git, &mirrors.repository(&url), &url, &before.heads, whole, keep, now).await;
    let wanted_at = if wanted { now } else { before.wanted_at };
    let row = match fetched {
        Ok(fetched) => {
            mirrors.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(url.clone());
            if before.failed.is_some() {
                tracing::info!(repository = %url, "a task's repository can be fetched again");
            }
            for note in &fetched.notes {
                tracing::warn!(repository = %url, "{note}");
            }
            let fresh = fetched.notes.into_iter().map(|what| MirrorNote { what, since: now });
            let told = before.notes.into_iter().filter(|note| note.since > now.minus(TOLD));
            let notes = fresh.chain(told).take(MOST_TOLD).collect();
            MirrorRow { url, heads: fetched.heads, fetched_at: Some(now), failed: None, notes, wanted_at }
        }
        Err(why) => {
            let since = before.failed.as_ref().map_or(now, |note| note.since);
            let what = if before.failed.is_some() { why } else { failed(why) };
            MirrorRow { url, failed: Some(MirrorNote { what, since }), wanted_at, ..before }
        }
    };
    Some(Done { row, _here: here, _elsewhere: elsewhere })
}

/// The lock of a mirror among all masters that share the folder; none while another has it. It is held as long as the
/// file is open.
fn lock_file(folder: &Path, name: &str) -> std::io::Result<Option<File>> {
    fs::create_dir_all(folder)?;
    let path = folder.join(format!("{name}.lock"));
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(e)) => Err(e),
    }
}

/// One swap: after it, all masters go by all of it.
async fn show(app: &App, done: Vec<Done>) -> Result<Summary> {
    let rows: Vec<MirrorRow> = done.iter().map(|done| done.row.clone()).collect();
    let failed = rows.iter().filter(|row| row.failed.is_some()).count();
    if !rows.is_empty() {
        app.store.swap_mirrors(&rows, &[]).await?;
        app.mirrors.catch_up().await?;
        app.mirrors.look_for_jobs();
    }
    Ok(Summary { fetched: rows.len() - failed, failed, later: 0 })
}

/// All mirrors as people see them, also those that are still to be made.
pub fn views(app: &App) -> Vec<MirrorView> {
    let (set, named) = (app.mirrors.set(), named(app));
    let urls: BTreeSet<&String> = set.all().map(|row| &row.url).chain(named.keys()).collect();
    let view = |url: &String| {
        let row = set.get(url).cloned().unwrap_or_default();
        MirrorView {
            name: mirror_name(url),
            git: url.clone(),
            branches: row.heads.branches.len() as u64,
            tags: row.heads.tags.len() as u64,
            fetched_at: row.fetched_at,
            failed: row.failed,
            notes: row.notes,
            tasks: named.get(url).cloned().unwrap_or_default(),
        }
    };
    urls.into_iter().map(view).collect()
}

/// What a check judges of the mirrors.
pub fn vitals(app: &App, now: Time) -> MirrorVitals {
    let views = views(app);
    let failed = views.iter().filter(|view| view.failed.is_some()).count() as u64;
    MirrorVitals { repositories: views.len() as u64, failed, warnings: warnings(app, now) }
}

/// What of the mirrors somebody should look at although work goes on.
pub fn warnings(app: &App, now: Time) -> Vec<Warning> {
    let look = || Some("taskotron mirrors list".to_owned());
    let mut warnings = Vec::new();
    for view in views(app) {
        if let Some(failed) = view.failed {
            let goes_on = match view.fetched_at {
                Some(at) => format!("jobs run what it had at {}", at.to_seconds()),
                None => "its jobs wait".to_owned(),
            };
            let what = format!("{} cannot be fetched, {goes_on}: {}", view.git, failed.what);
            warnings.push(Warning { what, since: Some(failed.since), look: look() });
        }
        for note in view.notes.into_iter().filter(|note| note.since > now.minus(WARNED)) {
            let what = format!("{}: {}", view.git, note.what);
            warnings.push(Warning { what, since: Some(note.since), look: look() });
        }
    }
    warnings
}
