//! The results store: ResultsDB's REST APIs v2.0 and v3, and pages over PostgreSQL or SQLite, and its messages on the bus.
//!
//! Results only ever come in, are read and are told of; nothing here runs, schedules or judges anything.

mod api;
mod health;
mod identity;
pub mod import;
mod json;
mod messages;
mod moment;
mod pages;
mod pattern;
mod permission;
mod result;
mod retention;
mod settings;
mod store;
mod term;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::Uri;
use net::Tokens;
use tower::ServiceExt as _;

pub use health::{health, metrics};
pub use messages::{Messages, Teller, tell};
pub use permission::{Permission, Permissions};
pub use result::{Change, Group, NewGroup, NewResult, NewTestcase, StoredResult, Testcase};
pub use retention::{Bounds, Retention, Retentions};
pub use settings::{Settings, WriteAccess};
pub use store::{Appended, Backlog, Filter, GroupFilter, Latest, Names, Page, Pruned, Range, Store, Wanted};

/// The APIs under `/api/v2.0` and `/api/v3`, and the pages; to be merged into another router or served alone.
pub fn router(store: Store, settings: &Settings, tokens: &Tokens) -> Router {
    let app = api::App {
        store,
        outcomes: settings.outcomes(),
        documentation: settings.documentation.clone(),
        told: settings.messages.clone(),
        permissions: settings.permissions.clone(),
    };
    let app = Arc::new(app);
    let v3 = api::v3::router(app.clone(), tokens);
    api::router(app.clone(), settings, tokens).merge(v3).merge(pages::router(app, tokens))
}

/// Serves `router` also under the path prefix that a proxy names in `X-Script-Name`. Outermost, since an address is
/// matched before anything inside a router can change it.
pub fn behind_proxy(router: Router) -> Router {
    Router::new().fallback_service(router.map_request(|mut request: Request| {
        if let Some(uri) = api::prefix(request.headers()).and_then(|prefix| without(request.uri(), prefix)) {
            *request.uri_mut() = uri;
        }
        request
    }))
}

/// The address below a prefix, if it is there.
fn without(uri: &Uri, prefix: &str) -> Option<Uri> {
    let rest = uri.path_and_query()?.as_str().strip_prefix(prefix)?;
    let rest = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    rest.parse().ok()
}
