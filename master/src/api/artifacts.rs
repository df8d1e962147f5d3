//! The files that jobs leave for people: taken from workers, and given to whoever asks. Bytes and names are the jobs'
//! own, so a browser gets each as a file to be stored, and never as something of ours to show or to run.

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, put};
use axum::{Json, Router};
use model::lease::LEASE_TOKEN;
use model::{Artifact, ArtifactPiece, ArtifactStored, is_artifact_name};
use net::Problem;
use serde::Deserialize;
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;
use utoipa::IntoParams;

use super::extract::Query;
use super::harmless::harmless;
use super::range::Slice;
use super::{ApiError, ApiResult};
use crate::app::App;
use crate::artifacts::ArtifactError;
use crate::detail;
use crate::page::encoded;
use crate::store::Token;

pub fn of_workers() -> Router<App> {
    Router::new().route("/artifact", put(store))
}

pub fn of_readers() -> Router<App> {
    Router::new().route("/jobs/{job}/artifacts", get(list)).route("/jobs/{job}/artifacts/{*name}", get(artifact))
}

/// Stores a piece of a file that an attempt left. The answer says how much there is: a piece that begins beyond that was
/// not stored, and the worker sends from there. The last one is answered when the whole is kept, and is what was
/// promised.
#[utoipa::path(put, path = "/api/v1/artifact", tag = "worker", params(("name" = String, Query,), ("size" = u64, Query,),
    ("sha256" = String, Query,), ("offset" = u64, Query,)), request_body = Vec<u8>,
    responses((status = 200, body = ArtifactStored), (status = 409), (status = 410), (status = 413)))]
pub async fn store(
    State(app): State<App>,
    Query(piece): Query<ArtifactPiece>,
    headers: HeaderMap,
    bytes: Bytes,
) -> ApiResult<Json<ArtifactStored>> {
    let token = headers.get(LEASE_TOKEN).and_then(|value| value.to_str().ok());
    let token = token.ok_or_else(|| Problem::bad_request(format!("the header {LEASE_TOKEN} is missing")))?;
    if !is_artifact_name(&piece.name) {
        return Err(Problem::bad_request("an artifact's name is a path without '..', as in 'logs/build.txt'").into());
    }
    let largest = app.settings.artifacts.largest;
    if piece.size > largest {
        let detail =
            format!("{} bytes; the master keeps {largest} of one file ([master.artifacts] largest)", piece.size);
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).into());
    }
    let mut sha256 = [0; 32];
    hex::decode_to_slice(&piece.sha256, &mut sha256)
        .map_err(|_| Problem::bad_request("sha256 is the digest of the whole file: 64 hex digits"))?;
    let known: Result<Token, _> = token.parse();
    let Ok(token) = known else { return Err(gone()) };
    if app.may_log(&token.to_string()).await?.is_none() {
        return Err(gone());
    }
    Ok(Json(app.artifacts.take(&token, &piece, sha256, &bytes).await?))
}

fn gone() -> ApiError {
    Problem::gone(ArtifactError::Gone.to_string()).into()
}

impl From<ArtifactError> for ApiError {
    fn from(error: ArtifactError) -> ApiError {
        match error {
            ArtifactError::Gone => gone(),
            ArtifactError::Changed => Problem::conflict(error.to_string()).into(),
            ArtifactError::Store(error) => error.into(),
            ArtifactError::Io(error) => error.into(),
        }
    }
}

/// What a job's attempts have left.
#[utoipa::path(get, path = "/api/v1/jobs/{job}/artifacts", tag = "reader", params(("job" = String, Path,)),
    responses((status = 200, body = Vec<Artifact>), (status = 404)))]
pub async fn list(State(app): State<App>, Path(job): Path<String>) -> ApiResult<Json<Vec<Artifact>>> {
    let job = detail::named(&app, &job).await?;
    Ok(Json(app.store.artifacts(job).await?))
}

#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// The last that left one of this name without it.
    attempt: Option<u32>,
}

/// A file, or with `Range: bytes=…` a part of it.
#[utoipa::path(get, path = "/api/v1/jobs/{job}/artifacts/{name}", tag = "reader",
    params(("job" = String, Path,), ("name" = String, Path,), Which),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"), (status = 206), (status = 404),
        (status = 410), (status = 416)))]
pub async fn artifact(
    State(app): State<App>,
    Path((job, name)): Path<(String, String)>,
    Query(which): Query<Which>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let job = detail::named(&app, &job).await?;
    let stored = app.store.artifact(job, which.attempt, &name).await?;
    let stored = stored.ok_or_else(|| Problem::not_found(format!("job {job} has no artifact '{name}'")))?;
    let kept = &stored.artifact;
    if let Some(at) = kept.removed_at {
        return Err(Problem::gone(format!("'{name}' was removed at {}, to make room", at.to_seconds())).into());
    }
    let slice = match Slice::asked(&headers, kept.size) {
        Ok(slice) => slice,
        Err(beyond) => return Ok(*beyond),
    };
    let file = match &stored.file {
        Some(file) => app.artifacts.shelf().open(file, slice.start).await?,
        None => None,
    };
    let Some(file) = file else {
        tracing::error!(job.id = %job, name, sha256 = kept.sha256, "an artifact's bytes are not there");
        return Err(Problem::not_found(format!("the bytes of '{name}' are lost")).into());
    };
    let last = name.rsplit('/').next().unwrap_or(&name);
    let own = [
        (header::CONTENT_DISPOSITION, format!("attachment; filename*=UTF-8''{}", encoded(last))),
        (header::ETAG, format!("\"{}\"", kept.sha256)),
    ];
    let body = Body::from_stream(ReaderStream::with_capacity(file.take(slice.length()), 64 * 1024));
    Ok(slice.respond((harmless("application/octet-stream"), own), body))
}
