//! Landlock: the kernel's rules on which files a process and all its descendants may touch (landlock(7)).
//!
//! What is not allowed is refused: a job reads the system, and writes to its workspace. From ABI 6 on it signals none
//! but its own processes, and at no ABI does it trace others.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, Scope,
};
use nix::libc;

/// The newest rules that are asked for; an older kernel leaves out what it does not know.
const NEWEST: ABI = ABI::V6;

/// The system, to be read and run.
pub const SYSTEM: [&str; 14] = [
    "/bin",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    "/proc",
    "/run/systemd/resolve",
    "/sbin",
    "/sys",
    "/usr",
    "/var/lib/dpkg",
    "/var/lib/rpm",
];

/// Devices that are everybody's. Terminals are not: a job has its own, or none.
const DEVICES: [&str; 6] = ["/dev/full", "/dev/null", "/dev/random", "/dev/tty", "/dev/urandom", "/dev/zero"];

/// What every job of a worker may touch, looked up once.
#[derive(Debug)]
pub struct Rules {
    allowed: Vec<(OwnedFd, BitFlags<AccessFs>)>,
    /// The kernel's ABI.
    pub abi: i64,
}

impl Rules {
    /// None where the kernel has no Landlock, or has it switched off.
    pub fn find(readable: &[PathBuf], writable: &[PathBuf]) -> Option<Rules> {
        let abi = abi();
        if abi < 1 {
            return None;
        }
        let read = AccessFs::from_read(NEWEST);
        // Disks are there, too.
        let listed = [(Path::new("/dev"), AccessFs::ReadDir.into())];
        let system = SYSTEM.iter().map(|path| (Path::new(path), read));
        let devices = DEVICES.iter().map(|path| (Path::new(path), device()));
        let more = readable.iter().map(|path| (path.as_path(), read));
        let written = writable.iter().map(|path| (path.as_path(), own()));
        // A system has not all of these.
        let opened = system.chain(listed).chain(devices).chain(more).chain(written).filter_map(|(path, access)| {
            let access = if path.is_dir() { access } else { access & AccessFs::from_file(NEWEST) };
            Some((PathFd::new(path).ok()?.as_fd().try_clone_to_owned().ok()?, access))
        });
        Some(Rules { allowed: opened.collect(), abi })
    }

    /// The rules of a job that works in `folder`, has `others` and `terminals` for itself, too, and may read its `secrets`.
    pub fn of<'a>(
        &self,
        folder: &Path,
        others: impl Iterator<Item = BorrowedFd<'a>>,
        terminals: impl Iterator<Item = BorrowedFd<'a>>,
        secrets: Option<&Path>,
        tcp: bool,
    ) -> io::Result<OwnedFd> {
        let folder = File::open(folder)?;
        let secrets = secrets.map(File::open).transpose()?;
        let secrets = secrets.as_ref().map(|secrets| secrets.as_fd());
        let others = others.map(|other| (other, own())).chain(terminals.map(|terminal| (terminal, device())));
        self.made(folder.as_fd(), others, secrets, tcp)
            .map_err(|e| io::Error::other(format!("cannot make rules of Landlock: {e}")))
    }

    fn made<'a>(
        &self,
        folder: BorrowedFd<'_>,
        others: impl Iterator<Item = (BorrowedFd<'a>, BitFlags<AccessFs>)>,
        secrets: Option<BorrowedFd<'_>>,
        tcp: bool,
    ) -> Result<OwnedFd, RulesetError> {
        let mut ruleset =
            Ruleset::default().handle_access(AccessFs::from_all(NEWEST))?.scope(Scope::from_all(NEWEST))?;
        if !tcp {
            ruleset = ruleset.handle_access(AccessNet::from_all(NEWEST))?;
        }
        let mut created = ruleset.create()?;
        for (place, access) in &self.allowed {
            created = created.add_rule(PathBeneath::new(place, *access))?;
        }
        created = created.add_rule(PathBeneath::new(folder, own()))?;
        if let Some(secrets) = secrets {
            created = created.add_rule(PathBeneath::new(secrets, AccessFs::from_read(NEWEST)))?;
        }
        for (other, access) in others {
            created = created.add_rule(PathBeneath::new(other, access))?;
        }
        Ok(Option::<OwnedFd>::from(created).expect("the kernel has Landlock, as was asked before"))
    }
}

/// What is done with a device.
fn device() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev
}

/// All but to make devices.
fn own() -> BitFlags<AccessFs> {
    AccessFs::from_all(NEWEST) & !(AccessFs::MakeChar | AccessFs::MakeBlock)
}

/// The kernel's ABI, less than 1 where there is none.
#[expect(unsafe_code, reason = "the landlock crate does not say")]
fn abi() -> i64 {
    const VERSION: libc::c_uint = 1;
    // SAFETY: with this flag and no attributes the call makes nothing.
    unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, VERSION) }
}
