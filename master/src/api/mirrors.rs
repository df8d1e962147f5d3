//! The repositories of tasks: what their mirrors show, and fetching them now.

use std::collections::BTreeSet;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use model::source::{MirrorUpdate, MirrorView, Mirrors};
use net::{Caller, Problem};
use serde_json::{Value, json};

use super::ApiResult;
use super::extract::Json;
use crate::app::App;
use crate::mirrors::{self, Which};
use crate::store::Act;

pub fn reads() -> Router<App> {
    Router::new().route("/mirrors", get(list))
}

pub fn acts() -> Router<App> {
    Router::new().route("/mirrors/update", post(update))
}

/// All repositories of the configuration's tasks, and those that jobs have wanted besides.
#[utoipa::path(get, path = "/api/v1/mirrors", tag = "reader", responses((status = 200, body = Mirrors)))]
pub async fn list(State(app): State<App>) -> axum::Json<Mirrors> {
    axum::Json(Mirrors { items: mirrors::views(&app) })
}

/// Fetches repositories and shows what came, together. The answer comes after half a minute at the latest: one that takes
/// longer shows the time of its last fetch, and follows by itself.
#[utoipa::path(post, path = "/api/v1/mirrors/update", tag = "operator", request_body = MirrorUpdate,
    responses((status = 200, body = Mirrors)))]
pub async fn update(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<MirrorUpdate>,
) -> ApiResult<axum::Json<Mirrors>> {
    app.mirrors.catch_up().await?;
    let known = mirrors::views(&app);
    let chosen = chosen(&known, &body.repos)?;
    let act = Act {
        actor: caller.name.clone(),
        action: "mirrors.update",
        object: "mirrors".into(),
        reason: "asked for".into(),
        before: Value::Null,
        after: json!({"repos": body.repos}),
    };
    app.store.note(&act).await?;
    mirrors::update(&app, Which::These(chosen.clone()), mirrors::PATIENCE).await?;
    let items = mirrors::views(&app).into_iter().filter(|view| chosen.contains(&view.git)).collect();
    Ok(axum::Json(Mirrors { items }))
}

/// The addresses that these addresses and names of mirrors mean; all where none is given.
fn chosen(known: &[MirrorView], given: &[String]) -> Result<BTreeSet<String>, Problem> {
    if given.is_empty() {
        return Ok(known.iter().map(|view| view.git.clone()).collect());
    }
    let find = |text: &String| {
        let found = known.iter().find(|view| view.git == *text || view.name == *text);
        found.map(|view| view.git.clone()).ok_or_else(|| {
            Problem::not_found(format!("no task comes from '{text}': 'taskotron mirrors list' shows what there is"))
        })
    };
    given.iter().map(find).collect()
}
