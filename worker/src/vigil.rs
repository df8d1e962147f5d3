//! The guardian: a small process beside each worker, which ends what the worker no longer can.
//!
//! A worker that is killed cannot stop what its jobs have started, and one that is stopped (SIGSTOP) cannot end a job
//! whose lease runs out. So the worker tells the guardian, by a pipe, until when each task that must never overlap may
//! run. The guardian kills those whose time is over, and when the pipe closes, which is when the worker is gone, all
//! that is left of its jobs. It has a process group of its own and outlasts the signals that end a worker.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{SigHandler, Signal, signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::boot::Boot;
use crate::groups;
use crate::home::{AttemptId, Home};
use crate::secrets;

/// The longest that it does not look at the clock while something has a time: the wait itself does not count a
/// suspended machine's time.
const LOOK: Duration = Duration::from_secs(1);

/// What a worker says of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It may run until then, and no longer.
    Until(AttemptId, Boot),
    /// It is over.
    Over(AttemptId),
}

impl std::fmt::Display for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Word::Until(id, until) => writeln!(f, "{id} {}", until.0.as_micros()),
            Word::Over(id) => writeln!(f, "{id} over"),
        }
    }
}

impl std::str::FromStr for Word {
    type Err = ();

    fn from_str(line: &str) -> Result<Word, ()> {
        let (id, what) = line.split_once(' ').ok_or(())?;
        let id = id.parse()?;
        Ok(match what {
            "over" => Word::Over(id),
            micros => Word::Until(id, Boot(Duration::from_micros(micros.parse().map_err(drop)?))),
        })
    }
}

/// Guards what the worker runs that has started this process and works in `dir`; returns when that worker is gone and
/// nothing of its jobs is left.
pub fn keep(dir: &Path) -> anyhow::Result<()> {
    ignore_signals()?;
    let home = Home::of_worker(dir);
    let mut ear = Ear::default();
    let mut due: BTreeMap<AttemptId, Boot> = BTreeMap::new();
    while let Some(words) = ear.listen(&due)? {
        for word in words {
            match word {
                Word::Until(id, until) => due.insert(id, until),
                Word::Over(id) => due.remove(&id),
            };
        }
        let late: Vec<AttemptId> = due.iter().filter(|(_, until)| until.left().is_zero()).map(|(id, _)| *id).collect();
        for id in late {
            due.remove(&id);
            if groups::end(&home, id)? > 0 {
                say(&format!("killed attempt {id}: its lease was about to end, and its worker did not do it"));
            }
        }
    }
    // First, and whatever becomes of the rest.
    if let Err(e) = secrets::clear(&home) {
        say(&format!("cannot remove the secrets that the worker has left: {e}"));
    }
    let left = groups::clear(&home)?;
    if left > 0 {
        say(&format!("killed {left} processes that the worker has left running"));
    }
    Ok(())
}

/// Whoever could read it may be gone with the worker, and that must not end us.
fn say(what: &str) {
    let _ = writeln!(io::stderr(), "the guardian of a worker: {what}");
}

#[expect(unsafe_code, reason = "a handler may be anything; to ignore a signal is none")]
fn ignore_signals() -> nix::Result<()> {
    for sent in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
        // SAFETY: no code of ours runs in a signal's context.
        unsafe { signal(sent, SigHandler::SigIgn) }?;
    }
    Ok(())
}

/// Hears the worker, line by line.
#[derive(Default)]
struct Ear {
    heard: Vec<u8>,
}

impl Ear {
    /// Waits for words, or for the first time to pass; none when the worker is gone.
    fn listen(&mut self, due: &BTreeMap<AttemptId, Boot>) -> io::Result<Option<Vec<Word>>> {
        let stdin = rustix::stdio::stdin();
        let wait = due.values().min().map(|first| Timespec::try_from(first.left().min(LOOK)).unwrap_or_default());
        match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], wait.as_ref()) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(Some(Vec::new())),
            other => other?,
        };
        let mut piece = [0; 4096];
        let length = rustix::io::read(stdin, &mut piece)?;
        self.heard.extend_from_slice(&piece[..length]);
        let whole = self.heard.iter().rposition(|b| *b == b'\n').map_or(0, |last| last + 1);
        let lines: Vec<u8> = self.heard.drain(..whole).collect();
        let words = String::from_utf8_lossy(&lines).lines().filter_map(|line| line.parse().ok()).collect();
        Ok((length > 0).then_some(words))
    }
}

#[cfg(test)]
mod tests {
    use model::JobId;

    use super::*;

    #[test]
    fn a_word_is_read_as_it_was_said() {
        let id = AttemptId { job: JobId::of("1", "t", "i", "x", "noarch"), attempt: 7 };
        for word in [Word::Until(id, Boot(Duration::from_micros(77))), Word::Over(id)] {
            assert_eq!(word.to_string().trim_end().parse(), Ok(word));
        }
        assert!("x over".parse::<Word>().is_err());
    }
}
