//! `GET /export/results`, `/export/testcases`, `/export/groups`: everything that a listing's filters find, as JSON lines,
//! however much it is. Not among ResultsDB's addresses.
//!
//! A line is what the API says of the thing, without links; a result's groups are whole, so that it can be imported alone.
//! `_after` goes on behind what was read last: an id, a name, a uuid. Results come in order of id, and none that is stored
//! while they are read is left out by going on behind the last. `limit` ends it earlier.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;

use super::fault::{ApiError, Fault, log};
use super::query::Parameters;
use super::{App, render};
use crate::json::Json;
use crate::store::{Export, GroupFilter, Names, Page};

/// Where an export goes on.
const AFTER: &str = "_after";

/// Reads on until there is nothing more; an error breaks the answer off, so that nobody takes it for whole.
trait Source: Send + 'static {
    /// The next lines, and how many there are; none at the end.
    fn lines(&mut self, out: &mut String) -> impl Future<Output = Result<usize, ApiError>> + Send;
}

fn answer(source: impl Source, limit: Option<usize>) -> Response {
    let pieces = stream::try_unfold((source, limit), |(mut source, mut limit)| async move {
        if limit == Some(0) {
            return Ok(None);
        }
        let mut out = String::new();
        let count = source.lines(&mut out).await.map_err(|e| {
            if let ApiError::Store(e) = &e {
                log(e);
            }
            std::io::Error::other("the export broke off")
        })?;
        if let Some(left) = &mut limit {
            if count > *left {
                let end = out.match_indices('\n').nth(left.saturating_sub(1)).map_or(out.len(), |(at, _)| at + 1);
                out.truncate(end);
            }
            *left = left.saturating_sub(count);
        }
        Ok::<_, std::io::Error>((count > 0).then_some((out, (source, limit))))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(pieces)).into_response()
}

/// How many lines are wanted; all where the client does not say.
fn limit(parameters: &Parameters, page: Page) -> Option<usize> {
    parameters.first("limit").map(|_| usize::try_from(page.limit).unwrap_or(usize::MAX))
}

struct Results {
    app: Arc<App>,
    export: Export,
}

impl Source for Results {
    async fn lines(&mut self, out: &mut String) -> Result<usize, ApiError> {
        let results = self.export.next().await?;
        let uuids = |text: &str| serde_json::from_str::<Vec<String>>(text).unwrap_or_default();
        let mut all: Vec<String> = results.iter().flat_map(|result| uuids(&result.groups)).collect();
        all.sort_unstable();
        all.dedup();
        let groups = self.app.store.groups_named(&all).await?;
        for result in &results {
            render::whole_result(result, &groups, out);
        }
        Ok(results.len())
    }
}

struct Testcases {
    app: Arc<App>,
    names: Option<Names>,
    after: Option<String>,
}

impl Source for Testcases {
    async fn lines(&mut self, out: &mut String) -> Result<usize, ApiError> {
        let testcases = self.app.store.export_testcases(self.names.as_ref(), self.after.as_deref()).await?;
        for testcase in &testcases {
            render::whole_testcase(&testcase.name, testcase.ref_url.as_deref(), out);
            out.push('\n');
        }
        let count = testcases.len();
        if let Some(last) = testcases.into_iter().next_back() {
            self.after = Some(last.name);
        }
        Ok(count)
    }
}

struct Groups {
    app: Arc<App>,
    filter: GroupFilter,
    after: i64,
}

impl Source for Groups {
    async fn lines(&mut self, out: &mut String) -> Result<usize, ApiError> {
        let groups = self.app.store.export_groups(&self.filter, self.after).await?;
        for (place, group) in &groups {
            render::whole_group(group, out);
            out.push('\n');
            self.after = *place;
        }
        Ok(groups.len())
    }
}

pub async fn results(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    let mut parameters = Parameters::parse(query.as_deref())?;
    let after = match parameters.take(AFTER) {
        None => 0,
        Some(text) => text.parse().map_err(|_| {
            let message = "Input should be a valid integer, unable to parse string as an integer";
            ApiError::Invalid(vec![Fault::new(AFTER, "int_parsing", message, &Json::Text(text))])
        })?,
    };
    let listing = parameters.results(&app.outcomes)?;
    let export = app.store.export(&listing.filter, after).await?;
    Ok(answer(Results { app, export }, limit(&parameters, listing.page)))
}

pub async fn testcases(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    let mut parameters = Parameters::parse(query.as_deref())?;
    let after = parameters.take(AFTER);
    let (names, page) = parameters.testcases()?;
    if let Some(name) = &after {
        app.store.testcase(name).await?.ok_or_else(|| ApiError::not_found("Testcase not found"))?;
    }
    Ok(answer(Testcases { app, names, after }, limit(&parameters, page)))
}

pub async fn groups(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    let mut parameters = Parameters::parse(query.as_deref())?;
    let after = match parameters.take(AFTER) {
        None => 0,
        Some(uuid) => app.store.place_of_group(&uuid).await?.ok_or_else(|| ApiError::not_found("Group not found"))?,
    };
    let (filter, page) = parameters.groups()?;
    Ok(answer(Groups { app, filter, after }, limit(&parameters, page)))
}
