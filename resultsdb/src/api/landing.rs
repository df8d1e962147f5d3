//! The landing page, the health check, and the description of all addresses.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::address::Address;
use super::{App, fault, render};
use crate::json;
use crate::result::list_json;

/// 300: where to go on, and which outcomes there are.
pub async fn show(State(app): State<Arc<App>>, address: Address) -> Response {
    let mut out = String::from("{\"documentation\":");
    json::text(&app.documentation, &mut out);
    out.push_str(",\"groups\":");
    json::text(&address.of("/groups"), &mut out);
    out.push_str(",\"message\":\"This is ResultsDB's API, version 2.0. Choose where to go on.\",\"outcomes\":");
    list_json(app.outcomes.iter().map(String::as_str), &mut out);
    out.push_str(",\"results\":");
    json::text(&address.of("/results"), &mut out);
    out.push_str(",\"testcases\":");
    json::text(&address.of("/testcases"), &mut out);
    out.push('}');
    render::json(StatusCode::MULTIPLE_CHOICES, out)
}

pub async fn health(State(app): State<Arc<App>>) -> Response {
    match app.store.ping().await {
        Ok(()) => render::json(StatusCode::OK, r#"{"message":"Health check OK"}"#.into()),
        Err(e) => {
            fault::log(&e);
            let body = r#"{"message":"Unable to communicate with database"}"#;
            render::json(StatusCode::SERVICE_UNAVAILABLE, body.into())
        }
    }
}

/// What can be asked here, as OpenAPI 3.1. ResultsDB has no such address.
pub async fn description() -> Response {
    render::json(StatusCode::OK, include_str!("openapi.json").trim_end().into())
}
