//! Time since the machine started, also while it was suspended: the one clock that a worker and its guardian share.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A moment, by `CLOCK_BOOTTIME` (clock_gettime(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Boot(pub Duration);

impl Boot {
    pub fn now() -> Boot {
        let now = clock_gettime(ClockId::Boottime);
        Boot(Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0)))
    }

    /// How long it is until then; nothing when it has passed.
    pub fn left(self) -> Duration {
        self.0.saturating_sub(Boot::now().0)
    }
}
