//! The HTTP API, a file for each caller. Bodies are `model`'s; what is wrong is told as a problem (RFC 9457).

mod acts;
mod artifacts;
mod error;
mod extract;
mod follow;
mod harmless;
mod health;
mod log;
mod mirrors;
mod missed;
mod openapi;
mod operator;
mod query;
mod range;
mod read;
mod submit;
mod trigger;
mod worker;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, Uri};
use model::Role;
use net::{Problem, Tokens, guard, guard_any};

use crate::app::App;

pub use error::{ApiError, ApiResult};
pub use extract::Query;
pub use health::routes as health;
pub use operator::Reason;
pub use query::{EventQuery, JobQuery};
pub use read::AuditView;

const MIB: usize = 1 << 20;

/// Everything below `/api/v1`.
pub fn router(app: &App, tokens: &Tokens) -> Router {
    let limit = |router: Router<App>, bytes| router.layer(DefaultBodyLimit::max(bytes));
    let api = Router::new()
        .merge(guard(limit(trigger::routes(), 64 * MIB), tokens, Role::Trigger))
        // A report carries every finding of its job, and the last of its log.
        .merge(guard(limit(worker::routes().merge(artifacts::of_workers()), 32 * MIB), tokens, Role::Worker))
        // A job log is read as it comes, and has limits of its own.
        .merge(guard(submit::routes().layer(DefaultBodyLimit::disable()), tokens, Role::Submitter))
        .merge(guard(
            limit(operator::routes().merge(acts::routes()).merge(mirrors::acts()), MIB),
            tokens,
            Role::Operator,
        ))
        .merge(guard(limit(readers(), MIB), tokens, Role::Reader))
        .merge(openapi::routes())
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown);
    // Whoever may order a job may see what it runs.
    let git = guard_any(crate::mirrors::routes(), tokens, &[Role::Worker, Role::Submitter]);
    Router::new().nest("/api/v1", api).nest("/git", git).with_state(app.clone())
}

fn readers() -> Router<App> {
    read::routes().merge(left_by_jobs()).merge(missed::routes()).merge(mirrors::reads())
}

/// What jobs print and leave. It stands below the pages of the jobs too: a browser shows no token, but its session.
pub fn left_by_jobs() -> Router<App> {
    log::routes().merge(follow::routes()).merge(artifacts::of_readers())
}

async fn unknown(uri: Uri) -> Problem {
    Problem::not_found(format!("there is nothing at /api/v1{}; /api/v1/openapi.json lists what there is", uri.path()))
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let status = axum::http::StatusCode::METHOD_NOT_ALLOWED;
    Problem::new(status, format!("{method} is not possible at /api/v1{}", uri.path()))
}
