//! One repository, fetched and looked through. What a mirror shows is not changed here.

use std::fs;
use std::io;
use std::path::Path;

use git::{Error, Git};
use model::source::Commit;
use model::{Span, Time};

use crate::store::Heads;

/// What was found in a repository.
#[derive(Debug, PartialEq)]
pub struct Fetched {
    pub heads: Heads,
    /// What nobody may have meant, one sentence each.
    pub notes: Vec<String>,
}

/// Branches and tags that were replaced or deleted are kept under `refs/kept/SECONDS-COMMIT`, for the jobs that were
/// pinned to them.
const KEPT: &str = "refs/kept/";

/// Fetches all branches and tags, and proves that all of every one of them is here. Nobody else works on `repository`
/// meanwhile. The error is a reason for people.
///
/// `before` is what the mirror shows. With `whole` its old commits are looked through as well as the new ones.
pub async fn fetch(
    git: &Git,
    repository: &Path,
    url: &str,
    before: &Heads,
    whole: bool,
    keep: Span,
    now: Time,
) -> Result<Fetched, String> {
    let damaged =
        |e: Error| format!("its mirror is damaged ({e}): remove the folder {}, it is made anew", repository.display());
    let is_new = !repository.join("HEAD").exists();
    if is_new {
        fs::create_dir_all(repository).map_err(|e| format!("cannot make {}: {e}", repository.display()))?;
        git.run(repository, ["init", "--quiet", "--bare", "--template="]).await.map_err(text)?;
    } else {
        remove_locks(repository).map_err(|e| format!("cannot clear {}: {e}", repository.display()))?;
    }
    let fetch = [
        "fetch",
        "--quiet",
        "--prune",
        "--force",
        "--no-tags",
        "--no-write-fetch-head",
        "--no-recurse-submodules",
        "--end-of-options",
        url,
        "+refs/heads/*:refs/heads/*",
        "+refs/tags/*:refs/tags/*",
    ];
    git.run(repository, fetch).await.map_err(text)?;
    let heads = list(git, repository).await.map_err(damaged)?;
    if heads.branches.is_empty() && !before.branches.is_empty() {
        return Err("it has no branch any more".into());
    }
    let old = if is_new { Vec::new() } else { commits(before) };
    let new: Vec<&Commit> = commits(&heads).into_iter().filter(|commit| whole || !old.contains(commit)).collect();
    let known = if whole { &[][..] } else { &old };
    if !new.is_empty() {
        look_through(git, repository, &new, known).await.map_err(damaged)?;
    }
    if *before == heads {
        return Ok(Fetched { heads, notes: Vec::new() });
    }
    let (notes, replaced) = differences(git, repository, before, &heads).await.map_err(damaged)?;
    keep_replaced(git, repository, &replaced, keep, now).await.map_err(damaged)?;
    let tidy =
        ["-c", "gc.auto=2000", "-c", "gc.autoPackLimit=30", "-c", "gc.autoDetach=false", "gc", "--auto", "--quiet"];
    if let Err(e) = git.run(repository, tidy).await {
        tracing::warn!(repository = %repository.display(), "cannot tidy up a mirror: {e}");
    }
    Ok(Fetched { heads, notes })
}

fn text(e: Error) -> String {
    e.to_string()
}

/// Whether a commit is in a repository with all that belongs to it. `shown` was looked through when it was fetched, and
/// is not again.
pub async fn has(git: &Git, repository: &Path, commit: &Commit, shown: &Heads) -> bool {
    repository.join("HEAD").exists() && look_through(git, repository, &[commit], &commits(shown)).await.is_ok()
}

/// A git that was killed leaves its locks, and none works here now.
fn remove_locks(repository: &Path) -> io::Result<()> {
    for entry in fs::read_dir(repository)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name == "objects") {
            continue;
        }
        if path.is_dir() && !path.is_symlink() {
            remove_locks(&path)?;
        } else if path.extension().is_some_and(|ending| ending == "lock") {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

async fn list(git: &Git, repository: &Path) -> Result<Heads, Error> {
    let format = "--format=%(objecttype) %(objectname) %(*objecttype) %(*objectname) %(refname)";
    let listed = git.run(repository, ["for-each-ref", format, "refs/heads/", "refs/tags/"]).await?;
    let mut heads = Heads::default();
    for line in listed.lines() {
        // A tag that was written to names its commit at one remove.
        let Some((kinds, name)) = line.split_once(" refs/") else { continue };
        let words: Vec<&str> = kinds.split_whitespace().collect();
        let (["commit", commit] | ["tag", _, "commit", commit]) = words[..] else { continue };
        let Ok(commit) = commit.parse() else { continue };
        if let Some(branch) = name.strip_prefix("heads/") {
            heads.branches.insert(branch.to_owned(), commit);
        } else if let Some(tag) = name.strip_prefix("tags/") {
            heads.tags.insert(tag.to_owned(), commit);
        }
    }
    Ok(heads)
}

fn commits(heads: &Heads) -> Vec<&Commit> {
    let mut commits: Vec<&Commit> = heads.branches.values().chain(heads.tags.values()).collect();
    commits.sort_unstable();
    commits.dedup();
    commits
}

/// Walks from commits to everything that they need, as far as it is not known to be here.
async fn look_through(git: &Git, repository: &Path, new: &[&Commit], known: &[&Commit]) -> Result<(), Error> {
    let lines = |commits: &[&Commit], mark: &str| commits.iter().map(|c| format!("{mark}{c}\n")).collect::<String>();
    let input = lines(new, "") + &lines(known, "^");
    git.feed(repository, ["rev-list", "--objects", "--quiet", "--stdin"], &input).await.map(drop)
}

/// What happened to branches and tags besides growing, and the commits that they stood at before.
async fn differences(
    git: &Git,
    repository: &Path,
    before: &Heads,
    after: &Heads,
) -> Result<(Vec<String>, Vec<Commit>), Error> {
    let (mut notes, mut replaced) = (Vec::new(), Vec::new());
    let kinds = [("branch", &before.branches, &after.branches), ("tag", &before.tags, &after.tags)];
    for (kind, before, after) in kinds {
        for (name, old) in before {
            let what = match after.get(name) {
                Some(new) if new == old => continue,
                None => format!("{kind} {name} was deleted; it stood at {}", old.short()),
                Some(new) if kind == "tag" => format!("tag {name} was moved from {} to {}", old.short(), new.short()),
                Some(new) => {
                    if git
                        .ask(repository, ["merge-base", "--is-ancestor", old.as_str(), new.as_str()])
                        .await
                        .unwrap_or(false)
                    {
                        continue;
                    }
                    format!("branch {name} was force-pushed from {} to {}", old.short(), new.short())
                }
            };
            notes.push(what);
            replaced.push(old.clone());
        }
    }
    replaced.sort_unstable();
    replaced.dedup();
    Ok((notes, replaced))
}

/// Sees that replaced commits stay for a while, and that those do not which have stayed long enough.
async fn keep_replaced(git: &Git, repository: &Path, replaced: &[Commit], keep: Span, now: Time) -> Result<(), Error> {
    let seconds = now.0 / 1_000_000;
    let mut orders = String::new();
    for commit in replaced {
        // What a folder that was lost had is lost.
        if git.ask(repository, ["cat-file", "-e", &format!("{commit}^{{commit}}")]).await.unwrap_or(false) {
            orders.push_str(&format!("update {KEPT}{seconds}-{commit} {commit}\n"));
        }
    }
    let oldest = now.minus(keep).0 / 1_000_000;
    for name in git.run(repository, ["for-each-ref", "--format=%(refname)", KEPT]).await?.lines() {
        let kept_at = name.strip_prefix(KEPT).and_then(|rest| rest.split('-').next()?.parse::<i64>().ok());
        if kept_at.is_some_and(|at| at < oldest) {
            orders.push_str(&format!("delete {name}\n"));
        }
    }
    if orders.is_empty() {
        return Ok(());
    }
    git.feed(repository, ["update-ref", "--stdin"], &orders).await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::Command;
    use std::time::Duration;

    use super::*;

    struct Bed {
        dir: tempfile::TempDir,
        git: Git,
        shown: Heads,
    }

    impl Bed {
        fn new() -> Bed {
            let dir = tempfile::tempdir().unwrap();
            let bed = Bed { dir, git: Git::new(["file"], Duration::from_secs(60)), shown: Heads::default() };
            bed.run(".", &["init", "-q", "-b", "main", "work"]);
            bed.commit("one");
            bed
        }

        fn run(&self, folder: &str, arguments: &[&str]) -> String {
            let mut git = Command::new("git");
            git.arg("-C").arg(self.dir.path().join(folder));
            git.args(["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "gc.pruneExpire=now"]);
            let ran = git.args(arguments).output().unwrap();
            assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
            String::from_utf8(ran.stdout).unwrap().trim().to_owned()
        }

        fn commit(&self, text: &str) -> Commit {
            fs::write(self.dir.path().join("work/file"), text).unwrap();
            self.run("work", &["add", "."]);
            self.run("work", &["commit", "-q", "-m", text]);
            self.run("work", &["rev-parse", "HEAD"]).parse().unwrap()
        }

        fn mirror(&self) -> PathBuf {
            self.dir.path().join("mirror.git")
        }

        async fn fetch_at(&mut self, days: u64) -> Result<Vec<String>, String> {
            let url = format!("file://{}", self.dir.path().join("work").display());
            let now = Time(0).plus(Span::days(1000 + days));
            let (repository, keep) = (self.mirror(), Span::days(90));
            let fetched = fetch(&self.git, &repository, &url, &self.shown, true, keep, now).await?;
            self.shown = fetched.heads;
            Ok(fetched.notes)
        }

        async fn fetch(&mut self) -> Result<Vec<String>, String> {
            self.fetch_at(0).await
        }
    }

    #[tokio::test]
    async fn what_was_rewritten_or_deleted_is_told_and_stays_for_a_while() {
        let mut bed = Bed::new();
        bed.run("work", &["tag", "-a", "-m", "t", "v1"]);
        bed.run("work", &["branch", "side"]);
        assert_eq!(bed.fetch().await, Ok(Vec::new()), "what is new is no news");
        let one = bed.shown.branches["main"].clone();
        assert_eq!(bed.shown.tags["v1"], one);
        let two = bed.commit("two");
        assert_eq!(bed.fetch().await, Ok(Vec::new()), "a push that adds is none either");
        assert_eq!(bed.shown.branches["main"], two);

        bed.run("work", &["commit", "-q", "--amend", "-m", "anew"]);
        bed.run("work", &["branch", "-q", "-D", "side"]);
        bed.run("work", &["tag", "-f", "v1"]);
        let anew: Commit = bed.run("work", &["rev-parse", "HEAD"]).parse().unwrap();
        let notes = bed.fetch().await.unwrap();
        let told = [
            format!("branch main was force-pushed from {} to {}", two.short(), anew.short()),
            format!("branch side was deleted; it stood at {}", one.short()),
            format!("tag v1 was moved from {} to {}", one.short(), anew.short()),
        ];
        assert_eq!(notes, told);
        bed.run("mirror.git", &["gc", "--quiet", "--prune=now"]);
        assert!(has(&bed.git, &bed.mirror(), &two, &bed.shown).await, "a job may name it");
        bed.commit("three");
        bed.fetch_at(91).await.unwrap();
        bed.run("mirror.git", &["gc", "--quiet", "--prune=now"]);
        assert!(!has(&bed.git, &bed.mirror(), &two, &bed.shown).await, "its time is over");
    }

    #[tokio::test]
    async fn what_the_branches_have_proven_is_not_looked_through_for_every_job() {
        let mut bed = Bed::new();
        let one: Commit = bed.run("work", &["rev-parse", "HEAD"]).parse().unwrap();
        bed.commit("two");
        bed.fetch().await.unwrap();
        let blob = bed.run("work", &["rev-parse", &format!("{one}:file")]);
        fs::remove_file(bed.mirror().join("objects").join(&blob[..2]).join(&blob[2..])).unwrap();
        assert!(has(&bed.git, &bed.mirror(), &one, &bed.shown).await);
        assert!(!has(&bed.git, &bed.mirror(), &one, &Heads::default()).await, "who looks would miss it");
        let other = "1".repeat(40).parse().unwrap();
        assert!(!has(&bed.git, &bed.mirror(), &other, &bed.shown).await);
    }

    #[tokio::test]
    async fn what_a_killed_git_left_is_in_nobodys_way() {
        let mut bed = Bed::new();
        bed.fetch().await.unwrap();
        let two = bed.commit("two");
        for lock in ["packed-refs.lock", "refs/heads/main.lock", "HEAD.lock"] {
            fs::write(bed.mirror().join(lock), "").unwrap();
        }
        fs::write(bed.mirror().join("objects/pack/tmp_pack_x"), "half of it").unwrap();
        bed.fetch().await.unwrap();
        assert_eq!(bed.shown.branches["main"], two);
    }

    #[tokio::test]
    async fn a_repository_that_is_away_empty_or_damaged_fails_with_its_reason() {
        let mut bed = Bed::new();
        bed.fetch().await.unwrap();
        let shown = bed.shown.clone();
        fs::rename(bed.dir.path().join("work"), bed.dir.path().join("away")).unwrap();
        assert!(bed.fetch().await.unwrap_err().contains("does not appear to be a git repository"));
        bed.run(".", &["init", "-q", "work"]);
        assert_eq!(bed.fetch().await.unwrap_err(), "it has no branch any more");
        fs::remove_dir_all(bed.dir.path().join("work")).unwrap();
        fs::rename(bed.dir.path().join("away"), bed.dir.path().join("work")).unwrap();
        bed.fetch().await.unwrap();
        assert_eq!(bed.shown, shown);

        // One object of the mirror is lost, by a disk or by a hand.
        bed.run("mirror.git", &["repack", "-q", "-a", "-d"]);
        let objects = bed.mirror().join("objects");
        for pack in fs::read_dir(objects.join("pack")).unwrap().map(|entry| entry.unwrap().path()) {
            fs::rename(&pack, bed.dir.path().join(pack.file_name().unwrap())).unwrap();
        }
        let pack = fs::read_dir(bed.dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let pack = pack.into_iter().find(|path| path.extension().is_some_and(|e| e == "pack")).unwrap();
        let unpacked = Command::new("git")
            .arg("-C")
            .arg(bed.mirror())
            .args(["unpack-objects", "-q"])
            .stdin(fs::File::open(pack).unwrap())
            .status();
        assert!(unpacked.unwrap().success());
        let blob = bed.run("work", &["rev-parse", "HEAD:file"]);
        fs::remove_file(objects.join(&blob[..2]).join(&blob[2..])).unwrap();
        let why = bed.fetch().await.unwrap_err();
        assert!(why.starts_with("its mirror is damaged (") && why.contains("remove the folder"), "{why}");
        assert_eq!(bed.shown, shown);
        fs::remove_dir_all(bed.mirror()).unwrap();
        assert_eq!(bed.fetch().await, Ok(Vec::new()), "as it says");
    }
}
