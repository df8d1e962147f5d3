//! What a worker that was killed leaves, and what the next one makes of it.

mod kit;

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use kit::{Master, Rig, VIGIL, lease, lease_with, processes_of, settings, until};
use model::lease::{Hold, Sealed};
use model::{End, Span};
use net::Secret;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use worker::Stop;

const MASTER: &str = "TEST_WORKER_MASTER";
const FOLDER: &str = "TEST_WORKER_FOLDER";

/// Not a test by itself: the others run it as a process of its own, to be killed.
#[tokio::test]
async fn a_worker_to_be_killed() {
    let (Ok(url), Ok(folder)) = (std::env::var(MASTER), std::env::var(FOLDER)) else { return };
    let mut master = Master::start().await;
    master.url = url.parse().unwrap();
    let settings = settings(&master, Path::new(&folder));
    worker::run(settings, Secret::none(), VIGIL, Stop::default()).await.unwrap();
}

/// The process of a worker; killed at the latest when the test ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn worker_process(master: &Master, folder: &Path) -> Killed {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_worker_to_be_killed", "--nocapture"]);
    command.env(MASTER, master.url.as_str()).env(FOLDER, folder).stdout(Stdio::null());
    Killed(command.spawn().unwrap())
}

impl Killed {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), signal).unwrap();
    }
}

/// Started in the background it is orphaned, has a session of its own, and hears no TERM.
const DAEMON: &str = "(setsid sh -c \"trap '' TERM; sleep 1000 & wait\" &)";

#[tokio::test]
async fn nothing_of_its_jobs_outlives_a_killed_worker() {
    let master = Master::start().await;
    let dir = tempfile::tempdir().unwrap();
    let process = worker_process(&master, dir.path());
    let single = lease("exec sleep 1000");
    // These do not even have the job's environment; the second is orphaned.
    let [child, orphan] = ["child", "orphan"].map(|name| dir.path().join(name));
    let wiped = |file: &Path| format!("setsid env -i sh -c 'echo $$ >{}; exec sleep 1000'", file.display());
    let family = format!("trap '' TERM; {DAEMON}; {} & ({} &); wait", wiped(&child), wiped(&orphan));
    let family = lease(&family);
    master.change(|book| book.queue.extend([single.clone(), family.clone()]));
    until("all run", || processes_of(&single).len() == 1 && processes_of(&family).len() == 3).await;
    let runs = |file: &Path| {
        let pid = fs::read_to_string(file).ok().filter(|text| text.ends_with('\n'))?;
        Some(fs::read(format!("/proc/{}/cmdline", pid.trim())).is_ok_and(|command| command.starts_with(b"sleep")))
    };
    until("all run", || runs(&child) == Some(true) && runs(&orphan) == Some(true)).await;
    drop(process);
    until("nothing is left", || processes_of(&single).is_empty() && processes_of(&family).is_empty()).await;
    until("not even those", || runs(&child) == Some(false) && runs(&orphan) == Some(false)).await;
    // What a master gives to a connection that is gone is lost until its lease is.
    until("its claim is gone, too", || master.book.lock().unwrap().claiming == 0).await;
    // The folder is free again as soon as the guardian is through.
    let rig = Rig::with(master, dir, |_| {});
    assert_eq!(rig.run(&lease("exit 0")).await.end, End::Exited { code: 0 });
    until("no record is left", || rig.lies_in("work").is_empty() && rig.lies_in("groups").is_empty()).await;
}

#[tokio::test]
async fn secrets_go_also_where_a_guardian_cannot_end_what_runs() {
    let master = Master::start().await;
    let dir = tempfile::tempdir().unwrap();
    let process = worker_process(&master, dir.path());
    let job = lease_with("sleep 1000", |l| {
        l.task.secrets = vec!["koji".to_owned()];
        l.secrets = [("koji".to_owned(), Sealed::new(b"hunter2"))].into();
    });
    master.give(job.clone());
    until("it runs", || !processes_of(&job).is_empty()).await;
    let secrets = fs::read_link(dir.path().join("worker/secrets")).unwrap();
    assert!(secrets.join(format!("{}.1/koji", job.job)).exists());
    // What it cannot read, it gives up at.
    let [cgroups, aside] = ["cgroups", "aside"].map(|name| dir.path().join("worker").join(name));
    let known = fs::rename(&cgroups, &aside).is_ok();
    fs::create_dir(&cgroups).unwrap();
    drop(process);
    until("they are gone", || !secrets.exists()).await;
    assert!(!processes_of(&job).is_empty(), "the guardian could end it");
    fs::remove_dir(&cgroups).unwrap();
    assert!(!known || fs::rename(&aside, &cgroups).is_ok());
    until("its claim is gone, too", || master.book.lock().unwrap().claiming == 0).await;
    let rig = Rig::with(master, dir, |_| {});
    assert_eq!(rig.run(&lease("exit 0")).await.end, End::Exited { code: 0 });
    assert!(processes_of(&job).is_empty());
}

#[tokio::test]
async fn a_guardian_that_is_killed_is_started_again() {
    let master = Master::start().await;
    let dir = tempfile::tempdir().unwrap();
    let process = worker_process(&master, dir.path());
    let job = lease(&format!("{DAEMON}; sleep 1000"));
    master.give(job.clone());
    until("it runs", || processes_of(&job).len() == 4).await;
    let first = guardian_of(&process);
    kill(first, Signal::SIGKILL).unwrap();
    until("another", || guardians_of(&process).iter().any(|pid| *pid != first)).await;
    drop(process);
    until("nothing is left", || processes_of(&job).is_empty()).await;
}

/// The children of a worker that are the guardian: the only ones that are this very program.
fn guardians_of(process: &Killed) -> Vec<Pid> {
    let children = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let line = fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent: u32 = line.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        let command = fs::read_to_string(entry.path().join("cmdline")).ok()?;
        let pid = entry.file_name().to_str()?.parse().ok()?;
        (parent == process.0.id() && command.contains("kit::a_guardian")).then(|| Pid::from_raw(pid))
    });
    children.collect()
}

fn guardian_of(process: &Killed) -> Pid {
    *guardians_of(process).first().expect("it has a guardian")
}

#[tokio::test]
async fn a_stopped_worker_runs_nothing_exclusive_when_its_lease_has_ended() {
    let master = Master::start().await;
    master.change(|book| book.term = Span::seconds(4));
    let dir = tempfile::tempdir().unwrap();
    let process = worker_process(&master, dir.path());
    let alone = lease_with(&format!("trap '' TERM; {DAEMON}; sleep 1000"), |lease| lease.task.exclusive = true);
    let other = lease("sleep 1000");
    master.change(|book| book.queue.extend([alone.clone(), other.clone()]));
    until("both run", || processes_of(&alone).len() == 4 && processes_of(&other).len() == 2).await;
    process.signal(Signal::SIGSTOP);
    // No later than now the last lease was granted.
    let last = std::time::Instant::now();
    until("the exclusive one is gone", || processes_of(&alone).is_empty()).await;
    let gone = last.elapsed();
    assert!(gone < std::time::Duration::from_secs(4), "{gone:?}");
    assert_eq!(processes_of(&other).len(), 2, "what may overlap goes on");
    process.signal(Signal::SIGCONT);
    let report = master.report(&alone).await;
    assert_eq!(report.end, End::HandedBack, "its guardian killed it, not the task itself");
    master.change(|book| book.holds.insert(other.token.clone(), Hold::Gone));
    assert_eq!(master.report(&other).await.end, End::HandedBack);
}

#[tokio::test]
async fn a_stranger_with_a_recorded_number_is_spared() {
    let dir = tempfile::tempdir().unwrap();
    let groups = dir.path().join("worker/groups");
    fs::create_dir_all(&groups).unwrap();
    let sleeper = |job: Option<String>| {
        let mut command = Command::new("sleep");
        command.arg("1000").process_group(0);
        if let Some(job) = job {
            command.env("TASKOTRON_JOB_ID", job);
        }
        Killed(command.spawn().unwrap())
    };
    // A record as a process wrote it, but of an earlier start time.
    let record = |job: &model::lease::Lease, pid: u32| {
        let line = format!("{pid} (sh) S 1 {pid} {pid} 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 7 0 0");
        fs::write(groups.join(format!("{}.1", job.job)), line).unwrap();
    };
    let (lost, left) = (lease(""), lease(""));
    let mut stranger = sleeper(None);
    let mut ours = sleeper(Some(left.job.to_string()));
    record(&lost, stranger.0.id());
    record(&left, ours.0.id());

    let rig = Rig::with(Master::start().await, dir, |_| {});
    assert_eq!(rig.run(&lease("exit 0")).await.end, End::Exited { code: 0 });
    assert!(ours.0.wait().unwrap().code().is_none(), "killed");
    assert!(stranger.0.try_wait().unwrap().is_none(), "runs on");
    assert_eq!(rig.lies_in("groups"), Vec::<String>::new());
}
