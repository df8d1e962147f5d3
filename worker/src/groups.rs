//! Nothing of a job outlives it, not even what left its process group or lost its worker.
//!
//! The group of a running attempt is on record in `groups/`: the first process writes its own line of `/proc/PID/stat`
//! there before it becomes the job's program. What is left of an attempt is found by that record, by what every job's
//! process carries in its environment, and by who descends from whom; where there are cgroups, by its cgroup. A process is killed only where that says whose it
//! is, and by a handle that cannot come to mean another process.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use crate::confine;
use crate::home::{AttemptId, Home};
use crate::pidfd::PidFd;
use crate::proc::{Environ, Stat, pids};

/// The least time between two looks at all processes.
const LOOK: Duration = Duration::from_millis(100);

/// How often leftovers are looked for: each look also finds what was forked during the one before.
const LOOKS: usize = 5;

/// How long a killed process may take to be gone. One that does not die waits for the disk; it cannot run on.
const DYING: Duration = Duration::from_secs(1);

/// The first processes of attempts, by the numbers of their groups.
type Leaders = BTreeMap<Pid, (AttemptId, u64)>;

/// Removes the record of a group that is gone, or about to be. Whether it was there.
fn forget(home: &Home, id: AttemptId) -> bool {
    match fs::remove_file(home.group(id)) {
        Ok(()) => true,
        Err(e) if e.kind() == io::ErrorKind::NotFound => false,
        Err(e) => {
            tracing::warn!(job.id = %id.job, attempt = id.attempt, "cannot remove the record of a process group: {e}");
            true
        }
    }
}

/// Ends what a worker that is gone has left running in its folder. Returns how many processes there were.
pub fn clear(home: &Home) -> io::Result<usize> {
    let mut found = clear_cgroups(home)?;
    let recorded = home.attempts_in("groups")?;
    let leaders: Leaders = recorded.iter().filter_map(|id| leader(&self::recorded(home, *id)?, *id)).collect();
    let work = home.workspaces();
    found += kill_all(&leaders, |folder| folder.starts_with(&work))?;
    for id in recorded {
        forget(home, id);
    }
    Ok(found)
}

/// The cgroups of a worker that is gone, with all in them.
fn clear_cgroups(home: &Home) -> io::Result<usize> {
    let folders = match fs::read_to_string(home.cgroups()) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        other => other?,
    };
    let folders: Vec<PathBuf> = folders.lines().map(PathBuf::from).collect();
    let found = confine::clear(&folders)?;
    match fs::remove_file(home.cgroups()) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        Ok(()) | Err(_) => Ok(found),
    }
}

/// Ends what runs of one attempt, without its worker, and takes away its record first. Where the worker has taken it, the
/// attempt's process is gone, and what was read may be of the one that has its cgroup now. Returns how many processes
/// there were.
pub fn end(home: &Home, id: AttemptId) -> io::Result<usize> {
    let record = recorded(home, id).filter(|_| forget(home, id)).unwrap_or_default();
    let leaders: Leaders = leader(&record, id).into_iter().collect();
    let place = record.lines().find(|line| line.starts_with('/'));
    let together = place.map_or(Ok(0), |place| confine::end_at(Path::new(place)))?;
    let work = home.workspace(id);
    Ok(together + kill_all(&leaders, |folder| folder == work)?)
}

/// Kills a running job's first process and all that descend from it, also what has left its group: from it they can be
/// found, as long as it is there. It is a child of ours that was not reaped.
pub fn end_family(leader: Pid) {
    for process in kill_with_descendants(living(), |stat| stat.pid == leader) {
        // Whatever does not die now is looked for again when the attempt is over.
        let _ = process.gone_within(DYING);
    }
}

/// The place of its cgroup, where it has one, and the line of its first process.
fn recorded(home: &Home, id: AttemptId) -> Option<String> {
    fs::read_to_string(home.group(id)).ok()
}

/// A record that was never written is one of a process that never became a job's.
fn leader(record: &str, id: AttemptId) -> Option<(Pid, (AttemptId, u64))> {
    let leader = record.lines().find_map(Stat::parse)?;
    Some((leader.pid, (id, leader.start)))
}

/// Kills all that is in one of the groups or works for a folder that `is_meant`, until a look finds no more.
fn kill_all(leaders: &Leaders, is_meant: impl Fn(&Path) -> bool) -> io::Result<usize> {
    let mut found = 0;
    for _ in 0..LOOKS {
        let killed = kill_families(leaders, &is_meant);
        if killed.is_empty() {
            break;
        }
        found += killed.len();
        for process in killed {
            process.gone_within(DYING)?;
        }
    }
    Ok(found)
}

fn living() -> Vec<Stat> {
    pids().into_iter().filter_map(Stat::of).filter(|stat| !stat.zombie).collect()
}

fn kill_families(leaders: &Leaders, is_meant: impl Fn(&Path) -> bool) -> Vec<PidFd> {
    let all = living();
    let is_ours = |stat: &&Stat| {
        leaders.get(&stat.group).is_some_and(|(id, start)| {
            (stat.pid == stat.group && stat.start == *start)
                || Environ::of(stat.pid).get("TASKOTRON_JOB_ID") == Some(&id.job.to_string())
        })
    };
    let groups: BTreeSet<Pid> = all.iter().filter(is_ours).map(|stat| stat.group).collect();
    kill_with_descendants(all, |stat| {
        groups.contains(&stat.group) || attempt_folder(stat.pid).is_some_and(|folder| is_meant(&folder))
    })
}

fn kill_with_descendants(all: Vec<Stat>, is_meant: impl Fn(&Stat) -> bool) -> Vec<PidFd> {
    let (mut prey, mut rest): (Vec<Stat>, Vec<Stat>) = all.into_iter().partition(is_meant);
    // What has left the group and wiped its environment still descends from the leader, as long as that is there.
    let mut next = 0;
    while let Some(parent) = prey.get(next).map(|stat| stat.pid) {
        prey.extend(rest.extract_if(.., |stat| stat.parent == parent));
        next += 1;
    }
    // First those whose end is taken for the job's own.
    prey.sort_by_key(|stat| stat.pid != stat.group);
    prey.iter().filter_map(kill).collect()
}

/// The workspace that a process says it works for.
fn attempt_folder(pid: Pid) -> Option<PathBuf> {
    Some(Path::new(Environ::of(pid).get("TASKOTRON_ARTIFACTS")?).parent()?.to_owned())
}

/// Kills a process that was seen, if it is still that one; never this one.
fn kill(seen: &Stat) -> Option<PidFd> {
    // The handle comes first: whatever is then read is of the process that it stands for, or of none.
    let handle = PidFd::open(seen.pid).ok().filter(|_| seen.pid != Pid::this())?;
    (Stat::of(seen.pid)?.start == seen.start && handle.kill()).then_some(handle)
}

/// Looks for what ended attempts have left outside their group: what made itself a daemon.
#[derive(Debug)]
pub struct Sweeper {
    ended: mpsc::UnboundedSender<(AttemptId, oneshot::Sender<()>)>,
}

impl Sweeper {
    pub fn start(home: Arc<Home>) -> Sweeper {
        let (ended, attempts) = mpsc::unbounded_channel();
        tokio::spawn(sweep(home, attempts));
        Sweeper { ended }
    }

    /// Says that an attempt is over. The look at all processes follows soon, one for many; what comes back ends with it.
    pub fn ended(&self, id: AttemptId) -> oneshot::Receiver<()> {
        let (done, see_done) = oneshot::channel();
        // The task ends only with the runtime.
        let _ = self.ended.send((id, done));
        see_done
    }
}

async fn sweep(home: Arc<Home>, mut attempts: mpsc::UnboundedReceiver<(AttemptId, oneshot::Sender<()>)>) {
    while let Some((id, done)) = attempts.recv().await {
        let (mut over, mut told) = (BTreeSet::from([home.workspace(id)]), vec![done]);
        while let Ok((id, done)) = attempts.try_recv() {
            over.insert(home.workspace(id));
            told.push(done);
        }
        let begun = Instant::now();
        // Only the runtime's end makes this fail.
        let killed = tokio::task::spawn_blocking(move || kill_all(&Leaders::new(), |folder| over.contains(folder)));
        match killed.await {
            Ok(Ok(0)) | Err(_) => {}
            Ok(Ok(killed)) => {
                tracing::info!(processes = killed, "killed what jobs had left outside their process groups")
            }
            Ok(Err(e)) => tracing::warn!("cannot see the end of what jobs had left outside their process groups: {e}"),
        }
        drop(told);
        // A machine with very many processes is looked at less often.
        sleep(LOOK.max(begun.elapsed() * 50)).await;
    }
}
