//! Namespaces that are made beforehand and entered by one job after another: to enter them costs a hundredth of making
//! them.
//!
//! In one a job finds a `/tmp`, a `/dev/shm` and terminals of its own, no secrets of Taskotron's, and in the other a network
//! that has nothing but a loopback. They serve again as long as nothing was left in them. Only root may make them so.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// What an empty file system in memory takes the place of; a job's limit of memory counts what is in it.
const PRIVATE: [&str; 2] = ["/tmp", "/dev/shm"];

/// How much each may hold.
const ROOM: &str = "size=512m,mode=1777";

/// Where tokens and settings are.
pub const HIDDEN: &str = "/etc/taskotron";

#[derive(Debug)]
pub struct Namespaces {
    pub mounts: OwnedFd,
    pub network: OwnedFd,
    folders: Vec<&'static str>,
    own: Vec<File>,
    /// Where its terminals are, and where it gets new ones; neither where it can have none of its own.
    terminals: Vec<File>,
}

/// Which folders a job can have for itself: those that have none of what it must see in them.
pub fn private(seen: &[PathBuf]) -> Vec<&'static str> {
    let free = |folder: &&str| Path::new(folder).is_dir() && seen.iter().all(|path| !path.starts_with(folder));
    PRIVATE.into_iter().filter(free).collect()
}

impl Namespaces {
    /// Makes them, with these folders for themselves.
    pub fn make(private: &[&'static str]) -> io::Result<Namespaces> {
        let private = private.to_vec();
        // A thread of its own has namespaces of its own, and they outlive it.
        let made = thread::Builder::new().name("namespaces".to_owned()).spawn(move || {
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)?;
            let none = None::<&str>;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)?;
            let empty = |folder: &str, flags, room| mount(Some("taskotron"), folder, Some("tmpfs"), flags, Some(room));
            for folder in &private {
                empty(folder, MsFlags::MS_NOSUID | MsFlags::MS_NODEV, ROOM)?;
            }
            if Path::new(HIDDEN).is_dir() {
                empty(HIDDEN, MsFlags::MS_RDONLY, "size=4k,mode=755")?;
            }
            loopback_up()?;
            let terminals = own_terminals().unwrap_or_else(|e| {
                tracing::debug!("gives jobs no terminals: {e}");
                Vec::new()
            });
            let own = private.iter().map(|folder| place(folder)).collect::<io::Result<_>>()?;
            Ok(Namespaces {
                mounts: File::open("/proc/thread-self/ns/mnt")?.into(),
                network: File::open("/proc/thread-self/ns/net")?.into(),
                folders: private,
                own,
                terminals,
            })
        })?;
        made.join().unwrap_or_else(|_| Err(io::Error::other("the thread that makes namespaces has ended")))
    }

    /// What the folders are called that a job in them has for itself.
    pub fn folders(&self) -> &[&'static str] {
        &self.folders
    }

    /// These folders.
    pub fn own(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.own.iter().map(AsFd::as_fd)
    }

    pub fn terminals(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.terminals.iter().map(AsFd::as_fd)
    }

    /// Whether nothing was left in them.
    pub fn are_empty(&self) -> bool {
        let is_empty = |folder: &File| {
            fs::read_dir(format!("/proc/self/fd/{}", folder.as_raw_fd())).is_ok_and(|mut names| names.next().is_none())
        };
        self.own.iter().all(is_empty)
    }
}

/// Puts terminals that nobody else has in the place of the machine's.
fn own_terminals() -> io::Result<Vec<File>> {
    const TERMINALS: &str = "/dev/pts";
    const NEXT: &str = "/dev/ptmx";
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("taskotron"), TERMINALS, Some("devpts"), flags, Some("newinstance,ptmxmode=0666,mode=0620"))?;
    let none = None::<&str>;
    mount(Some("/dev/pts/ptmx"), NEXT, none, MsFlags::MS_BIND, none)?;
    [TERMINALS, NEXT].into_iter().map(place).collect()
}

fn place(path: &str) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)
}

/// Programs that serve themselves find the loopback up.
#[expect(unsafe_code, reason = "an ioctl that no library of ours knows")]
fn loopback_up() -> io::Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: the struct is plain data, filled as netdevice(7) says, and outlives the call.
    unsafe {
        let mut request = std::mem::zeroed::<libc::ifreq>();
        for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
            *to = from.cast_signed() as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or_default();
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
