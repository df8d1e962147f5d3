//! Bearer tokens: who a caller is, and what it may do.
//!
//! A server knows only SHA-256 hashes. They stand in a file of lines `HASH ROLE NAME [EXPIRES]`, which is read again
//! when it changes, so that a token is given or taken back without a restart.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::{Role, Time};
use sha2::{Digest, Sha256};

use crate::{Problem, Secret, clock};

/// What one token allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub name: String,
    pub role: Role,
    pub expires: Option<Time>,
}

/// The tokens that a server accepts.
#[derive(Clone)]
pub struct Tokens {
    inner: Arc<Inner>,
    /// Whether those without a token may read.
    public_read: bool,
}

struct Inner {
    file: Option<PathBuf>,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    grants: HashMap<[u8; 32], Grant>,
    changed: Option<SystemTime>,
    looked: Option<Instant>,
}

/// How long a change of the file may go unseen.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Tokens {
    /// The tokens of a file.
    pub fn from_file(file: &Path, public_read: bool) -> io::Result<Tokens> {
        let inner = Arc::new(Inner { file: Some(file.to_owned()), known: RwLock::default() });
        let tokens = Tokens { inner, public_read };
        tokens.look(true)?;
        Ok(tokens)
    }

    /// The given tokens and no others.
    pub fn fixed(grants: impl IntoIterator<Item = (Secret, Grant)>, public_read: bool) -> Tokens {
        let grants = grants.into_iter().filter_map(|(s, g)| Some((Tokens::hash(s.expose()?), g))).collect();
        let known = RwLock::new(Known { grants, changed: None, looked: None });
        Tokens { inner: Arc::new(Inner { file: None, known }), public_read }
    }

    /// The same tokens, where those without one may do what a reader may.
    pub fn open(&self) -> Tokens {
        Tokens { inner: self.inner.clone(), public_read: true }
    }

    /// The line of a token file that grants this.
    pub fn line(secret: &Secret, grant: &Grant) -> Option<String> {
        let expires = grant.expires.map(|t| format!(" {t}")).unwrap_or_default();
        Some(format!("{} {} {}{expires}", hex::encode(Tokens::hash(secret.expose()?)), grant.role, grant.name))
    }

    /// What the token grants at `now`; `None` when it is unknown or has expired.
    pub fn check(&self, token: &str, now: Time) -> Option<Grant> {
        self.granted(&Tokens::hash(token), now)
    }

    /// The grant of the token with this hash; `None` when it is unknown or has expired at `now`.
    pub fn granted(&self, hash: &[u8; 32], now: Time) -> Option<Grant> {
        if let Err(e) = self.look(false) {
            tracing::warn!(error = %e, "the token file cannot be read; the tokens known so far stay in force");
        }
        let known = self.inner.known.read().expect("no one panics while holding it");
        known.grants.get(hash).filter(|g| g.expires.is_none_or(|end| now < end)).cloned()
    }

    /// What a server keeps of a token.
    pub fn hash(token: &str) -> [u8; 32] {
        Sha256::digest(token.as_bytes()).into()
    }

    /// Who a request with these headers comes from, if that may do what `role` may.
    pub fn caller(&self, role: Role, headers: &HeaderMap) -> Result<Caller, Problem> {
        caller(self, &[role], headers)
    }

    /// Every grant, for a listing.
    pub fn grants(&self) -> Vec<Grant> {
        self.inner.known.read().expect("no one panics while holding it").grants.values().cloned().collect()
    }

    /// Reads the file again if it changed and was not looked at just now.
    fn look(&self, first: bool) -> io::Result<()> {
        let Some(file) = &self.inner.file else { return Ok(()) };
        let now = Instant::now();
        {
            let known = self.inner.known.read().expect("no one panics while holding it");
            if known.looked.is_some_and(|t| now.duration_since(t) < LOOK_AGAIN) {
                return Ok(());
            }
        }
        let mut known = self.inner.known.write().expect("no one panics while holding it");
        known.looked = Some(now);
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", file.display()));
        let changed = std::fs::metadata(file).and_then(|m| m.modified()).map_err(named)?;
        if !first && known.changed == Some(changed) {
            return Ok(());
        }
        known.grants = parse(&std::fs::read_to_string(file).map_err(named)?).map_err(named)?;
        known.changed = Some(changed);
        Ok(())
    }
}

fn parse(text: &str) -> io::Result<HashMap<[u8; 32], Grant>> {
    let mut grants = HashMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("line {number}: {what}"));
        let mut words = line.split_whitespace();
        let (Some(hash), Some(role), Some(name)) = (words.next(), words.next(), words.next()) else {
            return Err(wrong("a line is HASH ROLE NAME [EXPIRES]"));
        };
        let mut key = [0; 32];
        hex::decode_to_slice(hash, &mut key).map_err(|_| wrong("the hash is not 64 hex digits"))?;
        let role: Role = role.parse().map_err(|_| wrong("the role is not known"))?;
        let expires = match words.next() {
            Some(text) => Some(text.parse().map_err(|_| wrong("the expiry is not a time"))?),
            None => None,
        };
        grants.insert(key, Grant { name: name.to_owned(), role, expires });
    }
    Ok(grants)
}

/// Who is calling, as the guard of the route found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The token's name; `anonymous` without one.
    pub name: String,
    pub role: Option<Role>,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Problem> {
        // A route without a guard has no caller: that is a fault of ours, not of the client.
        parts.extensions.get::<Caller>().cloned().ok_or_else(Problem::internal)
    }
}

/// Lets only callers of a role through to all routes of `router`, and tells the handlers who they are.
pub fn guard<S: Clone + Send + Sync + 'static>(router: Router<S>, tokens: &Tokens, role: Role) -> Router<S> {
    guard_any(router, tokens, &[role])
}

/// The same where each of several roles is enough.
pub fn guard_any<S: Clone + Send + Sync + 'static>(router: Router<S>, tokens: &Tokens, roles: &[Role]) -> Router<S> {
    let roles: Arc<[Role]> = roles.into();
    router.route_layer(middleware::from_fn_with_state((tokens.clone(), roles), check))
}

async fn check(State((tokens, roles)): State<(Tokens, Arc<[Role]>)>, mut request: Request, next: Next) -> Response {
    match caller(&tokens, &roles, request.headers()) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

fn caller(tokens: &Tokens, roles: &[Role], headers: &HeaderMap) -> Result<Caller, Problem> {
    let public = roles.contains(&Role::Reader) && tokens.public_read;
    let wanted = || roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(" or ");
    let Some(token) = token_of(headers) else {
        if public {
            return Ok(Caller { name: "anonymous".into(), role: None });
        }
        return Err(Problem::unauthorized(format!(
            "this needs a token of role {}: give it with TASKOTRON_TOKEN_FILE",
            wanted()
        )));
    };
    match tokens.check(&token, clock::now()) {
        Some(grant) if roles.iter().any(|role| grant.role.includes(*role)) => {
            Ok(Caller { name: grant.name, role: Some(grant.role) })
        }
        // What anyone may read, the holder of a foreign token may read too.
        _ if public => Ok(Caller { name: "anonymous".into(), role: None }),
        Some(grant) => Err(Problem::forbidden(format!(
            "the token '{}' is of role {}, and this needs {}",
            grant.name,
            grant.role,
            wanted()
        ))),
        None => Err(Problem::unauthorized("the token is unknown, or has expired")),
    }
}

/// The token of `Authorization: Bearer`, or the password of `Basic`.
fn token_of(headers: &HeaderMap) -> Option<String> {
    let (scheme, value) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.trim().to_owned());
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let pair = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
        return Some(pair.split_once(':')?.1.to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::StatusCode;
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;

    async fn status(tokens: &Tokens, role: Role, authorization: Option<&str>) -> StatusCode {
        let app = guard(Router::new().route("/", get(|c: Caller| async move { c.name })), tokens, role);
        let mut request = Request::get("/");
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status()
    }

    #[tokio::test]
    async fn a_role_opens_what_it_includes_and_nothing_else() {
        let grant = |role| Grant { name: "x".into(), role, expires: None };
        let tokens =
            Tokens::fixed([(Secret::new("op"), grant(Role::Operator)), (Secret::new("wk"), grant(Role::Worker))], true);
        assert_eq!(status(&tokens, Role::Submitter, Some("Bearer op")).await, StatusCode::OK);
        assert_eq!(status(&tokens, Role::Operator, Some("Bearer wk")).await, StatusCode::FORBIDDEN);
        assert_eq!(status(&tokens, Role::Operator, Some("Bearer no")).await, StatusCode::UNAUTHORIZED);
        assert_eq!(status(&tokens, Role::Operator, None).await, StatusCode::UNAUTHORIZED);
        assert_eq!(status(&tokens, Role::Reader, None).await, StatusCode::OK);
        let basic = format!("Basic {}", STANDARD.encode("anyone:op"));
        assert_eq!(status(&tokens, Role::Operator, Some(&basic)).await, StatusCode::OK);
    }

    #[tokio::test]
    async fn of_several_roles_each_is_enough_and_a_refusal_names_them_all() {
        let grant = |role| Grant { name: "x".into(), role, expires: None };
        let roles = [("op", Role::Operator), ("wk", Role::Worker), ("rd", Role::Reader)];
        let tokens = Tokens::fixed(roles.map(|(secret, role)| (Secret::new(secret), grant(role))), true);
        let ask = async |token: &str| {
            let router = Router::new().route("/", get(|| async {}));
            let app = guard_any(router, &tokens, &[Role::Worker, Role::Submitter]);
            let request = Request::get("/").header("authorization", format!("Bearer {token}"));
            let reply = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            let status = reply.status();
            (status, axum::body::to_bytes(reply.into_body(), 1 << 20).await.unwrap())
        };
        assert_eq!(ask("wk").await.0, StatusCode::OK);
        assert_eq!(ask("op").await.0, StatusCode::OK);
        let (status, body) = ask("rd").await;
        let said = String::from_utf8_lossy(&body);
        assert!(status == StatusCode::FORBIDDEN && said.contains("needs worker or submitter"), "{status}: {said}");
    }

    #[test]
    fn a_token_file_is_read_again_and_an_expired_token_is_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tokens");
        let grant = Grant { name: "w1".into(), role: Role::Worker, expires: Some(Time(1_000_000)) };
        let line = Tokens::line(&Secret::new("wk"), &grant).unwrap();
        std::fs::write(&file, format!("# workers\n{line}\n")).unwrap();
        let tokens = Tokens::from_file(&file, false).unwrap();
        assert_eq!(tokens.check("wk", Time(0)), Some(grant));
        assert_eq!(tokens.check("wk", Time(1_000_000)), None);
        assert!(parse("zz worker w1").is_err());
    }
}
