//! The master: new job → job → lease → attempt → end; the mode of the system; the API, and the pages.
//!
//! It never runs a job and never reads the bus: workers and triggers come to it over HTTP.

mod acts;
mod announce;
mod api;
mod app;
mod artifacts;
mod detail;
mod duty;
mod given;
mod judge;
mod logs;
mod master;
mod messages;
mod metrics;
mod mirrors;
mod mode;
mod next;
mod outbox;
mod page;
mod pair;
mod publication;
mod retention;
#[cfg(test)]
mod sample;
mod secrets;
mod settings;
mod status;
pub mod store;
#[cfg(test)]
mod stories;
mod tasks;
mod unserved;
mod vitals;
mod why;
mod window;

pub use api::{AuditView, Reason};
pub use app::Live;
pub use master::{Master, run};
pub use messages::{Category, Contact, Messages};
pub use settings::{Mirrors as MirrorSettings, Results, Resume, Settings};
