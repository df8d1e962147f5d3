//! What the two binaries are made of: `taskotron` in [`command`], `jobrunner` in [`replay`].
//!
//! Nothing here decides about events, jobs or leases: it reads settings, starts rooms, and asks a running master.

pub mod command;
pub mod exit;
pub mod logging;
pub mod place;
pub mod replay;
pub mod service;
pub mod settings;
pub mod up;
