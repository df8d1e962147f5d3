//! Commits of real repositories, checked out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use git::{Error, Git, Remote, check_out, resolve};
use model::source::{Commit, Pin};

/// A repository with one commit, which has files, a link, a hook's wish and a submodule.
fn repository(dir: &Path) -> (Remote, Commit) {
    let work = dir.join("work");
    fs::create_dir_all(work.join("sub/folder")).unwrap();
    fs::write(work.join("run.sh"), "#!/bin/sh\necho hello\n").unwrap();
    fs::write(work.join("sub/folder/file"), "deep\n").unwrap();
    fs::write(work.join(".gitattributes"), "* filter=evil\n").unwrap();
    std::os::unix::fs::symlink("run.sh", work.join("link")).unwrap();
    ok(&work, &["init", "-q", "-b", "main"]);
    ok(&work, &["add", "."]);
    ok(&work, &["update-index", "--add", "--chmod=+x", "run.sh"]);
    let module = format!("160000,{},module", "1".repeat(40));
    ok(&work, &["update-index", "--add", "--cacheinfo", &module]);
    ok(&work, &["commit", "-q", "-m", "one"]);
    ok(&work, &["tag", "-a", "-m", "a tag", "v1"]);
    let commit = ok(&work, &["rev-parse", "HEAD"]).trim().parse().unwrap();
    (Remote::open(&format!("file://{}", work.display())), commit)
}

fn ok(work: &Path, arguments: &[&str]) -> String {
    let identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always"];
    let ran = Command::new("git").arg("-C").arg(work).args(identity).args(arguments).output().unwrap();
    assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

fn git() -> Git {
    Git::new(["file"], Duration::from_secs(30))
}

fn left(dir: &Path) -> Vec<PathBuf> {
    let mut left: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    left.sort();
    left
}

#[tokio::test]
async fn a_commit_is_laid_out_with_nothing_of_git_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let (remote, commit) = repository(dir.path());
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    let folder = out.join("tree");
    check_out(&git(), &remote, &commit, &folder).await.unwrap();
    assert_eq!(fs::read_to_string(folder.join("sub/folder/file")).unwrap(), "deep\n");
    assert_eq!(fs::read_link(folder.join("link")).unwrap(), Path::new("run.sh"));
    let ran = Command::new(folder.join("run.sh")).output().unwrap();
    assert_eq!(ran.stdout, b"hello\n", "it may be run");
    assert_eq!(left(&folder.join("module")), Vec::<PathBuf>::new(), "a submodule is an empty folder");
    assert!(!folder.join(".git").exists());
    assert_eq!(left(&out), [folder]);
}

#[tokio::test]
async fn what_is_not_allowed_or_not_there_fails_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let (remote, commit) = repository(dir.path());
    let fails = async |git: Git, remote: &Remote, commit: &Commit| match check_out(
        &git,
        remote,
        commit,
        &dir.path().join("out"),
    )
    .await
    .unwrap_err()
    {
        Error::Failed(reason) => reason,
        other => panic!("{other:?}"),
    };
    let absent: Commit = "0123456789abcdef0123456789abcdef01234567".parse().unwrap();
    let reason = fails(git(), &remote, &absent).await;
    assert!(reason.contains("not our ref"), "{reason}");
    let reason = fails(Git::new(["https"], Duration::from_secs(30)), &remote, &commit).await;
    assert!(reason.contains("transport 'file' not allowed"), "{reason}");
    let marker = dir.path().join("marker");
    let reason = fails(git(), &Remote::open(&format!("ext::sh -c touch% {}", marker.display())), &commit).await;
    assert!(reason.contains("not allowed") && !marker.exists(), "{reason}");
    let reason = fails(git(), &Remote::open(&format!("--upload-pack=touch {}", marker.display())), &commit).await;
    assert!(!marker.exists(), "{reason}");
}

#[tokio::test]
async fn a_run_that_takes_too_long_is_ended_with_all_that_it_started() {
    // It takes the connection, and never answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = Remote::open(&format!("http://{}/x", listener.local_addr().unwrap()));
    let git = Git::new(["http"], Duration::from_millis(300));
    let error = resolve(&git, &remote, &["main".into()]).await.unwrap_err();
    assert!(matches!(error, Error::TooLong(_)), "{error}");
}

#[tokio::test]
async fn the_first_branch_or_tag_that_there_is_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (remote, commit) = repository(dir.path());
    let pin = async |references: &[&str]| {
        let references: Vec<String> = references.iter().map(|r| (*r).to_owned()).collect();
        resolve(&git(), &remote, &references).await.unwrap()
    };
    let expected = |reference: &str| Some(Pin { reference: reference.into(), commit: commit.clone() });
    assert_eq!(pin(&["f41", "main"]).await, expected("main"));
    assert_eq!(pin(&["v1"]).await, expected("v1"), "a tag stands for the commit that it names");
    assert_eq!(pin(&["f41"]).await, None);
    assert_eq!(pin(&[commit.as_str()]).await, expected(commit.as_str()));
}
