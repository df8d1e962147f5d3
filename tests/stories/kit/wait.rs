//! Waiting for a thing, with a deadline. Nothing in the stories sleeps to wait;
//! this is the one place that pauses, between two looks.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// What one look has found: the thing, or what was seen instead of it.
pub trait Look {
    type Found;

    fn found(self) -> Result<Self::Found, String>;
}

impl<T> Look for Option<T> {
    type Found = T;

    fn found(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing".into())
    }
}

impl<T, E: Debug> Look for Result<T, E> {
    type Found = T;

    fn found(self) -> Result<T, String> {
        self.map_err(|seen| format!("{seen:?}"))
    }
}

impl Look for bool {
    type Found = ();

    fn found(self) -> Result<(), String> {
        self.then_some(()).ok_or_else(|| "false".into())
    }
}

/// Looks until the thing is there and returns it. Panics when time is up, with
/// `what` was waited for and what was seen last: so a look that can say more than
/// "not yet" returns a `Result`, with the value seen as its error.
///
/// ```ignore
/// let job = until(secs(10), "the job to finish", || {
///     let job = api.job(id);
///     if job.state == "finished" { Ok(job) } else { Err(job) }
/// });
/// ```
#[track_caller]
pub fn until<L: Look>(within: Duration, what: &str, mut look: impl FnMut() -> L) -> L::Found {
    let deadline = Instant::now() + within;
    let mut pause = Duration::from_millis(1);
    loop {
        // Asked before the look, so that a slow look still gets its last chance.
        let last = Instant::now() >= deadline;
        match look().found() {
            Ok(found) => return found,
            Err(seen) if last => panic!("waited {within:?} for {what}; last seen: {seen}"),
            Err(_) => rest(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(25));
    }
}

/// Lets a time pass: where the moment itself is the thing waited for.
pub fn pass(time: Duration) {
    let begin = Instant::now();
    until(time + secs(10), "the moment", || begin.elapsed() >= time);
}

/// `secs(5)` reads better than `Duration::from_secs(5)` where every line has one.
pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[expect(clippy::disallowed_methods, reason = "the pause between two looks, not a wait for the thing")]
fn rest(pause: Duration) {
    std::thread::sleep(pause);
}
