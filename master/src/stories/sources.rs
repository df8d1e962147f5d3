//! Jobs that wait for a commit of a repository, while another repository is slow or away.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use model::{JobId, JobState, Span};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::house::{House, until};
use crate::mirrors::{Which, update};

/// Repositories that tasks come from.
struct Upstream(TempDir);

impl Upstream {
    fn new() -> Upstream {
        Upstream(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn url(&self, name: &str) -> String {
        format!("file://{}", self.path(name).display())
    }

    fn git(&self, name: &str, arguments: &[&str]) -> String {
        let mut git = Command::new("git");
        git.arg("-C").arg(self.path(name)).args(["-c", "user.name=A", "-c", "user.email=a@example.org"]);
        let ran = git.args(arguments).output().unwrap();
        assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap().trim().to_owned()
    }

    /// Commits to `main`, in a repository that is made where there is none; the commit.
    fn commit(&self, name: &str, text: &str) -> String {
        if !self.path(name).exists() {
            fs::create_dir(self.path(name)).unwrap();
            self.git(name, &["init", "-q", "-b", "main"]);
        }
        fs::write(self.path(name).join("file"), text).unwrap();
        self.git(name, &["add", "."]);
        self.git(name, &["commit", "-q", "-m", text]);
        self.git(name, &["rev-parse", "HEAD"])
    }

    /// A task for each of these repositories, whose item is the ref that it wants.
    async fn house(&self, names: &[&str]) -> House {
        self.house_on(names, None).await
    }

    async fn house_on(&self, names: &[&str], database: Option<String>) -> House {
        let task = |name: &&str| {
            format!("  {name}: {{ run: ['true'], source: {{ git: '{}', ref: '{{{{ item }}}}' }} }}\n", self.url(name))
        };
        let tasks = names.iter().map(task).collect::<String>();
        House::of(&format!("tasks:\n{tasks}rules: []\n"), |settings| {
            settings.mirrors.protocols = vec!["file".into()];
            settings.mirrors.interval = Span::minutes(60);
            settings.database = database;
        })
        .await
    }
}

/// A database of its own on the server that `./test` has started.
async fn postgres() -> String {
    let server = std::env::var("TASKOTRON_TEST_POSTGRES").expect("TASKOTRON_TEST_POSTGRES is not set: run ./test");
    let name = format!("sources_{}", net::clock::uuid().simple());
    let mut admin = PgConnection::connect(&server).await.unwrap();
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut admin).await.unwrap();
    let (server, _) = server.rsplit_once('/').unwrap();
    format!("{server}/{name}")
}

/// Whoever opens it waits for somebody who writes.
fn hang_whoever_reads(file: &Path) {
    fs::remove_file(file).unwrap();
    assert!(Command::new("mkfifo").arg(file).status().unwrap().success());
}

async fn state(house: &House, job: JobId) -> JobState {
    house.job(job).await.job.state
}

#[tokio::test]
async fn a_repository_that_git_hangs_over_holds_up_only_its_own_jobs() {
    let upstream = Upstream::new();
    let old = upstream.commit("large", "one");
    upstream.commit("large", "two");
    let small = upstream.commit("small", "one");
    let house = upstream.house(&["large", "small"]).await;
    let stop = CancellationToken::new();
    let duties = tokio::spawn(house.master.duties(stop.clone()));
    until("both to be fetched", async || house.app().mirrors.set().all().count() == 2).await;
    let mirror = house.app().mirrors.repository(&upstream.url("large"));
    hang_whoever_reads(&mirror.join("objects").join(&old[..2]).join(&old[2..]));

    let waits = house.submit("large", &old).await;
    let by_commit = house.submit("small", &small).await;
    let by_name = house.submit("small", "later").await;
    until("the commit to be found", async || state(&house, by_commit).await == JobState::Queued).await;
    upstream.git("small", &["branch", "later"]);
    house.app().mirrors.look_at([upstream.url("small")]);
    until("the branch to be found", async || state(&house, by_name).await == JobState::Queued).await;
    assert_eq!(state(&house, waits).await, JobState::Waiting);
    let why = format!("waits for its source: {old} is being looked for in {}", upstream.url("large"));
    assert_eq!(house.job(waits).await.why, why);
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(60), duties).await.expect("nobody waits for that git").unwrap();
}

impl Upstream {
    /// One that answers, and sends nothing of what it has.
    fn hanging(&self, name: &str) {
        let tip = self.commit(name, "one");
        hang_whoever_reads(&self.path(name).join(".git/objects").join(&tip[..2]).join(&tip[2..]));
    }
}

async fn until_shown(house: &House, url: String) {
    until("what was fetched to be shown", async || house.app().mirrors.set().get(&url).is_some()).await;
}

#[tokio::test]
async fn what_is_fetched_late_waits_for_nothing_that_is_later_still() {
    let upstream = Upstream::new();
    upstream.hanging("hanging");
    upstream.commit("slow", "one");
    let house = upstream.house(&["hanging", "slow"]).await;
    assert_eq!(update(house.app(), Which::Due, Duration::ZERO).await.unwrap().later, 2);
    until_shown(&house, upstream.url("slow")).await;
}

#[tokio::test]
async fn a_fetch_for_a_job_waits_for_none_that_comes_round() {
    let upstream = Upstream::new();
    let hanging = ["a", "b", "c", "d"];
    hanging.iter().for_each(|name| upstream.hanging(name));
    upstream.commit("wanted", "one");
    let house = upstream.house(&[&hanging[..], &["wanted"]].concat()).await;
    update(house.app(), Which::Due, Duration::ZERO).await.unwrap();
    let begun = |name: &&str| house.app().mirrors.repository(&upstream.url(name)).exists();
    until("all four to hang", async || hanging.iter().all(begun)).await;
    let wanted = upstream.url("wanted");
    update(house.app(), Which::These([wanted.clone()].into()), Duration::ZERO).await.unwrap();
    until_shown(&house, wanted).await;
}

#[tokio::test]
async fn a_job_of_a_repository_that_was_fetched_long_ago_says_why_it_is_not_fetched_now() {
    let upstream = Upstream::new();
    upstream.commit("bash", "one");
    let url = upstream.url("bash");
    let source = format!("source: {{ git: '{}', ref: main }}", upstream.url("{{ item }}"));
    let house = House::of(&format!("tasks:\n  own: {{ run: ['true'], {source} }}\nrules: []\n"), |settings| {
        settings.mirrors.protocols = vec!["file".into()];
    })
    .await;
    let fetch =
        async || update(house.app(), Which::These([url.clone()].into()), Duration::from_secs(60)).await.unwrap();
    assert_eq!(fetch().await.fetched, 1);
    house.advance(Span::days(1));
    fs::rename(upstream.path("bash"), upstream.path("away")).unwrap();
    assert_eq!(fetch().await.failed, 1);
    let job = house.submit("own", "bash").await;
    let why = house.job(job).await.why;
    let said = format!("waits for its source: {url} is to be fetched first: it could not be fetched since ");
    assert!(why.starts_with(&said) && why.contains("does not appear to be a git repository"), "{why}");
}

#[tokio::test]
async fn a_repository_that_could_not_be_fetched_for_want_of_the_database_is_fetched_when_it_is_asked_for_again() {
    let upstream = Upstream::new();
    upstream.commit("task", "one");
    // On SQLite it is not asked for the time.
    let house = upstream.house_on(&["task"], Some(postgres().await)).await;
    let lined_up = || house.app().mirrors.line_up([upstream.url("task")].into());
    assert_eq!((lined_up().len(), lined_up().len()), (1, 0), "one is enough");
    house.app().store.close().await;
    drop(update(house.app(), Which::These([upstream.url("task")].into()), Duration::ZERO).await);
    until("the next to be let in", async || lined_up().len() == 1).await;
}
