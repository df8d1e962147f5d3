//! What keeps a browser from making anything of bytes that nobody vouches for.

use axum::http::{HeaderName, header};

/// The headers of such bytes: they are of this kind and of no other, may not do anything, and are asked for anew.
pub const fn harmless(kind: &'static str) -> [(HeaderName, &'static str); 5] {
    [
        (header::CONTENT_TYPE, kind),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'"),
        (header::ACCEPT_RANGES, "bytes"),
        (header::CACHE_CONTROL, "no-cache"),
    ]
}
