//! `/groups`: results that belong together.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::address::{Address, Named};
use super::body::Object;
use super::fault::ApiError;
use super::query::Parameters;
use super::{App, posted, render, results};
use crate::identity;

/// Makes a group, or changes what is given and not empty.
pub async fn create(State(app): State<Arc<App>>, address: Address, Object(body): Object) -> Result<Response, ApiError> {
    let mut reader = posted::Reader::new(&body);
    let given = |text: Option<String>| text.filter(|t| !t.is_empty());
    let uuid = reader.uuid("uuid");
    let description = given(reader.text("description"));
    let ref_url = given(reader.text("ref_url"));
    let uuid = reader.done(uuid)?.unwrap_or_else(|| identity::new_group().to_string());
    let group = app.store.put_group(&uuid, description.as_deref(), ref_url.as_deref()).await?;
    let group = group.ok_or_else(|| ApiError::not_found("Group not found"))?;
    Ok(render::one(StatusCode::CREATED, &group, &address, render::group))
}

pub async fn list(
    State(app): State<Arc<App>>,
    address: Address,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let (filter, page) = Parameters::parse(query.as_deref())?.groups()?;
    let rows = app.store.groups(&filter, page).await?;
    Ok(render::page(&rows, page.number, &address, render::group))
}

pub async fn show(State(app): State<Arc<App>>, address: Address, Named(uuid): Named) -> Result<Response, ApiError> {
    let group = find(&app, &uuid).await?.ok_or_else(|| ApiError::not_found("Group not found"))?;
    Ok(render::one(StatusCode::OK, &group, &address, render::group))
}

pub async fn results(
    State(app): State<Arc<App>>,
    address: Address,
    Named(uuid): Named,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let mut listing = Parameters::parse(query.as_deref())?.results(&app.outcomes)?;
    if find(&app, &uuid).await?.is_none() {
        return Err(ApiError::not_found(format!("Group not found: {uuid}")));
    }
    listing.filter.groups = vec![uuid];
    results::answer(&app, listing, &address).await
}

async fn find(app: &App, uuid: &str) -> Result<Option<crate::result::Group>, ApiError> {
    if uuid.contains('\0') {
        return Ok(None);
    }
    Ok(app.store.group(uuid).await?)
}
