//! A job's first process, which leads its group.

use std::io;
use std::os::fd::AsFd as _;

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use crate::pidfd::{PidFd, Watched};

/// A running or ended process that was not yet reaped.
///
/// It is reaped only after its group has been killed: until then its number, which is the group's, cannot be given
/// to another process, so a signal never hits a stranger.
#[derive(Debug)]
pub struct Leader {
    pid: Pid,
    fd: Watched,
    reaped: bool,
}

/// How a process ended by itself or by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Exited(i32),
    Signalled(i32),
}

impl Leader {
    /// Takes charge of a child that leads a group of its own.
    pub fn new(pid: Pid) -> io::Result<Leader> {
        let fd = PidFd::open(pid).and_then(PidFd::watch).inspect_err(|_| {
            // Too many open files: nobody could wait for it, so it must not run. A killed child is there to be reaped.
            let _ = killpg(pid, Signal::SIGKILL);
            let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED);
        })?;
        Ok(Leader { pid, fd, reaped: false })
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits until the process has ended; it stays to be reaped.
    pub async fn ended(&self) {
        self.fd.ended().await;
    }

    /// Sends a signal to the whole group. That nobody is left in it is well.
    pub fn signal(&self, signal: Signal) {
        let _ = killpg(self.pid, signal);
    }

    /// Kills what is left of the group, waits for the leader's end and reaps it.
    pub async fn bury(mut self) -> io::Result<Status> {
        self.signal(Signal::SIGKILL);
        self.ended().await;
        let status = waitid(Id::PIDFd(self.fd.as_fd()), WaitPidFlag::WEXITED)?;
        self.reaped = true;
        match status {
            WaitStatus::Exited(_, code) => Ok(Status::Exited(code)),
            WaitStatus::Signaled(_, signal, _) => Ok(Status::Signalled(signal as i32)),
            other => Err(io::Error::other(format!("the kernel gave no end of the process: {other:?}"))),
        }
    }
}

impl Drop for Leader {
    /// Whoever drops a running leader gives up on it: nothing of it may go on.
    fn drop(&mut self) {
        if !self.reaped {
            self.signal(Signal::SIGKILL);
            // A killed process is gone in a moment; where it is not, it stays as a zombie until the worker ends.
            let _ = waitid(Id::PIDFd(self.fd.as_fd()), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG);
        }
    }
}
