//! For operators: what is done to jobs, one or many at a time. Every act has a reason and stands in the audit.

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use model::deed::{Acted, JobsAct, Verb};
use net::Caller;

use super::ApiResult;
use super::extract::Json;
use crate::acts;
use crate::app::App;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/jobs/cancel", post(cancel))
        .route("/jobs/rerun", post(rerun))
        .route("/jobs/priority", post(priority))
        .route("/jobs/retry", post(retry))
        .route("/jobs/settle", post(settle))
}

/// The name that the caller gives the request.
pub fn key(headers: &HeaderMap) -> Option<&str> {
    headers.get("idempotency-key").and_then(|key| key.to_str().ok()).filter(|key| !key.is_empty())
}

type Answer = ApiResult<axum::Json<Acted>>;

async fn act(verb: Verb, app: &App, caller: &Caller, headers: &HeaderMap, body: &JobsAct) -> Answer {
    Ok(axum::Json(acts::act(app, verb, body, &caller.name, key(headers)).await?))
}

/// Cancels jobs: at once those that have not begun, the others as soon as their workers have stopped them.
#[utoipa::path(post, path = "/api/v1/jobs/cancel", tag = "operator", request_body = JobsAct,
    params(("Idempotency-Key" = Option<String>, Header,)), responses((status = 200, body = Acted)))]
pub async fn cancel(State(app): State<App>, caller: Caller, headers: HeaderMap, Json(body): Json<JobsAct>) -> Answer {
    act(Verb::Cancel, &app, &caller, &headers, &body).await
}

/// Orders the same again, as new jobs that name what they repeat. A filter finds only jobs that have ended.
#[utoipa::path(post, path = "/api/v1/jobs/rerun", tag = "operator", request_body = JobsAct,
    params(("Idempotency-Key" = Option<String>, Header,)), responses((status = 200, body = Acted)))]
pub async fn rerun(State(app): State<App>, caller: Caller, headers: HeaderMap, Json(body): Json<JobsAct>) -> Answer {
    act(Verb::Rerun, &app, &caller, &headers, &body).await
}

/// Changes the priority of jobs that wait or are queued, and so their place in the queue, also for their retries.
#[utoipa::path(post, path = "/api/v1/jobs/priority", tag = "operator", request_body = JobsAct,
    params(("Idempotency-Key" = Option<String>, Header,)), responses((status = 200, body = Acted)))]
pub async fn priority(State(app): State<App>, caller: Caller, headers: HeaderMap, Json(body): Json<JobsAct>) -> Answer {
    act(Verb::Priority, &app, &caller, &headers, &body).await
}

/// Queues jobs at once that wait for the moment of their next attempt.
#[utoipa::path(post, path = "/api/v1/jobs/retry", tag = "operator", request_body = JobsAct,
    params(("Idempotency-Key" = Option<String>, Header,)), responses((status = 200, body = Acted)))]
pub async fn retry(State(app): State<App>, caller: Caller, headers: HeaderMap, Json(body): Json<JobsAct>) -> Answer {
    act(Verb::Retry, &app, &caller, &headers, &body).await
}

/// Says what becomes of jobs that wait for a person: another attempt, or an outcome.
#[utoipa::path(post, path = "/api/v1/jobs/settle", tag = "operator", request_body = JobsAct,
    params(("Idempotency-Key" = Option<String>, Header,)), responses((status = 200, body = Acted)))]
pub async fn settle(State(app): State<App>, caller: Caller, headers: HeaderMap, Json(body): Json<JobsAct>) -> Answer {
    act(Verb::Settle, &app, &caller, &headers, &body).await
}
