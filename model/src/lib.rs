//! The words that every room speaks, and the bodies of the HTTP APIs between them.
//!
//! Nothing here reads a file, a clock or a socket: everything is a value or a pure function of values.

mod artifact;
mod bounds;
mod canonical;
pub mod deed;
mod depth;
mod event;
pub mod intake;
mod job;
pub mod joblog;
pub mod lease;
pub mod missed;
pub mod operator;
mod outcome;
mod role;
mod size;
pub mod source;
mod span;
mod time;
pub mod vitals;

pub use artifact::{Artifact, ArtifactPiece, ArtifactStored, is_artifact_name};
pub use bounds::{Bound, Bounds, Sandbox, UnknownSandbox};
pub use canonical::canonical;
pub use depth::{DEPTH, is_too_deep};
pub use event::{Content, Event};
pub use job::{Arch, JobId, JobState, Limit, NOARCH, NewJob, Policy, Supersede};
pub use outcome::{End, Finding, Outcome, Quota};
pub use role::Role;
pub use size::Size;
pub use span::Span;
pub use time::Time;
