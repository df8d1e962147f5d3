//! ResultsDB's API v3: results of a few kinds of things, each member with a meaning of its own. Tokens stand where the
//! original has OIDC; results are read by API v2.0.

mod kinds;
mod openapi;
mod page;
mod schema;
mod typed;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, post};
use model::Role;
use net::{Caller, Tokens, guard};
use serde_json::Value;

use super::address::Address;
use super::body::{self, Object};
use super::fault::ApiError;
use super::query::Parameters;
use super::results::key;
use super::{App, others, read, render, tag};
use crate::json::Json;
use kinds::{KINDS, Kind, MORE_OUTCOMES};

/// The routes below `/api/v3`.
pub fn router(app: Arc<App>, tokens: &Tokens) -> Router {
    let mut reads = Router::new()
        .route("/api/v3", read(page::show))
        .route("/api/v3/", read(page::show))
        .route("/api/v3/openapi.json", read(description))
        .route("/api/v3/permissions", read(permissions));
    let mut writes = Router::new();
    let mut rest = Router::new().route("/api/v3/{*rest}", any(super::unknown));
    for kind in &KINDS {
        let schema = move |State(app): State<Arc<App>>| async move { schema_of(&app, kind) };
        reads = reads.route(&format!("/api/v3/schemas/{}s", kind.name), read(schema));
        let path = format!("/api/v3/results/{}s", kind.name);
        let create = move |app: State<Arc<App>>, caller: Caller, address: Address, headers: HeaderMap, body: Object| {
            create(kind, app, caller, address, headers, body)
        };
        writes = writes.route(&path, post(create));
        rest = rest.route(&path, others("OPTIONS, POST").get(|| async { super::not_allowed("OPTIONS, POST") }));
    }
    Router::new()
        .merge(guard(reads.route_layer(middleware::from_fn(tag::unchanged)), tokens, Role::Reader))
        .merge(writes.route_layer(middleware::from_fn_with_state(tokens.clone(), known)))
        .merge(rest)
        .layer(DefaultBodyLimit::max(body::LARGEST))
        .with_state(app)
}

/// The outcomes of API v2.0 and some more.
fn vocabulary(app: &App) -> Vec<String> {
    let more = MORE_OUTCOMES.into_iter().map(String::from).filter(|more| !app.outcomes.contains(more));
    app.outcomes.iter().cloned().chain(more).collect()
}

async fn create(
    kind: &'static Kind,
    State(app): State<Arc<App>>,
    caller: Caller,
    address: Address,
    headers: HeaderMap,
    Object(body): Object,
) -> Result<Response, ApiError> {
    let mut result = typed::result(kind, &body, &vocabulary(&app), &caller.name, net::clock::now())?;
    app.permit(&caller, &result.testcase.name)?;
    result.told_at = app.told_at(&address);
    result.key = key(&caller, &headers)?;
    let stored = app.store.post(result).await?;
    Ok(render::one(StatusCode::CREATED, &stored.result, &address, render::result))
}

fn schema_of(app: &App, kind: &Kind) -> Response {
    answer(&schema::schema(kind, &vocabulary(app)))
}

async fn description(State(app): State<Arc<App>>) -> Response {
    answer(&openapi::description(&vocabulary(&app)))
}

/// All permissions, or those about `?testcase=NAME`.
async fn permissions(State(app): State<Arc<App>>, query: axum::extract::RawQuery) -> Result<Response, ApiError> {
    let parameters = Parameters::parse(query.0.as_deref())?;
    let about = parameters.first("testcase").filter(|testcase| !testcase.is_empty());
    let permissions = about.map_or_else(|| app.permissions.clone(), |testcase| app.permissions.of(testcase));
    Ok(answer(&serde_json::to_value(permissions).expect("texts are plain JSON")))
}

/// As the other answers of these APIs: members by name, in ASCII.
fn answer(value: &Value) -> Response {
    let mut out = String::new();
    Json::parse(value.to_string().as_bytes()).unwrap_or(Json::Null).write(&mut out);
    render::json(StatusCode::OK, out)
}

/// Lets only holders of a submitter's token post, and says no as this API does.
async fn known(State(tokens): State<Tokens>, mut request: Request, next: Next) -> Response {
    match tokens.caller(Role::Submitter, request.headers()) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => {
            let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::UNAUTHORIZED);
            let said = format!("{} {}: {}", problem.status, problem.title, problem.detail);
            let mut response = ApiError::Message(status, said).into_response();
            if status == StatusCode::UNAUTHORIZED {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            response
        }
    }
}
