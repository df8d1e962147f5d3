//! Tasks that do what they should not. For each: how it ends, which limit caught it, and that it has changed nothing and
//! left nothing behind. `TASKOTRON_ROW=kills` runs only the rows with that in their names.

mod kit;
#[path = "torture/rows.rs"]
mod rows;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use kit::{Master, Rig, lease_with, until};
use model::lease::Lease;
use model::{End, Sandbox};
use rows::{MEMORY, Row, Seen, rows};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};

/// How many rows may be left out for want of something in the kernel.
const MOST_SKIPPED: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn hostile_tasks_harm_nothing_and_leave_nothing_behind() {
    // Not below /tmp, of which jobs have one of their own.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    for name in ["kept", "secret"] {
        fs::write(outside.join(name), name).unwrap();
    }
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    stranger.set_nonblocking(true).unwrap();
    let port = stranger.local_addr().unwrap().port();
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    unlockpt(&terminal).unwrap();
    let terminal_name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
    let master = Master::start().await;
    let rig = Rig::with(master, dir, |settings| {
        settings.writable = Vec::new();
        settings.slots = 8;
        settings.limits.processes = 256;
        let outside = outside.display().to_string();
        settings.environment = [("PORT", port.to_string()), ("OUTSIDE", outside), ("TERMINAL", terminal_name.clone())]
            .map(|(name, value)| (name.to_owned(), value))
            .into();
    });
    let offered = rig.master.until("a claim", |book| book.labels.clone()).await;
    let mounts = mounts_below(rig.dir.path());
    let passwd = fs::metadata("/etc/passwd").unwrap();

    let only = std::env::var("TASKOTRON_ROW").unwrap_or_default();
    let meant = rows().into_iter().filter(|row| row.name.contains(&only));
    let (able, skipped): (Vec<Row>, Vec<Row>) =
        meant.partition(|row| row.needs.iter().all(|need| offered.contains(*need)));
    let lacking: Vec<_> = skipped.iter().map(|row| format!("{} (needs {})", row.name, row.needs.join(", "))).collect();
    println!("{} rows, left out: {lacking:?}", able.len());
    assert!(lacking.len() <= MOST_SKIPPED, "too much is left out for want of a kernel's feature: {lacking:?}");
    assert!(able.len() >= 30 || !only.is_empty());

    let marks = 31_415_926 + u64::from(std::process::id()) * 1000;
    let leases: Vec<(Row, String, Lease)> = able
        .into_iter()
        .zip(marks..)
        .map(|(row, mark)| {
            let mark = mark.to_string();
            let lease = lease_with(&format!("MARK={mark}; {}", row.script), row.change);
            rig.master.give(lease.clone());
            (row, mark, lease)
        })
        .collect();
    let mut failed = Vec::new();
    for (row, mark, lease) in leases {
        let report = rig.master.report(&lease).await;
        println!("{:60} {}", row.name, report.end);
        assert!(!report.enforced.is_empty(), "{}: it says what held it", row.name);
        let seen = Seen { name: row.name, report, log: rig.master.log(&lease), outside: outside.clone() };
        let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (row.check)(&seen)));
        let left = processes_with(&mark);
        if judged.is_err() || !left.is_empty() || !kit::processes_of(&lease).is_empty() {
            failed.push(format!("{}: {left:?}", row.name));
        }
        for name in ["kept", "secret"] {
            assert_eq!(fs::read_to_string(seen.outside.join(name)).unwrap_or_default(), name, "{}", row.name);
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(stranger.accept().is_err(), "somebody has reached the test");
    assert_eq!(fs::metadata("/etc/passwd").unwrap().nlink(), passwd.nlink());
    assert!(fs::read_dir("/tmp").unwrap().flatten().all(|e| !e.file_name().to_string_lossy().starts_with("torture-")));
    until("every workspace to be gone", || rig.lies_in("work").is_empty() && rig.lies_in("groups").is_empty()).await;
    assert_eq!(mounts_below(rig.dir.path()), mounts);
    let cgroups = cgroups_of(&rig);
    let busy: Vec<_> = cgroups.iter().filter(|group| !processes_in(group).is_empty()).collect();
    assert!(busy.is_empty(), "{busy:?}");

    rig.stop.graceful.cancel();
    let dir = rig.ended().await;
    assert!(cgroups.iter().all(|group| !group.exists()), "a worker that has ended leaves no cgroup");
    assert!(!dir.path().join("worker").join("work").join("escaped").exists());
    until("no zombie of ours", || zombies_of(std::process::id()).is_empty()).await;
}

#[tokio::test]
async fn what_is_asked_for_and_cannot_be_enforced_is_not_offered_and_never_run() {
    let (master, dir) = (Master::start().await, tempfile::tempdir().unwrap());
    let rig = Rig::with(master, dir, |settings| (settings.cgroups, settings.sandboxes) = (false, vec![Sandbox::None]));
    let offered = rig.master.until("a claim", |book| book.labels.clone()).await;
    let not: Vec<_> = ["limit:memory", "limit:processes", "limit:cpus", "sandbox:landlock"].into();
    assert!(not.iter().all(|label| !offered.contains(*label)), "{offered:?}");
    assert!(["limit:files", "limit:disk", "sandbox:none"].iter().all(|label| offered.contains(*label)), "{offered:?}");
    // A master that gives it all the same.
    let report = rig.run(&lease_with("echo it ran", MEMORY)).await;
    let reason = "its task needs limit:memory, which this worker does not offer".to_owned();
    assert_eq!(report.end, End::NotStarted { reason });
    let free = lease_with("echo x >$HOME/../../free", |l| l.task.bounds.sandbox = Some(Sandbox::None));
    let report = rig.run(&free).await;
    assert_eq!((report.end, report.enforced["sandbox"].as_str()), (End::Exited { code: 0 }, "none"));
    assert!(!report.enforced.contains_key("memory"), "nothing is claimed that was not enforced");
    rig.stop.graceful.cancel();
    rig.ended().await;
}

#[tokio::test]
async fn a_full_disk_is_one_jobs_trouble_and_not_the_next_ones() {
    let dir = tempfile::tempdir().unwrap();
    let small = Small::mount(dir.path());
    let rig = Rig::with(Master::start().await, dir, |settings| (settings.slots, settings.disk_reserve) = (1, 0));
    let filler = lease_with("dd if=/dev/zero of=big bs=64k; echo $?; exit 7", |_| {});
    assert_eq!(rig.run(&filler).await.end, End::Exited { code: 7 }, "the disk was full before its limit");
    let next = lease_with("dd if=/dev/zero of=big bs=64k count=8", |_| {});
    assert_eq!(rig.run(&next).await.end, End::Exited { code: 0 });
    rig.stop.graceful.cancel();
    rig.ended().await;
    drop(small);
}

#[tokio::test]
async fn a_job_whose_log_finds_no_room_is_not_handed_back_which_would_cost_no_budget() {
    let dir = tempfile::tempdir().unwrap();
    let small = Small::mount(dir.path());
    let rig = Rig::with(Master::start().await, dir, |settings| settings.disk_reserve = 0);
    let chatty = lease_with("dd if=/dev/zero of=big bs=64k; yes", |_| {});
    let reason = match rig.run(&chatty).await.end {
        End::NotStarted { reason } => reason,
        other => panic!("{other:?}"),
    };
    assert!(reason.starts_with("cannot write the job's log: No space left"), "{reason}");
    rig.stop.graceful.cancel();
    rig.ended().await;
    drop(small);
}

#[tokio::test]
async fn a_log_whose_end_finds_no_room_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let small = Small::mount(dir.path());
    let rig = Rig::with(Master::start().await, dir, |settings| settings.disk_reserve = 0);
    // What is kept of the end has its room by then; it follows the beginning when the job is over.
    let script = "head -c 2000000 /dev/zero; dd if=/dev/zero of=big bs=64k; exit 0";
    let report = rig.run(&lease_with(script, |l| l.task.log_limit = 1 << 20)).await;
    assert_eq!(report.end, End::Exited { code: 0 });
    let want = "the log ends early: cannot write the end of the job's log: No space left on device (os error 28)";
    assert_eq!(report.note.as_deref(), Some(want));
    rig.stop.graceful.cancel();
    rig.ended().await;
    drop(small);
}

/// A file system of 16 MiB where a worker has its folder.
struct Small(PathBuf);

impl Small {
    fn mount(dir: &Path) -> Small {
        let folder = dir.join("worker");
        fs::create_dir(&folder).unwrap();
        let mounted =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "x"]).arg(&folder).status();
        assert!(mounted.unwrap().success(), "this needs to mount a tmpfs: run ./test as root, or in unshare -Urm");
        Small(folder)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Living processes that have this number among their arguments.
fn processes_with(mark: &str) -> Vec<String> {
    let commands = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let command = fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&command).replace('\0', " "))
    });
    commands.filter(|command| command.contains(mark)).collect()
}

/// Their lines of `/proc/PID/stat`: after the name come state and parent.
fn zombies_of(parent: u32) -> Vec<String> {
    let stats = fs::read_dir("/proc").unwrap().flatten();
    let stats = stats.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    stats.filter(|stat| stat.contains(&format!(") Z {parent} "))).collect()
}

fn mounts_below(folder: &Path) -> Vec<String> {
    let folder = folder.display().to_string();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().filter(|line| line.contains(&folder)).map(str::to_owned).collect()
}

/// The groups of a running worker.
fn cgroups_of(rig: &Rig) -> Vec<PathBuf> {
    let folders = fs::read_to_string(rig.file("worker/cgroups")).unwrap_or_default();
    let groups = folders.lines().flat_map(|folder| fs::read_dir(folder).unwrap().flatten());
    groups.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

fn processes_in(group: &Path) -> String {
    fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default()
}
