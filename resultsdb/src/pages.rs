//! Pages for people: the newest results, one result, and all about one item. They only read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use model::{Role, Time};
use net::page::{Section, escape, secure, shell};
use net::{Tokens, guard};
use url::form_urlencoded;

use crate::api::{Address, ApiError, App, Parameters, log};
use crate::result::StoredResult;
use crate::store::{Filter, Latest, Wanted};

pub fn router(app: Arc<App>, tokens: &Tokens) -> Router {
    let pages = Router::new()
        .route("/results", get(results))
        .route("/results/{id}", get(result))
        .route("/items", get(item))
        .with_state(app);
    secure(guard(pages, tokens, Role::Reader))
}

/// The newest results; its parameters are those of the API's list.
#[derive(Template)]
#[template(path = "results.html")]
struct Results {
    asked: Asked,
    outcomes: Vec<String>,
    rows: Vec<Row>,
    newer: Option<String>,
    older: Option<String>,
}

/// What the form shows again.
#[derive(Default)]
struct Asked {
    item: String,
    kind: String,
    testcase: String,
    outcome: String,
    since: String,
}

struct Row {
    id: i64,
    outcome: String,
    testcase: String,
    item: String,
    kind: String,
    item_link: Option<String>,
    note: String,
    time: String,
}

#[derive(Template)]
#[template(path = "result.html")]
struct One {
    row: Row,
    ref_url: String,
    ref_link: Option<String>,
    testcase_link: Option<String>,
    /// Name and link.
    groups: Vec<(String, String)>,
    data: BTreeMap<String, Vec<String>>,
}

/// One item: testcases down, architectures across.
#[derive(Template)]
#[template(path = "item.html")]
struct Item {
    item: String,
    kind: String,
    all: String,
    arches: Vec<String>,
    lines: Vec<Line>,
}

struct Line {
    testcase: String,
    /// One for each architecture.
    cells: Vec<Option<Cell>>,
}

struct Cell {
    id: i64,
    outcome: String,
    time: String,
    link: Option<String>,
}

async fn results(State(app): State<Arc<App>>, address: Address, RawQuery(query): RawQuery) -> Result<Response, Sorry> {
    // A form sends what was left empty, too.
    let pairs = form_urlencoded::parse(query.as_deref().unwrap_or_default().as_bytes());
    let filled =
        form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs.filter(|(_, v)| !v.is_empty())).finish();
    let parameters = Parameters::parse(Some(&filled))?;
    let listing = parameters.results(&app.outcomes)?;
    let (found, more) = app.store.results(&listing.filter, listing.page).await.map_err(ApiError::from)?;
    let asked = |name| parameters.first(name).unwrap_or_default().to_owned();
    let number = listing.page.number;
    let page = Results {
        asked: Asked {
            item: asked("item"),
            kind: asked("type"),
            testcase: asked("testcases:like"),
            outcome: asked("outcome").to_uppercase(),
            since: asked("since"),
        },
        outcomes: app.outcomes.clone(),
        rows: found.iter().map(Row::of).collect(),
        newer: (number > 0).then(|| address.page_here(number - 1)),
        older: more.then(|| address.page_here(number.saturating_add(1))),
    };
    show("Results", &page)
}

async fn result(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Sorry> {
    let unknown = || ApiError::not_found("Result not found");
    let id: i64 = id.parse().map_err(|_| unknown())?;
    let found = app.store.result(id).await.map_err(ApiError::from)?.ok_or_else(unknown)?;
    let groups: Vec<String> = serde_json::from_str(&found.groups).unwrap_or_default();
    let page = One {
        row: Row::of(&found),
        ref_url: found.ref_url.clone().unwrap_or_default(),
        ref_link: link(found.ref_url.as_deref()),
        testcase_link: link(found.testcase_ref_url.as_deref()),
        groups: groups.into_iter().map(|g| (g.clone(), query("/results", &[("groups", &g)]))).collect(),
        data: found.data(),
    };
    show(&found.testcase, &page)
}

async fn item(State(app): State<Arc<App>>, RawQuery(query_text): RawQuery) -> Result<Response, Sorry> {
    let parameters = Parameters::parse(query_text.as_deref())?;
    let item = parameters.first("item").unwrap_or_default().to_owned();
    let kind = parameters.first("type").unwrap_or_default().to_owned();
    let mut page =
        Item { all: query("/results", &[("item", &item), ("type", &kind)]), item, kind, arches: vec![], lines: vec![] };
    if !page.item.is_empty() {
        let mut filter = Filter::default();
        filter.data.push(("item".into(), Wanted::OneOf(vec![page.item.clone()])));
        if !page.kind.is_empty() {
            filter.data.push(("type".into(), Wanted::OneOf(vec![page.kind.clone()])));
        }
        let latest = Latest { filter, distinct: vec!["arch".into()] };
        page.fill(&app.store.latest(&latest).await.map_err(ApiError::from)?);
    }
    let title = if page.item.is_empty() { "Items".to_owned() } else { page.item.clone() };
    show(&title, &page)
}

impl Item {
    /// Lays the results, newest first, out by testcase and architecture.
    fn fill(&mut self, results: &[StoredResult]) {
        let mut cells: BTreeMap<&str, BTreeMap<String, Cell>> = BTreeMap::new();
        let mut arches = BTreeSet::new();
        for result in results {
            for arch in result.data().remove("arch").unwrap_or_else(|| vec!["—".into()]) {
                arches.insert(arch.clone());
                cells.entry(&result.testcase).or_default().entry(arch).or_insert_with(|| Cell {
                    id: result.id,
                    outcome: result.outcome.clone(),
                    time: Time(result.submit_time).to_seconds(),
                    link: link(result.ref_url.as_deref()),
                });
            }
        }
        self.arches = arches.into_iter().collect();
        self.lines = (cells.into_iter())
            .map(|(testcase, mut cells)| Line {
                testcase: testcase.to_owned(),
                cells: self.arches.iter().map(|arch| cells.remove(arch)).collect(),
            })
            .collect();
    }
}

impl Row {
    fn of(result: &StoredResult) -> Row {
        let data = result.data();
        let first = |key: &str| data.get(key).and_then(|values| values.first()).cloned().unwrap_or_default();
        let (item, kind) = (first("item"), first("type"));
        Row {
            id: result.id,
            outcome: result.outcome.clone(),
            testcase: result.testcase.clone(),
            item_link: (!item.is_empty()).then(|| query("/items", &[("item", &item), ("type", &kind)])),
            item,
            kind,
            note: result.note.clone().unwrap_or_default(),
            time: Time(result.submit_time).to_seconds(),
        }
    }
}

/// An address that may stand in a link: anyone may have posted it.
fn link(url: Option<&str>) -> Option<String> {
    let url = url?;
    let harmless =
        url.starts_with("https://") || url.starts_with("http://") || (url.starts_with('/') && !url.starts_with("//"));
    harmless.then(|| url.to_owned())
}

/// A link with parameters; those without a value are left out.
fn query(path: &str, parameters: &[(&str, &str)]) -> String {
    let filled = parameters.iter().filter(|(_, value)| !value.is_empty());
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(filled).finish();
    format!("{path}?{query}")
}

fn show(title: &str, page: &impl Template) -> Result<Response, Sorry> {
    let body = page.render().map_err(Sorry::Template)?;
    Ok(shell(title, Section::Results, &body).into_response())
}

/// A page that could not be made.
enum Sorry {
    Api(ApiError),
    Template(askama::Error),
}

impl From<ApiError> for Sorry {
    fn from(e: ApiError) -> Sorry {
        Sorry::Api(e)
    }
}

impl IntoResponse for Sorry {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Sorry::Api(ApiError::Invalid(faults)) => {
                let all: Vec<String> = faults.iter().map(|f| format!("{}: {}", f.field, f.message)).collect();
                (StatusCode::BAD_REQUEST, all.join("; "))
            }
            Sorry::Api(ApiError::Message(status, message)) => (status, message),
            Sorry::Api(ApiError::MediaType) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, String::new()),
            Sorry::Api(ApiError::Store(e)) => {
                log(&e);
                (StatusCode::SERVICE_UNAVAILABLE, "The results database does not answer. Try again later.".into())
            }
            Sorry::Template(e) => {
                tracing::error!(error = %e, "failed to make a page of results");
                (StatusCode::INTERNAL_SERVER_ERROR, "The server failed; its log says why.".into())
            }
        };
        let title = status.canonical_reason().unwrap_or("Sorry");
        let body = format!("<h1>{}</h1>\n<p>{}</p>", escape(title), escape(&text));
        (status, shell(title, Section::Results, &body)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_text_and_a_link_leads_only_to_the_web() {
        let hostile = "<script>alert(1)</script>";
        let result = StoredResult {
            id: 1,
            outcome: "PASSED".into(),
            submit_time: 0,
            note: Some(hostile.into()),
            ref_url: Some("javascript:alert(1)".into()),
            data: format!(r#"{{"item":["{hostile}"],"arch":["a","b"]}}"#),
            groups: "[]".into(),
            testcase: hostile.into(),
            testcase_ref_url: None,
        };
        let row = Row::of(&result);
        let page = Results {
            asked: Asked::default(),
            outcomes: vec![hostile.into()],
            rows: vec![row],
            newer: None,
            older: None,
        };
        assert!(!page.render().unwrap().contains("<script"));
        let mut item =
            Item { item: hostile.into(), kind: hostile.into(), all: hostile.into(), arches: vec![], lines: vec![] };
        item.fill(&[result]);
        assert_eq!(item.lines[0].cells.len(), 2);
        let html = item.render().unwrap();
        assert!(!html.contains("<script") && !html.contains("javascript:"));
        assert_eq!(link(Some("//evil.example")), None);
        assert_eq!(link(Some("/jobs/1")).as_deref(), Some("/jobs/1"));
    }
}
