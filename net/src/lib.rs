//! What every room needs to talk: the listener, tokens, problem bodies, the client and its retries, the look of pages.
//!
//! There are no routes here.

mod addresses;
mod backoff;
mod client;
pub mod clock;
pub mod life;
pub mod page;
mod problem;
mod secret;
mod serve;
mod tokens;
pub mod vault;

pub use addresses::Addresses;
pub use backoff::Backoff;
pub use client::{Client, ClientError};
pub use problem::Problem;
pub use secret::Secret;
pub use serve::{bind, serve};
pub use tokens::{Caller, Grant, Tokens, guard, guard_any};

/// Names the one cryptography library of the process; harmless to call again.
pub fn install_crypto() {
    // The error says that a provider is installed already, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
