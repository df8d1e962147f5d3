//! Starting a program without a copy of this process.
//!
//! A fork copies the tables of all our memory, and every page that we touch afterwards costs a fault: with a store
//! beside the worker in one process that is most of what a short job costs. Here the new process borrows our memory
//! until it becomes the program (clone(2) with `CLONE_VM` and `CLONE_VFORK`), and only the calling thread waits. So
//! between the two it may do nothing but make system calls on what was prepared before.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::libc;
use nix::sched::{CloneFlags, clone};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::unistd::Pid;

use crate::boot::Boot;
use crate::confine::Cage;

/// Room for the few calls that the new process makes before it has a stack of its own.
const STACK: usize = 64 * 1024;

/// A program to become, with all that the new process needs of memory.
pub struct Program {
    /// The paths to try, in order: one where a path is given, else one for each folder of PATH.
    paths: Vec<CString>,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    folder: CString,
}

/// Where the new process's first three descriptors lead.
pub struct Streams<'a> {
    pub input: BorrowedFd<'a>,
    /// Both of its output streams.
    pub output: BorrowedFd<'a>,
}

impl Program {
    /// `search` is the PATH in which a name without a slash is looked for.
    pub fn new<'a>(
        argv: &[String],
        environment: impl Iterator<Item = (&'a String, &'a String)>,
        search: &str,
        folder: &Path,
    ) -> io::Result<Program> {
        let name = argv.first().ok_or_else(|| io::Error::other("there is no program"))?;
        let text = |bytes: &[u8]| CString::new(bytes).map_err(io::Error::from);
        let paths = if name.contains('/') {
            vec![text(name.as_bytes())?]
        } else {
            let in_folder = |folder: &str| text(format!("{folder}/{name}").as_bytes());
            search.split(':').filter(|folder| !folder.is_empty()).map(in_folder).collect::<io::Result<_>>()?
        };
        Ok(Program {
            paths,
            arguments: argv.iter().map(|a| text(a.as_bytes())).collect::<io::Result<_>>()?,
            environment: environment.map(|(k, v)| text(format!("{k}={v}").as_bytes())).collect::<io::Result<_>>()?,
            folder: text(folder.as_os_str().as_bytes())?,
        })
    }

    /// Starts it, in a session and process group of its own. It stands still when the calling thread dies, and whatever
    /// of its descendants is orphaned comes to it: so all of them can be found from it. (Stopped in a session that it
    /// shares, the kernel would hang it up as soon as the worker is gone; stopped with our descriptors, it would hold
    /// our locks and ports against our successor.) Before it becomes the program, the
    /// new process goes into its `cage` and writes its line of `/proc` (proc(5), `stat`) to `record`; where it is then later
    /// than `latest` it ends instead, timed out.
    pub fn start(
        &self,
        streams: &Streams<'_>,
        record: BorrowedFd<'_>,
        cage: &Cage,
        latest: Option<Boot>,
    ) -> io::Result<Pid> {
        let arguments = pointers(&self.arguments);
        let environment = pointers(&self.environment);
        let failed = AtomicI32::new(0);
        let fds = [streams.input.as_raw_fd(), streams.output.as_raw_fd(), record.as_raw_fd()];
        let parent = Pid::this().as_raw();
        let become_it = || {
            let errno = self.become_program(&arguments, &environment, fds, cage, parent, latest);
            failed.store(errno, Ordering::Relaxed);
            127
        };
        let pid = without_signals(|| borrow_memory(Box::new(become_it)))?;
        match failed.load(Ordering::Relaxed) {
            0 => Ok(pid),
            errno => {
                // It has ended already; this only takes it off the list.
                let _ = nix::sys::wait::waitpid(pid, None);
                Err(io::Error::from_raw_os_error(errno))
            }
        }
    }

    /// In the new process: returns only where something failed, with its errno.
    #[expect(unsafe_code, reason = "between clone and exec only bare system calls are allowed")]
    fn become_program(
        &self,
        argv: &[*const libc::c_char],
        env: &[*const libc::c_char],
        fds: [RawFd; 3],
        cage: &Cage,
        parent: i32,
        latest: Option<Boot>,
    ) -> i32 {
        let [input, output, record] = fds;
        // SAFETY: system calls on memory that the caller prepared and that stays until exec; nothing is allocated, no
        // lock is taken, and the tables of descriptors and signals are the new process's own.
        unsafe {
            for signal in 1..=libc::SIGRTMAX() {
                // Ours must not run over there; of KILL and STOP the kernel says no.
                libc::signal(signal, libc::SIG_DFL);
            }
            let mut none = std::mem::zeroed::<libc::sigset_t>();
            libc::sigemptyset(&raw mut none);
            let ready = libc::setsid() >= 0
                && cage.enter()
                && libc::dup2(input, 0) == 0
                && libc::dup2(output, 1) == 1
                && libc::dup2(output, 2) == 2
                && libc::chdir(self.folder.as_ptr()) == 0
                && announce(record)
                && cage.close()
                && close_all_but_streams(cage.passed.as_ref().map(|passed| passed.as_raw_fd()))
                // After what changes credentials, which would undo it.
                && libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGSTOP) == 0
                && libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) == 0
                && libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) == 0;
            if !ready {
                return *libc::__errno_location();
            }
            if libc::getppid() != parent {
                // We died before the kernel was asked to tell it.
                return libc::ESRCH;
            }
            // Asked last: we may have been stopped, and whoever looked for us to end us has found the record or comes
            // before this moment.
            if latest.is_some_and(|latest| latest.left().is_zero()) {
                return libc::ETIMEDOUT;
            }
            let mut errno = libc::ENOENT;
            for path in &self.paths {
                libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr());
                // As execvp(3): a folder without it is passed over, and a file that may not be run is remembered.
                match *libc::__errno_location() {
                    libc::ENOENT | libc::ENOTDIR => {}
                    libc::EACCES => errno = libc::EACCES,
                    other => return other,
                }
            }
            errno
        }
    }
}

/// Writes down who the new process is, so that a later worker can find it.
#[expect(unsafe_code, reason = "bare system calls, as above")]
unsafe fn announce(record: RawFd) -> bool {
    const STAT: &CStr = c"/proc/self/stat";
    let mut line = [0_u8; 512];
    // SAFETY: the buffer is on the new process's own stack.
    unsafe {
        let stat = libc::open(STAT.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if stat < 0 {
            return false;
        }
        let length = libc::read(stat, line.as_mut_ptr().cast(), line.len());
        length > 0 && libc::write(record, line.as_ptr().cast(), length.unsigned_abs()) == length
    }
}

/// Where the kernel cannot close them at once (before 5.9), they go with the exec as well, but for the one that is
/// `passed` on.
#[expect(unsafe_code, reason = "bare system calls, as above")]
unsafe fn close_all_but_streams(passed: Option<RawFd>) -> bool {
    // SAFETY: the table of descriptors is the new process's own.
    unsafe {
        let close = |first: RawFd, last: RawFd| {
            first > last
                || libc::syscall(libc::SYS_close_range, first, last, 0) == 0
                || *libc::__errno_location() == libc::ENOSYS
        };
        match passed {
            None => close(3, RawFd::MAX),
            Some(fd) => close(3, fd - 1) && close(fd + 1, RawFd::MAX) && libc::fcntl(fd, libc::F_SETFD, 0) == 0,
        }
    }
}

#[expect(unsafe_code, reason = "clone(2) is the only way to start a process without a copy of this one")]
fn borrow_memory<'a>(child: Box<dyn FnMut() -> isize + 'a>) -> io::Result<Pid> {
    let mut stack = vec![0_u8; STACK];
    let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
    // SAFETY: with CLONE_VFORK we stand still until the child has become its program or ended, so that stack and
    // closure outlive its use of them.
    unsafe { clone(child, &mut stack, flags, Some(libc::SIGCHLD)) }.map_err(io::Error::from)
}

/// Runs with every signal held back: a handler of ours must not run in the new process, on our memory.
fn without_signals<T>(run: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
    let result = run();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    result
}

/// As execve(2) takes them: pointers, and a null at the end.
fn pointers(texts: &[CString]) -> Vec<*const libc::c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
}
