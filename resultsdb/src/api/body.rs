//! Bodies: JSON objects, and nothing else.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};

use super::fault::ApiError;
use crate::json::Json;

/// The largest body that is read, in bytes.
pub const LARGEST: usize = 64 * 1024 * 1024;

/// The JSON object that a request carries.
pub struct Object(pub Json);

impl<S: Send + Sync> FromRequest<S> for Object {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Object, ApiError> {
        if !says_json(request.headers()) {
            return Err(ApiError::MediaType);
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|e| match e.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                ApiError::Message(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large".into())
            }
            _ => ApiError::bad_request(),
        })?;
        match Json::parse(&bytes) {
            Some(object @ Json::Object(_)) => Ok(Object(object)),
            _ => Err(ApiError::bad_request()),
        }
    }
}

fn says_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()) else { return false };
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}
