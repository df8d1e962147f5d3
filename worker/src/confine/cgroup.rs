//! Cgroups: what finds and ends all processes of a job, wherever they went, and bounds what they use together.
//!
//! A worker has a folder in each hierarchy that it may write, and in it one group for each job that runs at once. Groups
//! are used again: to make one costs more than a short job. Version 2 is taken where it has the controllers, and else
//! those of version 1.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::yield_now;
use std::time::{Duration, Instant};

use model::Bound;
use nix::unistd::Pid;

use super::hierarchy::{Hierarchy, Kind, parse};
use crate::pidfd::PidFd;
use crate::proc::Stat;

/// The controllers that are used.
const WANTED: [&str; 3] = ["memory", "pids", "cpu"];

/// How long killed processes may take to be gone.
const DYING: Duration = Duration::from_secs(5);

/// How many are killed at once: each takes a descriptor.
const AT_ONCE: usize = 128;

/// How long a group whose last process has just gone may be busy.
const REMOVAL: Duration = Duration::from_millis(100);

/// How much a group may still be charged for when it is used again: what stays of it is another job's to bear.
const LEFTOVER: u64 = 4 << 20;

/// A period of the processor controller, in microseconds.
const PERIOD: f64 = 100_000.0;

/// A worker's folder in one hierarchy.
#[derive(Clone, Debug)]
struct Tree {
    folder: PathBuf,
    version: Version,
    memory: bool,
    pids: bool,
    cpu: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// A worker's folders.
#[derive(Debug)]
pub struct Cgroups {
    trees: Vec<Tree>,
    /// Numbers the groups.
    next: AtomicU64,
}

/// One job's group: a folder in each tree.
#[derive(Debug)]
pub struct Group {
    trees: Vec<Tree>,
    name: String,
    applied: Applied,
    /// What the counters of refusals said when the job began.
    before: Counts,
    /// And when what it had left was ended: to be ended is to be refused, too.
    after: OnceLock<Counts>,
}

/// What a group bounds; none is as much as there is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Applied {
    pub memory: Option<u64>,
    pub processes: Option<u64>,
    pub cpus: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    oom_kills: u64,
    refused_forks: u64,
}

impl Cgroups {
    /// Makes the worker's folders, under `name`; none where there are no controllers that this process may use.
    pub fn open(name: &str) -> Option<Cgroups> {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let hierarchies = parse(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
        let unified = hierarchies.iter().find(|h| h.kind == Kind::V2).and_then(|h| unified(&h.here, name));
        let trees = match unified {
            Some(tree) => vec![tree],
            None => hierarchies.iter().filter_map(|hierarchy| legacy(hierarchy, name)).collect(),
        };
        let cgroups = Cgroups { trees, next: AtomicU64::new(0) };
        let proof = cgroups.make().ok()?;
        // Without them it neither finds nor bounds anything.
        (cgroups.has(Bound::Processes) || cgroups.has(Bound::Memory)).then_some(())?;
        proof.remove();
        Some(cgroups)
    }

    pub fn has(&self, limit: Bound) -> bool {
        let of = |tree: &Tree| match limit {
            Bound::Memory => tree.memory,
            Bound::Processes => tree.pids,
            Bound::Cpus => tree.cpu,
            Bound::Files | Bound::Disk | Bound::Network => false,
        };
        self.trees.iter().any(of)
    }

    pub fn version(&self) -> Version {
        self.trees.first().map_or(Version::V1, |tree| tree.version)
    }

    /// The worker's own folders, which whoever comes after it clears.
    pub fn folders(&self) -> impl Iterator<Item = &Path> {
        self.trees.iter().map(|tree| tree.folder.as_path())
    }

    /// One more group.
    pub fn make(&self) -> io::Result<Group> {
        let name = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        let (trees, applied, before, after) =
            (self.trees.clone(), Applied::default(), Counts::default(), OnceLock::new());
        let group = Group { trees, name, applied, before, after };
        for folder in group.folders() {
            match fs::create_dir(&folder) {
                Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(group)
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for folder in self.folders() {
            let _ = remove(folder);
        }
    }
}

/// A folder in the hierarchy of version 2, with controllers.
fn unified(here: &Path, name: &str) -> Option<Tree> {
    let has = |folder: &Path, controller: &str| {
        fs::read_to_string(folder.join("cgroup.controllers"))
            .is_ok_and(|controllers| controllers.split_whitespace().any(|c| c == controller))
    };
    let wanted: Vec<&str> = WANTED.into_iter().filter(|controller| has(here, controller)).collect();
    let pass_on = |folder: &Path| {
        let asked: Vec<String> = wanted.iter().map(|controller| format!("+{controller}")).collect();
        write(folder, "cgroup.subtree_control", &asked.join(" "))
    };
    if wanted.is_empty() {
        return None;
    }
    if pass_on(here).is_err() {
        // A group with processes in it passes no controllers on. Where all of them are ours (a service with
        // `Delegate=yes`), they can step aside; where not, it is not ours to arrange.
        let present = processes(here).ok()?;
        let ours = |pid: &Pid| *pid == Pid::this() || Stat::of(*pid).is_some_and(|stat| stat.parent == Pid::this());
        if !present.iter().all(ours) {
            return None;
        }
        let aside = here.join("worker");
        if !aside.is_dir() {
            fs::create_dir(&aside).ok()?;
        }
        for pid in present {
            write(&aside, "cgroup.procs", &pid.to_string()).ok()?;
        }
        pass_on(here).ok()?;
    }
    let folder = here.join(name);
    if !folder.is_dir() {
        fs::create_dir(&folder).ok()?;
    }
    pass_on(&folder).ok()?;
    let [memory, pids, cpu] = WANTED.map(|controller| wanted.contains(&controller));
    Some(Tree { folder, version: Version::V2, memory, pids, cpu })
}

/// A folder in a hierarchy of version 1 that has one of the controllers.
fn legacy(hierarchy: &Hierarchy, name: &str) -> Option<Tree> {
    let [memory, pids, cpu] = WANTED.map(|controller| hierarchy.has(controller));
    if !(memory || pids || cpu) {
        return None;
    }
    let folder = hierarchy.here.join(name);
    if !folder.is_dir() {
        fs::create_dir(&folder).ok()?;
    }
    Some(Tree { folder, version: Version::V1, memory, pids, cpu })
}

impl Group {
    fn folders(&self) -> impl Iterator<Item = PathBuf> {
        self.trees.iter().map(|tree| tree.folder.join(&self.name))
    }

    fn folder(&self, is_meant: impl Fn(&Tree) -> bool) -> Option<(PathBuf, Version)> {
        let tree = self.trees.iter().find(|tree| is_meant(tree))?;
        Some((tree.folder.join(&self.name), tree.version))
    }

    /// Where its processes are listed: they fork where processes are counted.
    pub fn place(&self) -> Option<PathBuf> {
        self.folder(|tree| tree.pids).or_else(|| self.folder(|_| true)).map(|(folder, _)| folder)
    }

    /// Sets what it bounds from now on, and takes its counters as they are.
    pub fn apply(&mut self, bounds: Applied) -> io::Result<()> {
        if bounds.memory != self.applied.memory
            && let Some((folder, version)) = self.folder(|tree| tree.memory)
        {
            set_memory(&folder, version, bounds.memory)?;
        }
        if bounds.processes != self.applied.processes {
            self.set_pids(bounds.processes)?;
        }
        if bounds.cpus != self.applied.cpus
            && let Some((folder, version)) = self.folder(|tree| tree.cpu)
        {
            set_cpus(&folder, version, bounds.cpus)?;
        }
        self.applied = bounds;
        self.before = self.counts();
        self.after = OnceLock::new();
        Ok(())
    }

    fn set_pids(&self, processes: Option<u64>) -> io::Result<()> {
        let Some((folder, _)) = self.folder(|tree| tree.pids) else { return Ok(()) };
        write(&folder, "pids.max", &processes.map_or("max".to_owned(), |n| n.to_string()))
    }

    /// Files to which a process writes 0 to join. In version 1 a process that is alone in its thread group joins by
    /// `tasks`: that waits for nobody else.
    pub fn joins(&self) -> io::Result<Vec<OwnedFd>> {
        let needed = self
            .trees
            .iter()
            .filter(|tree| tree.memory || tree.pids || tree.version == Version::V2 || self.applied.cpus.is_some());
        let join = |tree: &Tree| {
            let file = match tree.version {
                Version::V1 => "tasks",
                Version::V2 => "cgroup.procs",
            };
            let path = tree.folder.join(&self.name).join(file);
            OpenOptions::new().write(true).open(path).map(OwnedFd::from)
        };
        needed.map(join).collect()
    }

    /// What its job ran into since it began.
    pub fn over(&self) -> Option<Bound> {
        let now = self.after.get().copied().unwrap_or_else(|| self.counts());
        if now.oom_kills > self.before.oom_kills {
            return Some(Bound::Memory);
        }
        (now.refused_forks > self.before.refused_forks).then_some(Bound::Processes)
    }

    fn counts(&self) -> Counts {
        let memory = self.folder(|tree| tree.memory).and_then(|(folder, version)| match version {
            Version::V1 => counter(&folder, "memory.oom_control", "oom_kill"),
            Version::V2 => counter(&folder, "memory.events", "oom_kill"),
        });
        let pids = self.folder(|tree| tree.pids).and_then(|(folder, _)| counter(&folder, "pids.events", "max"));
        Counts { oom_kills: memory.unwrap_or(0), refused_forks: pids.unwrap_or(0) }
    }

    pub fn is_empty(&self) -> bool {
        self.place().is_none_or(|place| processes(&place).is_ok_and(|pids| pids.is_empty()))
    }

    /// Ends all that is in it.
    pub fn end(&self) -> io::Result<()> {
        let Some(place) = self.place().filter(|_| !self.is_empty()) else { return Ok(()) };
        self.after.get_or_init(|| self.counts());
        end(&place)
    }

    /// Makes it as good as new; an error where it is not, and is to be removed instead.
    pub fn renew(&mut self) -> io::Result<()> {
        if !self.is_empty() {
            return Err(ErrorKind::ResourceBusy.into());
        }
        if let Some((folder, version)) = self.folder(|tree| tree.memory) {
            let (usage, reclaim) = match version {
                Version::V1 => ("memory.usage_in_bytes", "memory.force_empty"),
                Version::V2 => ("memory.current", "memory.reclaim"),
            };
            let used = || fs::read_to_string(folder.join(usage))?.trim().parse::<u64>().map_err(io::Error::other);
            if used()? > LEFTOVER {
                let _ = write(&folder, reclaim, &used()?.to_string());
            }
            if used()? > LEFTOVER {
                return Err(ErrorKind::ResourceBusy.into());
            }
        }
        // Whoever ended it has taken the right to fork away.
        self.set_pids(self.applied.processes)
    }

    pub fn remove(self) {
        for folder in self.folders() {
            if let Err(e) = remove(&folder) {
                tracing::debug!("cannot remove the cgroup {}: {e}; whoever comes next does", folder.display());
            }
        }
    }
}

fn set_memory(folder: &Path, version: Version, memory: Option<u64>) -> io::Result<()> {
    let text = |none: &str| memory.map_or(none.to_owned(), |bytes| bytes.to_string());
    match version {
        Version::V1 => {
            // Memory with swap may never be less than memory; a kernel may not count it.
            let with_swap = |what: &str| write(folder, "memory.memsw.limit_in_bytes", what);
            let _ = with_swap("-1");
            write(folder, "memory.limit_in_bytes", &text("-1"))?;
            let _ = with_swap(&text("-1"));
        }
        Version::V2 => {
            write(folder, "memory.max", &text("max"))?;
            let _ = write(folder, "memory.swap.max", memory.map_or("max", |_| "0"));
        }
    }
    Ok(())
}

#[expect(clippy::cast_possible_truncation, reason = "a few thousand processors are far from it")]
fn set_cpus(folder: &Path, version: Version, cpus: Option<f64>) -> io::Result<()> {
    let quota = cpus.map(|cpus| (cpus * PERIOD) as i64);
    match version {
        Version::V1 => write(folder, "cpu.cfs_quota_us", &quota.unwrap_or(-1).to_string()),
        Version::V2 => write(folder, "cpu.max", &quota.map_or("max".to_owned(), |quota| quota.to_string())),
    }
}

/// The processes of a group and of those that were made in it.
fn processes(folder: &Path) -> io::Result<Vec<Pid>> {
    let text = match fs::read_to_string(folder.join("cgroup.procs")) {
        Err(e) if e.kind() == ErrorKind::NotFound || e.raw_os_error() == Some(nix::libc::ENODEV) => String::new(),
        other => other?,
    };
    let mut pids: Vec<Pid> = text.lines().filter_map(|line| line.parse().ok()).map(Pid::from_raw).collect();
    for inner in groups_in(folder) {
        pids.extend(processes(&inner)?);
    }
    Ok(pids)
}

fn groups_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()).collect()
}

/// Kills all that is in a group, until nothing is. First it takes the right to fork away: what cannot fork cannot run
/// away from being killed one by one, which is what a freeze would be for.
fn end(folder: &Path) -> io::Result<()> {
    if processes(folder)?.is_empty() {
        return Ok(());
    }
    let begun = Instant::now();
    // Kernels since 5.14 end all of it at once, where there is version 2.
    let _ = write(folder, "cgroup.kill", "1");
    let _ = write(folder, "pids.max", "0");
    loop {
        let left = processes(folder)?;
        if left.is_empty() {
            return Ok(());
        }
        let patience = DYING.saturating_sub(begun.elapsed());
        if patience.is_zero() {
            return Err(io::Error::new(ErrorKind::TimedOut, format!("{} processes do not die", left.len())));
        }
        // A handle first: what is in the group then is what the handle stands for.
        let handles: Vec<(Pid, PidFd)> =
            left.into_iter().take(AT_ONCE).filter_map(|pid| Some((pid, PidFd::open(pid).ok()?))).collect();
        let still = processes(folder)?;
        for (_, handle) in handles.iter().filter(|(pid, _)| still.contains(pid)) {
            handle.kill();
        }
        for (_, handle) in &handles {
            handle.gone_within(patience)?;
        }
        // One that has just gone may be listed for a moment more.
        yield_now();
    }
}

/// Ends what runs in these folders, and removes them. Returns how many processes there were.
pub fn clear(folders: &[PathBuf]) -> io::Result<usize> {
    let mut found = 0;
    for folder in folders {
        for group in groups_in(folder) {
            found += processes(&group)?.len();
            end(&group)?;
        }
        let _ = remove(folder);
    }
    Ok(found)
}

/// Ends what runs in one group. Returns how many processes there were.
pub fn end_at(place: &Path) -> io::Result<usize> {
    let found = processes(place)?.len();
    end(place).map(|()| found)
}

/// Removes a group with those in it. A group whose last process was reaped this moment may still be busy.
fn remove(folder: &Path) -> io::Result<()> {
    for inner in groups_in(folder) {
        remove(&inner)?;
    }
    let begun = Instant::now();
    loop {
        match fs::remove_dir(folder) {
            Err(e) if e.kind() == ErrorKind::ResourceBusy && begun.elapsed() < REMOVAL => yield_now(),
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            other => return other,
        }
    }
}

fn write(folder: &Path, file: &str, text: &str) -> io::Result<()> {
    use io::Write as _;
    File::options().write(true).open(folder.join(file))?.write_all(text.as_bytes())
}

/// The number beside a name in a file of such lines.
fn counter(folder: &Path, file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(folder.join(file)).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}
