//! The log of a job's attempt, as the job printed it: bytes that nobody vouches for.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName};
use axum::response::Response;
use axum::routing::get;
use net::Problem;
use serde::Deserialize;
use utoipa::IntoParams;

use super::ApiResult;
use super::extract::Query;
use super::harmless::harmless;
use super::range::Slice;
use crate::app::App;
use crate::detail;
use crate::logs::LogFile;

pub fn routes() -> Router<App> {
    Router::new().route("/jobs/{job}/log", get(log))
}

#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// The newest without it.
    attempt: Option<u32>,
}

/// What a log is, whatever a job has printed.
pub const TEXT: [(HeaderName, &str); 5] = harmless("text/plain; charset=utf-8");

/// The log, or with `Range: bytes=…` a part of it.
#[utoipa::path(get, path = "/api/v1/jobs/{job}/log", tag = "reader", params(("job" = String, Path,), Which),
    responses((status = 200, body = String, content_type = "text/plain"), (status = 206), (status = 410), (status = 416)))]
pub async fn log(
    State(app): State<App>,
    Path(job): Path<String>,
    Query(which): Query<Which>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let job = detail::named(&app, &job).await?;
    let attempts = app.store.attempts(job).await?;
    let attempt = match which.attempt {
        Some(n) => attempts.iter().find(|attempt| attempt.attempt == n),
        None => attempts.last(),
    };
    let Some(attempt) = attempt else {
        let what = which.attempt.map_or_else(|| "no attempt yet".to_owned(), |n| format!("no attempt {n}"));
        return Err(Problem::not_found(format!("job {job} has {what}")).into());
    };
    let file = app.logs.open(job, attempt.attempt).await?;
    if let (None, Some(_), 1..) = (&file, attempt.finished_at, attempt.log_size) {
        let (size, keep) = (attempt.log_size, app.settings.logs.keep);
        let detail = format!("its {size} bytes are not here any more: logs are kept for {keep} ([master.logs] keep)");
        return Err(Problem::gone(detail).into());
    }
    let size = file.as_ref().map_or(0, LogFile::len);
    let slice = match Slice::asked(&headers, size) {
        Ok(slice) => slice,
        Err(beyond) => return Ok(*beyond),
    };
    let body = match file {
        Some(file) => Body::from_stream(file.stream(slice.start, slice.end)),
        None => Body::empty(),
    };
    Ok(slice.respond(TEXT, body))
}
