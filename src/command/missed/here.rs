//! How far the triggers of a master have come, and what they cover.

use std::time::Duration;

use model::missed::{TriggerState, TriggerView, Triggers};
use model::{Span, Time};
use net::Client;
use tokio::time::{Instant, sleep};

use crate::command::terminal::harmless;
use crate::exit::{Exit, Failure, OrExit as _};

/// How often the master is asked while triggers catch up.
const LOOK: Duration = Duration::from_millis(250);

pub async fn triggers(client: &Client) -> anyhow::Result<Vec<TriggerView>> {
    let triggers: Triggers = client.get("/api/v1/triggers").await.or_exit(Exit::CannotTell)?;
    Ok(triggers.items.into_iter().filter(|trigger| trigger.state != TriggerState::Away).collect())
}

/// Waits until the master has everything that its triggers' buses had by `time`; gives back how its triggers stand.
pub async fn caught_up(client: &Client, time: Time, wait: Span) -> anyhow::Result<Vec<TriggerView>> {
    let (end, mut told) = (Instant::now() + wait.0, false);
    loop {
        let triggers = triggers(client).await?;
        let behind: Vec<String> = triggers.iter().filter_map(|trigger| behind(trigger, time)).collect();
        let Some(first) = behind.first() else { return Ok(triggers) };
        if Instant::now() >= end {
            return Err(Failure::error(
                Exit::CannotTell,
                format!(
                    "cannot tell: {}; if a trigger will not come back, 'taskotron trigger forget'",
                    behind.join("; ")
                ),
            ));
        }
        if !std::mem::replace(&mut told, true) {
            eprintln!("waiting: {first}");
        }
        sleep(LOOK).await;
    }
}

/// What a trigger still has to bring.
fn behind(trigger: &TriggerView, time: Time) -> Option<String> {
    let (name, counts) = (harmless(&trigger.recorder), &trigger.counts);
    if trigger.state == TriggerState::Silent {
        return Some(format!("trigger {name} has not been heard from since {}", trigger.last_heard.to_seconds()));
    }
    if counts.recorded >= trigger.next {
        let left = counts.recorded - trigger.next + 1;
        return Some(format!("trigger {name} has {left} events that are not yet here"));
    }
    // One that listens to no bus has what it has.
    let reached = counts.caught_up.unwrap_or(trigger.last_heard);
    (reached < time).then(|| {
        let (reached, time) = (reached.to_seconds(), time.to_seconds());
        format!("trigger {name} has what its bus had at {reached}, and {time} is asked for")
    })
}

/// Why what a master has seen is no reference for this span, where it is none.
pub fn lacks(triggers: &[TriggerView], since: Time) -> Option<String> {
    if triggers.is_empty() {
        return Some("no trigger reports to it, so it has nothing to compare with".into());
    }
    triggers.iter().find_map(|trigger| {
        let began = trigger.counts.listening_since.filter(|began| *began > since)?;
        let name = harmless(&trigger.recorder);
        Some(format!("what its trigger {name} has is without a gap only since {began}, and {since} is asked for"))
    })
}
