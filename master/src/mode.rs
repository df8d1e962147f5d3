//! The mode, as people are told it, and what stands against being idle.

use model::intake::Trouble;
use model::missed::TriggerState;
use model::operator::{Mode, ModeView, OnDeadline, Stop};
use model::{Span, Time};

use crate::app::App;
use crate::store::{GIVEN_UP, ModeRow, Observed, Result, TriggerView};

/// Whether a trigger that was last heard from then is still there.
pub fn state(last_heard: Time, now: Time, silence: Span) -> TriggerState {
    match now.since(last_heard) {
        age if age <= silence => TriggerState::Heard,
        age if age < GIVEN_UP => TriggerState::Silent,
        _ => TriggerState::Away,
    }
}

/// Looks whether idle is reached, and makes it so where it is.
pub async fn observe(app: &App) -> Result<Observed> {
    let mut observed = app.store.observe_idle(app.settings.silence).await?;
    if observed.mode.on_deadline == OnDeadline::Requeue && !observed.waiting_for.is_empty() {
        observed.waiting_for.extend(uninterruptible(app).await?);
    }
    Ok(observed)
}

/// What runs that the deadline of a drain does not stop.
async fn uninterruptible(app: &App) -> Result<Option<String>> {
    app.tasks.catch_up().await?;
    let running = app.store.running_by_task().await?;
    let jobs: u64 = running.iter().filter(|(task, _)| !app.interruptible(*task)).map(|(_, jobs)| jobs).sum();
    Ok(match jobs {
        0 => None,
        1 => Some("1 of those that run is not interruptible: it is waited for, also after the deadline".into()),
        n => Some(format!("{n} of those that run are not interruptible: they are waited for, also after the deadline")),
    })
}

/// The triggers that should be there and were not heard from, one sentence each: what they have is not known.
pub fn silent(triggers: &[TriggerView], now: Time, silence: Span) -> Vec<String> {
    let silent = |trigger: &&TriggerView| state(trigger.last_heard, now, silence) == TriggerState::Silent;
    let silent = triggers.iter().filter(silent);
    silent
        .map(|trigger| {
            let since = trigger.last_heard.to_seconds();
            format!(
                "trigger {} has not been heard from since {since}: what it has recorded is not known",
                trigger.recorder
            )
        })
        .collect()
}

/// What keeps the triggers from their work that were heard from just now.
pub fn troubled(triggers: &[TriggerView], now: Time, silence: Span) -> Vec<Stop> {
    let here = triggers.iter().filter(|trigger| now.since(trigger.last_heard) <= silence);
    let troubles = here.flat_map(|trigger| trigger.troubles.iter().map(|trouble| (&trigger.recorder, trouble)));
    let stop = |(recorder, trouble): (&String, &Trouble)| Stop {
        what: format!("trigger {recorder} {}", trouble.what),
        by: None,
        since: Some(trouble.since),
        reason: None,
        undo: None,
    };
    troubles.map(stop).collect()
}

/// The mode as it is now.
pub async fn present(app: &App) -> Result<ModeView> {
    let mode = app.store.mode().await?;
    let observed = match mode.mode {
        Mode::Active | Mode::Idle => Observed { mode, waiting_for: Vec::new() },
        Mode::Draining => observe(app).await?,
    };
    view(app, observed).await
}

pub async fn view(app: &App, observed: Observed) -> Result<ModeView> {
    let Observed { mode, waiting_for } = observed;
    let ModeRow { mode, by, reason, since, deadline, on_deadline: _, finish_through: _ } = mode;
    let counts = app.store.counts().await?;
    let outbox = app.store.outbox_len().await? + app.store.untold().await?.messages;
    let (running, queued) = (counts.running, counts.queued);
    Ok(ModeView { mode, by, reason, since, deadline, waiting_for, running, queued, outbox })
}

#[cfg(test)]
mod tests {
    use model::intake::TriggerCounts;

    use super::*;

    #[test]
    fn only_a_trigger_that_should_be_there_is_missed() {
        let now = Time(0).plus(Span::days(100));
        let heard = |age: Span| TriggerView {
            recorder: format!("t{age}"),
            next: 1,
            last_heard: now.minus(age),
            generation: 1,
            counts: TriggerCounts::default(),
            repeated: 0,
            last_event: None,
            pair: None,
            troubles: Vec::new(),
        };
        let triggers = [heard(Span::seconds(5)), heard(Span::minutes(10)), heard(Span::days(30))];
        let silent = silent(&triggers, now, Span::minutes(5));
        assert_eq!(silent.len(), 1);
        assert!(silent[0].starts_with("trigger t10m has not been heard from since 1970-04-10"), "{silent:?}");

        let trouble = Trouble { what: "takes nothing from queue 'q': no answer".into(), since: Time(7) };
        let told = triggers.map(|trigger| TriggerView { troubles: vec![trouble.clone()], ..trigger });
        let stops = troubled(&told, now, Span::minutes(5));
        let what: Vec<_> = stops.iter().map(|stop| (stop.what.as_str(), stop.since)).collect();
        assert_eq!(what, [("trigger t5s takes nothing from queue 'q': no answer", Some(Time(7)))]);
    }
}
