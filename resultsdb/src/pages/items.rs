//! `/items`: all about one item, or which items the filters find.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use model::Time;

use super::form::Form;
use super::matrix::Matrix;
use super::verdict::{Flavour, Verdict};
use super::{Asked, MOST, Neighbours, Sorry, link, show as shown};
use crate::api::App;
use crate::result::StoredResult;
use crate::store::{Filter, Wanted};

/// How many results are looked at for a list of items, unless another number is asked for.
const WINDOW: i64 = 1000;

const FIELDS: [(&str, &str); 6] = [
    ("item", "Item"),
    ("item:like", "Item, with *"),
    ("type", "Type"),
    ("testcases:like", "Testcase, with *"),
    ("arch", "Arch"),
    ("since", "Since[,until]"),
];

#[derive(Template)]
#[template(path = "items.html")]
struct Items {
    form: Form,
    rows: Vec<Row>,
    looked_at: usize,
    beside: Neighbours,
}

struct Row {
    item: String,
    kind: String,
    link: Option<String>,
    good: usize,
    bad: usize,
    pending: usize,
    neither: usize,
    /// Of its newest result.
    time: String,
}

#[derive(Template)]
#[template(path = "item.html")]
struct Item {
    item: String,
    /// Each type with its link, where there are several.
    kinds: Vec<(String, Option<String>)>,
    all: String,
    form: Form,
    matrix: Matrix,
    looked_at: usize,
    beside: Neighbours,
}

pub async fn show(State(app): State<Arc<App>>, asked: Asked) -> Result<Response, Sorry> {
    let mut listing = asked.results(&app, WINDOW)?;
    // As with the API's latest results, outcomes do not choose: a cell shows its newest, whichever it is.
    listing.filter.outcomes.clear();
    let one = exact(&listing.filter, "item");
    if one.is_some() {
        listing.page = asked.page(listing.page, MOST);
    }
    let (found, more) = app.store.results(&listing.filter, listing.page).await?;
    let beside = asked.neighbours(listing.page, more);
    let form = Form::new("/items", &asked.parameters, &FIELDS);
    let mut rows = if one.is_some() { Vec::new() } else { rows(&found) };
    if let Some(item) = one.or_else(|| if rows.len() == 1 { rows.pop().map(|row| row.item) } else { None }) {
        let expected = listing.filter.testcases.map(|names| names.exact).unwrap_or_default();
        let matrix = Matrix::new(&found, &expected);
        let page = Item {
            kinds: kinds(&matrix, &item),
            all: format!("/results?{}", asked.parameters.without(&["page", "limit"])),
            form,
            matrix,
            looked_at: found.len(),
            beside,
            item,
        };
        return shown(&page.item, &page);
    }
    shown("Items", &Items { form, looked_at: found.len(), rows, beside })
}

/// The value that a filter asks for, where it is a single one.
fn exact(filter: &Filter, key: &str) -> Option<String> {
    filter.data.iter().find_map(|(k, wanted)| match wanted {
        Wanted::OneOf(values) if k == key && values.len() == 1 => values.first().cloned(),
        Wanted::OneOf(_) | Wanted::Like(_) => None,
    })
}

/// The items of results that come newest first, in this order. As in a matrix, the newest of a testcase and flavour counts.
fn rows(results: &[StoredResult]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut places: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut seen = HashSet::new();
    for result in results {
        let mut data = result.data();
        let flavours = Flavour::all(&data);
        let mut first = |key: &str| data.remove(key).and_then(|values| values.into_iter().next()).unwrap_or_default();
        let (item, kind) = (first("item"), first("type"));
        if item.is_empty() {
            continue;
        }
        let place = *places.entry((item.clone(), kind.clone())).or_insert_with(|| {
            rows.push(Row {
                link: link::item(&item, &kind),
                item,
                kind,
                good: 0,
                bad: 0,
                pending: 0,
                neither: 0,
                time: Time(result.submit_time).to_seconds(),
            });
            rows.len() - 1
        });
        let row = &mut rows[place];
        if !seen.insert((place, &result.testcase, flavours)) {
            continue;
        }
        match Verdict::of(&result.outcome) {
            Verdict::Good => row.good += 1,
            Verdict::Bad => row.bad += 1,
            Verdict::Pending => row.pending += 1,
            Verdict::Neither => row.neither += 1,
        }
    }
    rows
}

/// The types of an item's results; each with a link where there are several.
fn kinds(matrix: &Matrix, item: &str) -> Vec<(String, Option<String>)> {
    let several = matrix.kinds.len() > 1;
    let link = |kind: &String| if several { link::item(item, kind) } else { None };
    matrix.kinds.iter().map(|kind| (kind.clone(), link(kind))).collect()
}
