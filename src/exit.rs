//! The exit codes that scripts rely on, and how an error becomes one.
//!
//! Commands return `anyhow::Result<Exit>`. An error carries its code as a [`Failure`] or a [`ClientError`] somewhere in
//! its chain; one that carries none is 1.

use std::fmt::{self, Write as _};
use std::io;
use std::process::ExitCode;

use net::ClientError;

/// What a command reached. The numbers never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    Reached = 0,
    NotReached = 1,
    Usage = 2,
    Refused = 3,
    Stopped = 4,
    TimedOut = 5,
    CannotTell = 6,
    Conflict = 7,
    Aborted = 8,
    RolledBack = 9,
    Differences = 10,
    Detached = 130,
}

impl Exit {
    pub const ALL: [Exit; 12] = [
        Exit::Reached,
        Exit::NotReached,
        Exit::Usage,
        Exit::Refused,
        Exit::Stopped,
        Exit::TimedOut,
        Exit::CannotTell,
        Exit::Conflict,
        Exit::Aborted,
        Exit::RolledBack,
        Exit::Differences,
        Exit::Detached,
    ];

    pub fn code(self) -> u8 {
        self as u8
    }

    /// What the code tells, in the words of `taskotron help exit-codes`.
    pub fn meaning(self) -> &'static str {
        match self {
            Exit::Reached => "goal reached",
            Exit::NotReached => "ended, goal not reached (a job failed, a check was not passed, rows were refused)",
            Exit::Usage => "usage or bad input; nothing was changed",
            Exit::Refused => "refused (a precondition, a permission, no or a wrong token); nothing was changed",
            Exit::Stopped => "stopped part-way by a limit or a hold; run it again to go on",
            Exit::TimedOut => "timed out waiting; the operation goes on",
            Exit::CannotTell => "cannot tell: the other side cannot be reached",
            Exit::Conflict => "conflict: something else holds or has changed it",
            Exit::Aborted => "aborted by an operator",
            Exit::RolledBack => "ended by rolling back",
            Exit::Differences => "differences found",
            Exit::Detached => "detached; the operation goes on",
        }
    }

    /// The code that an error stands for.
    pub fn of(error: &anyhow::Error) -> Exit {
        if let Some(failure) = error.downcast_ref::<Failure>() {
            return failure.exit;
        }
        if let Some(client) = error.downcast_ref::<ClientError>() {
            return Exit::of_client(client);
        }
        Exit::NotReached
    }

    pub fn of_client(error: &ClientError) -> Exit {
        match error {
            ClientError::Unavailable(_) => Exit::CannotTell,
            ClientError::Refused { status: 401 | 403 | 412 | 423 | 428, .. } => Exit::Refused,
            ClientError::Refused { status: 409, .. } => Exit::Conflict,
            ClientError::Refused { status: 410, .. } => Exit::NotReached,
            ClientError::Refused { .. } => Exit::Usage,
        }
    }

    /// The table of all codes.
    pub fn table() -> String {
        Exit::ALL.iter().fold(String::new(), |mut text, exit| {
            writeln!(text, "{:>3}  {}", exit.code(), exit.meaning()).expect("writing to a String cannot fail");
            text
        })
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// An error that knows its exit code.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    message: String,
}

impl Failure {
    /// As an error of a command.
    pub fn error(exit: Exit, message: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Failure { exit, message: message.into() })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Gives an error its exit code.
pub trait OrExit<T> {
    fn or_exit(self, exit: Exit) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> anyhow::Result<T> {
        self.map_err(|e| Failure::error(exit, format!("{:#}", e.into())))
    }
}

/// Says on stderr what failed, and makes the process's exit code of it.
pub fn finish(program: &str, result: anyhow::Result<Exit>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        // Whoever read our output has closed it: that is how `| head` ends a command.
        Err(e) if is_broken_pipe(&e) => Exit::Reached.into(),
        Err(e) => {
            eprintln!("{program}: {e:#}");
            Exit::of(&e).into()
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|e| e.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe))
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn an_error_keeps_its_code_under_any_context() {
        let refused = |status| ClientError::Refused { status, detail: "no".into() };
        let of = |e: anyhow::Error| Exit::of(&e);
        let wrap = |e: ClientError| Err::<(), _>(e).context("failed to idle").unwrap_err();
        assert_eq!(of(wrap(ClientError::Unavailable("down".into()))), Exit::CannotTell);
        assert_eq!(of(wrap(refused(401))), Exit::Refused);
        assert_eq!(of(wrap(refused(403))), Exit::Refused);
        assert_eq!(of(wrap(refused(409))), Exit::Conflict);
        assert_eq!(of(wrap(refused(404))), Exit::Usage);
        assert_eq!(of(Failure::error(Exit::Stopped, "x").context("y")), Exit::Stopped);
        assert_eq!(of(anyhow::anyhow!("anything")), Exit::NotReached);
    }

    #[test]
    fn the_numbers_are_those_of_the_design() {
        assert_eq!(Exit::ALL.map(Exit::code), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 130]);
        assert!(Exit::table().contains("130  detached"));
    }
}
