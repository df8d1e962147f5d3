//! What a new process puts on itself before it becomes the job's program.
//!
//! It still borrows the worker's memory then (`vfork`), so it may do nothing but make system calls on what stands here.

use std::ffi::c_int;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::libc;

/// All of it prepared beforehand.
#[derive(Debug, Default)]
pub struct Cage {
    /// Files that take a process into a cgroup when it writes 0 to them.
    pub joins: Vec<OwnedFd>,
    /// Soft and hard alike.
    pub limits: Vec<(u32, u64)>,
    pub spaces: Spaces,
    /// Whether capabilities, which only root has, are dropped but for those that a job may need.
    pub drop_capabilities: bool,
    /// A ruleset of Landlock.
    pub ruleset: Option<OwnedFd>,
    /// What the program gets beside its streams, under the number that it has here.
    pub passed: Option<OwnedFd>,
}

/// Namespaces that are there already.
#[derive(Debug, Default)]
pub struct Spaces {
    pub mounts: Option<OwnedFd>,
    /// None for a job that may reach the network.
    pub network: Option<OwnedFd>,
}

/// What root keeps in a job (capabilities(7)), by number and name: what concerns its own files and users, nothing that
/// concerns the machine.
pub const KEPT: [(u32, &str); 7] = [
    (0, "CAP_CHOWN"),
    (1, "CAP_DAC_OVERRIDE"),
    (3, "CAP_FOWNER"),
    (4, "CAP_FSETID"),
    (6, "CAP_SETGID"),
    (7, "CAP_SETUID"),
    (10, "CAP_NET_BIND_SERVICE"),
];

/// The greatest number that a kernel may come to give one; of those that it does not know it says so.
const CAPABILITIES: u32 = 63;

#[repr(C)]
struct Header {
    version: u32,
    pid: c_int,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Two sets of 32 each (capget(2), `_LINUX_CAPABILITY_VERSION_3`).
const VERSION: u32 = 0x2008_0522;

impl Cage {
    /// In the new process, before anything is opened there: joins and enters. Whether it could; errno says why not.
    ///
    /// # Safety
    /// Nothing but system calls: it may be called between clone and exec.
    #[expect(unsafe_code, reason = "between clone and exec only bare system calls are allowed")]
    pub unsafe fn enter(&self) -> bool {
        // SAFETY: system calls on descriptors and memory that outlive the call.
        unsafe {
            for join in &self.joins {
                if libc::write(join.as_raw_fd(), c"0".as_ptr().cast(), 1) != 1 {
                    return false;
                }
            }
            let Spaces { mounts, network } = &self.spaces;
            let entered = |space: &Option<OwnedFd>, kind| {
                space.as_ref().is_none_or(|space| libc::setns(space.as_raw_fd(), kind) == 0)
            };
            entered(network, libc::CLONE_NEWNET) && entered(mounts, libc::CLONE_NEWNS)
        }
    }

    /// In the new process, last of all: gives up what it will not need. Whether it could; errno says why not.
    ///
    /// # Safety
    /// As [`Cage::enter`].
    #[expect(unsafe_code, reason = "between clone and exec only bare system calls are allowed")]
    pub unsafe fn close(&self) -> bool {
        // SAFETY: as above.
        unsafe {
            for (resource, limit) in &self.limits {
                let both = libc::rlimit { rlim_cur: *limit, rlim_max: *limit };
                if libc::setrlimit(*resource, &raw const both) != 0 {
                    return false;
                }
            }
            if self.drop_capabilities && !drop_capabilities() {
                return false;
            }
            if let Some(ruleset) = &self.ruleset {
                return libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                    && libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) == 0;
            }
            true
        }
    }
}

#[expect(unsafe_code, reason = "bare system calls, as above")]
unsafe fn drop_capabilities() -> bool {
    let mut kept = 0;
    // SAFETY: numbers, and structs on the new process's own stack.
    unsafe {
        for capability in 0..=CAPABILITIES {
            if KEPT.iter().any(|(number, _)| *number == capability) {
                kept |= 1 << capability;
            } else if libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) != 0
                && *libc::__errno_location() != libc::EINVAL
            {
                return false;
            }
        }
        let header = Header { version: VERSION, pid: 0 };
        let none = Sets { effective: 0, permitted: 0, inheritable: 0 };
        let sets = [Sets { effective: kept, permitted: kept, inheritable: 0 }, none];
        libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) == 0
    }
}
