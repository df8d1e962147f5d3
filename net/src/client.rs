//! The HTTP client of one room for another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, RequestBuilder, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::{Addresses, Problem, Secret, install_crypto};

/// How long an ordinary request may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a long body may take to come.
const LONG: Duration = Duration::from_secs(3600);

/// Talks to one service with one token. Cheap to clone.
///
/// Of several addresses it keeps to one, and goes on with the next as soon as a request has found it unavailable. That
/// request fails all the same: only its caller knows whether it may be sent again.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    bases: Arc<[Url]>,
    /// Counts the moves to a next address; all clones move together.
    moves: Arc<AtomicUsize>,
    token: Secret,
}

/// A request, and what the count of moves was when its address was chosen.
struct Sent {
    request: RequestBuilder,
    at: usize,
}

/// What a caller can do about a failed request.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// No answer, or one that says "later": the same request may be sent again.
    #[error("{0}")]
    Unavailable(String),
    /// The server refused: sending the same again gives the same.
    #[error("{detail}")]
    Refused { status: u16, detail: String },
}

impl ClientError {
    /// The status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            ClientError::Unavailable(_) => None,
            ClientError::Refused { status, .. } => Some(*status),
        }
    }
}

impl Client {
    /// Addresses are those of servers, with or without a path under which they stand.
    pub fn new(addresses: impl Into<Addresses>, token: Secret) -> Result<Client, ClientError> {
        install_crypto();
        let bases = addresses.into().all().iter().cloned().map(as_base).collect();
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .tcp_nodelay(true)
            .pool_idle_timeout(Duration::from_secs(60))
            .user_agent(concat!("taskotron/", env!("CARGO_PKG_VERSION")))
            // Loopback and sibling servers are never behind the proxy that the environment may name.
            .no_proxy()
            .build()
            .map_err(|e| ClientError::Unavailable(format!("cannot make an HTTP client: {}", chain(&e))))?;
        Ok(Client { http, bases, moves: Arc::default(), token })
    }

    /// The address that the next request goes to.
    pub fn base(&self) -> &Url {
        self.base_at(self.moves.load(Ordering::Relaxed))
    }

    /// All addresses, the one that the next request goes to first.
    pub fn bases(&self) -> impl Iterator<Item = &Url> {
        let first = self.moves.load(Ordering::Relaxed);
        (0..self.bases.len()).map(move |n| self.base_at(first.wrapping_add(n)))
    }

    /// What it shows to whom it asks.
    pub fn token(&self) -> &Secret {
        &self.token
    }

    fn base_at(&self, moves: usize) -> &Url {
        &self.bases[moves % self.bases.len()]
    }

    pub async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, ClientError> {
        self.answer(self.request(Method::GET, path, TIMEOUT)?).await
    }

    pub async fn post<B: Serialize + ?Sized, A: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<A, ClientError> {
        self.post_within(path, body, TIMEOUT).await
    }

    /// As [`Client::post`], for an answer that may take longer than usual.
    pub async fn post_within<B: Serialize + ?Sized, A: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        timeout: Duration,
    ) -> Result<A, ClientError> {
        self.answer(self.request(Method::POST, path, timeout)?.with(|request| request.json(body))).await
    }

    /// Sends a body that is not JSON; answered with JSON.
    pub async fn send<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<A, ClientError> {
        let mut sent = self.request(method, path, TIMEOUT)?.with(|request| request.body(body));
        for (name, value) in headers {
            sent = sent.with(|request| request.header(*name, *value));
        }
        self.answer(sent).await
    }

    /// `PUT`s bytes; answered with JSON.
    pub async fn put_bytes<A: DeserializeOwned>(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<A, ClientError> {
        self.send(Method::PUT, path, headers, body).await
    }

    /// The answer to a `GET` as it comes, for a body that is not JSON.
    pub async fn get_raw(&self, path: &str) -> Result<reqwest::Response, ClientError> {
        let sent = self.request(Method::GET, path, TIMEOUT)?;
        let at = sent.at;
        let response = self.begin(sent).await?;
        if response.status().is_success() { Ok(response) } else { Err(self.refusal(response, at).await) }
    }

    /// A body that is not JSON, from one of its bytes on, as it comes; `None` when there is nothing from there on.
    pub async fn get_part(&self, path: &str, from: u64) -> Result<Option<reqwest::Response>, ClientError> {
        let mut sent = self.request(Method::GET, path, LONG)?;
        if from > 0 {
            sent = sent.with(|request| request.header(header::RANGE, format!("bytes={from}-")));
        }
        let at = sent.at;
        let response = self.begin(sent).await?;
        match response.status() {
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(None),
            status if status.is_success() => Ok(Some(response)),
            _ => Err(self.refusal(response, at).await),
        }
    }

    fn request(&self, method: Method, path: &str, timeout: Duration) -> Result<Sent, ClientError> {
        let at = self.moves.load(Ordering::Relaxed);
        let base = self.base_at(at);
        let url = base
            .join(path.trim_start_matches('/'))
            .map_err(|e| ClientError::Refused { status: 400, detail: format!("'{path}' is no path of {base}: {e}") })?;
        let request = self.http.request(method, url).timeout(timeout);
        let request = match self.token.expose() {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        Ok(Sent { request, at })
    }

    async fn begin(&self, sent: Sent) -> Result<reqwest::Response, ClientError> {
        sent.request.send().await.map_err(|e| self.unreachable(&e, sent.at))
    }

    async fn answer<A: DeserializeOwned>(&self, sent: Sent) -> Result<A, ClientError> {
        let at = sent.at;
        let response = self.begin(sent).await?;
        if !response.status().is_success() {
            return Err(self.refusal(response, at).await);
        }
        let bytes = response.bytes().await.map_err(|e| self.unreachable(&e, at))?;
        serde_json::from_slice(&bytes)
            .map_err(|e| self.unavailable(at, format!("{} answered what cannot be read: {e}", self.base_at(at))))
    }

    fn unreachable(&self, e: &reqwest::Error, at: usize) -> ClientError {
        self.unavailable(at, format!("cannot reach {}: {}", self.base_at(at), chain(e)))
    }

    /// Moves to the next address, unless another request has done so since this one was made.
    fn unavailable(&self, at: usize, why: String) -> ClientError {
        let _ = self.moves.compare_exchange(at, at.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed);
        ClientError::Unavailable(why)
    }

    /// What a server said that did not succeed.
    async fn refusal(&self, response: reqwest::Response, at: usize) -> ClientError {
        let (status, url) = (response.status(), response.url().clone());
        let body = response.bytes().await.unwrap_or_default();
        let detail = match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => problem.detail,
            Err(_) => String::from_utf8_lossy(&body).chars().take(500).collect(),
        };
        let later = status.is_server_error()
            || status == StatusCode::TOO_MANY_REQUESTS
            || status == StatusCode::REQUEST_TIMEOUT;
        if later {
            return self.unavailable(at, format!("{url} answered {status}: {detail}"));
        }
        ClientError::Refused { status: status.as_u16(), detail }
    }
}

impl Sent {
    fn with(self, change: impl FnOnce(RequestBuilder) -> RequestBuilder) -> Sent {
        Sent { request: change(self.request), at: self.at }
    }
}

/// So that a path is joined behind the whole address.
fn as_base(mut url: Url) -> Url {
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    url
}

/// An error and its causes in one line: reqwest's own text leaves out the one that matters.
fn chain(e: &dyn std::error::Error) -> String {
    let mut last = e;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tokio::net::TcpListener;

    use super::*;

    async fn server(router: Router) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        url.parse().unwrap()
    }

    #[tokio::test]
    async fn of_several_servers_the_next_is_asked_when_one_is_away_or_failing() {
        let away = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let away = format!("http://{away}");
        let failing = server(Router::new().route("/who", get(|| async { StatusCode::SERVICE_UNAVAILABLE }))).await;
        let works = server(Router::new().route("/who", get(|| async { "\"me\"" }))).await;
        let list = serde_json::json!([away, failing, works]);
        let client = Client::new(serde_json::from_value::<Addresses>(list).unwrap(), Secret::none()).unwrap();
        let clone = client.clone();
        for address in [away.as_str(), failing.as_str()] {
            let error = client.get::<String>("who").await.unwrap_err();
            assert!(error.status().is_none() && error.to_string().contains(address), "{error}");
        }
        for _ in 0..2 {
            assert_eq!(clone.get::<String>("/who").await.unwrap(), "me");
        }
        assert_eq!(client.get::<String>("/nothing").await.unwrap_err().status(), Some(404));
        assert_eq!(client.base().as_str(), works.as_str());
    }
}
