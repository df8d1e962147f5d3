//! A handle that stands for one process, and never for a later one of the same number (pidfd_open(2)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

#[derive(Debug)]
pub struct PidFd(OwnedFd);

/// The same, watched by the runtime.
#[derive(Debug)]
pub struct Watched(AsyncFd<OwnedFd>);

impl PidFd {
    /// The process that has this number now.
    pub fn open(pid: Pid) -> io::Result<PidFd> {
        let pid = rustix::process::Pid::from_raw(pid.as_raw()).ok_or(io::ErrorKind::NotFound)?;
        Ok(PidFd(pidfd_open(pid, PidfdFlags::empty())?))
    }

    /// Says whether there was such a process to be killed.
    pub fn kill(&self) -> bool {
        pidfd_send_signal(&self.0, Signal::KILL).is_ok()
    }

    /// Waits for its end, but not for ever; whether it came.
    pub fn gone_within(&self, patience: Duration) -> io::Result<bool> {
        let patience = Timespec::try_from(patience).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&patience)) {
            Err(rustix::io::Errno::INTR) => Ok(false),
            other => Ok(other? > 0),
        }
    }

    #[expect(unsafe_code, reason = "tokio cannot see that a descriptor which we own stays open as long as we watch it")]
    pub fn watch(self) -> io::Result<Watched> {
        // SAFETY: the descriptor is owned by what is registered, and nothing replaces or closes it there.
        Ok(Watched(unsafe { AsyncFd::register_with_interest(self.0, Interest::READABLE) }?))
    }
}

impl Watched {
    /// Waits until the process has ended; a child of ours stays to be reaped.
    pub async fn ended(&self) {
        // Only a runtime that shuts down fails here, and then nobody waits.
        let _ = self.0.readable().await;
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}
