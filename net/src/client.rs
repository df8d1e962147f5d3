//! The HTTP client of one room for another.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, RequestBuilder, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::{Problem, Secret, install_crypto};

/// How long an ordinary request may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a long body may take to come.
const LONG: Duration = Duration::from_secs(3600);

/// Talks to one base address with one token. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Secret,
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
    /// `base` is the address of a server, with or without a path under which it stands.
    pub fn new(mut base: Url, token: Secret) -> Result<Client, ClientError> {
        install_crypto();
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .tcp_nodelay(true)
            .pool_idle_timeout(Duration::from_secs(60))
            .user_agent(concat!("taskotron/", env!("CARGO_PKG_VERSION")))
            // Loopback and sibling servers are never behind the proxy that the environment may name.
            .no_proxy()
            .build()
            .map_err(|e| ClientError::Unavailable(format!("cannot make an HTTP client: {}", chain(&e))))?;
        Ok(Client { http, base, token })
    }

    pub fn base(&self) -> &Url {
        &self.base
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
        self.answer(self.request(Method::POST, path, timeout)?.json(body)).await
    }

    /// Sends a body that is not JSON; answered with JSON.
    pub async fn send<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<A, ClientError> {
        let mut request = self.request(method, path, TIMEOUT)?.body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.answer(request).await
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
        let response = self.request(Method::GET, path, TIMEOUT)?.send().await.map_err(|e| self.unavailable(&e))?;
        if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
    }

    /// A body that is not JSON, from one of its bytes on, as it comes; `None` when there is nothing from there on.
    pub async fn get_part(&self, path: &str, from: u64) -> Result<Option<reqwest::Response>, ClientError> {
        let mut request = self.request(Method::GET, path, LONG)?;
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        let response = request.send().await.map_err(|e| self.unavailable(&e))?;
        match response.status() {
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(None),
            status if status.is_success() => Ok(Some(response)),
            _ => Err(refusal(response).await),
        }
    }

    fn request(&self, method: Method, path: &str, timeout: Duration) -> Result<RequestBuilder, ClientError> {
        let url = self.base.join(path.trim_start_matches('/')).map_err(|e| ClientError::Refused {
            status: 400,
            detail: format!("'{path}' is no path of {}: {e}", self.base),
        })?;
        let request = self.http.request(method, url).timeout(timeout);
        Ok(match self.token.expose() {
            Some(token) => request.bearer_auth(token),
            None => request,
        })
    }

    async fn answer<A: DeserializeOwned>(&self, request: RequestBuilder) -> Result<A, ClientError> {
        let response = request.send().await.map_err(|e| self.unavailable(&e))?;
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        let bytes = response.bytes().await.map_err(|e| self.unavailable(&e))?;
        serde_json::from_slice(&bytes)
            .map_err(|e| ClientError::Unavailable(format!("{} answered what cannot be read: {e}", self.base)))
    }

    fn unavailable(&self, e: &reqwest::Error) -> ClientError {
        ClientError::Unavailable(format!("cannot reach {}: {}", self.base, chain(e)))
    }
}

/// What a server said that did not succeed.
async fn refusal(response: reqwest::Response) -> ClientError {
    let (status, url) = (response.status(), response.url().clone());
    let body = response.bytes().await.unwrap_or_default();
    let detail = match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => problem.detail,
        Err(_) => String::from_utf8_lossy(&body).chars().take(500).collect(),
    };
    let later =
        status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT;
    if later {
        return ClientError::Unavailable(format!("{url} answered {status}: {detail}"));
    }
    ClientError::Refused { status: status.as_u16(), detail }
}

/// An error and its causes in one line: reqwest's own text leaves out the one that matters.
fn chain(e: &dyn std::error::Error) -> String {
    let mut last = e;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}
