//! The trigger: bus events in, and on disk before they are acknowledged; the jobs they call for out, to the master.
//!
//! One road: a source (`amqp`, `jsonl`, `webhook`) hands deliveries to the `intake`, which decodes them, asks the rules, and appends
//! to the `log`; the forwarder sends the log to the master. [`record`] is the same without a master. There
//! is no database here.

use std::sync::Arc;

pub mod amqp;
pub mod decode;
mod delivery;
mod fedora;
mod forward;
mod front;
mod intake;
mod jsonl;
mod line;
mod log;
mod metrics;
mod record;
mod run;
mod settings;
mod trouble;
pub mod webhook;

pub use fedora::read as fedora_messaging;
pub use front::Front;
pub use intake::Ended;
pub use log::listening::Gap;
pub use log::{CommitError, OpenError, Past, PastError, Place, Survey};
pub use metrics::Metrics;
pub use record::{Origin, RecordError, Recording, Summary, record};
pub use run::run;
pub use settings::Settings;
pub use trouble::Troubles;

/// The configuration that decides now, and its number.
#[derive(Clone, Debug)]
pub struct Live {
    pub generation: u64,
    pub configuration: Arc<rules::Configuration>,
}
