//! `POST /batch`: many results at once, each under an idempotency key. Not one of ResultsDB's addresses.
//!
//! `{"results": [{"idempotency_key": TEXT, …the members of POST /results}]}` is answered with
//! `{"answers": [{"created": BOOL, "id": N} | {"error": {…as POST /results says it}}]}`, in order. A bad result does not
//! block the others. When the database is unavailable the whole batch may be sent again.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use net::Caller;

use super::address::Address;
use super::body::Object;
use super::fault::{ApiError, Fault, is_unavailable, log};
use super::results::LONGEST_KEY;
use super::{App, posted, render};
use crate::json::Json;
use crate::result::NewResult;
use crate::{identity, term};

/// How many results share a transaction.
const SLICE: usize = 500;

pub async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    address: Address,
    Object(body): Object,
) -> Result<Response, ApiError> {
    let results = match body.get("results") {
        Some(Json::List(results)) => results,
        Some(other) => {
            return Err(ApiError::Invalid(vec![Fault::new(
                "results",
                "list_type",
                "Input should be a valid list",
                other,
            )]));
        }
        None => return Err(ApiError::Invalid(vec![Fault::missing("results", &Json::Null)])),
    };
    let mut good = Vec::with_capacity(results.len());
    let mut answers: Vec<Option<String>> = Vec::with_capacity(results.len());
    for result in results {
        match read(&app, &caller, result) {
            Ok(mut result) => {
                result.told_at = app.told_at(&address);
                good.push(result);
                answers.push(None);
            }
            Err(e) => answers.push(Some(error(&e))),
        }
    }
    let mut stored = Vec::with_capacity(good.len());
    while !good.is_empty() {
        let slice: Vec<NewResult> = good.drain(..good.len().min(SLICE)).collect();
        for answer in app.store.post_all(slice).await {
            stored.push(match answer {
                Ok(appended) => format!("{{\"created\":{},\"id\":{}}}", appended.created, appended.result.id),
                Err(e) if is_unavailable(&e) => return Err(e.into()),
                Err(e) => {
                    log(&e);
                    error(&e.into())
                }
            });
        }
    }
    let mut stored = stored.into_iter();
    let mut out = String::from("{\"answers\":[");
    for (i, answer) in answers.into_iter().enumerate() {
        out.push_str(if i == 0 { "" } else { "," });
        out.push_str(&answer.or_else(|| stored.next()).unwrap_or_default());
    }
    out.push_str("]}");
    Ok(render::json(StatusCode::OK, out))
}

fn read(app: &App, caller: &Caller, body: &Json) -> Result<NewResult, ApiError> {
    if !matches!(body, Json::Object(_)) {
        return Err(ApiError::Invalid(vec![Fault::new(
            "results",
            "dict_type",
            "Input should be a valid dictionary",
            body,
        )]));
    }
    let mut result = posted::result(body, &app.outcomes, net::clock::now(), identity::new_group)?;
    app.permit(caller, &result.testcase.name)?;
    result.key = key(body)?.map(|key| term::idempotency(&caller.name, key));
    Ok(result)
}

fn key(body: &Json) -> Result<Option<&str>, ApiError> {
    const FIELD: &str = "idempotency_key";
    let fault = match body.get(FIELD) {
        None | Some(Json::Null) => return Ok(None),
        Some(text @ Json::Text(key)) => match key.len() {
            0 => Fault::empty(FIELD, text),
            long if long > LONGEST_KEY => Fault::too_long(FIELD, LONGEST_KEY, text),
            _ if text.has_nul() => Fault::value(FIELD, "NUL characters are not allowed", text),
            _ => return Ok(Some(key)),
        },
        Some(other) => Fault::not_text(FIELD, other),
    };
    Err(ApiError::Invalid(vec![fault]))
}

fn error(e: &ApiError) -> String {
    let mut out = String::new();
    write!(out, "{{\"error\":{}}}", e.body()).expect("writing to a String cannot fail");
    out
}
