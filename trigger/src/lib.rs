//! The trigger.
mod decode;
mod delivery;
mod line;
pub mod log;
mod metrics;
