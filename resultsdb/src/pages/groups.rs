//! `/groups`: results that belong together, by the parameters of the API's list; and one group with its results.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::form::Form;
use super::results::{FIELDS, ROWS, Row};
use super::{Asked, Neighbours, Sorry, link, show as shown};
use crate::api::{ApiError, App};
use crate::result::Group;

#[derive(Template)]
#[template(path = "groups.html")]
struct Groups {
    form: Form,
    rows: Vec<Summary>,
    beside: Neighbours,
}

/// A group in a table.
struct Summary {
    group: Group,
    link: String,
    ref_url: Option<String>,
}

#[derive(Template)]
#[template(path = "group.html")]
struct One {
    summary: Summary,
    form: Form,
    rows: Vec<Row>,
    beside: Neighbours,
}

impl Summary {
    fn of(group: Group) -> Summary {
        Summary { link: link::group(&group.uuid), ref_url: link::harmless(group.ref_url.as_deref()), group }
    }
}

pub async fn list(State(app): State<Arc<App>>, asked: Asked) -> Result<Response, Sorry> {
    let (filter, page) = asked.parameters.groups()?;
    let page = asked.page(page, ROWS);
    let (found, more) = app.store.groups(&filter, page).await?;
    let fields = [("description:like", "Description, with *"), ("description", "Description"), ("uuid", "UUID")];
    let page = Groups {
        form: Form::new("/groups", &asked.parameters, &fields),
        rows: found.into_iter().map(Summary::of).collect(),
        beside: asked.neighbours(page, more),
    };
    shown("Groups", &page)
}

pub async fn show(State(app): State<Arc<App>>, Path(uuid): Path<String>, asked: Asked) -> Result<Response, Sorry> {
    let mut listing = asked.results(&app, ROWS)?;
    let unknown = || ApiError::not_found("Group not found");
    if uuid.contains('\0') {
        return Err(unknown().into());
    }
    let group = app.store.group(&uuid).await?.ok_or_else(unknown)?;
    listing.filter.groups = vec![uuid];
    let (found, more) = app.store.results(&listing.filter, listing.page).await?;
    let fields: Vec<_> = FIELDS.into_iter().filter(|(name, _)| *name != "groups").collect();
    let summary = Summary::of(group);
    let page = One {
        form: Form::new(summary.link.clone(), &asked.parameters, &fields).outcomes(&asked.parameters, &app.outcomes),
        rows: found.iter().map(Row::of).collect(),
        beside: asked.neighbours(listing.page, more),
        summary,
    };
    shown(page.summary.group.description.as_deref().unwrap_or("Group"), &page)
}
