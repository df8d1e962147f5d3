//! The commit of its repository that a task is run at.

use std::time::Duration;

use git::{Git, Remote, resolve};
use model::source::Pin;
use rules::Wanted;

use crate::exit::{Exit, Failure};

/// How long a repository may take to say what it has.
const WITHIN: Duration = Duration::from_secs(120);

/// What the first that there is of the refs stands for now, asked of the repository itself.
pub async fn of(wanted: &Wanted) -> anyhow::Result<Pin> {
    let Wanted { git: url, references, .. } = wanted;
    if !git::is_installed() {
        let what = format!("the task comes from {url}, and there is no git on this machine: install git");
        return Err(Failure::error(Exit::Usage, what));
    }
    match resolve(&Git::for_people(WITHIN), &Remote::open(url), references).await {
        Ok(Some(pin)) => Ok(pin),
        Ok(None) => Err(Failure::error(Exit::Usage, format!("{url} has no branch or tag {}", wanted.any()))),
        Err(why) => Err(Failure::error(Exit::CannotTell, format!("cannot ask {url} for {}: {why}", wanted.any()))),
    }
}
