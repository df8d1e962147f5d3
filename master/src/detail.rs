//! One job or one event with all that is known of it, as the API and the pages both show it.

use model::operator::{EventDetail, JobDetail, VerdictView};
use model::source::JobSource;
use model::{JobId, Time};
use net::Problem;

use crate::api::ApiError;
use crate::app::App;
use crate::store::{JobParts, JobPin, Lookup, Place};
use crate::why;

/// The job that a text names: its id, or the beginning of it.
pub async fn named(app: &App, text: &str) -> Result<JobId, ApiError> {
    match app.store.lookup(text).await? {
        Lookup::One(job) => Ok(job),
        Lookup::None => Err(Problem::not_found(format!("there is no job '{text}'")).into()),
        Lookup::Several => {
            Err(Problem::conflict(format!("several jobs begin with '{text}': say more of the id")).into())
        }
    }
}

pub async fn parts(app: &App, job: JobId) -> Result<JobParts, ApiError> {
    app.store.job(job).await?.ok_or_else(|| Problem::not_found(format!("there is no job {job}")).into())
}

pub async fn job(app: &App, job: JobId) -> Result<JobDetail, ApiError> {
    let parts = parts(app, job).await?;
    let why = why::job(app, &parts).await?.why;
    let source = source(app, &parts).await?;
    let mut attempts_made = app.store.attempts(job).await?;
    for attempt in attempts_made.iter_mut().filter(|attempt| attempt.finished_at.is_none()) {
        // Until it ends, its log is as long as what has come of it.
        attempt.log_size = app.logs.size(job, attempt.attempt).await.unwrap_or_default().unwrap_or(attempt.log_size);
    }
    let found = if parts.summary.is_search() { app.store.found_by(job).await? } else { Vec::new() };
    let results_url = app.settings.results.as_ref().map(|results| {
        let base = results.url.as_str().trim_end_matches('/');
        format!("{base}/api/v2.0/results?groups={job}")
    });
    Ok(JobDetail {
        unsettled: matches!(parts.place, Place::Unsettled { .. }),
        job: parts.summary,
        priority: parts.priority,
        params: parts.params,
        generation: parts.generation,
        recorder: parts.recorder,
        expires_at: parts.expires_at,
        needs: parts.needs,
        source,
        why,
        attempts_made,
        found,
        results_url,
    })
}

/// Which repository a job's task comes from, and at which commit.
async fn source(app: &App, parts: &JobParts) -> Result<Option<JobSource>, ApiError> {
    let (Some(pin), Some(task)) = (&parts.source, app.tasks.version(parts.task_version).await?) else {
        return Ok(None);
    };
    // A task whose templates have no text any more has said so where it was to run.
    let Ok(Some(wanted)) = task.wanted(parts.subject()) else { return Ok(None) };
    let (reference, commit) = match pin {
        JobPin::At(pin) => (pin.reference.clone(), Some(pin.commit.clone())),
        JobPin::Open(any) => (any.clone(), None),
    };
    Ok(Some(JobSource { git: wanted.git, reference, commit, path: wanted.path }))
}

pub async fn event(app: &App, id: &str) -> Result<EventDetail, ApiError> {
    let stored = app.store.event(id).await?;
    let stored = stored.ok_or_else(|| Problem::not_found(format!("there is no event '{id}'")))?;
    let jobs = app.store.jobs_of_event(id).await?;
    let divergences = app.store.divergences_of(id, app.settings.pair_grace).await?;
    let (configuration, event) = (app.live().configuration, stored.event);
    let recorded_at: Time = stored.recorded_at;
    // Hundreds of rules over a large event take a while, which is not the other requests' to wait.
    let (mut verdicts, event) = tokio::task::spawn_blocking(move || {
        let verdicts = configuration.verdicts(&event, recorded_at);
        (verdicts.into_iter().map(Into::into).collect::<Vec<VerdictView>>(), event)
    })
    .await
    .map_err(|_| Problem::internal())?;
    for search in jobs.iter().filter(|job| job.is_search()) {
        let Some(verdict) = verdicts.iter_mut().find(|verdict| verdict.rule == search.rule) else { continue };
        let why = why::job(app, &parts(app, search.id).await?).await?.why;
        verdict.why.push_str(&format!("; {} on {}: {why}", search.task, search.item));
    }
    Ok(EventDetail {
        event,
        recorded_at: stored.recorded_at,
        recorder: stored.recorder,
        generation: stored.generation,
        matched: stored.matched,
        verdicts,
        jobs,
        divergences,
    })
}
