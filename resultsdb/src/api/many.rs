//! `POST /batch/latest` and `POST /batch/results`: of many items at once. Not ResultsDB's addresses.
//!
//! `{"items": [TEXT…], …}` takes the parameters of `GET /results/latest` or `GET /results` as further members, which
//! hold for each item. It is answered with `{"answers": [{"data": […], "item": TEXT}…]}`, one for each item in their
//! order; `/batch/results` adds `"more": BOOL` to each, and `page` and `limit` count for each item by itself.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::address::Address;
use super::body::Object;
use super::fault::{ApiError, Fault};
use super::query::Parameters;
use super::{App, render};
use crate::json::{self, Json};
use crate::result::StoredResult;

/// The most items of one request.
const MOST: usize = 1000;

/// The most results of an item that one request is answered with, and of all items together.
const LONGEST_PAGE: i64 = 1000;
const LONGEST_ANSWER: i64 = 100_000;

/// The largest body, in bytes: asking needs no token.
pub const LARGEST: usize = 1 << 20;

pub async fn latest(State(app): State<Arc<App>>, address: Address, Object(body): Object) -> Result<Response, ApiError> {
    let (items, parameters) = read(body)?;
    let latest = parameters.latest_of_items(&app.outcomes)?;
    let found = app.store.latest_of(&items, &latest).await?;
    Ok(answers(&items, found.iter().map(|rows| (&rows[..], None)), &address))
}

pub async fn results(
    State(app): State<Arc<App>>,
    address: Address,
    Object(body): Object,
) -> Result<Response, ApiError> {
    let (items, parameters) = read(body)?;
    let listing = parameters.results(&app.outcomes)?;
    let most = LONGEST_PAGE.min(LONGEST_ANSWER / i64::try_from(items.len()).unwrap_or(LONGEST_ANSWER).max(1));
    if listing.page.limit > most {
        let message = format!("Input should be less than or equal to {most}");
        let limit = Json::Int(listing.page.limit.into());
        return Err(ApiError::Invalid(vec![Fault::new("limit", "less_than_equal", message, &limit)]));
    }
    let found = app.store.results_of(&items, &listing.filter, listing.page).await?;
    Ok(answers(&items, found.iter().map(|found| (&found.0[..], Some(found.1))), &address))
}

/// The items, and everything else as parameters.
fn read(body: Json) -> Result<(Vec<String>, Parameters), ApiError> {
    const FIELD: &str = "items";
    let invalid = |fault| Err(ApiError::Invalid(vec![fault]));
    let list = match body.get(FIELD) {
        None => return invalid(Fault::missing(FIELD, &body)),
        Some(Json::List(list)) => list,
        Some(other) => return invalid(Fault::new(FIELD, "list_type", "Input should be a valid list", other)),
    };
    if list.len() > MOST {
        let message = format!("List should have at most {MOST} items after validation, not {}", list.len());
        return invalid(Fault::new(FIELD, "too_long", message, &Json::Null));
    }
    let mut items = Vec::with_capacity(list.len());
    for item in list {
        match item {
            Json::Text(item) if !item.contains('\0') => items.push(item.clone()),
            other => return invalid(Fault::not_text(FIELD, other)),
        }
    }
    let Json::Object(mut members) = body else { return Err(ApiError::bad_request()) };
    members.retain(|(name, _)| name != FIELD);
    Ok((items, Parameters::of_members(&members)?))
}

fn answers<'r>(
    items: &[String],
    found: impl Iterator<Item = (&'r [StoredResult], Option<bool>)>,
    address: &Address,
) -> Response {
    let mut out = String::from("{\"answers\":[");
    for (i, (item, (rows, more))) in items.iter().zip(found).enumerate() {
        out.push_str(if i == 0 { "" } else { "," });
        out.push_str(&render::listing(rows, address, render::result));
        out.push_str(",\"item\":");
        json::text(item, &mut out);
        out.push_str(match more {
            None => "}",
            Some(false) => ",\"more\":false}",
            Some(true) => ",\"more\":true}",
        });
    }
    out.push_str("]}");
    render::json(StatusCode::OK, out)
}
