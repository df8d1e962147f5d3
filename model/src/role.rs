//! Who may do what.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the holder of a token may do. An operator may also submit, and a submitter may also read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sends events and the jobs decided from them.
    Trigger,
    /// Claims jobs and reports on them.
    Worker,
    /// Submits jobs and results.
    Submitter,
    /// Changes modes, cancels, decides.
    Operator,
    /// Reads where reading is not public.
    Reader,
}

impl Role {
    pub const ALL: [Role; 5] = [Role::Operator, Role::Submitter, Role::Trigger, Role::Worker, Role::Reader];

    /// Whether a token of this role is enough where `needed` is asked for. Every token may read.
    pub fn includes(self, needed: Role) -> bool {
        self == needed || needed == Role::Reader || (self == Role::Operator && needed == Role::Submitter)
    }

    pub fn name(self) -> &'static str {
        match self {
            Role::Trigger => "trigger",
            Role::Worker => "worker",
            Role::Submitter => "submitter",
            Role::Operator => "operator",
            Role::Reader => "reader",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("unknown role '{0}': it is operator, submitter, trigger, worker or reader")]
pub struct UnknownRole(String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Role, UnknownRole> {
        Role::ALL.into_iter().find(|r| r.name() == text).ok_or_else(|| UnknownRole(text.to_owned()))
    }
}
