//! `taskotron status`: first whatever stops work, then what runs and waits.

use std::fmt::Write as _;

use model::operator::{Status, Stop, Warning};

use crate::exit::Exit;

use super::terminal::harmless;
use super::{Session, output};

pub async fn run(session: &Session) -> anyhow::Result<Exit> {
    let status: Status = session.client()?.get("/api/v1/status").await?;
    output::one(session.format, &status, people)?;
    Ok(Exit::Reached)
}

fn people(status: &Status) -> String {
    let mut text = String::new();
    for stop in &status.stopped_by {
        text.push_str(&sentence(stop));
    }
    for warning in &status.warnings {
        text.push_str(&warned(warning));
    }
    let Status { jobs, workers, intake, .. } = status;
    let counts = |counts: &[(&str, u64)]| {
        let shown: Vec<_> = counts.iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!("{n} {name}")).collect();
        if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
    };
    let open = [("running", jobs.running), ("queued", jobs.queued), ("waiting", jobs.waiting)];
    let ended = [
        ("finished", jobs.finished),
        ("cancelled", jobs.cancelled),
        ("superseded", jobs.superseded),
        ("expired", jobs.expired),
    ];
    let fleet = [
        ("busy", workers.busy),
        ("ready", workers.ready),
        ("draining", workers.draining),
        ("drained", workers.drained),
        ("masked", workers.masked),
        ("quarantined", workers.quarantined),
        ("lost", workers.lost),
    ];
    let mut events = format!("{} recorded, {} forwarded", intake.recorded, intake.forwarded);
    if intake.quarantined > 0 {
        write!(events, ", {} could not be read", intake.quarantined).expect("writing to a String cannot fail");
    }
    text + &output::facts(&[
        ("mode", status.mode.to_string()),
        ("site", status.site.clone()),
        ("configuration", format!("generation {}", status.generation)),
        ("open jobs", counts(&open)),
        ("ended jobs", counts(&ended)),
        ("workers", counts(&fleet)),
        ("events", events),
        ("undelivered", status.outbox.to_string()),
    ])
}

/// What stops work, by whom, since when, why, and how to undo it.
fn sentence(stop: &Stop) -> String {
    let mut text = format!("! {}", stop.what);
    if let Some(by) = &stop.by {
        text += &format!(", by {by}");
    }
    if let Some(since) = stop.since {
        text += &format!(", since {}", since.to_seconds());
    }
    if let Some(reason) = stop.reason.as_deref().filter(|reason| !reason.is_empty()) {
        text += &format!(": {reason}");
    }
    if let Some(undo) = &stop.undo {
        text += &format!("; undo: {undo}");
    }
    harmless(&text) + "\n"
}

/// What should be looked at, and how.
fn warned(warning: &Warning) -> String {
    let mut text = format!("~ {}", warning.what);
    if let Some(since) = warning.since {
        text += &format!(", since {}", since.to_seconds());
    }
    if let Some(look) = &warning.look {
        text += &format!("; see: {look}");
    }
    harmless(&text) + "\n"
}

#[cfg(test)]
mod tests {
    use model::Time;
    use model::operator::{DivergenceCounts, IntakeCounts, JobCounts, Mode, WorkerCounts};

    use super::*;

    #[test]
    fn what_stops_work_comes_first() {
        let status = Status {
            mode: Mode::Idle,
            site: "main".into(),
            generation: 3,
            jobs: JobCounts { queued: 4, finished: 5, ..JobCounts::default() },
            workers: WorkerCounts { ready: 1, ..WorkerCounts::default() },
            outbox: 0,
            messages: 0,
            intake: IntakeCounts { recorded: 9, forwarded: 9, quarantined: 1 },
            stopped_by: vec![Stop {
                what: "the system is idle".into(),
                by: Some("kath".into()),
                since: Some(Time(0)),
                reason: Some("kernel\x1b update".into()),
                undo: Some("taskotron resume -m REASON".into()),
            }],
            warnings: vec![Warning {
                what: "pair fedora differs".into(),
                since: None,
                look: Some("taskotron event divergences".into()),
            }],
            divergences: DivergenceCounts::default(),
        };
        let expected = "\
! the system is idle, by kath, since 1970-01-01 00:00:00: kernel\u{fffd} update; undo: taskotron resume -m REASON
~ pair fedora differs; see: taskotron event divergences
mode           idle
site           main
configuration  generation 3
open jobs      4 queued
ended jobs     5 finished
workers        1 ready
events         9 recorded, 9 forwarded, 1 could not be read
undelivered    0
";
        assert_eq!(people(&status), expected);
    }
}
