//! Why we stop a job that would have gone on.

use std::time::Duration;

use model::{End, Span};

/// The first of these that comes counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// The master asked for it.
    Cancelled { reason: String },
    /// The master has given the job up, or to another worker.
    LeaseLost,
    /// The lease cannot be renewed and may soon be another's; only for tasks that must never overlap.
    LeaseEnds { grace: Duration },
    /// The master was not heard from for longer than the worker goes on alone.
    MasterSilent { since: Duration },
    /// The worker itself was told to stop.
    WorkerStops,
}

impl Halt {
    /// How the attempt ends for it.
    pub fn end(&self) -> End {
        match self {
            Halt::Cancelled { .. } => End::Cancelled,
            Halt::LeaseLost | Halt::LeaseEnds { .. } | Halt::MasterSilent { .. } | Halt::WorkerStops => End::HandedBack,
        }
    }

    /// What there is to say beside the end.
    pub fn note(&self) -> Option<String> {
        match self {
            Halt::Cancelled { reason } => Some(format!("cancelled: {reason}")),
            Halt::LeaseLost => Some("stopped because its lease was lost".to_owned()),
            Halt::LeaseEnds { .. } => Some(
                "stopped because its lease could not be renewed, and the task must never run twice at once".to_owned(),
            ),
            Halt::MasterSilent { since } => {
                let seconds = Span::seconds(since.as_secs());
                Some(format!("stopped because the master could not be reached for {seconds}"))
            }
            Halt::WorkerStops => None,
        }
    }

    /// How long the job has between TERM and KILL.
    pub fn grace(&self, task: Duration) -> Duration {
        match self {
            Halt::LeaseEnds { grace } => task.min(*grace),
            Halt::Cancelled { .. } | Halt::LeaseLost | Halt::MasterSilent { .. } | Halt::WorkerStops => task,
        }
    }
}
