//! The newest results; its parameters are those of the API's list.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use model::Time;

use super::form::Form;
use super::verdict::Flavour;
use super::{Asked, Neighbours, Sorry, link, show as shown};
use crate::api::App;
use crate::result::StoredResult;

/// How many rows a page has unless it is asked for another number.
pub const ROWS: i64 = 50;

/// What the listings of results are searched by.
pub const FIELDS: [(&str, &str); 8] = [
    ("item", "Item"),
    ("item:like", "Item, with *"),
    ("type", "Type"),
    ("testcases:like", "Testcase, with *"),
    ("arch", "Arch"),
    ("scenario", "Scenario"),
    ("groups", "Group"),
    ("since", "Since[,until]"),
];

#[derive(Template)]
#[template(path = "results.html")]
struct Results {
    form: Form,
    rows: Vec<Row>,
    beside: Neighbours,
}

/// A result in a table.
pub struct Row {
    pub id: i64,
    pub outcome: String,
    pub testcase: String,
    pub testcase_link: String,
    pub item: String,
    pub kind: String,
    pub item_link: Option<String>,
    pub flavour: String,
    pub note: String,
    pub time: String,
}

pub async fn show(State(app): State<Arc<App>>, asked: Asked) -> Result<Response, Sorry> {
    let listing = asked.results(&app, ROWS)?;
    let (found, more) = app.store.results(&listing.filter, listing.page).await?;
    let page = Results {
        form: Form::new("/results", &asked.parameters, &FIELDS).outcomes(&asked.parameters, &app.outcomes),
        rows: found.iter().map(Row::of).collect(),
        beside: asked.neighbours(listing.page, more),
    };
    shown("Results", &page)
}

impl Row {
    pub fn of(result: &StoredResult) -> Row {
        let data = result.data();
        let first = |key: &str| data.get(key).and_then(|values| values.first()).cloned().unwrap_or_default();
        let (item, kind) = (first("item"), first("type"));
        let flavours: Vec<String> = Flavour::all(&data).iter().map(Flavour::name).collect();
        Row {
            id: result.id,
            outcome: result.outcome.clone(),
            testcase: result.testcase.clone(),
            testcase_link: link::testcase(&result.testcase),
            item_link: link::item(&item, &kind),
            item,
            kind,
            flavour: flavours.join(", "),
            note: result.note.clone().unwrap_or_default(),
            time: Time(result.submit_time).to_seconds(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_text() {
        let hostile = "<script>alert(1)</script>";
        let result = StoredResult {
            id: 1,
            outcome: hostile.into(),
            submit_time: 0,
            note: Some(hostile.into()),
            ref_url: Some("javascript:alert(1)".into()),
            data: format!(r#"{{"item":["{hostile}"],"arch":["{hostile}","b"]}}"#),
            groups: "[]".into(),
            testcase: hostile.into(),
            testcase_ref_url: None,
        };
        let form = Form {
            action: hostile.into(),
            fields: vec![],
            outcomes: vec![],
            kept: vec![(hostile.into(), hostile.into())],
        };
        let page = Results { form, rows: vec![Row::of(&result)], beside: Neighbours::default() };
        assert!(!page.render().unwrap().contains("<script"));
    }
}
