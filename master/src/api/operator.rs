//! For operators: modes, and decisions about single jobs. Every act has a reason and stands in the audit.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use model::deed::{Did, JobsAct, Verb};
use model::intake::JobAnswer;
use model::missed::{TriggerState, Triggers};
use model::operator::{IdleRequest, JobDetail, Mode, ModeView, Release, ResumeRequest, Resumed};
use net::{Caller, Problem};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::extract::Json;
use super::{ApiResult, missed};
use crate::acts;
use crate::app::App;
use crate::detail;
use crate::mode;
use crate::store::{self, Act};
use crate::window;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/idle", post(idle))
        .route("/resume", post(resume))
        .route("/triggers/{recorder}/forget", post(forget))
        .route("/jobs/{job}/cancel", post(cancel))
        .route("/jobs/{job}/rerun", post(rerun))
}

/// Why a person does something.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    pub reason: String,
}

fn given(reason: &str) -> Result<(), Problem> {
    match reason.trim().is_empty() {
        true => Err(Problem::bad_request("the reason is empty: say why, for those who find the system like this")),
        false => Ok(()),
    }
}

fn act(caller: &Caller, action: &'static str, object: String, reason: &str, before: Value) -> Act {
    Act { actor: caller.name.clone(), action, object, reason: reason.to_owned(), before, after: Value::Null }
}

/// Stops giving out work; the system is idle once everything that runs has ended.
#[utoipa::path(post, path = "/api/v1/idle", tag = "operator", request_body = IdleRequest,
    responses((status = 200, body = ModeView)))]
pub async fn idle(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<IdleRequest>,
) -> ApiResult<axum::Json<ModeView>> {
    given(&body.reason)?;
    let before = app.store.mode().await?;
    let act = Act {
        after: json!({"mode": Mode::Draining, "finish_queue": body.finish_queue, "on_deadline": body.on_deadline}),
        ..act(&caller, "idle", "system".into(), &body.reason, json!({"mode": before.mode, "by": before.by}))
    };
    app.store.drain(&body, &act).await?;
    tracing::info!(actor = %caller.name, reason = %body.reason, "idle was asked for");
    // Where nothing runs it is reached at once, not a tick later.
    let observed = mode::observe(&app).await?;
    Ok(axum::Json(mode::view(&app, observed).await?))
}

/// Gives out work again, the backlog at a rate. More than the configuration lets through unasked needs `yes`.
#[utoipa::path(post, path = "/api/v1/resume", tag = "operator", request_body = ResumeRequest,
    responses((status = 200, body = Resumed)))]
pub async fn resume(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<ResumeRequest>,
) -> ApiResult<axum::Json<Resumed>> {
    if !body.dry_run {
        given(&body.reason)?;
    }
    let backlog = app.store.backlog().await?;
    let before = app.store.mode().await?;
    let (most, rate) = (app.settings.resume.max_backlog, body.rate.unwrap_or(app.settings.resume.rate));
    let queued: u64 = backlog.iter().map(|row| row.jobs).sum();
    let mut release = store::plan(queued, rate, app.store.now().await?);
    if before.mode == Mode::Active {
        release.held = 0;
    } else if !body.dry_run {
        if queued > most && !body.yes {
            return Err(Problem::conflict(format!(
                "{queued} jobs would be let go, more than the {most} that go unasked: look at them with \
                 'taskotron resume --dry-run', then say --yes"
            ))
            .into());
        }
        let act = Act {
            after: json!({"mode": Mode::Active, "backlog": queued, "rate": rate}),
            ..act(&caller, "resume", "system".into(), &body.reason, json!({"mode": before.mode, "by": before.by}))
        };
        release = app.store.resume(&act, rate).await?.1;
        tracing::info!(actor = %caller.name, reason = %body.reason, backlog = queued, rate, "resumed");
    }
    let (mode, window) = (mode::present(&app).await?, window::newest(&app).await?);
    let window = window.filter(|_| before.mode == Mode::Idle);
    let release = Release { held: release.held, rate, until: release.until };
    Ok(axum::Json(Resumed { mode, backlog, release, window }))
}

/// Forgets a trigger that will not come back: idle and `missed` wait for it no more.
#[utoipa::path(post, path = "/api/v1/triggers/{recorder}/forget", tag = "operator",
    params(("recorder" = String, Path,)), request_body = Reason, responses((status = 200, body = Triggers)))]
pub async fn forget(
    State(app): State<App>,
    caller: Caller,
    Path(recorder): Path<String>,
    Json(body): Json<Reason>,
) -> ApiResult<axum::Json<Triggers>> {
    given(&body.reason)?;
    let known = missed::triggers(State(app.clone())).await?.0;
    let Some(trigger) = known.items.iter().find(|trigger| trigger.recorder == recorder) else {
        return Err(Problem::not_found(format!("there is no trigger {recorder}")).into());
    };
    if trigger.state == TriggerState::Heard {
        return Err(Problem::new(
            StatusCode::PRECONDITION_FAILED,
            format!("trigger {recorder} is there: it was heard from at {}; stop it first", trigger.last_heard),
        )
        .into());
    }
    let before = json!({"next": trigger.next, "last_heard": trigger.last_heard});
    let act = act(&caller, "trigger.forget", format!("trigger {recorder}"), &body.reason, before);
    app.store.forget_trigger(&recorder, &act).await?;
    missed::triggers(State(app)).await
}

/// Cancels a job: at once where it has not begun, else as soon as its worker has stopped it.
#[utoipa::path(post, path = "/api/v1/jobs/{job}/cancel", tag = "operator", params(("job" = String, Path,)),
    request_body = Reason, responses((status = 200, body = JobDetail)))]
pub async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Path(job): Path<String>,
    Json(body): Json<Reason>,
) -> ApiResult<axum::Json<JobDetail>> {
    given(&body.reason)?;
    let job = detail::named(&app, &job).await?;
    let asked = JobsAct { reason: body.reason, jobs: vec![job], ..JobsAct::default() };
    let acted = acts::act(&app, Verb::Cancel, &asked, &caller.name, None).await?;
    match acted.jobs.first() {
        Some(job) if job.did == Did::Done => {}
        Some(left) => return Err(Problem::conflict(format!("job {job}: {}", left.note)).into()),
        None => return Err(Problem::internal().into()),
    }
    Ok(axum::Json(detail::job(&app, job).await?))
}

/// Orders the same again, as a new job. With an `Idempotency-Key` the same request makes one job.
#[utoipa::path(post, path = "/api/v1/jobs/{job}/rerun", tag = "operator", params(("job" = String, Path,)),
    request_body = Reason, responses((status = 200, body = JobAnswer)))]
pub async fn rerun(
    State(app): State<App>,
    caller: Caller,
    Path(job): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Reason>,
) -> ApiResult<axum::Json<JobAnswer>> {
    given(&body.reason)?;
    let job = detail::named(&app, &job).await?;
    Ok(axum::Json(acts::again(&app, job, &body.reason, &caller.name, super::acts::key(&headers)).await?))
}
