//! A search: the folders of a repository in which a task is, at the commit that the search was pinned to, and a job for
//! each of them.

use std::collections::BTreeSet;

use db::in_time;
use model::source::Pin;
use model::{JobState, NewJob};
use rules::{MOST_FOLDERS, Subject, Task, Wanted};

use crate::app::App;
use crate::secrets;
use crate::store::{Admitted, Candidate, Found, JobParts, JobPin, Result, Unpinned};

/// Folders that a reason names before it only counts them.
const NAMED: usize = 20;

/// Looks, and makes the jobs of what is found; how many. None where the repository cannot be looked into at the moment.
pub async fn search(app: &App, task: &Task, row: &Unpinned, wanted: &Wanted, pin: &Pin) -> Result<Option<usize>> {
    let mirrors = &app.mirrors;
    let files = match git::files(&mirrors.git, &mirrors.repository(&wanted.git), &pin.commit).await {
        Ok(files) => files,
        Err(why) => {
            tracing::warn!(job.id = %row.job, repository = %wanted.git, "cannot look for the folders of a task: {why}");
            return Ok(None);
        }
    };
    // It may have been cancelled since.
    let (Some(discover), Some(parts)) = (task.searches(&row.params), in_time(app.store.job(row.job)).await?) else {
        return Ok(Some(0));
    };
    let folders = discover.folders(files.iter().map(String::as_str));
    let place = format!("{} at {} ({})", wanted.git, pin.commit.short(), pin.reference);
    let (state, reason, jobs) = match folders.len() {
        0 => (JobState::Finished, format!("found nothing: {place} has no {}", discover.patterns()), Vec::new()),
        n if n > MOST_FOLDERS => {
            let reason = format!(
                "found {n} folders for {} in {place}, and {MOST_FOLDERS} is the most: make discover narrower",
                discover.patterns()
            );
            (JobState::Cancelled, reason, Vec::new())
        }
        _ => {
            let (jobs, reason) = jobs(app, task, row, &parts, pin, &folders);
            (JobState::Finished, format!("found {reason} in {place}"), jobs)
        }
    };
    let found = Found { seq: row.seq, pin, state, reason: &reason, jobs: &jobs };
    Ok(Some(app.store.found(&found).await?))
}

/// A job for each folder, and in words which these are and what could not be made.
fn jobs(
    app: &App,
    task: &Task,
    row: &Unpinned,
    parts: &JobParts,
    pin: &Pin,
    folders: &BTreeSet<String>,
) -> (Vec<Candidate>, String) {
    let (mut jobs, mut named, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
    for folder in folders {
        match job(app, task, row, parts, pin, folder) {
            Ok(admitted) => {
                jobs.push(Candidate::Admitted(Box::new(admitted)));
                named.push(folder.as_str());
            }
            Err(why) => wrong.push(format!("; not {folder}: {why}")),
        }
    }
    let more = named.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let first = named[..named.len().min(NAMED)].join(", ");
    let wrong = wrong.into_iter().take(NAMED).collect::<String>();
    (jobs, format!("{first}{more}{wrong}"))
}

fn job(
    app: &App,
    task: &Task,
    row: &Unpinned,
    parts: &JobParts,
    pin: &Pin,
    folder: &str,
) -> std::result::Result<Admitted, String> {
    let asked = &parts.summary;
    let job = NewJob {
        key: row.job.in_folder(folder),
        task: asked.task.clone(),
        item: asked.item.clone(),
        item_type: asked.item_type.clone(),
        arch: asked.arch.clone(),
        rule: asked.rule.clone(),
        priority: parts.priority,
        params: task.found(&row.params, folder),
        expires_at: parts.expires_at,
        supersede: parts.supersede.clone(),
    };
    let subject = Subject::from(&job);
    task.check(subject)?;
    Ok(Admitted {
        task_version: row.task_version,
        needs: secrets::left(task.needs(subject)?, &app.settings.secrets),
        source: Some(JobPin::At(pin.clone())),
        limit: task.limit(subject)?,
        recorder: parts.recorder.clone(),
        recorded_at: parts.recorded_at,
        ordered_at: row.ordered_at.unwrap_or(parts.recorded_at),
        generation: parts.generation,
        event: asked.event_id.clone(),
        rerun_of: None,
        search: Some(row.job),
        job,
    })
}
