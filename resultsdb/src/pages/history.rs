//! A testcase's history: the newest so many of its results, what they say of it, and the way to older ones.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use model::Time;

use super::form::Form;
use super::plot::{self, Plot};
use super::record::Record;
use super::results::Row;
use super::{Asked, Neighbours, Sorry, link, show as shown};
use crate::api::{ApiError, App};
use crate::result::StoredResult;

/// How many results are looked at, unless another number is asked for: however long the history is, a page reads no more.
const WINDOW: i64 = 1000;

/// How many results stand in the table.
const ROWS: usize = 50;

/// How many items that flipped are named.
const UNSTEADY: usize = 20;

const FIELDS: [(&str, &str); 5] =
    [("item", "Item"), ("type", "Type"), ("arch", "Arch"), ("scenario", "Scenario"), ("since", "Since[,until]")];

#[derive(Template)]
#[template(path = "testcase.html")]
struct History {
    name: String,
    ref_url: Option<String>,
    form: Form,
    looked_at: usize,
    /// The times of the oldest and the newest result that was looked at.
    window: Option<(String, String)>,
    beside: Neighbours,
    numbers: Vec<Number>,
    plots: Vec<Plot>,
    unsteady: Vec<Item>,
    rows: Vec<Row>,
    /// All results, where a listing can ask for them.
    all: Option<String>,
}

struct Number {
    value: String,
    name: String,
}

struct Item {
    item: String,
    link: Option<String>,
    flips: usize,
}

pub async fn show(State(app): State<Arc<App>>, Path(name): Path<String>, asked: Asked) -> Result<Response, Sorry> {
    let mut listing = asked.results(&app, WINDOW)?;
    let unknown = || ApiError::not_found("Testcase not found");
    if name.contains('\0') {
        return Err(unknown().into());
    }
    let testcase = app.store.testcase(&name).await?.ok_or_else(unknown)?;
    listing.filter.testcases.get_or_insert_default().exact = vec![name.clone()];
    // Outcomes choose what stands in the table; a rate is one of all outcomes.
    let outcomes = std::mem::take(&mut listing.filter.outcomes);
    let (found, more) = app.store.results(&listing.filter, listing.page).await?;
    let record = Record::of(&found);
    let time = |result: &StoredResult| Time(result.submit_time).to_seconds();
    let listed = found.iter().filter(|r| outcomes.is_empty() || outcomes.contains(&r.outcome));
    let page = History {
        ref_url: link::harmless(testcase.ref_url.as_deref()),
        form: Form::new(link::testcase(&name), &asked.parameters, &FIELDS).outcomes(&asked.parameters, &app.outcomes),
        looked_at: found.len(),
        window: found.last().map(time).zip(found.first().map(time)),
        beside: asked.neighbours(listing.page, more),
        numbers: numbers(&record),
        plots: plot::plots(&record),
        unsteady: (record.unsteady.iter().take(UNSTEADY))
            .map(|u| Item { item: u.item.clone(), link: link::item(&u.item, &u.kind), flips: u.flips })
            .collect(),
        rows: listed.take(ROWS).map(Row::of).collect(),
        all: all(&name, &asked),
        name,
    };
    shown(&page.name, &page)
}

/// The listing of the same results; none where a list of names would cut this one in pieces.
fn all(name: &str, asked: &Asked) -> Option<String> {
    let kept = asked.parameters.without(&["page", "limit", "testcases"]);
    let kept = if kept.is_empty() { kept } else { format!("&{kept}") };
    let whole = !name.contains(',') && name.trim() == name;
    whole.then(|| format!("{}{kept}", link::query("/results", &[("testcases", name)])))
}

fn numbers(record: &Record) -> Vec<Number> {
    let percent = |rate: Option<f64>| rate.map_or_else(|| "—".to_owned(), |rate| format!("{rate:.1} %"));
    let number = |value: String, name: String| Number { value, name };
    let mut numbers = vec![
        number(percent(record.pass_rate()), format!("pass rate: {} of {}", record.good, record.good + record.bad)),
        number(percent(record.flake_rate()), format!("flake rate: {} of {} repeats", record.flips, record.repeats)),
    ];
    if let Some(seconds) = record.usual_duration() {
        numbers.push(number(plot::span(seconds), "usual duration".into()));
    }
    for (count, name) in
        [(record.bad, "failed"), (record.neither, "without a verdict"), (record.pending, "still queued or running")]
    {
        if count > 0 {
            numbers.push(number(count.to_string(), name.into()));
        }
    }
    numbers
}
