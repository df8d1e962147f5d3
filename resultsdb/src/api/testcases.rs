//! `/testcases`: what results are results of. A name may hold slashes.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use net::Caller;

use super::address::{Address, Named};
use super::body::Object;
use super::fault::ApiError;
use super::query::Parameters;
use super::{App, posted, render, results};

/// Makes a testcase, or changes the `ref_url` of one when it is given.
pub async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    address: Address,
    Object(body): Object,
) -> Result<Response, ApiError> {
    let mut reader = posted::Reader::new(&body);
    let name = reader.name("name");
    let ref_url = reader.text("ref_url");
    let name = reader.done(name)?;
    app.permit(&caller, &name)?;
    let testcase = app.store.put_testcase(&name, ref_url.as_deref()).await?;
    Ok(render::one(StatusCode::CREATED, &testcase, &address, render::testcase))
}

pub async fn list(
    State(app): State<Arc<App>>,
    address: Address,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let (names, page) = Parameters::parse(query.as_deref())?.testcases()?;
    let rows = app.store.testcases(names.as_ref(), page).await?;
    Ok(render::page(&rows, page.number, &address, render::testcase))
}

/// A testcase, or the results of one: `…/results` at the end always means these.
pub async fn show(
    State(app): State<Arc<App>>,
    address: Address,
    Named(path): Named,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let unknown = || ApiError::not_found("Testcase not found");
    let Some(name) = path.strip_suffix("/results") else {
        let testcase = app.store.testcase(&path).await?.ok_or_else(unknown)?;
        return Ok(render::one(StatusCode::OK, &testcase, &address, render::testcase));
    };
    let mut listing = Parameters::parse(query.as_deref())?.results(&app.outcomes)?;
    app.store.testcase(name).await?.ok_or_else(unknown)?;
    listing.filter.testcases.get_or_insert_default().exact = vec![name.to_owned()];
    results::answer(&app, listing, &address).await
}
