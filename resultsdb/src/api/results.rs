//! `/results`: what was found, newest first.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use net::Caller;
use uuid::Uuid;

use super::address::{Address, Named};
use super::body::Object;
use super::fault::ApiError;
use super::query::{Listing, Parameters};
use super::{App, posted, render};
use crate::{identity, term};

/// The longest `Idempotency-Key`, in bytes.
pub const LONGEST_KEY: usize = 255;

pub async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    address: Address,
    headers: HeaderMap,
    Object(body): Object,
) -> Result<Response, ApiError> {
    let mut result = posted::result(&body, &app.outcomes, net::clock::now(), identity::new_group)?;
    app.permit(&caller, &result.testcase.name)?;
    result.told_at = app.told_at(&address);
    result.key = key(&caller, &headers)?;
    let stored = app.store.post(result).await?;
    Ok(render::one(StatusCode::CREATED, &stored.result, &address, render::result))
}

/// The key under which the caller posts a result, if there is one.
pub fn key(caller: &Caller, headers: &HeaderMap) -> Result<Option<Uuid>, ApiError> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let key = key.to_str().ok().map(str::trim).filter(|k| (1..=LONGEST_KEY).contains(&k.len()));
    let refusal =
        || ApiError::Message(StatusCode::BAD_REQUEST, "Idempotency-Key must be 1 to 255 ASCII characters".into());
    Ok(Some(term::idempotency(&caller.name, key.ok_or_else(refusal)?)))
}

pub async fn list(
    State(app): State<Arc<App>>,
    address: Address,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let listing = Parameters::parse(query.as_deref())?.results(&app.outcomes)?;
    answer(&app, listing, &address).await
}

/// A page of a listing of results, whichever address it was asked at.
pub async fn answer(app: &App, listing: Listing, address: &Address) -> Result<Response, ApiError> {
    let rows = app.store.results(&listing.filter, listing.page).await?;
    Ok(render::page(&rows, listing.page.number, address, render::result))
}

pub async fn latest(
    State(app): State<Arc<App>>,
    address: Address,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let latest = Parameters::parse(query.as_deref())?.latest(&app.outcomes)?;
    let rows = app.store.latest(&latest).await?;
    let mut out = render::listing(&rows, &address, render::result);
    out.push('}');
    Ok(render::json(StatusCode::OK, out))
}

pub async fn show(State(app): State<Arc<App>>, address: Address, Named(id): Named) -> Result<Response, ApiError> {
    let unknown = || ApiError::not_found("Result not found");
    let id: i64 = id.parse().map_err(|_| unknown())?;
    let result = app.store.result(id).await?.ok_or_else(unknown)?;
    Ok(render::one(StatusCode::OK, &result, &address, render::result))
}
