//! The worker: lease → process → report.
//!
//! A worker asks a master for work, runs each job's process in a workspace of its own, and reports how it ended. It owns
//! nothing but the tokens of its leases: what it says after a lease was lost changes nothing. It has no database and
//! listens on no port, and never decides what a job's end means for the job.
//!
//! One attempt's way through the files: `claim` asks for it, `run` gives it a slot, `attempt` sees it from its
//! `workspace` and its `process` (started by the `spawner`, which makes a `leader`) to its `results`, while `log` keeps
//! what it prints, `upload` sends that, and `renew` keeps its lease; `reports` delivers its `parcel`. Beside the worker
//! stands its `guardian`, a process that keeps `vigil`: it ends jobs that the worker no longer can.

mod alone;
mod artifacts;
mod attempt;
mod boot;
mod claim;
mod confine;
mod environment;
mod figures;
mod groups;
mod guardian;
mod halt;
mod home;
mod leader;
mod leases;
mod log;
mod mask;
mod master;
mod parcel;
mod pidfd;
mod proc;
mod process;
mod remove;
mod renew;
mod reports;
mod results;
mod ring;
mod run;
mod secrets;
mod settings;
mod sources;
mod spares;
mod spawner;
mod spool;
mod stop;
mod upload;
mod vfork;
mod vigil;
mod workspace;

pub use alone::once;
pub use guardian::Vigil;
pub use run::run;
pub use settings::Settings;
pub use stop::Stop;
pub use vigil::keep as keep_vigil;
