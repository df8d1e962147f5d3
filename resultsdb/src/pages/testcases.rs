//! `/testcases`: the names that results have in common; its parameters are those of the API's list.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::form::Form;
use super::{Asked, Neighbours, Sorry, link, show as shown};
use crate::api::App;

/// How many rows a page has unless it is asked for another number.
const ROWS: i64 = 100;

#[derive(Template)]
#[template(path = "testcases.html")]
struct Testcases {
    form: Form,
    rows: Vec<Row>,
    beside: Neighbours,
}

struct Row {
    name: String,
    link: String,
    ref_url: Option<String>,
}

pub async fn show(State(app): State<Arc<App>>, asked: Asked) -> Result<Response, Sorry> {
    let (names, page) = asked.parameters.testcases()?;
    let page = asked.page(page, ROWS);
    let (found, more) = app.store.testcases(names.as_ref(), page).await?;
    let rows = (found.into_iter())
        .map(|t| Row { link: link::testcase(&t.name), ref_url: link::harmless(t.ref_url.as_deref()), name: t.name })
        .collect();
    let form = Form::new("/testcases", &asked.parameters, &[("name:like", "Name, with *"), ("name", "Name")]);
    shown("Testcases", &Testcases { form, rows, beside: asked.neighbours(page, more) })
}
