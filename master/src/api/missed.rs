//! For `taskotron missed`: what was seen here in a span, what became of what somebody else has seen, and how far each
//! trigger has come.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use model::Time;
use model::missed::{Answer, Question, Seen, TriggerView, Triggers};
use model::operator::Page;
use net::Problem;
use serde::Deserialize;
use utoipa::IntoParams;

use super::ApiResult;
use super::extract::{Json, Query};
use crate::app::App;
use crate::mode;
use crate::store::{self, SeenCursor};

/// The most events of one page, and the most events and jobs of one question.
const MOST: usize = 2000;

pub fn routes() -> Router<App> {
    Router::new().route("/triggers", get(triggers)).route("/seen", get(seen)).route("/known", post(known))
}

/// The triggers, by recorder, and how far each has come.
#[utoipa::path(get, path = "/api/v1/triggers", tag = "reader", responses((status = 200, body = Triggers)))]
pub async fn triggers(State(app): State<App>) -> ApiResult<axum::Json<Triggers>> {
    let (triggers, now) = (app.store.triggers().await?, app.store.now().await?);
    let view = |trigger: store::TriggerView| TriggerView {
        state: mode::state(trigger.last_heard, now, app.settings.silence),
        recorder: trigger.recorder,
        next: trigger.next,
        last_heard: trigger.last_heard,
        generation: trigger.generation,
        counts: trigger.counts,
        repeated: trigger.repeated,
    };
    Ok(axum::Json(Triggers { items: triggers.into_iter().map(view).collect(), now }))
}

/// A span of the time of recording.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SeenQuery {
    #[param(value_type = String)]
    pub since: Time,
    /// Exclusive.
    #[param(value_type = String)]
    pub until: Time,
    /// The `next` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
}

impl SeenQuery {
    fn after(&self) -> Result<SeenCursor, Problem> {
        let Some(text) = &self.cursor else { return Ok((self.since, 0)) };
        let parts = text.split_once('.').and_then(|(at, seq)| Some((Time(at.parse().ok()?), seq.parse().ok()?)));
        parts.ok_or_else(|| Problem::bad_request(format!("cursor '{text}' is none that was given out")))
    }
}

/// The events that were recorded in a span, oldest first, with the jobs that were decided from them.
#[utoipa::path(get, path = "/api/v1/seen", tag = "reader", params(SeenQuery),
    responses((status = 200, body = Page<Seen>)))]
pub async fn seen(State(app): State<App>, Query(query): Query<SeenQuery>) -> ApiResult<axum::Json<Page<Seen>>> {
    let (items, next) = app.store.seen(query.after()?, query.until, 500).await?;
    Ok(axum::Json(Page { items, next: next.map(|(at, seq)| format!("{}.{seq}", at.0)) }))
}

/// Whether these events are here, and what became of these jobs.
#[utoipa::path(post, path = "/api/v1/known", tag = "reader", request_body = Question,
    responses((status = 200, body = Answer)))]
pub async fn known(State(app): State<App>, Json(body): Json<Question>) -> ApiResult<axum::Json<Answer>> {
    let jobs: usize = body.events.iter().map(|event| event.jobs.len()).sum();
    if body.events.len() > MOST || jobs > 10 * MOST {
        let most = format!("at most {MOST} events and {} jobs are asked for at once", 10 * MOST);
        return Err(Problem::bad_request(most).into());
    }
    Ok(axum::Json(Answer { events: app.store.known(&body.events).await? }))
}
