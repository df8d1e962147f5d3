//! For readers: everything that can be seen, as JSON.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use model::Time;
use model::lease::JobOrder;
use model::operator::{
    Divergence, EventDetail, EventSummary, JobDetail, JobSummary, ModeView, Page, SecretView, Status, TaskView, Why,
    WorkerView,
};
use model::vitals::Vitals;
use net::{Caller, Problem};
use rules::Subject;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::ApiResult;
use super::extract::Query;
use super::query::{EventQuery, JobQuery, PageQuery, place};
use crate::app::App;
use crate::store::JobPin;
use crate::{detail, mode, secrets, status, vitals, why};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/status", get(status))
        .route("/vitals", get(vitals))
        .route("/mode", get(present_mode))
        .route("/jobs", get(jobs))
        .route("/jobs/{job}", get(job))
        .route("/jobs/{job}/order", get(order))
        .route("/events", get(events))
        .route("/events/{event}", get(event))
        .route("/workers", get(workers))
        .route("/tasks", get(tasks))
        .route("/why/job/{job}", get(why_job))
        .route("/why/event/{event}", get(why_event))
        .route("/divergences", get(divergences))
        .route("/audit", get(audit))
        .route("/secrets", get(secrets))
}

/// How it stands: the counts, and first whatever stops work.
#[utoipa::path(get, path = "/api/v1/status", tag = "reader", responses((status = 200, body = Status)))]
pub async fn status(State(app): State<App>) -> ApiResult<axum::Json<Status>> {
    Ok(axum::Json(status::status(&app).await?))
}

/// What `taskotron check` judges, at one moment.
#[utoipa::path(get, path = "/api/v1/vitals", tag = "reader", responses((status = 200, body = Vitals)))]
pub async fn vitals(State(app): State<App>) -> ApiResult<axum::Json<Vitals>> {
    Ok(axum::Json(vitals::vitals(&app).await?))
}

/// The mode, and what idle still waits for.
#[utoipa::path(get, path = "/api/v1/mode", tag = "reader", responses((status = 200, body = ModeView)))]
pub async fn present_mode(State(app): State<App>) -> ApiResult<axum::Json<ModeView>> {
    Ok(axum::Json(mode::present(&app).await?))
}

/// Jobs, newest first.
#[utoipa::path(get, path = "/api/v1/jobs", tag = "reader", params(JobQuery),
    responses((status = 200, body = Page<JobSummary>)))]
pub async fn jobs(State(app): State<App>, Query(query): Query<JobQuery>) -> ApiResult<axum::Json<Page<JobSummary>>> {
    let (after, limit) = query.place()?;
    let (items, next) = app.store.jobs(&query.filter()?, after, limit).await?;
    Ok(axum::Json(Page { items, next: next.map(|n| n.to_string()) }))
}

/// One job, by its id or the beginning of it.
#[utoipa::path(get, path = "/api/v1/jobs/{job}", tag = "reader", params(("job" = String, Path,)),
    responses((status = 200, body = JobDetail)))]
pub async fn job(State(app): State<App>, Path(job): Path<String>) -> ApiResult<axum::Json<JobDetail>> {
    let job = detail::named(&app, &job).await?;
    Ok(axum::Json(detail::job(&app, job).await?))
}

/// What a worker gets for a job: its task as it runs, its parameters and its event.
#[utoipa::path(get, path = "/api/v1/jobs/{job}/order", tag = "reader", params(("job" = String, Path,)),
    responses((status = 200, body = JobOrder), (status = 409)))]
pub async fn order(State(app): State<App>, Path(job): Path<String>) -> ApiResult<axum::Json<JobOrder>> {
    let job = detail::named(&app, &job).await?;
    let parts = detail::parts(&app, job).await?;
    let asked = parts.summary;
    let (item, item_type, arch) = (&asked.item, &asked.item_type, &asked.arch);
    let pin = match &parts.source {
        Some(JobPin::At(pin)) => Some(pin),
        Some(JobPin::Open(_)) | None => None,
    };
    let task = match app.tasks.version(parts.task_version).await? {
        Some(task) => task.order(Subject { job, item, item_type, arch, params: &parts.params }, pin),
        None => Err(format!("version {} of its task cannot be read", parts.task_version)),
    };
    let task = task.map_err(Problem::conflict)?;
    let event = match &asked.event_id {
        Some(id) => app.store.event(id).await?.map(|stored| stored.event),
        None => None,
    };
    let (item, item_type, arch) = (asked.item, asked.item_type, asked.arch);
    Ok(axum::Json(JobOrder { job, task, item, item_type, arch, params: parts.params, event }))
}

/// Events, newest first.
#[utoipa::path(get, path = "/api/v1/events", tag = "reader", params(EventQuery),
    responses((status = 200, body = Page<EventSummary>)))]
pub async fn events(
    State(app): State<App>,
    Query(query): Query<EventQuery>,
) -> ApiResult<axum::Json<Page<EventSummary>>> {
    let (after, limit) = query.place()?;
    let (items, next) = app.store.events(&query.filter(), after, limit).await?;
    Ok(axum::Json(Page { items, next: next.map(|n| n.to_string()) }))
}

/// One event, with what every rule says of it and the jobs it made.
#[utoipa::path(get, path = "/api/v1/events/{event}", tag = "reader", params(("event" = String, Path,)),
    responses((status = 200, body = EventDetail)))]
pub async fn event(State(app): State<App>, Path(event): Path<String>) -> ApiResult<axum::Json<EventDetail>> {
    Ok(axum::Json(detail::event(&app, &event).await?))
}

/// Events about which the two triggers of a pair differ, newest first.
#[utoipa::path(get, path = "/api/v1/divergences", tag = "reader", params(PageQuery),
    responses((status = 200, body = Page<Divergence>)))]
pub async fn divergences(
    State(app): State<App>,
    Query(query): Query<PageQuery>,
) -> ApiResult<axum::Json<Page<Divergence>>> {
    let (after, limit) = place(query.cursor.as_deref(), query.limit)?;
    let (items, next) = app.store.divergences(app.settings.pair_grace, after, limit).await?;
    Ok(axum::Json(Page { items, next: next.map(|n| n.to_string()) }))
}

/// The workers, by name.
#[utoipa::path(get, path = "/api/v1/workers", tag = "reader", responses((status = 200, body = Page<WorkerView>)))]
pub async fn workers(State(app): State<App>) -> ApiResult<axum::Json<Page<WorkerView>>> {
    let items = app.store.workers(app.settings.lease_term).await?;
    Ok(axum::Json(Page { items, next: None }))
}

/// The tasks of the configuration in force, by name, with what their authors have said of a second attempt.
#[utoipa::path(get, path = "/api/v1/tasks", tag = "reader", responses((status = 200, body = Page<TaskView>)))]
pub async fn tasks(State(app): State<App>) -> axum::Json<Page<TaskView>> {
    let view = |(name, task): (&String, &rules::Task)| TaskView {
        name: name.clone(),
        retry: task.declared_retry().map(ToString::to_string),
        interruptible: task.declared_interruptible(),
        exclusive: task.exclusive(),
    };
    axum::Json(Page { items: app.live().configuration.tasks().iter().map(view).collect(), next: None })
}

/// Why a job is where it is.
#[utoipa::path(get, path = "/api/v1/why/job/{job}", tag = "reader", params(("job" = String, Path,)),
    responses((status = 200, body = Why)))]
pub async fn why_job(State(app): State<App>, Path(job): Path<String>) -> ApiResult<axum::Json<Why>> {
    let job = detail::named(&app, &job).await?;
    let parts = detail::parts(&app, job).await?;
    Ok(axum::Json(why::job(&app, &parts).await?))
}

/// Why an event made the jobs that it made, or none.
#[utoipa::path(get, path = "/api/v1/why/event/{event}", tag = "reader", params(("event" = String, Path,)),
    responses((status = 200, body = Why)))]
pub async fn why_event(State(app): State<App>, Path(event): Path<String>) -> ApiResult<axum::Json<Why>> {
    Ok(axum::Json(why::event(&detail::event(&app, &event).await?)))
}

/// One act, as the audit keeps it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditView {
    pub at: Time,
    pub actor: String,
    pub action: String,
    pub object: String,
    pub reason: String,
    #[schema(value_type = Object)]
    pub before: Value,
    #[schema(value_type = Object)]
    pub after: Value,
}

/// Which secrets jobs may have, from whom, and when they last had them. No value is ever told.
#[utoipa::path(get, path = "/api/v1/secrets", tag = "reader", responses((status = 200, body = Page<SecretView>)))]
pub async fn secrets(State(app): State<App>, _: Caller) -> ApiResult<axum::Json<Page<SecretView>>> {
    Ok(axum::Json(Page { items: secrets::list(&app).await?, next: None }))
}

/// Who did what to what and why, newest first.
#[utoipa::path(get, path = "/api/v1/audit", tag = "reader", params(PageQuery),
    responses((status = 200, body = Page<AuditView>)))]
pub async fn audit(
    State(app): State<App>,
    _: Caller,
    Query(query): Query<PageQuery>,
) -> ApiResult<axum::Json<Page<AuditView>>> {
    let (after, limit) = place(query.cursor.as_deref(), query.limit)?;
    let (acts, next) = app.store.audit(after, limit).await?;
    let items = acts
        .into_iter()
        .map(|act| AuditView {
            at: act.at,
            actor: act.actor,
            action: act.action,
            object: act.object,
            reason: act.reason,
            before: act.before,
            after: act.after,
        })
        .collect();
    Ok(axum::Json(Page { items, next: next.map(|n| n.to_string()) }))
}
