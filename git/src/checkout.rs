//! A commit of a repository elsewhere, laid out in a folder.

use std::path::Path;

use model::source::{Commit, Pin};
use tokio::process::Command;

use crate::command::{Error, Git, beside};

/// A repository elsewhere.
#[derive(Clone, Debug)]
pub struct Remote {
    pub url: String,
    /// The token to show, where it asks for one.
    pub bearer: Option<String>,
}

impl Remote {
    pub fn open(url: &str) -> Remote {
        Remote { url: url.to_owned(), bearer: None }
    }

    /// The token goes by the environment, which others cannot read, unlike a command line.
    fn show(&self, command: &mut Command) {
        if let Some(token) = &self.bearer {
            command
                .env("GIT_CONFIG_COUNT", "1")
                .env("GIT_CONFIG_KEY_0", "http.extraHeader")
                .env("GIT_CONFIG_VALUE_0", format!("Authorization: Bearer {token}"));
        }
    }
}

/// Fetches one commit, without its history, and lays its files out in `folder`, which is made. Nothing of git itself is in
/// it: no `.git`, and an empty folder where a submodule is. Beside it stands `FOLDER.git` while this goes on, and where
/// it was cut short.
pub async fn check_out(git: &Git, remote: &Remote, commit: &Commit, folder: &Path) -> Result<(), Error> {
    let repository = beside(folder, ".git");
    tokio::fs::create_dir_all(folder).await?;
    fetch(git, remote, commit, &repository).await?;
    let mut lay_out = git.command();
    lay_out.arg("--git-dir").arg(&repository).arg("--work-tree").arg(folder);
    lay_out.args(["checkout", "--quiet", "--force", "--detach", commit.as_str()]).current_dir(folder);
    git.done(lay_out).await?;
    tokio::fs::remove_dir_all(&repository).await?;
    Ok(())
}

/// Makes a repository with one commit, without its history.
pub(crate) async fn fetch(git: &Git, remote: &Remote, commit: &Commit, repository: &Path) -> Result<(), Error> {
    let format = if commit.as_str().len() == 64 { "--object-format=sha256" } else { "--object-format=sha1" };
    git.run(repository, ["init", "--quiet", "--template=", format]).await?;
    let mut fetch = git.command();
    fetch.arg("--git-dir").arg(repository);
    fetch.args(["fetch", "--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head"]);
    fetch.args(["--end-of-options", &remote.url, commit.as_str()]);
    remote.show(&mut fetch);
    git.done(fetch).await.map(drop)
}

/// Which commit the first of these branches or tags stands for that the repository has; `None` where it has none of them.
/// The whole name of a commit stands for itself.
pub async fn resolve(git: &Git, remote: &Remote, references: &[String]) -> Result<Option<Pin>, Error> {
    let mut list = git.command();
    list.args(["ls-remote", "--quiet", "--heads", "--tags", "--end-of-options", &remote.url]);
    remote.show(&mut list);
    let listed = git.done(list).await?;
    let find = |name: &str| listed.lines().filter_map(|line| line.split_once('\t')).find(|(_, n)| *n == name);
    for reference in references {
        let names = [
            format!("refs/heads/{reference}"),
            format!("refs/tags/{reference}^{{}}"),
            format!("refs/tags/{reference}"),
        ];
        let found = names.iter().find_map(|name| find(name)).and_then(|(commit, _)| commit.parse().ok());
        if let Some(commit) = found.or_else(|| reference.parse().ok()) {
            return Ok(Some(Pin { reference: reference.clone(), commit }));
        }
    }
    Ok(None)
}
