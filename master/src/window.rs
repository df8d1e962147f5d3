//! A window of idle, as people are told it: its sums, and what may have been missed in it.

use model::operator::{SourceSpan, WindowView};
use model::{Span, Time};

use crate::app::App;
use crate::mode;
use crate::store::{Result, Sums, TriggerView, Window};

/// The newest window; none before the first idle.
pub async fn newest(app: &App) -> Result<Option<WindowView>> {
    let Some((window, sums)) = app.store.sums().await? else { return Ok(None) };
    let (triggers, now) = (app.store.triggers().await?, app.store.now().await?);
    Ok(Some(view(window, sums, &triggers, now, app.settings.silence)))
}

fn view(window: Window, sums: Sums, triggers: &[TriggerView], now: Time, silence: Span) -> WindowView {
    let mut missed: Vec<String> = triggers.iter().filter_map(|trigger| began_anew(trigger, &window)).collect();
    missed.extend(mode::silent(triggers, now, silence));
    let sources = window.positions_at_resume.iter().flatten().map(|(recorder, right)| {
        let from = window.positions_at_idle.get(recorder).map_or(1, |left| left.next);
        SourceSpan { recorder: recorder.clone(), from, to: right.next.saturating_sub(1) }
    });
    let Sums { seen, made, nothing, refused, duplicates, quarantined } = sums;
    WindowView {
        since: window.idle_at,
        until: window.resumed_at.unwrap_or(now),
        sources: sources.collect(),
        seen,
        made,
        nothing,
        duplicates,
        refused,
        quarantined,
        adds_up: seen == made + nothing + duplicates + refused + quarantined,
        missed,
    }
}

/// A trigger whose queue was made anew lacks what the bus sent before that.
fn began_anew(trigger: &TriggerView, window: &Window) -> Option<String> {
    let since = trigger.counts.listening_since.filter(|since| *since > window.idle_at)?;
    let known = window.positions_at_idle.get(&trigger.recorder).and_then(|position| position.caught_up);
    let from = known.unwrap_or(window.idle_at);
    Some(format!(
        "trigger {} listens since {since} to a queue that was made anew: what the bus sent from {from} to then is not \
         here; compare with a recorder: taskotron missed --since {from} --against FILE",
        trigger.recorder
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::intake::TriggerCounts;

    use super::*;
    use crate::store::Position;

    #[test]
    fn a_queue_that_was_made_anew_in_the_window_is_told_and_one_that_was_kept_is_not() {
        let at = |minutes| Time(0).plus(Span::minutes(minutes));
        let position = Position { next: 5, caught_up: Some(at(9)), ..Position::default() };
        let window = Window {
            seq: 1,
            by: "kath".into(),
            reason: "update".into(),
            idle_at: at(10),
            resumed_at: Some(at(60)),
            positions_at_idle: BTreeMap::from([("t".to_owned(), position)]),
            positions_at_resume: Some(BTreeMap::from([("t".to_owned(), Position { next: 8, ..position })])),
            events_at_idle: Some(4),
            events_at_resume: Some(7),
        };
        let trigger = |since| TriggerView {
            recorder: "t".into(),
            next: 8,
            last_heard: at(60),
            generation: 1,
            counts: TriggerCounts { listening_since: since, ..TriggerCounts::default() },
            repeated: 0,
            last_event: None,
            pair: None,
            troubles: Vec::new(),
        };
        let sums = Sums { seen: 3, made: 2, nothing: 1, ..Sums::default() };
        let view = |since| view(window.clone(), sums, &[trigger(since)], at(60), Span::minutes(1));
        let kept = view(Some(at(1)));
        assert!(kept.adds_up && kept.missed.is_empty(), "{kept:?}");
        assert_eq!(kept.sources, [SourceSpan { recorder: "t".into(), from: 5, to: 7 }]);
        let anew = view(Some(at(50)));
        assert!(anew.missed[0].contains("missed --since 1970-01-01T00:09:00Z"), "{anew:?}");
        assert!(view(None).missed.is_empty());
    }
}
