//! The documentation of API v3, made of the same table that bodies are read by.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use net::Problem;
use net::page::{Section, shell};

use super::kinds::{KINDS, Kind, LONGEST, Member, Shape};
use super::vocabulary;
use crate::api::App;

#[derive(Template)]
#[template(path = "api_v3.html")]
struct Page {
    outcomes: String,
    longest: usize,
    kinds: &'static [Kind],
}

pub async fn show(State(app): State<Arc<App>>) -> Response {
    let page = Page { outcomes: vocabulary(&app).join(", "), longest: LONGEST, kinds: &KINDS };
    match page.render() {
        Ok(body) => shell("API v3", Section::Elsewhere, &body).into_response(),
        Err(error) => {
            tracing::error!(%error, "failed to render the page of API v3");
            Problem::internal().into_response()
        }
    }
}

impl Kind {
    /// The least that can be posted.
    fn sample(&self) -> String {
        let members = self.members().filter(|member| !member.sample.is_empty());
        let members: Vec<_> = members.map(|member| format!("  \"{}\": {}", member.name, member.sample)).collect();
        format!("{{\n{}\n}}", members.join(",\n"))
    }
}

impl Member {
    fn shape(&self) -> &'static str {
        match self.shape {
            Shape::Outcome => "one of the outcomes, in this case",
            Shape::Text => "text",
            Shape::Name => "text, not empty",
            Shape::Link => "URL",
            Shape::Mail => "e-mail address",
            Shape::Integer => "integer",
            Shape::Flag => "true or false",
            Shape::Texts => "list of texts",
        }
    }
}
