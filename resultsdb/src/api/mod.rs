//! ResultsDB's REST API v2.0, and beside it `/batch` for whoever delivers many results or asks of many items.

mod address;
mod batch;
mod body;
mod export;
mod fault;
#[cfg(test)]
mod fuzz;
mod groups;
mod landing;
mod many;
pub mod posted;
mod query;
mod render;
mod results;
mod tag;
mod testcases;
pub mod v3;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, MethodRouter, any, get, on, post};
use model::Role;
use net::{Caller, Tokens, guard};

use crate::messages::Messages;
use crate::permission::Permissions;
use crate::store::Store;
use crate::{Settings, WriteAccess};

pub use address::{Address, prefix};
pub use fault::{ApiError, log};
pub use query::{Listing, Parameters};
pub use render::result as result_json;

/// What the handlers share.
pub struct App {
    pub store: Store,
    /// Every outcome that a result may have.
    pub outcomes: Vec<String>,
    pub documentation: String,
    /// The bus that is told of results, if one is.
    pub told: Option<Messages>,
    pub permissions: Permissions,
}

impl App {
    /// Whether a caller may post results of a testcase.
    fn permit(&self, caller: &Caller, testcase: &str) -> Result<(), ApiError> {
        if self.permissions.allow(&caller.name, testcase) {
            return Ok(());
        }
        Err(ApiError::forbidden(&caller.name, testcase))
    }

    /// What a new result's message says of where this store is, if there is to be one.
    fn told_at(&self, address: &Address) -> Option<String> {
        let to = self.told.as_ref()?;
        Some(
            to.public_url
                .as_ref()
                .map_or_else(|| address.root().to_owned(), |url| Address::at(url.as_str()).root().to_owned()),
        )
    }
}

/// The routes below `/api/v2.0`.
pub fn router(app: Arc<App>, settings: &Settings, tokens: &Tokens) -> Router {
    let reads = Router::new()
        .route("/api/v2.0", read(landing::show))
        .route("/api/v2.0/", read(landing::show))
        .route("/api/v2.0/healthcheck", read(landing::health))
        .route("/api/v2.0/results", get(results::list))
        .route("/api/v2.0/results/latest", read(results::latest))
        .route("/api/v2.0/results/{id}", read(results::show))
        .route("/api/v2.0/groups", get(groups::list))
        .route("/api/v2.0/groups/{uuid}", read(groups::show))
        .route("/api/v2.0/groups/{uuid}/results", read(groups::results))
        .route("/api/v2.0/testcases", get(testcases::list))
        .route("/api/v2.0/testcases/{*name}", read(testcases::show))
        .route("/api/v2.0/openapi.json", read(landing::description))
        .route_layer(middleware::from_fn(tag::unchanged));
    // What these answer is streamed or is no GET, and so is never told to be unchanged.
    let beyond = Router::new()
        .route("/api/v2.0/batch/latest", post(many::latest).layer(DefaultBodyLimit::max(many::LARGEST)))
        .route("/api/v2.0/batch/results", post(many::results).layer(DefaultBodyLimit::max(many::LARGEST)))
        .route("/api/v2.0/export/results", read(export::results))
        .route("/api/v2.0/export/testcases", read(export::testcases))
        .route("/api/v2.0/export/groups", read(export::groups));
    let writes = Router::new()
        .route("/api/v2.0/results", post(results::create))
        .route("/api/v2.0/groups", post(groups::create))
        .route("/api/v2.0/testcases", post(testcases::create))
        .route("/api/v2.0/batch", post(batch::create));
    let others = Router::new()
        .route("/api/v2.0/results", others("GET, HEAD, OPTIONS, POST"))
        .route("/api/v2.0/groups", others("GET, HEAD, OPTIONS, POST"))
        .route("/api/v2.0/testcases", others("GET, HEAD, OPTIONS, POST"))
        // ResultsDB has no such address, and to a reader neither have we.
        .route("/api/v2.0/batch", get(unknown))
        .route("/api/v2.0/batch/latest", get(unknown))
        .route("/api/v2.0/batch/results", get(unknown))
        .route("/api/v2.0/{*rest}", any(unknown));
    let writes = match settings.write_access {
        WriteAccess::Token => guard(writes, tokens, Role::Submitter),
        WriteAccess::Open => guard(writes, &tokens.open(), Role::Reader),
    };
    Router::new()
        .merge(guard(reads.merge(beyond), tokens, Role::Reader))
        .merge(writes)
        .merge(others)
        .layer(DefaultBodyLimit::max(body::LARGEST))
        .with_state(app)
}

/// An address that can only be read.
fn read<H, T>(handler: H) -> MethodRouter<Arc<App>>
where
    H: Handler<T, Arc<App>>,
    T: 'static,
{
    get(handler).merge(others("GET, HEAD, OPTIONS")).post(|| async { not_allowed("GET, HEAD, OPTIONS") })
}

/// The methods that no address has, and OPTIONS.
fn others(allow: &'static str) -> MethodRouter<Arc<App>> {
    let options = move || async move { ([(header::ALLOW, HeaderValue::from_static(allow))], "").into_response() };
    let rest = MethodFilter::PUT.or(MethodFilter::PATCH).or(MethodFilter::DELETE).or(MethodFilter::TRACE);
    on(MethodFilter::OPTIONS, options).on(rest, move || async move { not_allowed(allow) })
}

fn not_allowed(allow: &'static str) -> Response {
    let mut response = fault::page(StatusCode::METHOD_NOT_ALLOWED, "The method is not allowed for the requested URL.");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

async fn unknown() -> ApiError {
    ApiError::not_found("Not found")
}
