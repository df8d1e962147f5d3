//! Pages for people: results, items, testcases and groups. They only read, and every filter is the API's parameter, read
//! by the API's code.

mod form;
mod groups;
mod history;
mod items;
mod link;
mod matrix;
mod plot;
mod record;
mod result;
mod results;
mod testcases;
mod verdict;

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use model::Role;
use net::page::{Section, escape, secure, shell};
use net::{Tokens, guard};
use url::form_urlencoded;

use crate::api::{Address, ApiError, App, Listing, Parameters, log};
use crate::store::Page;

pub fn router(app: Arc<App>, tokens: &Tokens) -> Router {
    let pages = Router::new()
        .route("/results", get(results::show))
        .route("/results/{id}", get(result::show))
        .route("/items", get(items::show))
        .route("/testcases", get(testcases::show))
        .route("/testcases/{*name}", get(history::show))
        .route("/groups", get(groups::list))
        .route("/groups/{uuid}", get(groups::show))
        .with_state(app);
    secure(guard(pages, tokens, Role::Reader))
}

/// The most results that one page looks at, whatever it is asked for.
const MOST: i64 = 5000;

/// What a page was asked for.
struct Asked {
    parameters: Parameters,
    address: Address,
}

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Sorry;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Asked, Sorry> {
        // A form sends what was left empty, too.
        let pairs = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let filled =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs.filter(|(_, v)| !v.is_empty())).finish();
        let parameters = Parameters::parse(Some(&filled))?;
        let Ok(address) = Address::from_request_parts(parts, state).await;
        Ok(Asked { parameters, address })
    }
}

impl Asked {
    /// The listing that the parameters ask for, of `usual` results where they do not say.
    fn results(&self, app: &App, usual: i64) -> Result<Listing, ApiError> {
        let mut listing = self.parameters.results(&app.outcomes)?;
        listing.page = self.page(listing.page, usual);
        Ok(listing)
    }

    /// A page of `usual` rows where the parameters do not say.
    fn page(&self, page: Page, usual: i64) -> Page {
        let limit = if self.parameters.first("limit").is_some() { page.limit } else { usual };
        Page { limit: limit.min(MOST), ..page }
    }

    fn neighbours(&self, page: Page, more: bool) -> Neighbours {
        Neighbours {
            newer: (page.number > 0).then(|| self.address.page_here(page.number - 1)),
            older: more.then(|| self.address.page_here(page.number.saturating_add(1))),
        }
    }
}

/// Links to the pages beside this one.
#[derive(Default)]
struct Neighbours {
    newer: Option<String>,
    older: Option<String>,
}

fn show(title: &str, page: &impl Template) -> Result<Response, Sorry> {
    let body = page.render().map_err(Sorry::Template)?;
    Ok(shell(title, Section::Results, &body).into_response())
}

/// A page that could not be made.
enum Sorry {
    Api(ApiError),
    Template(askama::Error),
}

impl From<ApiError> for Sorry {
    fn from(e: ApiError) -> Sorry {
        Sorry::Api(e)
    }
}

impl From<Arc<db::Error>> for Sorry {
    fn from(e: Arc<db::Error>) -> Sorry {
        Sorry::Api(e.into())
    }
}

impl IntoResponse for Sorry {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Sorry::Api(ApiError::Invalid(faults)) => {
                let all: Vec<String> = faults.iter().map(|f| format!("{}: {}", f.field, f.message)).collect();
                (StatusCode::BAD_REQUEST, all.join("; "))
            }
            Sorry::Api(ApiError::Message(status, message)) => (status, message),
            Sorry::Api(ApiError::MediaType) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, String::new()),
            Sorry::Api(ApiError::Store(e)) => {
                log(&e);
                (StatusCode::SERVICE_UNAVAILABLE, "The results database does not answer. Try again later.".into())
            }
            Sorry::Template(e) => {
                tracing::error!(error = %e, "failed to make a page of results");
                (StatusCode::INTERNAL_SERVER_ERROR, "The server failed; its log says why.".into())
            }
        };
        let title = status.canonical_reason().unwrap_or("Sorry");
        let body = format!("<h1>{}</h1>\n<p>{}</p>", escape(title), escape(&text));
        (status, shell(title, Section::Results, &body)).into_response()
    }
}
