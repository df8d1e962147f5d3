//! What a job is kept within: how much it may use, what it may touch, and that all of it ends.
//!
//! A worker finds out once what its machine can do (`Means`) and offers just that. For each job it prepares a `Cell`,
//! which the new process puts on itself (`cage`), and in which whatever it starts stays. Nothing here knows of a master.

mod bubblewrap;
mod cage;
mod cgroup;
mod hierarchy;
mod landlock;
mod own;
mod spaces;
mod usage;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, bail};
use model::lease::TaskOrder;
use model::{Bound, Bounds, Sandbox, Size};
use nix::libc;
use nix::sys::resource::{Resource, getrlimit};

use self::bubblewrap::{Account, Bubblewrap};
pub use self::cage::Cage;
use self::cgroup::{Applied, Cgroups, Group, Version};
pub use self::cgroup::{clear, end_at};
use self::landlock::Rules;
use self::own::Own;
use self::spaces::{Namespaces, private};
use crate::Settings;
use crate::home::Home;
use crate::leader::Status;

/// What the machine can do to keep jobs apart from it and from each other.
#[derive(Debug)]
pub struct Means {
    /// What a task may ask for here.
    offered: BTreeSet<String>,
    limits: crate::settings::Limits,
    sandboxes: Vec<Sandbox>,
    cgroups: Option<Cgroups>,
    rules: Option<Rules>,
    bubblewrap: Option<Bubblewrap>,
    /// Folders that a job can have for itself in namespaces; none where it can have no namespaces.
    private: Option<Vec<&'static str>>,
    /// What ended jobs were kept in, for those to come.
    free: Mutex<Vec<Slot>>,
}

/// What is made once and serves one job after another.
#[derive(Debug, Default)]
struct Slot {
    group: Option<Group>,
    spaces: Option<Namespaces>,
}

/// What one job is kept in.
#[derive(Debug)]
pub struct Cell {
    means: Arc<Means>,
    slot: Slot,
    pub cage: Cage,
    /// Whether another has begun to end what is in it, and may not be through. Set when that is found out.
    contested: AtomicBool,
    /// What a program that starts the job's says of that.
    account: Option<Account>,
    /// The program to start, which may be one that starts the job's.
    pub argv: Vec<String>,
    /// What it is kept within, and by what.
    pub enforced: BTreeMap<String, String>,
    folder: PathBuf,
    disk: u64,
}

impl Means {
    /// Fails where a job could not be kept apart and nobody has said that it need not be.
    pub fn find(settings: &Settings, home: &Home) -> anyhow::Result<Means> {
        let reserved = |label: &&String| label.starts_with("limit:") || label.starts_with("sandbox:");
        if let Some(label) = settings.labels.iter().find(reserved) {
            bail!("[worker] labels names {label}: what a worker can enforce it finds out by itself; leave it out");
        }
        let cgroups = if settings.cgroups { Cgroups::open(&home.mark()?) } else { None };
        if let Some(cgroups) = &cgroups {
            let folders: Vec<String> = cgroups.folders().map(|folder| format!("{}\n", folder.display())).collect();
            let path = home.cgroups();
            fs::write(&path, folders.concat()).with_context(|| format!("cannot write {}", path.display()))?;
        }
        let rules = Rules::find(&settings.readable, &settings.writable);
        let bubblewrap = Bubblewrap::find(&settings.path, &settings.readable, &settings.writable);
        let mut seen = vec![home.workspaces()];
        seen.extend(settings.readable.iter().chain(&settings.writable).cloned());
        let private = private(&seen);
        let proof = Namespaces::make(&private).inspect_err(|e| tracing::debug!("makes no namespaces: {e}"));
        let private = proof.is_ok().then_some(private);
        let sandboxes = sandboxes(settings, rules.is_some(), bubblewrap.is_some(), private.is_some())?;
        let (limits, free) = (settings.limits.clone(), Mutex::default());
        let offered = BTreeSet::new();
        let mut means = Means { offered, limits, sandboxes, cgroups, rules, bubblewrap, private, free };
        let limits = Bound::ALL.into_iter().filter(|limit| means.enforces(*limit)).map(Bound::label);
        means.offered = limits.chain(means.sandboxes.iter().map(|sandbox| sandbox.label())).collect();
        Ok(means)
    }

    /// What a task may ask for here.
    pub fn labels(&self) -> &BTreeSet<String> {
        &self.offered
    }

    fn enforces(&self, limit: Bound) -> bool {
        match limit {
            Bound::Memory | Bound::Cpus | Bound::Processes => self.cgroups.as_ref().is_some_and(|c| c.has(limit)),
            Bound::Files | Bound::Disk => true,
            Bound::Network => self.private.is_some() || self.sandboxes.first() == Some(&Sandbox::Bubblewrap),
        }
    }

    /// What a job of this task is kept in when it works in `folder` and may read the `secrets` laid out for it. The error is a reason for people: what a task asks
    /// for is enforced, or it does not run.
    pub fn enclose(self: &Arc<Means>, task: &TaskOrder, folder: &Path, secrets: Option<&Path>) -> Result<Cell, String> {
        if let Some(label) = task.bounds.labels().find(|label| !self.offered.contains(label)) {
            return Err(format!("its task needs {label}, which this worker does not offer"));
        }
        self.cell(task, folder, secrets).map_err(|e| format!("cannot confine it: {e}"))
    }

    fn cell(self: &Arc<Means>, task: &TaskOrder, folder: &Path, secrets: Option<&Path>) -> io::Result<Cell> {
        let bounds = &task.bounds;
        let sandbox = bounds.sandbox.or_else(|| self.sandboxes.first().copied()).unwrap_or(Sandbox::None);
        let mut cell = Cell {
            means: self.clone(),
            slot: self.free.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default(),
            cage: Cage::default(),
            contested: AtomicBool::new(false),
            account: None,
            argv: task.run.clone(),
            enforced: BTreeMap::new(),
            folder: folder.to_owned(),
            disk: bounds.disk.unwrap_or(self.limits.disk.0),
        };
        cell.bound_together(bounds)?;
        cell.bound_each(bounds)?;
        cell.keep_apart(sandbox, bounds.network, secrets)?;
        Ok(cell)
    }

    fn group(&self, slot: &mut Slot, applied: Applied) -> io::Result<()> {
        let Some(cgroups) = &self.cgroups else { return Ok(()) };
        if let Some(group) = &mut slot.group {
            if group.apply(applied).is_ok() {
                return Ok(());
            }
            // It holds more than this job may: another takes its place.
            if let Some(group) = slot.group.take() {
                group.remove();
            }
        }
        let mut group = cgroups.make()?;
        group.apply(applied)?;
        slot.group = Some(group);
        Ok(())
    }

    fn give_back(&self, slot: Slot) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
    }
}

/// What is offered, the default first.
fn sandboxes(settings: &Settings, landlock: bool, bubblewrap: bool, namespaces: bool) -> anyhow::Result<Vec<Sandbox>> {
    let has = |sandbox: &Sandbox| match sandbox {
        Sandbox::Landlock => landlock,
        Sandbox::Bubblewrap => bubblewrap,
        Sandbox::None => true,
    };
    if let Some(missing) = settings.sandboxes.iter().find(|sandbox| !has(sandbox)) {
        bail!("[worker] sandboxes names {missing}, which this machine does not have; leave it out, or install it");
    }
    let own = Own::of(settings);
    let shows = |sandbox: &Sandbox| {
        own.shown_in(*sandbox, namespaces).map(|file| {
            let file = file.display();
            format!("in {sandbox}, jobs could read {file}: put it below /var/lib/taskotron, or let systemd keep it")
        })
    };
    if let Some(why) = settings.sandboxes.iter().find_map(shows) {
        bail!("{why}; or leave that sandbox out of [worker] sandboxes");
    }
    if let Some(file) = own.named_in(settings) {
        tracing::warn!("jobs can read {}, by what [worker] readable or writable names", file.display());
    }
    if !settings.sandboxes.is_empty() {
        return Ok(settings.sandboxes.clone());
    }
    // bubblewrap costs some eight milliseconds a job; Landlock alone keeps no job from the network but for TCP.
    let preferred = match namespaces {
        true => [Sandbox::Landlock, Sandbox::Bubblewrap],
        false => [Sandbox::Bubblewrap, Sandbox::Landlock],
    };
    let (unsafe_here, found): (Vec<Sandbox>, Vec<Sandbox>) =
        preferred.into_iter().filter(has).partition(|sandbox| shows(sandbox).is_some());
    for why in unsafe_here.iter().filter_map(shows) {
        if found.is_empty() {
            bail!("{why}");
        }
        tracing::warn!("does not offer a sandbox: {why}");
    }
    if found.is_empty() {
        bail!(
            "nothing here keeps a job from the machine's files: the kernel has no Landlock, and there is no bubblewrap \
             that works. Install bubblewrap, or say sandboxes = [\"none\"] in [worker] where all tasks are trusted"
        );
    }
    Ok(found)
}

impl Cell {
    /// What all processes of the job use together.
    fn bound_together(&mut self, bounds: &Bounds) -> io::Result<()> {
        let means = self.means.clone();
        let of = |limit, asked: Option<u64>, default: u64| means.enforces(limit).then(|| asked.unwrap_or(default));
        let applied = Applied {
            // With less, the kernel would look for a victim while the new process still has the worker's memory.
            memory: of(Bound::Memory, bounds.memory, means.limits.memory.0).map(|n| n.max(Bounds::LEAST_MEMORY)),
            processes: of(Bound::Processes, bounds.processes, means.limits.processes),
            cpus: bounds.cpus,
        };
        means.group(&mut self.slot, applied)?;
        let Some(group) = &self.slot.group else { return Ok(()) };
        self.cage.joins = group.joins()?;
        let by = match means.cgroups.as_ref().map(Cgroups::version) {
            Some(Version::V2) => "by cgroup v2",
            Some(Version::V1) | None => "by cgroup v1",
        };
        let said = [
            (Bound::Memory, applied.memory.map(|bytes| Size(bytes).to_string())),
            (Bound::Processes, applied.processes.map(|n| n.to_string())),
            (Bound::Cpus, applied.cpus.map(|n| n.to_string())),
        ];
        for (limit, what) in said {
            if let Some(what) = what {
                self.enforced.insert(limit.to_string(), format!("{what}, {by}"));
            }
        }
        Ok(())
    }

    /// What each process may use.
    fn bound_each(&mut self, bounds: &Bounds) -> io::Result<()> {
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let files = bounds.files.unwrap_or(self.means.limits.files).min(most);
        self.cage.limits = vec![(libc::RLIMIT_CORE, 0), (libc::RLIMIT_NOFILE, files), (libc::RLIMIT_FSIZE, self.disk)];
        self.enforced.insert(Bound::Files.to_string(), format!("{files}, by rlimit"));
        self.enforced.insert(Bound::Disk.to_string(), format!("{}, by measuring, and by rlimit", Size(self.disk)));
        Ok(())
    }

    /// What it may touch.
    fn keep_apart(&mut self, sandbox: Sandbox, network: Option<bool>, secrets: Option<&Path>) -> io::Result<()> {
        let means = self.means.clone();
        let networked = network == Some(true);
        let root = nix::unistd::geteuid().is_root();
        let mut without_network = None;
        let mut how = sandbox.to_string();
        match sandbox {
            Sandbox::Bubblewrap => {
                let bubblewrap = means.bubblewrap.as_ref().ok_or(io::ErrorKind::Unsupported)?;
                let (account, told) = Account::open()?;
                self.argv = bubblewrap.around(&self.folder, &self.argv, networked, secrets, told.as_raw_fd());
                (self.account, self.cage.passed) = (Some(account), Some(told));
                without_network = Some("none, by bubblewrap");
            }
            Sandbox::Landlock => {
                let rules = means.rules.as_ref().ok_or(io::ErrorKind::Unsupported)?;
                how = format!("landlock (ABI {})", rules.abi);
                if let Some(spaces) = self.spaces(secrets)? {
                    let mounts = spaces.mounts.try_clone()?;
                    for folder in spaces.folders() {
                        how += &format!(", {folder} of its own");
                    }
                    self.cage.spaces.mounts = Some(mounts);
                }
                let tcp = networked || means.private.is_some();
                if !tcp && rules.abi >= 4 {
                    without_network = Some("no TCP, by landlock");
                }
                let own = self.slot.spaces.iter().flat_map(Namespaces::own);
                let terminals = self.slot.spaces.iter().flat_map(Namespaces::terminals);
                self.cage.ruleset = Some(rules.of(&self.folder, own, terminals, secrets, tcp)?);
                self.cage.drop_capabilities = root;
                if root {
                    how += ", few capabilities";
                }
            }
            Sandbox::None => {}
        }
        let apart = match sandbox {
            Sandbox::Landlock => !networked,
            // Nobody keeps it from anything but what its task asks for.
            Sandbox::None => network == Some(false),
            Sandbox::Bubblewrap => false,
        };
        if apart && let Some(spaces) = self.spaces(secrets)? {
            let network = spaces.network.try_clone()?;
            self.cage.spaces.network = Some(network);
            without_network = Some("none but its loopback, by a namespace");
        }
        let cut_off = sandbox == Sandbox::Bubblewrap || self.cage.spaces.network.is_some();
        if network == Some(false) && !cut_off {
            let why = format!("its task must not reach the network, and {sandbox} cannot see to that here");
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        let network = match (networked, without_network) {
            (false, Some(how)) => how,
            (true, _) | (false, None) => "as the worker's",
        };
        self.enforced.insert(Bound::Network.to_string(), network.to_owned());
        self.enforced.insert("sandbox".to_owned(), how);
        Ok(())
    }

    /// Its namespaces, where it can have some. The folder that its secrets lie in is none of its own, or it would not
    /// find them.
    fn spaces(&mut self, secrets: Option<&Path>) -> io::Result<Option<&Namespaces>> {
        let Some(private) = &self.means.private else { return Ok(None) };
        let hides = |folder: &&str| secrets.is_some_and(|secrets| secrets.starts_with(folder));
        let private: Vec<&str> = private.iter().copied().filter(|folder| !hides(folder)).collect();
        if self.slot.spaces.as_ref().is_none_or(|spaces| spaces.folders() != private) {
            self.slot.spaces = Some(Namespaces::make(&private)?);
        }
        Ok(self.slot.spaces.as_ref())
    }

    /// Whether all that the job starts can be found, wherever it went.
    pub fn finds_all(&self) -> bool {
        self.slot.group.is_some()
    }

    /// The place of its cgroup, for whoever must end it without this worker.
    pub fn place(&self) -> Option<PathBuf> {
        self.slot.group.as_ref().and_then(Group::place)
    }

    /// How the job's program ended, where the process that was started ended so; none where that could not start it.
    pub fn status(&self, status: Status) -> Option<Status> {
        self.account.as_ref().map_or(Some(status), |account| account.status(status))
    }

    pub fn is_empty(&self) -> bool {
        self.slot.group.as_ref().is_none_or(Group::is_empty)
    }

    /// Says that another ends what is in it: nothing else may be put there.
    pub fn contest(&self) {
        self.contested.store(true, Ordering::Relaxed);
    }

    /// Ends all that is left of the job.
    pub fn end(&self) -> io::Result<()> {
        self.slot.group.as_ref().map_or(Ok(()), Group::end)
    }

    /// A limit that the job met; to look takes as long as its workspace is large. A file stops growing at exactly the
    /// limit of the disk, so that to have reached it is to be over it.
    pub fn over(&self) -> Option<Bound> {
        let together = self.slot.group.as_ref().and_then(Group::over);
        together.or_else(|| (usage::of(&self.folder, self.disk) >= self.disk).then_some(Bound::Disk))
    }
}

impl Drop for Cell {
    /// What it was kept in serves again where nothing is left in it.
    fn drop(&mut self) {
        let mut slot = std::mem::take(&mut self.slot);
        let begun = Instant::now();
        let ended = slot.group.as_ref().map(Group::end);
        // First, since the group bears what is in them; and only where nobody can be left there.
        let over = matches!(ended, Some(Ok(())));
        slot.spaces = slot.spaces.take().filter(|spaces| over && spaces.are_empty());
        if let (Some(mut group), Some(ended)) = (slot.group.take(), ended) {
            if let Err(e) = &ended {
                tracing::warn!("cannot end what a job has left: {e}");
            }
            let renewed = ended.and_then(|()| match self.contested.load(Ordering::Relaxed) {
                true => Err(io::Error::other("a guardian ends what is in it")),
                false => group.renew(),
            });
            match renewed {
                Ok(()) => slot.group = Some(group),
                Err(e) => {
                    tracing::debug!("does not use a cgroup again ({e}; {:?})", begun.elapsed());
                    group.remove();
                }
            }
        }
        self.means.give_back(slot);
    }
}
