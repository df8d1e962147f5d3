//! Mirrors over HTTP, for workers: a commit to whoever knows its name.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use axum::routing::{get, post};
use git::{Answer, Question};
use net::Problem;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;
use tokio_util::io::ReaderStream;

use crate::api::{ApiResult, Query};
use crate::app::App;

/// A question names commits; it needs little.
const LONGEST_QUESTION: usize = 1 << 20;

/// What git's smart protocol puts before what a repository has, where it is older than version 2.
const SERVICE: &[u8] = b"001e# service=git-upload-pack\n0000";

/// Everything below `/git`.
pub fn routes() -> Router<App> {
    Router::new()
        .route("/{name}/info/refs", get(advertise))
        .route("/{name}/git-upload-pack", post(objects).layer(DefaultBodyLimit::max(LONGEST_QUESTION)))
}

#[derive(Deserialize)]
struct Service {
    service: Option<String>,
}

async fn advertise(
    State(app): State<App>,
    Path(name): Path<String>,
    Query(wanted): Query<Service>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    if wanted.service.as_deref() != Some("git-upload-pack") {
        return Err(Problem::forbidden("mirrors are only for fetching, by a git that speaks the smart protocol").into());
    }
    let answer = answer(&app, &name, &headers, Question::Advertise, "advertisement").await?;
    Ok(answer)
}

async fn objects(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> ApiResult<Response> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        let detail = "a mirror gives single commits to workers; fetch more than that from the repository itself";
        return Err(Problem::new(axum::http::StatusCode::UNSUPPORTED_MEDIA_TYPE, detail).into());
    }
    answer(&app, &name, &headers, Question::Objects(body.to_vec()), "result").await
}

async fn answer(app: &App, name: &str, headers: &HeaderMap, question: Question, kind: &str) -> ApiResult<Response> {
    let mirrors = &app.mirrors;
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    let repository = mirrors.folder.join(format!("{name}.git"));
    if !is_name || !repository.join("HEAD").exists() {
        return Err(Problem::not_found(format!("there is no mirror '{name}' here: 'taskotron mirrors list'")).into());
    }
    let version = headers.get("git-protocol").and_then(|value| value.to_str().ok());
    let before = match (&question, version) {
        (Question::Advertise, None | Some("version=1")) => SERVICE,
        (Question::Advertise, Some(_)) | (Question::Objects(_), _) => &[],
    };
    let permit = mirrors.answering.clone().acquire_owned().await.map_err(|_| Problem::internal())?;
    let answer = git::answer(&mirrors.git, &repository, version, question).map_err(|error| {
        tracing::error!(mirror = name, %error, "cannot answer a worker's fetch");
        Problem::unavailable("the master cannot run git at the moment; try again")
    })?;
    let bounded = Bounded { answer, end: Box::pin(tokio::time::sleep(mirrors.git.within())), _permit: permit };
    let mut response = Response::new(Body::from_stream(ReaderStream::new(before.chain(bounded))));
    let media = format!("application/x-git-upload-pack-{kind}");
    let media = HeaderValue::from_str(&media).map_err(|_| Problem::internal())?;
    response.headers_mut().insert(header::CONTENT_TYPE, media);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// An answer that ends in time, however slowly it is taken.
struct Bounded {
    answer: Answer,
    end: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl AsyncRead for Bounded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        if self.end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "the fetch took too long")));
        }
        Pin::new(&mut self.answer).poll_read(cx, buf)
    }
}
