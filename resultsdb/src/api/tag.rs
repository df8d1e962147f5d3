//! Tags of answers: a reader that has the same already is told so, and gets nothing else.

use std::fmt::Write as _;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};

/// The tag of an answer's text, as `ETag` has it: half of a SHA-256 in hex, quoted.
pub fn of(body: &str) -> HeaderValue {
    let mut tag = String::from("\"");
    for byte in &Sha256::digest(body)[..16] {
        write!(tag, "{byte:02x}").expect("writing to a String cannot fail");
    }
    tag.push('"');
    HeaderValue::from_str(&tag).expect("hex and quotes fit into a header")
}

/// Answers a request whose `If-None-Match` names the tag of the answer with 304 and no body.
pub async fn unchanged(request: Request, next: Next) -> Response {
    let known: Vec<HeaderValue> = request.headers().get_all(header::IF_NONE_MATCH).iter().cloned().collect();
    let mut response = next.run(request).await;
    if response.status() == StatusCode::OK && names(&known, response.headers()) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Body::empty();
        response.headers_mut().remove(header::CONTENT_TYPE);
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    response
}

/// A list of tags, weak ones among them, or `*`.
fn names(known: &[HeaderValue], answer: &HeaderMap) -> bool {
    let Some(tag) = answer.get(header::ETAG).and_then(|tag| tag.to_str().ok()) else { return false };
    let mut all = known.iter().filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(','));
    all.any(|one| one.trim() == "*" || one.trim().trim_start_matches("W/") == tag)
}
