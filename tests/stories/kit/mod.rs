//! What the stories stand on: real servers, real processes, and ways to wait for
//! them, to look at them, and to take their power away. It knows nothing of
//! Taskotron beyond the names of its binaries and of its environment.

#![allow(dead_code, reason = "the kit is whole; each story takes what it needs")]

pub mod http;
pub mod ports;
pub mod process;
pub mod servers;
pub mod story;
pub mod sweep;
pub mod unsynced;
pub mod wait;

pub use servers::{Database, Postgres, Rabbit};
pub use story::Story;
pub use wait::{secs, until};
