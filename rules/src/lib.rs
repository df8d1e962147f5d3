//! What to do about an event, decided without a clock, a file or a socket: kinds, rules, tasks and their templates.
//!
//! The trigger decides with it, the master explains with it and orders tasks by it, and `rules check` reads with it.

mod case;
mod configuration;
mod decide;
mod fault;
mod formula;
mod kind;
mod lazy;
mod make;
mod retry;
mod rule;
mod section;
mod seen;
mod task;
mod template;
mod topic;
mod when;
mod yaml;

pub use case::TestFailure;
pub use configuration::Configuration;
pub use decide::{Decision, Verdict};
pub use fault::{Fault, Faults};
pub use formula::translate as translate_formula;
pub use kind::Kind;
pub use retry::{Retry, RetryPolicy};
pub use rule::Rule;
pub use task::{Discover, MOST_FOLDERS, Repo, Stage, Subject, Task, Wanted};
pub use template::{Context, Template};
pub use topic::Pattern;
pub use when::Query;
