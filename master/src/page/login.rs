//! The way in and out: a token that is pasted, or an address that was given out for one visit.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Form, Router};
use net::page::{Section, shell};
use net::{Grant, Problem, Secret, Tokens};
use serde_json::Value;

use super::visitor::{SESSION, Visitor, from_here, hash_of, set_cookie};
use super::{PageResult, Sorry, show};
use crate::api::Query;
use crate::app::App;
use crate::store::{Act, Hash};

pub fn routes() -> Router<App> {
    Router::new()
        .route("/login", get(form).post(login))
        .route("/login/{code}", get(once))
        .route("/logout", post(logout))
}

#[derive(Template)]
#[template(path = "login.html")]
pub struct Login {
    /// Where to go then; a path of ours.
    to: String,
    /// Why it must be.
    why: Option<String>,
}

/// The way in, in the place of a page that is not for everyone.
pub fn ask(problem: Problem, path: &str) -> Response {
    let page = Login { to: ours(path).to_owned(), why: Some(problem.detail.clone()) };
    let body = page.render().unwrap_or_default();
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::UNAUTHORIZED);
    let mut response = (status, shell("Log in", Section::Elsewhere, &body)).into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// A path on this server, whatever was asked for: not another host's, nor one that a browser takes for such.
fn ours(path: &str) -> &str {
    let plain = path.starts_with('/') && !path.starts_with("//") && !path.contains(['\\', '\r', '\n']);
    if plain && !path.starts_with("/login") { path } else { "/" }
}

async fn form(visitor: Visitor, Query(query): Query<BTreeMap<String, String>>) -> PageResult {
    let to = ours(query.get("to").map_or("/", String::as_str)).to_owned();
    show("Log in", Section::Elsewhere, &visitor, &Login { to, why: None })
}

async fn login(
    State(app): State<App>,
    Extension(tokens): Extension<Tokens>,
    headers: HeaderMap,
    Form(form): Form<BTreeMap<String, String>>,
) -> Result<Response, Sorry> {
    from_here(&headers, &app.settings.public_url)?;
    let text = |name: &str| form.get(name).map_or("", |text| text.trim());
    let Some(grant) = tokens.check(text("token"), net::clock::now()) else {
        return Ok(ask(Problem::forbidden("this token is unknown, or has expired"), text("to")));
    };
    begin(&app, &grant, &Tokens::hash(text("token")), ours(text("to")), "with a token").await
}

/// Logs its first visitor in.
async fn once(
    State(app): State<App>,
    Extension(tokens): Extension<Tokens>,
    Path(code): Path<String>,
) -> Result<Response, Sorry> {
    let token = app.store.take_login(&hash_of(&Secret::new(&code))).await?;
    let known = token.and_then(|token| Some((tokens.granted(&token, net::clock::now())?, token)));
    let Some((grant, token)) = known else {
        let why = "this address was good for one visit within ten minutes, and is spent: log in with a token, or start \
                   'taskotron up' again for another";
        return Ok(ask(Problem::forbidden(why), "/"));
    };
    begin(&app, &grant, &token, "/", "by an address for one visit").await
}

async fn begin(app: &App, grant: &Grant, token: &Hash, to: &str, how: &str) -> Result<Response, Sorry> {
    let secret = Secret::random();
    let until = app.store.now().await?.plus(SESSION);
    app.store.begin_session(&hash_of(&secret), token, until, &act("login", &grant.name, how)).await?;
    tracing::info!(actor = %grant.name, "logged in to the pages");
    Ok(to_page(to, set_cookie(&app.settings, Some(&secret))))
}

async fn logout(
    State(app): State<App>,
    visitor: Visitor,
    headers: HeaderMap,
    Form(form): Form<BTreeMap<String, String>>,
) -> Result<Response, Sorry> {
    from_here(&headers, &app.settings.public_url)?;
    if let Some(session) = &visitor.session {
        session.gave(form.get("csrf"))?;
        app.store.end_session(&session.hash(), &act("logout", &session.name, "")).await?;
    }
    Ok(to_page("/", set_cookie(&app.settings, None)))
}

fn act(action: &'static str, name: &str, reason: &str) -> Act {
    Act {
        actor: name.to_owned(),
        action,
        object: "pages".into(),
        reason: reason.to_owned(),
        before: Value::Null,
        after: Value::Null,
    }
}

fn to_page(path: &str, cookie: HeaderValue) -> Response {
    let location = HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/"));
    let headers = [
        (header::LOCATION, location),
        (header::SET_COOKIE, cookie),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (StatusCode::SEE_OTHER, headers).into_response()
}

#[cfg(test)]
impl super::Sample for Login {
    fn sample() -> Login {
        Login { to: super::sample::HOSTILE.into(), why: Some(super::sample::HOSTILE.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_to_another_site() {
        for (path, want) in [
            ("/jobs?state=queued", "/jobs?state=queued"),
            ("//evil.example", "/"),
            ("https://evil.example", "/"),
            ("/\\evil.example", "/"),
            ("/login/abc", "/"),
            ("", "/"),
        ] {
            assert_eq!(ours(path), want);
        }
    }
}
