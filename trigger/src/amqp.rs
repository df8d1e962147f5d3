//! The bus over AMQP 0-9-1: consume for ever, acknowledge what is on disk, begin anew after every loss.
//!
//! There is no automatic recovery below this: a lost connection is dropped whole and another is built, with queue,
//! bindings and consumer, for as long as it takes. Delivery tags live and die with the channel of their session.

mod headers;
mod queue;
mod session;
mod settings;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use net::Backoff;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use bus::Fault;
pub use settings::{Binding, Exchange, Passive, Settings};

use crate::intake::Intake;
use crate::metrics::{Counted, Metrics};

/// A session that lasted this long was a good one: the next attempt is quick again.
const GOOD: Duration = Duration::from_secs(5);

/// One queue to consume.
pub struct Source {
    pub settings: Settings,
    /// Shown in the broker's lists.
    pub name: String,
    /// Refuse a queue that somebody consumes already, and let nobody join.
    pub alone: bool,
    pub metrics: Arc<Metrics>,
}

impl Source {
    /// The queue, for people.
    fn called(&self) -> String {
        called(&self.settings)
    }
}

/// The queue of these settings, for people: the same in every session, also where the server names it.
pub fn called(settings: &Settings) -> String {
    match settings.queue.as_str() {
        "" => "a queue of its own".to_owned(),
        name => format!("queue '{name}'"),
    }
}

/// How a session ended.
enum Ended {
    /// As asked: everything in hand is acknowledged.
    Stopped,
    /// The intake takes nothing any more.
    IntakeGone,
}

/// Why consuming ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error(
        "queue '{0}' has a consumer already, and two would share its messages; name another queue, or none for one \
         of the server's naming"
    )]
    InUse(String),
    #[error("{0}")]
    Settings(String),
}

/// Consumes until `stop`, or until the intake ends.
pub async fn consume(source: &Source, intake: &Intake, stop: &CancellationToken) -> Result<(), Refused> {
    source.settings.check().map_err(Refused::Settings)?;
    let mut quick = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    let mut slow = Backoff::new(Duration::from_secs(5), Duration::from_secs(60));
    let mut told = HashMap::new();
    let mut consumed_before = false;
    let _queue = Counted::by(&source.metrics.queues);
    for url in source.settings.broker.urls.iter().cycle() {
        let began = Instant::now();
        let ended = session::run(source, url, intake, stop, &mut consumed_before).await;
        if began.elapsed() > GOOD {
            quick.reset();
            slow.reset();
            told.clear();
        }
        let fault = match ended {
            Ok(Ended::Stopped | Ended::IntakeGone) => return Ok(()),
            Err(Fault::InUse(queue)) if !consumed_before => return Err(Refused::InUse(queue)),
            Err(fault) => fault,
        };
        tell(&fault, url, &mut told);
        let what = format!("takes nothing from {} of the bus at {}: {fault}", source.called(), bus::host(url));
        source.metrics.troubles.begin(&source.called(), what, net::clock::now());
        let backoff = if fault.is_lasting() { &mut slow } else { &mut quick };
        tokio::select! {
            () = backoff.wait() => {}
            () = stop.cancelled() => return Ok(()),
        }
        info!("connecting to the bus again");
    }
    Ok(())
}

/// Says each fault of a broker once, however often it comes in a row.
fn tell<'a>(fault: &Fault, url: &'a str, told: &mut HashMap<&'a str, String>) {
    let (text, host) = (fault.to_string(), bus::host(url));
    if told.get(url) == Some(&text) {
        debug!(bus.host = host, "{text}");
        return;
    }
    if fault.is_lasting() {
        error!(bus.host = host, "the bus at {host} refuses: {text}; it is tried again, slowly");
    } else {
        warn!(bus.host = host, "no events from the bus at {host}: {text}; it is tried again");
    }
    told.insert(url, text);
}
