//! The log of a job's attempt, as the job printed it: bytes that nobody vouches for.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use net::Problem;
use serde::Deserialize;
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;
use utoipa::IntoParams;

use super::ApiResult;
use super::extract::Query;
use crate::app::App;
use crate::detail;

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

/// Keeps a browser from making anything of it but text.
const HARMLESS: [(HeaderName, &str); 5] = [
    (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'"),
    (header::ACCEPT_RANGES, "bytes"),
    (header::CACHE_CONTROL, "no-cache"),
];

/// The log, or with `Range: bytes=…` a part of it.
#[utoipa::path(get, path = "/api/v1/jobs/{job}/log", tag = "reader", params(("job" = String, Path,), Which),
    responses((status = 200, body = String, content_type = "text/plain"), (status = 206), (status = 416)))]
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
    let size = app.logs.size(job, attempt.attempt).await?.unwrap_or(0);
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let (status, start, end) = match range.map(|text| part(text, size)) {
        None | Some(Part::Whole) => (StatusCode::OK, 0, size),
        Some(Part::Of(start, end)) => (StatusCode::PARTIAL_CONTENT, start, end),
        Some(Part::Beyond) => {
            let detail = format!("the log is {size} bytes long");
            let range = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
            return Ok((range, Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, detail)).into_response());
        }
    };
    let body = match app.logs.stream(job, attempt.attempt, start).await? {
        Some((file, _)) => Body::from_stream(ReaderStream::new(file.take(end - start))),
        None => Body::empty(),
    };
    let mut response = (status, HARMLESS, [(header::CONTENT_LENGTH, (end - start).to_string())], body).into_response();
    if status == StatusCode::PARTIAL_CONTENT
        && let Ok(value) = format!("bytes {start}-{}/{size}", end - 1).parse()
    {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    Ok(response)
}

/// What a `Range` asks for, of a log of some size.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// It cannot be understood, or asks for several: it is ignored, as RFC 9110 allows.
    Whole,
    /// From, and up to but without.
    Of(u64, u64),
    Beyond,
}

fn part(range: &str, size: u64) -> Part {
    let Some((first, last)) = range.trim().strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Part::Whole;
    };
    let number = |text: &str| text.trim().parse::<u64>();
    match (first.trim(), last.trim()) {
        ("", last) => match number(last) {
            Ok(0) => Part::Beyond,
            Ok(_) if size == 0 => Part::Beyond,
            Ok(n) => Part::Of(size.saturating_sub(n), size),
            Err(_) => Part::Whole,
        },
        (first, "") => match number(first) {
            Ok(first) if first < size => Part::Of(first, size),
            Ok(_) => Part::Beyond,
            Err(_) => Part::Whole,
        },
        (first, last) => match (number(first), number(last)) {
            (Ok(first), Ok(last)) if last < first => Part::Whole,
            (Ok(first), Ok(last)) if first < size => Part::Of(first, size.min(last.saturating_add(1))),
            (Ok(_), Ok(_)) => Part::Beyond,
            _ => Part::Whole,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_rfc_9110_says() {
        let table = [
            ("bytes=0-3", Part::Of(0, 4)),
            ("bytes=8-", Part::Of(8, 10)),
            ("bytes=-3", Part::Of(7, 10)),
            ("bytes=-30", Part::Of(0, 10)),
            ("bytes=5-99", Part::Of(5, 10)),
            ("bytes=10-", Part::Beyond),
            ("bytes=-0", Part::Beyond),
            ("bytes=3-1", Part::Whole),
            ("bytes=0-1,4-5", Part::Whole),
            ("lines=0-1", Part::Whole),
        ];
        for (range, want) in table {
            assert_eq!(part(range, 10), want, "{range}");
        }
        assert_eq!(part("bytes=0-", 0), Part::Beyond);
    }
}
