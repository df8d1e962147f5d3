//! What people do to jobs, one or many at a time, asked for alike by the API and the pages.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use model::deed::{Acted, ActedJob, JobsAct, Verb};
use model::intake::JobAnswer;
use model::{JobId, JobState};
use net::Problem;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::api::{ApiError, JobQuery};
use crate::app::App;
use crate::judge;
use crate::next;
use crate::store::{Deed, Ending, Fresh, JobFilter, Obeyed, Order, Request};
use crate::tasks::Current;

/// How many jobs of a filter one request is about: one transaction, and no longer than others can wait.
const CHUNK: u32 = 200;

/// How many jobs one request may name.
const MOST: usize = 1000;

/// The longest name of a request, in bytes.
const LONGEST_KEY: usize = 200;

/// Does it, or says what would be done. `key` names the request: the same again is answered the same.
pub async fn act(app: &App, verb: Verb, asked: &JobsAct, actor: &str, key: Option<&str>) -> Result<Acted, ApiError> {
    let deed = deed(verb, asked)?;
    if !asked.dry_run && asked.reason.trim().is_empty() {
        return Err(Problem::bad_request("the reason is empty: say why, for those who come after").into());
    }
    let request = request(verb, asked, actor, key)?;
    if let (Some(_), false) = (key, asked.dry_run)
        && let Some(before) = app.store.answered(&request).await?
    {
        return answer(before);
    }
    let (jobs, next) = jobs(app, verb, asked).await?;
    let fresh = if deed == Deed::Rerun { fresh_of(app, &jobs).await? } else { BTreeMap::new() };
    if let Deed::Settle(_) = deed {
        // The version of its task may have been stored by another master.
        app.tasks.catch_up().await?;
    }
    let settled = |ending: &Ending, outcome, note: &str| {
        let task = app.tasks.known(ending.task_version);
        next::settled(ending, outcome, note, task.as_deref(), &app.settings)
    };
    let order = Order {
        deed,
        jobs: &jobs,
        actor,
        reason: asked.reason.trim(),
        dry_run: asked.dry_run,
        request: &request,
        next: next.as_deref(),
        fresh: &fresh,
        settled: &settled,
    };
    let acted = answer(app.store.act(&order).await?)?;
    if deed == Deed::Rerun {
        app.mirrors.look_for_jobs();
    }
    if !asked.dry_run && acted.done > 0 {
        let reason = asked.reason.trim();
        tracing::info!(actor, %verb, reason, jobs = acted.done, "a person changed the course of jobs");
    }
    Ok(acted)
}

/// Orders one job anew: the job that was made, or why there is none. `key` names the request, also where it asks for other
/// jobs as well.
pub async fn again(app: &App, job: JobId, reason: &str, actor: &str, key: Option<&str>) -> Result<JobAnswer, ApiError> {
    let asked = JobsAct { reason: reason.to_owned(), jobs: vec![job], ..JobsAct::default() };
    let key = key.map(|key| Uuid::new_v5(&job.0, key.as_bytes()).to_string());
    match act(app, Verb::Rerun, &asked, actor, key.as_deref()).await?.jobs.pop() {
        Some(ActedJob { new_job: Some(job), .. }) => Ok(JobAnswer::Submitted { job }),
        Some(left) => Ok(JobAnswer::Refused { reason: left.note }),
        None => Err(Problem::internal().into()),
    }
}

fn answer(obeyed: Obeyed) -> Result<Acted, ApiError> {
    match obeyed {
        Obeyed::Acted(acted) => Ok(acted),
        Obeyed::Unknown(job) => Err(Problem::not_found(format!("there is no job {job}; nothing was changed")).into()),
        Obeyed::OtherRequest => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "a request of this Idempotency-Key asked for something else: give each its own",
        )
        .into()),
    }
}

fn deed(verb: Verb, asked: &JobsAct) -> Result<Deed, Problem> {
    let only = |name: &str, given: bool, of: Verb| match given && verb != of {
        true => Err(Problem::bad_request(format!("'{name}' is for {of}, not for {verb}"))),
        false => Ok(()),
    };
    only("priority", asked.priority.is_some(), Verb::Priority)?;
    only("as", asked.settlement.is_some(), Verb::Settle)?;
    Ok(match verb {
        Verb::Cancel => Deed::Cancel,
        Verb::Rerun => Deed::Rerun,
        Verb::Retry => Deed::Retry,
        Verb::Priority => Deed::Priority(
            asked
                .priority
                .ok_or_else(|| Problem::bad_request("'priority' is missing: a number, greater runs earlier"))?,
        ),
        Verb::Settle => Deed::Settle(asked.settlement.ok_or_else(|| {
            Problem::bad_request("'as' is missing: requeue, passed, info, needs_inspection, failed or error")
        })?),
    })
}

fn request(verb: Verb, asked: &JobsAct, actor: &str, key: Option<&str>) -> Result<Request, Problem> {
    let key = match key {
        Some(key) if key.len() > LONGEST_KEY => {
            return Err(Problem::bad_request(format!("an Idempotency-Key has at most {LONGEST_KEY} bytes")));
        }
        // One is not told what another was answered.
        Some(key) => format!("{actor}/{key}"),
        None => net::clock::uuid().to_string(),
    };
    let content = Sha256::digest(json!([verb.name(), actor, asked]).to_string()).into();
    Ok(Request { key, content })
}

/// The jobs that are named, or the next ones that are found, and where a filter goes on.
async fn jobs(app: &App, verb: Verb, asked: &JobsAct) -> Result<(Vec<JobId>, Option<String>), ApiError> {
    let Some(filter) = &asked.filter else {
        let jobs: BTreeSet<JobId> = asked.jobs.iter().copied().collect();
        return match jobs.len() {
            0 => Err(Problem::bad_request("say which jobs: by 'jobs', a list of ids, or by 'filter'").into()),
            1..=MOST => Ok((jobs.into_iter().collect(), None)),
            n => Err(Problem::bad_request(format!("{n} jobs are named, and one request takes {MOST}")).into()),
        };
    };
    if !asked.jobs.is_empty() {
        return Err(Problem::bad_request("say which jobs either by 'jobs' or by 'filter'").into());
    }
    let query = JobQuery::of(filter)?;
    let filter = narrowed(verb, &query)?;
    if !asked.yes && !asked.dry_run {
        let most = app.settings.max_unasked;
        let (found, _) = app.store.jobs(&filter, None, most.saturating_add(1)).await?;
        if found.len() > most as usize {
            let detail = format!(
                "more than {most} jobs are found, which are not touched unasked: look at them by a dry run, then say yes"
            );
            return Err(Problem::new(StatusCode::PRECONDITION_REQUIRED, detail).into());
        }
    }
    let (after, _) = query.place()?;
    let (found, next) = app.store.jobs(&filter, after, CHUNK).await?;
    Ok((found.into_iter().map(|job| job.id).collect(), next.map(|next| next.to_string())))
}

/// What a filter finds to which this can be done; one that says nothing would find everything, and is refused.
fn narrowed(verb: Verb, query: &JobQuery) -> Result<JobFilter, Problem> {
    if query.says_nothing() {
        let states = verb.states().iter().map(|state| state.name()).collect::<Vec<_>>().join(",");
        return Err(Problem::bad_request(format!("the filter says nothing: for all of them write state {states}")));
    }
    let mut filter = query.filter()?;
    if let Some(state) = filter.states.iter().find(|state| !verb.states().contains(state)) {
        let possible = verb.states().iter().map(|state| state.name()).collect::<Vec<_>>().join(", ");
        return Err(Problem::bad_request(format!("{verb} is for jobs that are {possible}, not {state}")));
    }
    if filter.states.is_empty() {
        filter.states = verb.states().to_vec();
    }
    if verb != Verb::Rerun && filter.outcome.is_some() {
        return Err(Problem::bad_request(format!(
            "only what has ended has an outcome, and {verb} is for what has not"
        )));
    }
    filter.unsettled |= verb == Verb::Settle;
    if filter.unsettled && !filter.states.contains(&JobState::Waiting) {
        return Err(Problem::bad_request("what waits for a person is waiting, and in no other state"));
    }
    if filter.unsettled {
        filter.states = vec![JobState::Waiting];
    }
    Ok(filter)
}

async fn fresh_of(app: &App, jobs: &[JobId]) -> Result<BTreeMap<JobId, Fresh>, ApiError> {
    let (current, _) = app.current().await?;
    let mut all = BTreeMap::new();
    for job in jobs {
        if let Some(fresh) = fresh(app, &current, *job).await? {
            all.insert(*job, fresh);
        }
    }
    Ok(all)
}

/// A job's task as it is configured now, and its repository as it is now. None where there is none any more, or it does
/// not fit the job any more: then the version runs that ran before.
async fn fresh(app: &App, current: &Current, job: JobId) -> Result<Option<Fresh>, ApiError> {
    let Some(parts) = app.store.job(job).await? else { return Ok(None) };
    let summary = &parts.summary;
    let Some(version) = current.tasks.get(&summary.task) else { return Ok(None) };
    let subject = rules::Subject {
        job,
        item: &summary.item,
        item_type: &summary.item_type,
        arch: &summary.arch,
        params: &parts.params,
    };
    let now = app.store.now().await?;
    Ok(judge::fresh(version, subject, current, &app.mirrors.pins(now)).ok())
}
