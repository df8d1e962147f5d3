//! One result, with all that was posted.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::results::Row;
use super::{Sorry, link, show as shown};
use crate::api::{ApiError, App};

#[derive(Template)]
#[template(path = "result.html")]
struct One {
    row: Row,
    ref_url: String,
    ref_link: Option<String>,
    /// What the testcase says of itself.
    testcase_url: Option<String>,
    /// Uuid and link.
    groups: Vec<(String, String)>,
    data: BTreeMap<String, Vec<String>>,
}

pub async fn show(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Sorry> {
    let unknown = || ApiError::not_found("Result not found");
    let id: i64 = id.parse().map_err(|_| unknown())?;
    let found = app.store.result(id).await?.ok_or_else(unknown)?;
    let groups: Vec<String> = serde_json::from_str(&found.groups).unwrap_or_default();
    let page = One {
        row: Row::of(&found),
        ref_url: found.ref_url.clone().unwrap_or_default(),
        ref_link: link::harmless(found.ref_url.as_deref()),
        testcase_url: link::harmless(found.testcase_ref_url.as_deref()),
        groups: groups.into_iter().map(|uuid| (uuid.clone(), link::group(&uuid))).collect(),
        data: found.data(),
    };
    shown(&found.testcase, &page)
}
