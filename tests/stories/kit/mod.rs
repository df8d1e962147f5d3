//! What the stories stand on: real servers, real processes, and ways to wait for
//! them, to look at them, and to take their power away. It knows nothing of
//! Taskotron beyond the names of its binaries and of its environment.

#![allow(dead_code, reason = "the kit is whole; each story takes what it needs")]

pub mod browser;
pub mod chance;
pub mod count;
pub mod http;
pub mod netns;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod servers;
pub mod shim;
pub mod story;
pub mod sweep;
pub mod tmpfs;
pub mod unsynced;
pub mod wait;
pub mod wallclock;

pub use chance::Chance;
pub use proxy::Proxy;
pub use servers::{Database, Postgres, Rabbit};
pub use story::Story;
pub use wait::{pass, secs, until};
pub use wallclock::Wallclock;
