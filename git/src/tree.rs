//! What a commit has in it, without laying it out.

use std::path::Path;

use model::source::Commit;

use crate::checkout::{Remote, fetch};
use crate::command::{Error, Git};

/// The files of a commit that is in a repository here, by their paths from its top; links count as files, submodules as
/// nothing.
pub async fn files(git: &Git, repository: &Path, commit: &Commit) -> Result<Vec<String>, Error> {
    let listed = git.run(repository, ["ls-tree", "-r", "-z", "--full-tree", commit.as_str()]).await?;
    let blob = |line: &str| {
        let (about, path) = line.split_once('\t')?;
        about.contains(" blob ").then(|| path.to_owned())
    };
    Ok(listed.split('\0').filter_map(blob).collect())
}

/// The same of a repository elsewhere, by way of one that is made in `repository` and stays there.
pub async fn files_of(git: &Git, remote: &Remote, commit: &Commit, repository: &Path) -> Result<Vec<String>, Error> {
    fetch(git, remote, commit, repository).await?;
    files(git, repository, commit).await
}
