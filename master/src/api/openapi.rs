//! The API's own description, made from the handlers.

use axum::Router;
use axum::routing::get;
use utoipa::OpenApi;

use super::{acts, artifacts, follow, log, mirrors, missed, operator, read, submit, trigger, worker};
use crate::app::App;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Taskotron's master",
        description = "Every route needs a bearer token of the role that is its tag; reading may be open to everyone. \
                       What is wrong is told as application/problem+json."
    ),
    paths(
        trigger::cursor,
        trigger::intake,
        worker::claim,
        worker::renew,
        worker::finish,
        worker::log,
        artifacts::store,
        submit::submit,
        operator::idle,
        operator::resume,
        operator::cancel,
        operator::rerun,
        operator::forget,
        mirrors::list,
        mirrors::update,
        acts::cancel,
        acts::rerun,
        acts::priority,
        acts::retry,
        acts::settle,
        read::status,
        read::vitals,
        read::present_mode,
        read::jobs,
        read::job,
        read::order,
        log::log,
        follow::follow,
        artifacts::list,
        artifacts::artifact,
        read::events,
        read::event,
        read::divergences,
        read::workers,
        read::tasks,
        missed::triggers,
        missed::seen,
        missed::known,
        read::why_job,
        read::why_event,
        read::audit,
        read::secrets,
    )
)]
pub struct Description;

pub fn routes() -> Router<App> {
    Router::new().route("/openapi.json", get(|| async { axum::Json(Description::openapi()) }))
}
