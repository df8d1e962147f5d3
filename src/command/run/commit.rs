//! The commit of its repository that a task is run at.

use std::time::Duration;

use anyhow::Context as _;
use git::{Git, Remote, files_of, resolve};
use model::source::Pin;
use rules::{Discover, Wanted};

use crate::exit::{Exit, Failure, OrExit as _};

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

/// The one folder of that commit in which the task is.
pub async fn folder(wanted: &Wanted, pin: &Pin, discover: &Discover) -> anyhow::Result<String> {
    let url = &wanted.git;
    let scratch = tempfile::Builder::new().prefix("taskotron-run-").tempdir();
    let scratch = scratch.context("cannot make a folder to work in").or_exit(Exit::Usage)?;
    let repository = scratch.path().join("repository.git");
    let files = files_of(&Git::for_people(WITHIN), &Remote::open(url), &pin.commit, &repository).await;
    let files = files.with_context(|| format!("cannot look into {url} at {}", pin.commit)).or_exit(Exit::CannotTell)?;
    let mut found = discover.folders(files.iter().map(String::as_str));
    let what = match (found.len(), found.pop_first()) {
        (1, Some(folder)) => return Ok(folder),
        (_, None) => format!("{url} at {} ({}) has no {}", pin.commit.short(), pin.reference, discover.patterns()),
        (n, Some(first)) => {
            let all = std::iter::once(first).chain(found).map(|folder| format!("\n  --param folder={folder}"));
            format!("the task is in {n} folders; choose one:{}", all.collect::<String>())
        }
    };
    Err(Failure::error(Exit::Usage, what))
}
