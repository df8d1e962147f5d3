//! The log of a running attempt, to whoever watches it: each answer is what there is from a place on, as soon as there is
//! some. A watcher asks again from where it is, also after its connection broke, so that nothing is missed or comes twice.

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::routing::get;
use model::Span;
use model::operator::{LOG_ATTEMPT, LOG_MORE};
use net::Problem;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use utoipa::IntoParams;

use super::extract::Query;
use super::log::TEXT;
use super::{ApiError, ApiResult};
use crate::app::App;
use crate::detail;
use crate::logs::Part;

/// Bytes of one answer at most.
const MOST: u64 = 256 * 1024;

/// The longest that a request is held, whatever it asks for.
const LONGEST: Span = Span::seconds(20);

/// A wake-up may be lost: a held request looks again this often.
const LOOK_AGAIN: Span = Span::seconds(1);

/// Held requests at once. One more is answered at once: its watcher asks every now and then.
static WATCHERS: Semaphore = Semaphore::const_new(256);

pub fn routes() -> Router<App> {
    Router::new().route("/jobs/{job}/log/follow", get(follow))
}

#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Place {
    /// The newest without it.
    attempt: Option<u32>,
    /// How many bytes the watcher has.
    from: u64,
    /// How long to hold the request while there is nothing more: `20s` at most.
    wait: Span,
}

/// What is there of a log from a place on, as soon as there is some, or when `wait` has passed. The header `log-attempt`
/// says of which attempt it is, none where there is none yet, and `log-more` whether more may come.
#[utoipa::path(get, path = "/api/v1/jobs/{job}/log/follow", tag = "reader", params(("job" = String, Path,), Place),
    responses((status = 200, body = String, content_type = "text/plain"), (status = 404)))]
pub async fn follow(
    State(app): State<App>,
    Path(job): Path<String>,
    Query(place): Query<Place>,
) -> ApiResult<Response> {
    let job = detail::named(&app, &job).await?;
    let until = Instant::now() + place.wait.min(LONGEST).0;
    let mut turn = None;
    loop {
        // Registered before the look: what comes between the two is not missed.
        let mut rung = app.logs.listen(job);
        let seen = look(&app, job, place).await?;
        let left = until.saturating_duration_since(Instant::now());
        if !seen.part.bytes.is_empty() || !seen.more || left.is_zero() || app.stop.is_cancelled() {
            return Ok(seen.into_response());
        }
        if turn.is_none() {
            match WATCHERS.try_acquire() {
                Ok(permit) => turn = Some(permit),
                Err(_) => return Ok(seen.into_response()),
            }
        }
        let news = app.logs.longer(job, seen.attempt.unwrap_or(1), place.from, rung.as_mut());
        tokio::select! {
            // That there is none in time is no news.
            _ = timeout(left.min(LOOK_AGAIN.0), news) => {}
            () = app.stop.cancelled() => {}
        }
    }
}

/// What there is at one moment.
struct Seen {
    attempt: Option<u32>,
    part: Part,
    more: bool,
}

async fn look(app: &App, job: model::JobId, place: Place) -> Result<Seen, ApiError> {
    let attempts = app.store.attempts(job).await?;
    let attempt = match place.attempt {
        Some(n) => attempts.iter().find(|attempt| attempt.attempt == n),
        None => attempts.last(),
    };
    let Some(attempt) = attempt else {
        if let Some(n) = place.attempt {
            return Err(Problem::not_found(format!("job {job} has no attempt {n}")).into());
        }
        let more = !detail::parts(app, job).await?.summary.state.is_end();
        return Ok(Seen { attempt: None, part: Part::default(), more });
    };
    // The end was looked at before the log, so that nothing printed before it is missed.
    let part = app.logs.read(job, attempt.attempt, place.from, MOST).await?.unwrap_or_default();
    let whole = attempt.finished_at.is_some() && place.from + part.bytes.len() as u64 >= part.size;
    Ok(Seen { attempt: Some(attempt.attempt), part, more: !whole })
}

impl IntoResponse for Seen {
    fn into_response(self) -> Response {
        let attempt = AppendHeaders(self.attempt.map(|n| (LOG_ATTEMPT, n.to_string())));
        let more = [(LOG_MORE, if self.more { "true" } else { "false" })];
        (TEXT, attempt, more, self.part.bytes).into_response()
    }
}
