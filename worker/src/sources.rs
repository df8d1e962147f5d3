//! Commits of tasks' repositories that were fetched, for this job and the jobs to come.
//!
//! A commit is fetched once, however many jobs want it at the same moment, under another name, and gets its own when all
//! of it is there: what a killed worker leaves has no such name, and is removed by the next one. What was not used for
//! longest goes first when there is more than there is room for; what a job copies from stays until it is done.

mod origins;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use git::check_out;
use model::source::{Checkout, mirror_name};

use crate::remove::remove_tree;

pub use origins::Origins;

/// A worker's folder of commits. Each is a folder `MIRROR@COMMIT@BYTES`, used last when that was last changed.
#[derive(Debug)]
pub struct Sources {
    root: PathBuf,
    /// Bytes that commits may take which no job uses.
    room: u64,
    origins: Origins,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    trees: HashMap<String, Tree>,
    /// Counts uses, to tell which was last.
    uses: u64,
    /// Held by whoever fetches a commit; there as long as somebody wants to.
    fetching: HashMap<String, Arc<tokio::sync::Mutex<()>>>,
}

#[derive(Debug)]
struct Tree {
    folder: PathBuf,
    bytes: u64,
    used: u64,
    users: usize,
}

/// A commit that stays as long as this does.
#[derive(Debug)]
pub struct Held {
    sources: Arc<Sources>,
    key: String,
    folder: PathBuf,
}

impl Sources {
    /// Takes over what earlier workers of this folder have fetched since the machine was started: what a crash of the
    /// machine left may have holes.
    pub fn open(root: PathBuf, room: u64, origins: Origins) -> io::Result<Sources> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        if fs::read_to_string(root.join("boot")).ok().as_deref() != Some(&boot) {
            remove_tree(&root)?;
            fs::create_dir_all(&root)?;
            fs::write(root.join("boot"), &boot)?;
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(&root)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match name.rsplit_once('@').and_then(|(key, bytes)| Some((key.to_owned(), bytes.parse().ok()?))) {
                Some((key, bytes)) => found.push((fs::metadata(&path)?.modified()?, key, bytes, path)),
                None if name == "boot" => {}
                // What still writes there is about to end; the next start removes what is left.
                None => {
                    drop(remove_tree(&path).inspect_err(|e| tracing::warn!("cannot remove {}: {e}", path.display())))
                }
            }
        }
        found.sort();
        let mut kept = Kept::default();
        for (_, key, bytes, folder) in found {
            kept.uses += 1;
            kept.trees.insert(key, Tree { folder, bytes, used: kept.uses, users: 0 });
        }
        let sources = Sources { root, room, origins, kept: Mutex::new(kept) };
        sources.make_room();
        Ok(sources)
    }

    /// A commit, fetched where it is not here. The error is a reason for people.
    pub async fn get(self: &Arc<Self>, wanted: &Checkout) -> Result<Held, String> {
        let key = format!("{}@{}", mirror_name(&wanted.git), wanted.commit);
        if let Some(held) = self.take(&key) {
            return Ok(held);
        }
        let turn = self.turn(&key);
        let _alone = turn.lock.lock().await;
        // Whoever had the lock before us may have fetched it.
        if let Some(held) = self.take(&key) {
            return Ok(held);
        }
        let fetched = self.fetch(&key, wanted).await;
        fetched.map_err(|why| format!("cannot fetch {} at {}: {why}", wanted.git, wanted.commit))
    }

    fn turn<'a>(&'a self, key: &'a str) -> Turn<'a> {
        let lock = self.kept().fetching.entry(key.to_owned()).or_default().clone();
        Turn { sources: self, key, lock }
    }

    fn take(self: &Arc<Self>, key: &str) -> Option<Held> {
        let mut kept = self.kept();
        kept.uses += 1;
        let used = kept.uses;
        let tree = kept.trees.get_mut(key)?;
        (tree.used, tree.users) = (used, tree.users + 1);
        let folder = tree.folder.clone();
        drop(kept);
        // For the worker that comes after this one; it does no harm if that is not told.
        let now = SystemTime::UNIX_EPOCH + Duration::from_micros(net::clock::now().0.unsigned_abs());
        let _ = File::open(&folder).and_then(|file| file.set_modified(now));
        Some(Held { sources: self.clone(), key: key.to_owned(), folder })
    }

    async fn fetch(self: &Arc<Self>, key: &str, wanted: &Checkout) -> Result<Held, String> {
        let unfinished = Unfinished(self.new_name("new"));
        let mut why = String::new();
        for origin in self.origins.of(wanted) {
            unfinished.clear().map_err(|e| e.to_string())?;
            match check_out(&origin.git, &origin.remote, &wanted.commit, &unfinished.0).await {
                Ok(()) => return self.admit(key, unfinished).await.map_err(|e| e.to_string()),
                Err(error) => why.push_str(&format!("{}{error}", origin.before)),
            }
        }
        Err(why)
    }

    async fn admit(self: &Arc<Self>, key: &str, made: Unfinished) -> io::Result<Held> {
        let folder = made.0.clone();
        let measured = tokio::task::spawn_blocking(move || bytes(&folder)).await;
        let bytes = measured.unwrap_or_else(|e| Err(io::Error::other(e)))?;
        let folder = self.root.join(format!("{key}@{bytes}"));
        fs::rename(&made.0, &folder)?;
        {
            let mut kept = self.kept();
            let used = kept.uses + 1;
            kept.uses = used;
            kept.trees.insert(key.to_owned(), Tree { folder: folder.clone(), bytes, used, users: 1 });
        }
        let held = Held { sources: self.clone(), key: key.to_owned(), folder };
        self.make_room();
        Ok(held)
    }

    /// Removes what was not used for longest, as far as there is too much.
    fn make_room(&self) {
        loop {
            let gone = {
                let mut kept = self.kept();
                if kept.trees.values().map(|tree| tree.bytes).sum::<u64>() <= self.room {
                    return;
                }
                let idle = kept.trees.iter().filter(|(_, tree)| tree.users == 0);
                let Some(key) = idle.min_by_key(|(_, tree)| tree.used).map(|(key, _)| key.clone()) else { return };
                kept.trees.remove(&key)
            };
            let Some(tree) = gone else { return };
            let aside = self.new_name("old");
            // Under its own name it would be taken for a whole one.
            let removed = fs::rename(&tree.folder, &aside).and_then(|()| remove_tree(&aside));
            if let Err(e) = removed {
                tracing::warn!("cannot remove the fetched commit {}: {e}", tree.folder.display());
            }
        }
    }

    fn new_name(&self, kind: &str) -> PathBuf {
        self.root.join(format!("{kind}-{}", net::clock::uuid().simple()))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the line of those who want to fetch a commit. Whoever comes joins the same line until nobody stands in it:
/// after a fetch that failed the next tries, and no two at once.
struct Turn<'a> {
    sources: &'a Sources,
    key: &'a str,
    lock: Arc<tokio::sync::Mutex<()>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut kept = self.sources.kept();
        // One is ours, one the map's; nobody gets another meanwhile.
        if Arc::strong_count(&self.lock) == 2 {
            kept.fetching.remove(self.key);
        }
    }
}

/// What is being made: removed, unless it was given another name.
struct Unfinished(PathBuf);

impl Unfinished {
    fn clear(&self) -> io::Result<()> {
        let mut repository = self.0.as_os_str().to_owned();
        repository.push(".git");
        remove_tree(Path::new(&repository))?;
        remove_tree(&self.0)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Err(e) = self.clear() {
            tracing::debug!("cannot remove {}: {e}; the next start does", self.0.display());
        }
    }
}

impl Held {
    /// The folder that the job's workspace is filled from.
    pub fn folder(&self, path: Option<&str>) -> Result<PathBuf, String> {
        let Some(path) = path else { return Ok(self.folder.clone()) };
        match fs::canonicalize(self.folder.join(path)) {
            Ok(folder) if folder.is_dir() && folder.starts_with(&self.folder) => Ok(folder),
            Ok(folder) if folder.is_dir() => {
                Err(format!("the folder {path} of the repository is a link that leads out of it"))
            }
            Ok(_) => Err(format!("{path} in the repository is no folder")),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Err(format!("there is no folder {path} in the repository"))
            }
            Err(e) => Err(format!("cannot find the folder {path} of the repository: {e}")),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(tree) = self.sources.kept().trees.get_mut(&self.key) {
            tree.users -= 1;
        }
        self.sources.make_room();
    }
}

/// What a folder takes on disk.
fn bytes(path: &Path) -> io::Result<u64> {
    let found = fs::symlink_metadata(path)?;
    let mut sum = found.blocks() * 512;
    if found.is_dir() {
        for entry in fs::read_dir(path)? {
            sum += bytes(&entry?.path())?;
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use axum::Router;
    use axum::body::{Body, Bytes};
    use axum::extract::State;
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::{get, post};
    use futures_util::poll;
    use git::{Git, Question};
    use model::source::Commit;
    use net::{Client, Secret};
    use tokio::io::AsyncReadExt as _;

    use super::*;

    const URL: &str = "https://example.org/task.git";

    /// A master's mirror of one repository, which counts what is fetched.
    #[derive(Clone)]
    struct Mirror {
        repository: PathBuf,
        fetches: Arc<AtomicUsize>,
        down: Arc<AtomicBool>,
    }

    async fn whole(mirror: &Mirror, headers: &HeaderMap, question: Question) -> Body {
        assert_eq!(headers["authorization"], "Bearer secret");
        let version = headers.get("git-protocol").map(|value| value.to_str().unwrap());
        let mut bytes = Vec::new();
        let git = Git::new(["file"], Duration::from_secs(60));
        git::answer(&git, &mirror.repository, version, question).unwrap().read_to_end(&mut bytes).await.unwrap();
        bytes.into()
    }

    async fn advertise(
        State(mirror): State<Mirror>,
        headers: HeaderMap,
    ) -> Result<([(&'static str, &'static str); 1], Body), StatusCode> {
        if mirror.down.load(Ordering::Relaxed) {
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        let kind = "application/x-git-upload-pack-advertisement";
        Ok(([("content-type", kind)], whole(&mirror, &headers, Question::Advertise).await))
    }

    async fn objects(
        State(mirror): State<Mirror>,
        headers: HeaderMap,
        body: Bytes,
    ) -> ([(&'static str, &'static str); 1], Body) {
        mirror.fetches.fetch_add(1, Ordering::Relaxed);
        let kind = "application/x-git-upload-pack-result";
        ([("content-type", kind)], whole(&mirror, &headers, Question::Objects(body.to_vec())).await)
    }

    struct Bed {
        dir: tempfile::TempDir,
        mirror: Mirror,
        url: url::Url,
    }

    impl Bed {
        /// A mirror with so many commits, each with a file of 100 KiB that says which it is; none is a branch.
        async fn new(commits: usize) -> (Bed, Vec<Commit>) {
            let dir = tempfile::tempdir().unwrap();
            let repository = dir.path().join("mirror.git");
            let run = |arguments: &[&str]| {
                let mut git = Command::new("git");
                git.arg("-C").arg(dir.path()).args(["-c", "user.name=A", "-c", "user.email=a@example.org"]);
                let ran = git.args(arguments).output().unwrap();
                assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
                String::from_utf8(ran.stdout).unwrap().trim().to_owned()
            };
            run(&["init", "-q", "--bare", "mirror.git"]);
            run(&["init", "-q", "work"]);
            std::os::unix::fs::symlink("/etc", dir.path().join("work/out")).unwrap();
            let made = (0..commits).map(|n| {
                let folder = dir.path().join("work/folder");
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join("file"), format!("{n}").repeat(100 << 10)).unwrap();
                run(&["-C", "work", "add", "."]);
                run(&["-C", "work", "commit", "-q", "-m", "one"]);
                run(&["-C", "work", "rev-parse", "HEAD"]).parse().unwrap()
            });
            let made = made.collect();
            run(&["-C", "work", "push", "-q", "../mirror.git", "HEAD:refs/kept/all"]);
            let mirror = Mirror { repository, fetches: Arc::default(), down: Arc::default() };
            let name = mirror_name(URL);
            let routes = Router::new()
                .route(&format!("/git/{name}/info/refs"), get(advertise))
                .route(&format!("/git/{name}/git-upload-pack"), post(objects))
                .with_state(mirror.clone());
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
            tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
            (Bed { dir, mirror, url }, made)
        }

        fn root(&self) -> PathBuf {
            self.dir.path().join("sources")
        }

        fn sources(&self, room: u64) -> Arc<Sources> {
            let client = Client::new(self.url.clone(), Secret::new("secret")).unwrap();
            Arc::new(Sources::open(self.root(), room, Origins::masters(client)).unwrap())
        }

        fn names(&self) -> Vec<String> {
            let names = fs::read_dir(self.root()).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
            names.retain(|name| name != "boot");
            names.sort();
            names
        }

        fn fetches(&self) -> usize {
            self.mirror.fetches.load(Ordering::Relaxed)
        }
    }

    fn wanted(commit: &Commit) -> Checkout {
        Checkout { git: URL.into(), reference: "main".into(), commit: commit.clone(), path: None }
    }

    #[tokio::test]
    async fn a_commit_is_fetched_once_for_all_who_want_it_and_for_the_next_worker() {
        let (bed, commits) = Bed::new(2).await;
        let sources = bed.sources(1 << 30);
        let gets = (0..8).map(|n| {
            let (sources, wanted) = (sources.clone(), wanted(&commits[n % 2]));
            tokio::spawn(async move { sources.get(&wanted).await.unwrap() })
        });
        for (n, get) in gets.collect::<Vec<_>>().into_iter().enumerate() {
            let held = get.await.unwrap();
            let text = fs::read_to_string(held.folder(Some("folder")).unwrap().join("file")).unwrap();
            assert!(text.starts_with(&(n % 2).to_string()), "each has its own");
            assert!(!held.folder(None).unwrap().join(".git").exists());
            assert_eq!(
                held.folder(Some("out")).unwrap_err(),
                "the folder out of the repository is a link that leads out of it"
            );
            assert_eq!(held.folder(Some("nothing")).unwrap_err(), "there is no folder nothing in the repository");
        }
        assert_eq!(bed.fetches(), 2);
        drop(sources);
        bed.sources(1 << 30).get(&wanted(&commits[0])).await.unwrap();
        assert_eq!(bed.fetches(), 2);
        let absent = "0123456789abcdef0123456789abcdef01234567".parse().unwrap();
        let why = bed.sources(1 << 30).get(&wanted(&absent)).await.unwrap_err();
        assert!(why.starts_with(&format!("cannot fetch {URL} at {absent}: ")), "{why}");
        assert_eq!(bed.names().len(), 2, "a fetch that failed leaves nothing: {:?}", bed.names());
    }

    #[tokio::test]
    async fn after_a_fetch_that_failed_those_who_wait_and_those_who_come_try_one_by_one() {
        let (bed, commits) = Bed::new(1).await;
        let (sources, order) = (bed.sources(1 << 30), wanted(&commits[0]));
        bed.mirror.down.store(true, Ordering::Relaxed);
        let [mut first, mut second, third] = [(); 3].map(|()| Box::pin(sources.get(&order)));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        first.await.unwrap_err();
        bed.mirror.down.store(false, Ordering::Relaxed);
        let (second, third) = tokio::join!(second, third);
        assert_eq!(second.unwrap().folder, third.unwrap().folder);
        assert_eq!(bed.fetches(), 1);
        assert!(sources.kept().fetching.is_empty());
    }

    #[tokio::test]
    async fn what_was_unused_for_longest_makes_room_and_what_a_job_uses_stays() {
        let (bed, commits) = Bed::new(4).await;
        // Each takes a little more than 100 KiB.
        let sources = bed.sources(250 << 10);
        let held = sources.get(&wanted(&commits[0])).await.unwrap();
        for commit in &commits[1..] {
            sources.get(&wanted(commit)).await.unwrap();
        }
        let names =
            |bed: &Bed| bed.names().iter().map(|name| name.split('@').nth(1).unwrap().to_owned()).collect::<Vec<_>>();
        let mut left = vec![commits[0].to_string(), commits[3].to_string()];
        left.sort();
        let mut there = names(&bed);
        there.sort();
        assert_eq!(there, left);
        drop(held);
        sources.get(&wanted(&commits[1])).await.unwrap();
        assert!(!names(&bed).contains(&commits[0].to_string()), "it was used first: {:?}", names(&bed));
        // The next worker knows which was used last.
        drop(sources);
        let next = bed.sources(130 << 10);
        assert_eq!(names(&bed), [commits[1].to_string()]);
        drop(next);
    }

    #[tokio::test]
    async fn what_a_killed_worker_was_making_is_removed_and_another_boot_begins_anew() {
        let (bed, commits) = Bed::new(1).await;
        bed.sources(1 << 30).get(&wanted(&commits[0])).await.unwrap();
        for left in ["new-1", "new-1.git", "old-2"] {
            fs::create_dir_all(bed.root().join(left).join("objects")).unwrap();
        }
        let sources = bed.sources(1 << 30);
        assert_eq!(bed.names().len(), 1, "{:?}", bed.names());
        // Given up in the middle: the job was cancelled.
        fs::remove_dir_all(bed.root().join(&bed.names()[0])).unwrap();
        drop(sources);
        let sources = bed.sources(1 << 30);
        let order = wanted(&commits[0]);
        let mut get = Box::pin(sources.get(&order));
        loop {
            let given_up = tokio::time::timeout(Duration::from_millis(1), &mut get).await.is_err();
            assert!(given_up, "it was to be given up in the middle");
            if bed.names().iter().any(|name| name.ends_with(".git")) {
                break;
            }
        }
        drop(get);
        sources.get(&order).await.unwrap();
        drop(sources);
        fs::write(bed.root().join("boot"), "another").unwrap();
        bed.sources(1 << 30);
        assert_eq!(bed.names(), Vec::<String>::new());
    }
}
