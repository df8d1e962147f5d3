//! `taskotron record`: a trigger without a master.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tokio::sync::watch;
use trigger::{Live, Metrics, Origin, RecordError, Recording, amqp};

use crate::exit::{Exit, Failure, OrExit as _};
use crate::up;

use super::{Session, configuration};

const AFTER: &str = "\
The job log can be submitted later, by 'jobrunner FILE'. It needs no master and no database. Beside it FILE.events.jsonl
keeps every event, also those that made no job. An existing FILE is refused without --append.

From a file it ends with the file. From a bus it ends when it is stopped (SIGINT or SIGTERM), and takes a queue of its
own: a queue that a trigger consumes is refused, since the two would share its messages.

Exit codes: 0 everything is recorded; 1 recording broke off; 2 bad input or configuration; 3 the bus refused.";

#[derive(Args, Debug)]
#[command(after_long_help = AFTER)]
pub struct Record {
    /// Read messages from a file, one JSON object a line; '-' is stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["amqp", "fedora_messaging"])]
    #[arg(required_unless_present_any = ["amqp", "fedora_messaging"])]
    from: Option<String>,
    /// Read messages from the bus of [trigger.amqp] or [trigger] fedora_messaging, or of this address
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "")]
    amqp: Option<String>,
    /// Read messages from the bus that a configuration file of fedora-messaging names
    #[arg(long, value_name = "FILE", conflicts_with = "amqp")]
    fedora_messaging: Option<PathBuf>,
    /// The queue to make or take on the bus; without one, the broker names one that ends with us
    #[arg(long, conflicts_with = "from", value_name = "NAME")]
    queue: Option<String>,
    /// The folder with the configuration; else the settings' [configuration] dir
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    /// The job log to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Go on with a job log that is there
    #[arg(long)]
    append: bool,
}

impl Record {
    pub async fn run(self, session: &Session) -> anyhow::Result<Exit> {
        let settings = session.layers(Vec::new())?.settings()?;
        let configuration = configuration::read(self.config.as_ref().unwrap_or(&settings.configuration.dir))?;
        let live = Live { generation: 1, configuration: Arc::new(configuration) };
        // The sender stays for as long as somebody might look.
        let (_keep, live) = watch::channel(live);
        let from = match self.from {
            Some(file) => Origin::File(file),
            None => {
                let bus = bus(settings.trigger.clone(), self.amqp, self.fedora_messaging, self.queue)?;
                Origin::Bus(Box::new(bus))
            }
        };
        let out = self.out.clone();
        let recording = Recording {
            from,
            out: self.out,
            append: self.append,
            live,
            limits: settings.trigger.limits,
            metrics: Arc::new(Metrics::default()),
        };
        let stages = up::Stages::on_signals()?;
        let summary = trigger::record(recording, stages.graceful).await.map_err(failure)?;
        eprintln!(
            "{}: {} received: {} recorded, {} seen before, {} could not be read; {} jobs, {} rows in all",
            out.display(),
            summary.received,
            summary.recorded,
            summary.duplicates,
            summary.quarantined,
            summary.jobs,
            summary.rows
        );
        Ok(Exit::Reached)
    }
}

/// The bus to record from, on a queue of our own that gets what all queues of the trigger would.
fn bus(
    mut settings: trigger::Settings,
    url: Option<String>,
    fedora_messaging: Option<PathBuf>,
    queue: Option<String>,
) -> anyhow::Result<amqp::Settings> {
    if fedora_messaging.is_some() {
        (settings.amqp, settings.fedora_messaging) = (None, fedora_messaging);
    }
    let buses = settings.buses().or_exit(Exit::Usage)?;
    let own = queue.unwrap_or_default();
    if !own.is_empty() && buses.iter().any(|bus| bus.queue == own) {
        return Err(Failure::error(
            Exit::Refused,
            format!("queue '{own}' is the trigger's, and both would share its messages: name another, or none"),
        ));
    }
    let mut buses = buses.into_iter();
    let mut bus = buses.next().unwrap_or_default();
    bus.bindings.extend(buses.flat_map(|other| other.bindings));
    if let Some(url) = url.filter(|url| !url.is_empty()) {
        bus.broker.urls = vec![url];
    }
    bus.queue = own;
    // They are the other queue's: its priorities, its limits.
    bus.arguments.clear();
    Ok(bus)
}

fn failure(error: RecordError) -> anyhow::Error {
    let exit = match &error {
        RecordError::Exists(_) | RecordError::NoJobLog(_) | RecordError::NoName(_) => Exit::Usage,
        RecordError::Refused(_) | RecordError::Open(_) => Exit::Refused,
        RecordError::Io(e) if e.kind() == io::ErrorKind::NotFound => Exit::Usage,
        RecordError::Io(_) | RecordError::Ended(_) => Exit::NotReached,
    };
    Failure::error(exit, error.to_string())
}
