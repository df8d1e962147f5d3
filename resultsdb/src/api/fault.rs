//! What a client is told when something is wrong, in the shapes that ResultsDB's clients know.

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use super::render;
use crate::json::{self, Json};

/// One thing wrong with one field or parameter, as pydantic says it.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub field: &'static str,
    /// pydantic's name for this kind of fault.
    pub kind: &'static str,
    pub message: String,
    /// What was given.
    pub input: Json,
}

impl Fault {
    pub fn new(field: &'static str, kind: &'static str, message: impl Into<String>, input: &Json) -> Fault {
        Fault { field, kind, message: message.into(), input: input.clone() }
    }

    pub fn missing(field: &'static str, body: &Json) -> Fault {
        Fault::new(field, "missing", "Field required", body)
    }

    pub fn value(field: &'static str, message: impl AsRef<str>, input: &Json) -> Fault {
        Fault::new(field, "value_error", format!("Value error, {}", message.as_ref()), input)
    }

    pub fn not_text(field: &'static str, input: &Json) -> Fault {
        Fault::new(field, "string_type", "Input should be a valid string", input)
    }

    pub fn empty(field: &'static str, input: &Json) -> Fault {
        Fault::new(field, "string_too_short", "String should have at least 1 character", input)
    }

    pub fn too_long(field: &'static str, most: usize, input: &Json) -> Fault {
        Fault::new(field, "string_too_long", format!("String should have at most {most} characters"), input)
    }

    pub fn too_many(field: &'static str, most: usize) -> Fault {
        Fault::new(field, "too_long", format!("List should have at most {most} items after validation"), &Json::Null)
    }

    fn write(&self, out: &mut String) {
        out.push_str("{\"input\":");
        self.input.write(out);
        out.push_str(",\"loc\":[");
        json::text(self.field, out);
        out.push_str("],\"msg\":");
        json::text(&self.message, out);
        out.push_str(",\"type\":");
        json::text(self.kind, out);
        out.push_str(",\"url\":");
        json::text(&format!("https://errors.pydantic.dev/2.6/v/{}", self.kind), out);
        out.push('}');
    }
}

/// A request that is not answered with what it asked for.
#[derive(Debug)]
pub enum ApiError {
    /// The request's fields or parameters: every fault at once.
    Invalid(Vec<Fault>),
    Message(StatusCode, String),
    /// No JSON was sent.
    MediaType,
    Store(Arc<db::Error>),
}

impl ApiError {
    pub fn not_found(what: impl Into<String>) -> ApiError {
        ApiError::Message(StatusCode::NOT_FOUND, what.into())
    }

    pub fn forbidden(user: &str, testcase: &str) -> ApiError {
        let what =
            format!("403 Forbidden: User {user} is not authorized to submit results for the test case {testcase}");
        ApiError::Message(StatusCode::FORBIDDEN, what)
    }

    pub fn bad_request() -> ApiError {
        ApiError::Message(StatusCode::BAD_REQUEST, "Bad request".into())
    }

    /// The body of the answer, without what only a log may say.
    pub fn body(&self) -> String {
        match self {
            ApiError::Invalid(faults) => {
                let mut out = String::from("{\"validation_error\":[");
                for (i, fault) in faults.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { "," });
                    fault.write(&mut out);
                }
                out.push_str("]}");
                out
            }
            ApiError::Message(_, message) => message_body(message),
            ApiError::MediaType => message_body("Unsupported Media Type"),
            ApiError::Store(e) if is_unavailable(e) => message_body("Service Unavailable"),
            ApiError::Store(_) => message_body("Internal Server Error"),
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            ApiError::Invalid(_) => StatusCode::BAD_REQUEST,
            ApiError::Message(status, _) => *status,
            ApiError::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ApiError::Store(e) if is_unavailable(e) => StatusCode::SERVICE_UNAVAILABLE,
            ApiError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<Arc<db::Error>> for ApiError {
    fn from(e: Arc<db::Error>) -> ApiError {
        ApiError::Store(e)
    }
}

/// Whether the same request may succeed later.
pub fn is_unavailable(e: &db::Error) -> bool {
    match e {
        db::Error::Unavailable(_) | db::Error::Again(_) => true,
        db::Error::Corrupt { .. } | db::Error::Schema(_) | db::Error::Other(_) => false,
    }
}

/// Writes down, once for each request, why the store failed.
pub fn log(e: &db::Error) {
    if is_unavailable(e) {
        tracing::warn!(error = %e, "failed to answer for now: the results database does not");
    } else {
        tracing::error!(error = %e, "failed to answer: the results database refused");
    }
}

fn message_body(message: &str) -> String {
    let mut out = String::from("{\"message\":");
    json::text(message, &mut out);
    out.push('}');
    out
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        if let ApiError::MediaType = self {
            return page(
                status,
                "Did not attempt to load JSON data because the request Content-Type was not 'application/json'.",
            );
        }
        if let ApiError::Store(e) = &self {
            log(e);
        }
        let mut response = render::json(status, self.body());
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// A refusal that ResultsDB words in HTML.
pub fn page(status: StatusCode, text: &'static str) -> Response {
    let reason = status.canonical_reason().unwrap_or_default();
    let html = format!(
        "<!doctype html>\n<html lang=en>\n<title>{} {reason}</title>\n<h1>{reason}</h1>\n<p>{text}</p>\n",
        status.as_u16()
    );
    (status, Html(html)).into_response()
}
