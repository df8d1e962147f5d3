//! Where a request says that we are, and links built from it.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Where the API stands below the server's root.
pub const BASE: &str = "/api/v2.0";

/// What stays as it is in a path.
const PATH: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b'/')
    .remove(b':')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');

/// What stays as it is in a parameter's value.
const VALUE: AsciiSet = PATH.add(b'&').add(b'+').add(b';').add(b'=');

/// The address of one request, as its client (or the proxy before us) sees it.
#[derive(Clone, Debug)]
pub struct Address {
    /// Scheme, host and path prefix, without a slash at the end.
    root: String,
    path: String,
    query: String,
}

impl Address {
    fn new(uri: &Uri, headers: &HeaderMap) -> Address {
        let given = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).filter(|v| !v.is_empty());
        let host = given("x-forwarded-host")
            .or_else(|| given(header::HOST.as_str()))
            .or_else(|| uri.authority().map(|a| a.as_str()))
            .unwrap_or("localhost");
        let scheme = given("x-forwarded-scheme").or_else(|| given("x-forwarded-proto")).unwrap_or("http");
        let root = format!("{scheme}://{host}{}", prefix(headers).unwrap_or_default());
        Address { root, path: uri.path().to_owned(), query: uri.query().unwrap_or_default().to_owned() }
    }

    /// The address of no request, below what links begin with.
    pub fn at(root: &str) -> Address {
        let root = root.trim_end_matches('/').to_owned();
        Address { root, path: String::new(), query: String::new() }
    }

    /// What links begin with: scheme, host and path prefix.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The link to a path of the API.
    pub fn of(&self, path: &str) -> String {
        format!("{}{BASE}{path}", self.root)
    }

    /// The link to a thing of this name.
    pub fn of_named(&self, path: &str, name: &str) -> String {
        format!("{}{BASE}{path}{}", self.root, utf8_percent_encode(name, &PATH))
    }

    pub fn of_query(&self, path: &str, value: &str) -> String {
        format!("{}{BASE}{path}{}", self.root, utf8_percent_encode(value, &VALUE))
    }

    /// This request's own link, for another page of its list.
    pub fn page(&self, number: i64) -> String {
        format!("{}{}{}", self.root, plain(&self.path), self.page_here(number))
    }

    /// As [`Address::page`], relative to the request's own path.
    pub fn page_here(&self, number: i64) -> String {
        let mut found = false;
        let mut parts: Vec<String> = Vec::new();
        for part in self.query.split('&').filter(|p| !p.is_empty()) {
            match part.split_once('=').map_or(part, |(name, _)| name) {
                "page" if found => {}
                "page" => {
                    found = true;
                    parts.push(format!("page={number}"));
                }
                "callback" => {}
                _ => parts.push(plain(part)),
            }
        }
        if !found {
            parts.push(format!("page={number}"));
        }
        format!("?{}", parts.join("&"))
    }
}

/// Some escapes come back as what they stand for.
fn plain(text: &str) -> String {
    let mut out = text.to_owned();
    for (escape, plain) in [("%3A", ":"), ("%3a", ":"), ("%2A", "*"), ("%2a", "*"), ("%2F", "/"), ("%2f", "/")] {
        if out.contains(escape) {
            out = out.replace(escape, plain);
        }
    }
    out
}

/// The path prefix that a proxy says it put before ours.
pub fn prefix(headers: &HeaderMap) -> Option<&str> {
    let prefix = headers.get("x-script-name")?.to_str().ok()?.trim_end_matches('/');
    prefix.starts_with('/').then_some(prefix)
}

impl<S: Sync> FromRequestParts<S> for Address {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Address, Infallible> {
        Ok(Address::new(&parts.uri, &parts.headers))
    }
}

/// What an address names. One whose bytes are no text names nothing: U+FFFD stands for it, as in ResultsDB.
pub struct Named(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Named, Infallible> {
        let named = Path::<String>::from_request_parts(parts, state).await;
        Ok(Named(named.map_or_else(|_| String::from("\u{fffd}"), |Path(name)| name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(uri: &str, headers: &[(&'static str, &str)]) -> Address {
        let headers = headers.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect();
        Address::new(&uri.parse().unwrap(), &headers)
    }

    #[test]
    fn links_follow_the_host_and_the_proxy() {
        let plain = address("/api/v2.0/results", &[("host", "h:5001")]);
        assert_eq!(plain.of("/results/1"), "http://h:5001/api/v2.0/results/1");
        let proxied = [
            ("host", "inner"),
            ("x-forwarded-host", "outer"),
            ("x-forwarded-scheme", "https"),
            ("x-script-name", "/resultsdb"),
        ];
        let proxied = address("/api/v2.0/results", &proxied);
        assert_eq!(proxied.of(""), "https://outer/resultsdb/api/v2.0");
        assert_eq!(
            proxied.of_named("/testcases/", "a b/c?d#e%f+g,h é"),
            "https://outer/resultsdb/api/v2.0/testcases/a%20b/c%3Fd%23e%25f+g,h%20%C3%A9"
        );
    }

    #[test]
    fn a_page_is_replaced_in_place_or_appended() {
        for (uri, want) in [
            ("/r", "http://h/r?page=1"),
            ("/r?limit=2", "http://h/r?limit=2&page=1"),
            ("/r?a=b&page=0&limit=2", "http://h/r?a=b&page=1&limit=2"),
            ("/r?callback=f&item:like=a%2A%3Ab%20c%2Bd", "http://h/r?item:like=a*:b%20c%2Bd&page=1"),
        ] {
            assert_eq!(address(uri, &[("host", "h")]).page(1), want);
        }
    }
}
