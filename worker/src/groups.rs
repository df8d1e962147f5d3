//! Nothing of a job outlives it, not even what left its process group or lost its worker.
//!
//! The group of a running attempt is on record in `groups/`: the first process writes its own line of `/proc/PID/stat`
//! there before it becomes the job's program. What a worker that was killed has left is found at the next start by
//! those records, and by what every job's process carries in its environment. A process is killed only where that says
//! whose it is, and by a handle that cannot come to mean another process.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::home::{AttemptId, Home};
use crate::pidfd::PidFd;
use crate::proc::{Environ, Stat, pids};

/// The least time between two looks at all processes.
const LOOK: Duration = Duration::from_millis(100);

/// How often leftovers are looked for at the start: each look also finds what was forked during the one before.
const LOOKS: usize = 5;

/// Removes the record of a group that is gone.
pub fn forget(home: &Home, id: AttemptId) {
    if let Err(e) = fs::remove_file(home.group(id)) {
        tracing::warn!(job.id = %id.job, attempt = id.attempt, "cannot remove the record of a process group: {e}");
    }
}

/// Ends what an earlier worker left running in this folder, and removes its workspaces and logs. Returns how many
/// processes there were.
pub async fn clear(home: &Home) -> io::Result<usize> {
    let mut recorded = BTreeMap::new();
    for id in home.attempts_in("groups")? {
        let line = fs::read_to_string(home.group(id)).unwrap_or_default();
        // A record that was never written is one of a process that never became a job's.
        if let Some(leader) = Stat::parse(&line) {
            recorded.insert(leader.pid, (id, leader.start));
        }
    }
    let mut found = 0;
    for _ in 0..LOOKS {
        let killed = kill_leftovers(home, &recorded);
        found += killed.len();
        if killed.is_empty() {
            break;
        }
        for process in killed {
            // One that does not die waits for the disk; it cannot run on.
            let _ = timeout(Duration::from_secs(1), process.watch()?.ended()).await;
        }
    }
    for id in home.attempts_in("groups")? {
        forget(home, id);
    }
    Ok(found)
}

fn kill_leftovers(home: &Home, recorded: &BTreeMap<Pid, (AttemptId, u64)>) -> Vec<PidFd> {
    let stats: Vec<Stat> = pids().into_iter().filter_map(Stat::of).collect();
    let is_ours = |stat: &Stat| {
        recorded.get(&stat.group).is_some_and(|(id, start)| {
            (stat.pid == stat.group && stat.start == *start)
                || Environ::of(stat.pid).get("TASKOTRON_JOB_ID") == Some(&id.job.to_string())
        })
    };
    let groups: BTreeSet<Pid> = stats.iter().filter(|stat| is_ours(stat)).map(|stat| stat.group).collect();
    let work = home.workspaces();
    kill_each(|stat| groups.contains(&stat.group) || attempt_folder(stat.pid).is_some_and(|f| f.starts_with(&work)))
}

/// The workspace that a process says it works for.
fn attempt_folder(pid: Pid) -> Option<PathBuf> {
    Some(Path::new(Environ::of(pid).get("TASKOTRON_ARTIFACTS")?).parent()?.to_owned())
}

/// Kills every process of which `is_prey` holds; never this one.
fn kill_each(is_prey: impl Fn(&Stat) -> bool) -> Vec<PidFd> {
    let mut killed = Vec::new();
    for pid in pids().into_iter().filter(|pid| *pid != Pid::this()) {
        // The handle comes first: whatever is then read is of the process that it stands for, or of none.
        let (Ok(handle), Some(stat)) = (PidFd::open(pid), Stat::of(pid)) else { continue };
        if !stat.zombie && is_prey(&stat) && handle.kill() {
            killed.push(handle);
        }
    }
    killed
}

/// Looks for what ended attempts have left outside their group: what made itself a daemon.
#[derive(Debug)]
pub struct Sweeper {
    ended: mpsc::UnboundedSender<AttemptId>,
}

impl Sweeper {
    pub fn start(home: Arc<Home>) -> Sweeper {
        let (ended, attempts) = mpsc::unbounded_channel();
        tokio::spawn(sweep(home, attempts));
        Sweeper { ended }
    }

    /// Says that an attempt is over. The look at all processes follows soon, one for many.
    pub fn ended(&self, id: AttemptId) {
        // The task ends only with the runtime.
        let _ = self.ended.send(id);
    }
}

async fn sweep(home: Arc<Home>, mut attempts: mpsc::UnboundedReceiver<AttemptId>) {
    while let Some(first) = attempts.recv().await {
        let mut over = BTreeSet::from([home.workspace(first)]);
        while let Ok(next) = attempts.try_recv() {
            over.insert(home.workspace(next));
        }
        let begun = Instant::now();
        // Only the runtime's end makes this fail.
        let killed = tokio::task::spawn_blocking(move || {
            kill_each(|stat| attempt_folder(stat.pid).is_some_and(|folder| over.contains(&folder))).len()
        });
        if let Ok(killed @ 1..) = killed.await {
            tracing::info!(processes = killed, "killed what jobs had left outside their process groups");
        }
        // A machine with very many processes is looked at less often.
        sleep(LOOK.max(begun.elapsed() * 50)).await;
    }
}
