//! Telling the bus of jobs: queued, running, complete or error, as the messages that CI systems exchange.
//!
//! The store notes with each move that it is to be told ([`crate::store::Message`]); here the note becomes a message and
//! goes to the broker, confirmed, as often as it takes. The same note always has the same id.

mod artifact;
mod body;
mod publisher;
mod settings;

pub use publisher::{Health, Publisher, Summary};
pub use settings::{Category, Contact, Messages};
