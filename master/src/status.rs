//! How the whole stands, and first whatever stops work.

use model::operator::{IntakeCounts, JobCounts, Mode, Status, Stop, Warning, WorkerCounts, WorkerState, WorkerView};
use model::vitals::Unserved;
use model::{Span, Time};

use crate::app::App;
use crate::outbox::Trouble;
use crate::store::{ModeRow, Result, Site, TriggerView, Untold};
use crate::unserved::{self, unserved};
use crate::{mirrors, mode, pair};

/// The counts, and what stops work.
pub async fn status(app: &App) -> Result<Status> {
    let workers = app.store.workers(app.settings.lease_term).await?;
    let jobs = app.store.counts().await?;
    let mode = app.store.mode().await?;
    let intake: IntakeCounts = app.store.intake_counts().await?;
    let results = app.store.outbox_len().await?;
    let untold = app.store.untold().await?;
    let messages = untold.messages;
    let seen = Seen {
        now: app.store.now().await?,
        site: app.store.active_site().await?,
        here: app.store.site().to_owned(),
        triggers: app.store.triggers().await?,
        silence: app.settings.silence,
        outbox: results,
        trouble: app.outbox.trouble(),
        untold,
        bus: app.settings.messages.is_some(),
        bus_trouble: app.messages.unavailable(),
        results: app.settings.results.is_some(),
        unserved: unserved(app.store.demand().await?, &workers),
    };
    let troubles = app.store.pair_troubles(app.settings.pair_grace, Span::days(1)).await?;
    let mut warnings = pair::warnings(&troubles, &seen.triggers, seen.now);
    warnings.extend(mirrors::warnings(app, seen.now));
    if let Some((jobs, _)) = app.store.unsettled().await? {
        let what = match jobs {
            1 => "1 job waits for a person to settle it".to_owned(),
            n => format!("{n} jobs wait for a person to settle them"),
        };
        warnings.push(Warning { what, since: None, look: Some("taskotron job list --unsettled".into()) });
    }
    Ok(Status {
        mode: mode.mode,
        site: seen.here.clone(),
        generation: app.live().generation,
        jobs,
        workers: counts(&workers),
        outbox: results + messages,
        messages,
        intake,
        stopped_by: stops(&mode, &jobs, &workers, &seen),
        warnings,
        divergences: pair::counts(&troubles),
    })
}

fn counts(workers: &[WorkerView]) -> WorkerCounts {
    let mut counts = WorkerCounts::default();
    for worker in workers {
        match worker.state {
            WorkerState::Ready => counts.ready += 1,
            WorkerState::Busy => counts.busy += 1,
            WorkerState::Lost => counts.lost += 1,
        }
    }
    counts
}

/// What is seen beside the mode, the jobs and the workers.
struct Seen {
    now: Time,
    site: Site,
    /// The site of this master.
    here: String,
    triggers: Vec<TriggerView>,
    silence: Span,
    outbox: u64,
    trouble: Trouble,
    untold: Untold,
    /// Whether there is a bus to tell.
    bus: bool,
    bus_trouble: Option<(String, Time)>,
    /// Whether there is a results store to publish to.
    results: bool,
    /// Jobs for which no connected worker is there.
    unserved: Vec<Unserved>,
}

/// Most important first: what a person set, what is missing, what fails.
fn stops(mode: &ModeRow, jobs: &JobCounts, workers: &[WorkerView], seen: &Seen) -> Vec<Stop> {
    let mut stops = Vec::new();
    if seen.site.active != seen.here {
        stops.push(stop(format!("site {} is passive: {} is the active one", seen.here, seen.site.active)));
    }
    match mode.mode {
        Mode::Active => {}
        Mode::Draining | Mode::Idle => stops.push(Stop {
            what: format!("the system is {}", mode.mode),
            by: Some(mode.by.clone()),
            since: Some(mode.since),
            reason: Some(mode.reason.clone()),
            undo: Some("taskotron resume -m REASON".into()),
        }),
    }
    for worker in workers.iter().filter(|worker| worker.state != WorkerState::Lost) {
        if let Some(why) = worker.figures.as_ref().and_then(|figures| figures.takes_none.clone()) {
            let what = format!("worker {} takes no jobs", worker.name);
            stops.push(Stop { since: Some(worker.last_seen), reason: Some(why), ..stop(what) });
        }
    }
    let connected = workers.iter().any(|worker| worker.state != WorkerState::Lost);
    if !connected && jobs.queued > 0 {
        let last = workers.iter().map(|worker| worker.last_seen).max();
        stops.push(Stop {
            since: last,
            undo: Some("taskotron worker, on a machine that may run jobs".into()),
            ..stop(format!("no worker is connected, and {} jobs are queued", jobs.queued))
        });
    }
    // Without a mode that holds everything back, what lacks its own kind of worker waits for that alone.
    for unserved in seen.unserved.iter().filter(|unserved| !unserved.needs.is_empty()) {
        let what = format!("{}: {}", unserved::jobs(unserved), unserved.why);
        stops.push(Stop { undo: Some("taskotron worker, on a machine that offers it".into()), ..stop(what) });
    }
    stops.extend(mode::silent(&seen.triggers, seen.now, seen.silence).into_iter().map(stop));
    stops.extend(mode::troubled(&seen.triggers, seen.now, seen.silence));
    if seen.outbox > 0 && !seen.results {
        let what = format!("{} results wait: no results store is configured", seen.outbox);
        stops.push(Stop { undo: Some("set [master.results] url".into()), ..stop(what) });
    }
    if let Some((error, since)) = &seen.trouble.unavailable {
        let what = format!("{} results wait: the results store does not take them", seen.outbox);
        stops.push(Stop { since: Some(*since), reason: Some(error.clone()), ..stop(what) });
    }
    if let Some(reason) = seen.trouble.refused.values().next() {
        let what = format!("the results store refused {} results; they are kept", seen.trouble.refused.len());
        stops.push(Stop { reason: Some(reason.clone()), ..stop(what) });
    }
    stops.extend(untold(seen));
    stops
}

/// What keeps messages from the bus.
fn untold(seen: &Seen) -> Vec<Stop> {
    let Untold { messages, refused, error, .. } = &seen.untold;
    let mut stops = Vec::new();
    if *messages > 0 && !seen.bus {
        let what = format!("{messages} messages wait: no bus is configured to be told");
        stops.push(Stop { undo: Some("put [master.messages] back".into()), ..stop(what) });
    }
    if let Some((error, since)) = &seen.bus_trouble {
        let what = format!("{messages} messages wait: the bus does not take them");
        stops.push(Stop { since: Some(*since), reason: Some(error.clone()), ..stop(what) });
    }
    if let Some(error) = error {
        let what = format!("the bus refused {refused} messages; they are kept");
        stops.push(Stop { reason: Some(error.clone()), ..stop(what) });
    }
    stops
}

fn stop(what: String) -> Stop {
    Stop { what, by: None, since: None, reason: None, undo: None }
}

#[cfg(test)]
mod tests {
    use model::operator::OnDeadline;

    use super::*;

    #[test]
    fn whatever_stops_work_is_named_most_important_first() {
        let mode = ModeRow {
            mode: Mode::Idle,
            by: "kath".into(),
            reason: "kernel update".into(),
            since: Time(0),
            deadline: None,
            on_deadline: OnDeadline::Wait,
            finish_through: None,
        };
        let mut trouble = Trouble { unavailable: Some(("cannot reach it".into(), Time(0))), ..Trouble::default() };
        trouble.refused.insert(3, "unknown outcome".into());
        let mut seen = Seen {
            now: Time(0),
            site: Site { active: "main".into(), epoch: 1 },
            here: "main".into(),
            triggers: Vec::new(),
            silence: Span::minutes(5),
            outbox: 4,
            trouble,
            results: true,
            untold: Untold { messages: 5, refused: 2, error: Some("no queue".into()), since: None },
            bus: true,
            bus_trouble: Some(("connection refused".into(), Time(0))),
            unserved: vec![Unserved {
                needs: vec!["arch:s390x".into()],
                queued: 2,
                running: 1,
                why: "needs arch:s390x; no connected worker offers it".into(),
            }],
        };
        let jobs = JobCounts { queued: 2, ..JobCounts::default() };
        let what = |stops: Vec<Stop>| stops.into_iter().map(|stop| stop.what).collect::<Vec<_>>();
        assert_eq!(
            what(stops(&mode, &jobs, &[], &seen)),
            [
                "the system is idle",
                "no worker is connected, and 2 jobs are queued",
                "2 queued jobs and 1 running job: needs arch:s390x; no connected worker offers it",
                "4 results wait: the results store does not take them",
                "the results store refused 1 results; they are kept",
                "5 messages wait: the bus does not take them",
                "the bus refused 2 messages; they are kept",
            ]
        );
        seen.bus_trouble = None;
        seen.bus = false;
        assert_eq!(untold(&seen)[0].what, "5 messages wait: no bus is configured to be told");
        seen.untold = Untold::default();
        (seen.trouble, seen.unserved) = (Trouble::default(), Vec::new());
        let active = ModeRow { mode: Mode::Active, ..mode };
        assert!(stops(&active, &JobCounts::default(), &[], &seen).is_empty());
    }
}
