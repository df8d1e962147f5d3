//! Who looks at the pages: anybody, or a person who has logged in. Only the latter can do anything, and only by forms of
//! our own.
//!
//! A session is a random secret in a cookie that no script sees, of which the store knows the hash. What it may do is
//! looked up for each request by the token that it was begun with: taken back, that takes the session along. A token in
//! `Authorization` lets its bearer read pages but not act on them: a browser that knows it would send it along with any
//! site's form.

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use model::{Role, Span};
use net::page::escape;
use net::{Caller, Problem, Secret, Tokens};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::{Sorry, encoded, login};
use crate::app::App;
use crate::settings::Settings;
use crate::store::{self, Hash};

/// How long a login holds.
pub const SESSION: Span = Span::minutes(12 * 60);

/// Who asks for a page, and for which.
#[derive(Clone, Debug)]
pub struct Visitor {
    pub session: Option<Session>,
    /// The path and query of the request.
    pub path: String,
}

/// A person who has logged in.
#[derive(Clone, Debug)]
pub struct Session {
    /// The name of the token; it stands beside every act.
    pub name: String,
    pub role: Role,
    secret: Secret,
}

impl Session {
    pub fn may_act(&self) -> bool {
        self.role.includes(Role::Operator)
    }

    /// What every form of this session carries, and no other site can know.
    pub fn csrf(&self) -> String {
        hex::encode(Sha256::digest(format!("csrf {}", self.secret.expose().unwrap_or_default())))
    }

    /// Whether a form is one that this session was given.
    pub fn gave(&self, csrf: Option<&String>) -> Result<(), Problem> {
        // Hashes are compared, so that the time it takes tells nothing of what is right.
        let hash = |text: &str| -> Hash { Sha256::digest(text).into() };
        match csrf {
            Some(csrf) if hash(csrf) == hash(&self.csrf()) => Ok(()),
            Some(_) | None => Err(Problem::forbidden(
                "this form is not one that you were given, or you have logged in anew since: go back, reload, try again",
            )),
        }
    }

    pub fn hash(&self) -> Hash {
        hash_of(&self.secret)
    }
}

pub fn hash_of(secret: &Secret) -> Hash {
    Sha256::digest(secret.expose().unwrap_or_default()).into()
}

impl Visitor {
    /// The operator who acts.
    pub fn operator(&self) -> Result<&Session, Problem> {
        match &self.session {
            None => Err(Problem::unauthorized("log in first: this is for operators")),
            Some(session) if !session.may_act() => Err(Problem::forbidden(format!(
                "you are logged in as '{}', of role {}, and this is for operators",
                session.name, session.role
            ))),
            Some(session) => Ok(session),
        }
    }

    pub fn may_act(&self) -> bool {
        self.session.as_ref().is_some_and(Session::may_act)
    }

    /// The corner of each page: who is logged in, and the way out or in.
    pub fn corner(&self) -> String {
        match &self.session {
            None => format!("<a class=\"who\" href=\"/login?to={}\">Log in</a>", encoded(&self.path)),
            Some(session) => format!(
                "<form class=\"who\" method=\"post\" action=\"/logout\">{} \
                 <input type=\"hidden\" name=\"csrf\" value=\"{}\"><button class=\"plain\">Log out</button></form>",
                escape(&session.name),
                session.csrf()
            ),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Visitor, Problem> {
        parts.extensions.get::<Visitor>().cloned().ok_or_else(Problem::internal)
    }
}

/// What the doors of the pages know.
#[derive(Clone)]
pub struct Door {
    pub app: App,
    pub tokens: Tokens,
    /// Whether only readers come through; the way in is open to everyone.
    pub readers: bool,
}

/// Sees who comes, and shows those the way in who may not read.
pub async fn admit(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let session = match session(&door, request.headers()).await {
        Ok(session) => session,
        Err(error) => return Sorry::from(error).into_response(),
    };
    let caller = match &session {
        Some(session) => Caller { name: session.name.clone(), role: Some(session.role) },
        None => match door.tokens.caller(Role::Reader, request.headers()) {
            Ok(caller) => caller,
            Err(_) if !door.readers => Caller { name: "anonymous".into(), role: None },
            Err(problem) => return login::ask(problem, &path),
        },
    };
    let mine = session.is_some();
    request.extensions_mut().insert(caller);
    request.extensions_mut().insert(door.tokens.clone());
    request.extensions_mut().insert(Visitor { session, path });
    let mut response = next.run(request).await;
    if mine {
        // It shows what only this person may see: no other is to find it, and none after the logout.
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

async fn session(door: &Door, headers: &HeaderMap) -> store::Result<Option<Session>> {
    let Some(secret) = cookie(headers, &cookie_name(&door.app.settings)) else { return Ok(None) };
    let Some(token) = door.app.store.session(&hash_of(&secret)).await? else { return Ok(None) };
    let grant = door.tokens.granted(&token, net::clock::now());
    Ok(grant.map(|grant| Session { name: grant.name, role: grant.role, secret }))
}

/// Ports share the cookies of their host, so each has a name of its own; behind TLS the name makes the browser keep its
/// rules.
pub fn cookie_name(settings: &Settings) -> String {
    let url = &settings.public_url;
    match url.scheme() {
        "https" => "__Host-taskotron".into(),
        _ => format!("taskotron-{}", url.port_or_known_default().unwrap_or_default()),
    }
}

/// The header that gives a browser its secret, or with none takes it away.
///
/// `Lax`, not `Strict`: who comes from a link in a mail or on the results' pages is still logged in. Other sites' forms
/// bring no cookie along either way.
pub fn set_cookie(settings: &Settings, secret: Option<&Secret>) -> HeaderValue {
    let (name, value) = (cookie_name(settings), secret.and_then(Secret::expose).unwrap_or_default());
    let age = if secret.is_some() { SESSION.0.as_secs() } else { 0 };
    let secure = if settings.public_url.scheme() == "https" { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::from_str(&text).expect("it is plain ASCII")
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<Secret> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| Secret::new(value))
}

/// Whether a form was sent from a page of ours, as far as the browser says so.
pub fn from_here(headers: &HeaderMap, public: &Url) -> Result<(), Problem> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let ours = match (text("sec-fetch-site"), text("origin")) {
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => {
            let host = text("host").unwrap_or_default();
            origin == public.origin().ascii_serialization()
                || origin.split_once("://").is_some_and(|(_, from)| !from.is_empty() && from == host)
        }
        (None, None) => true,
    };
    match ours {
        true => Ok(()),
        false => Err(Problem::forbidden("this form was sent from a page of another site")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_among_others_and_is_kept_from_scripts_and_other_sites() {
        let settings = Settings { public_url: Url::parse("https://qa.example.org/").unwrap(), ..Settings::default() };
        let secret = Secret::new("s3cret");
        let header = set_cookie(&settings, Some(&secret));
        let text = header.to_str().unwrap();
        for part in ["__Host-taskotron=s3cret;", "Path=/;", "HttpOnly", "SameSite=Lax", "Secure"] {
            assert!(text.contains(part), "{text}");
        }
        let plain = set_cookie(&Settings::default(), None);
        let plain = plain.to_str().unwrap();
        assert!(plain.starts_with("taskotron-8080=; ") && plain.contains("Max-Age=0") && !plain.contains("Secure"));
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=b; taskotron-8081=no; taskotron-8080=yes"));
        assert_eq!(cookie(&headers, "taskotron-8080"), Some(Secret::new("yes")));
        assert_eq!(cookie(&headers, "taskotron"), None);
    }

    #[test]
    fn a_form_comes_from_a_page_of_ours() {
        let public = Url::parse("https://qa.example.org/").unwrap();
        let judge = |pairs: &[(&'static str, &'static str)]| {
            let headers = pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
            from_here(&headers.collect(), &public).is_ok()
        };
        assert!(judge(&[]) && judge(&[("sec-fetch-site", "same-origin")]));
        assert!(judge(&[("origin", "https://qa.example.org"), ("host", "10.0.0.1:8080")]), "behind a proxy");
        assert!(judge(&[("origin", "http://localhost:8080"), ("host", "localhost:8080")]));
        assert!(!judge(&[("sec-fetch-site", "cross-site"), ("origin", "https://qa.example.org")]));
        assert!(!judge(&[("sec-fetch-site", "same-site")]));
        assert!(!judge(&[("origin", "https://evil.example"), ("host", "qa.example.org")]));
        assert!(!judge(&[("origin", "null"), ("host", "null")]));
    }
}
