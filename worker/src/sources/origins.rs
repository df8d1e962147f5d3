//! Where commits come from.

use std::time::Duration;

use git::{Git, Remote};
use model::source::{Checkout, mirror_name};
use net::Client;

/// How long it may take to fetch a commit.
const WITHIN: Duration = Duration::from_secs(600);

/// Whom to ask for a commit, in this order.
#[derive(Debug, Default)]
pub struct Origins {
    /// The repository that the task names, as a person at this machine reaches it. A worker asks its masters only.
    repository: Option<Git>,
    /// The masters, for their mirrors of it.
    masters: Option<Client>,
}

/// One place to fetch from.
pub(super) struct Origin {
    pub git: Git,
    pub remote: Remote,
    /// What stands before the reason why it cannot be had from here either.
    pub before: &'static str,
}

impl Origins {
    /// Masters, each for its mirror.
    pub fn masters(client: Client) -> Origins {
        Origins { repository: None, masters: Some(client) }
    }

    /// The repositories themselves, and where one cannot be had a master that knows it.
    pub fn repositories(master: Option<Client>) -> Origins {
        Origins { repository: Some(Git::for_people(WITHIN)), masters: master }
    }

    pub(super) fn of(&self, wanted: &Checkout) -> Vec<Origin> {
        let mut origins = Vec::new();
        if let Some(git) = &self.repository {
            origins.push(Origin { git: git.clone(), remote: Remote::open(&wanted.git), before: "" });
        }
        let Some(client) = &self.masters else { return origins };
        let bearer = client.token().expose().map(str::to_owned);
        let mirror = mirror_name(&wanted.git);
        for base in client.bases() {
            let url = format!("{}git/{mirror}", base.as_str());
            let before = match &self.repository {
                Some(_) => "; nor from the master, which gives it to operators and submitters: ",
                None if origins.is_empty() => "",
                None => "; ",
            };
            let remote = Remote { url, bearer: bearer.clone() };
            origins.push(Origin { git: Git::new(["http", "https"], WITHIN), remote, before });
        }
        origins
    }
}
