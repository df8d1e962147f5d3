//! What a worker that was killed leaves, and what the next one makes of it.

mod kit;

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use kit::{Master, Rig, lease, processes_of, settings, until};
use model::End;
use net::Secret;
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
    worker::run(settings, Secret::none(), Stop::default()).await.unwrap();
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

#[tokio::test]
async fn jobs_die_with_a_killed_worker_and_the_next_one_ends_their_children() {
    let master = Master::start().await;
    let dir = tempfile::tempdir().unwrap();
    let process = worker_process(&master, dir.path());
    let single = lease("exec sleep 1000");
    let family = lease("sleep 1000 & setsid sleep 1000 & wait");
    master.change(|book| book.queue.extend([single.clone(), family.clone()]));
    until("all run", || processes_of(&single).len() == 1 && processes_of(&family).len() == 3).await;
    drop(process);
    until("leaders die with it", || processes_of(&single).is_empty() && processes_of(&family).len() <= 2).await;

    let rig = Rig::with(master, dir, |_| {});
    // The claim that the killed one had out is known to be void by now.
    rig.master.until("the next worker's claim", |book| (book.incarnations.len() == 2).then_some(())).await;
    assert_eq!(rig.run(&lease("exit 0")).await.end, End::Exited { code: 0 });
    assert_eq!(processes_of(&family), Vec::<i32>::new());
    until("nothing is left", || rig.lies_in("work").is_empty() && rig.lies_in("groups").is_empty()).await;
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
