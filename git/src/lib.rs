//! git's own program, run so that nothing of the machine or of a repository decides what it does, and nothing of it stays
//! behind: no settings but ours, no questions, no hooks, only protocols that are allowed, and an end to every wait.
//!
//! It keeps no repository and knows no job: whoever calls it says where things are.

mod checkout;
mod command;
mod serve;
mod tree;

pub use checkout::{Remote, check_out, resolve};
pub use command::{Error, Git, is_installed};
pub use serve::{Answer, Question, answer};
pub use tree::{files, files_of};
