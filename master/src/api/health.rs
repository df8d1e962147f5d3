//! For watchers: whether it lives, whether it serves, and its numbers.

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use model::Role;
use net::{Problem, Tokens, guard};

use super::ApiResult;
use crate::app::App;
use crate::status;

/// `/healthz`, `/readyz` and `/metrics`; the first two are open to everyone.
pub fn routes(app: &App, tokens: &Tokens) -> Router {
    let open = Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready));
    let metrics = Router::new().route("/metrics", get(metrics));
    open.merge(guard(metrics, tokens, Role::Reader)).with_state(app.clone())
}

/// The schema was brought up to date before anything was served; what is left is whether the database answers.
async fn ready(State(app): State<App>) -> Result<&'static str, Problem> {
    match app.store.mode().await {
        Ok(_) if app.stop.is_cancelled() => Err(Problem::unavailable("stopping")),
        Ok(_) => Ok("ready\n"),
        Err(error) => {
            tracing::warn!(%error, "not ready: the database does not answer");
            Err(Problem::unavailable("the database does not answer"))
        }
    }
}

async fn metrics(State(app): State<App>) -> ApiResult<impl IntoResponse> {
    let status = status::status(&app).await?;
    let workers = app.store.workers(app.settings.lease_term).await?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], app.metrics.text(&status, &workers)))
}
