//! What a check judges.

use model::Span;
use model::vitals::{ModeSince, TriggerVitals, Vitals};

use crate::app::App;
use crate::mirrors;
use crate::status::status;
use crate::store::{GIVEN_UP, ModeRow, Result, TriggerView};
use crate::unserved::unserved;

/// Looks at everything once.
pub async fn vitals(app: &App) -> Result<Vitals> {
    let (clock, wall) = (app.store.clock().await?, net::clock::now());
    let now = app.store.now().await?;
    let ModeRow { mode, by, reason, since, deadline, on_deadline: _, finish_through: _ } = app.store.mode().await?;
    let workers = app.store.workers(app.settings.lease_term).await?;
    let oldest = app.store.oldest().await?;
    let triggers = app.store.triggers().await?;
    Ok(Vitals {
        now,
        master_ahead_ms: (wall.0 - clock.0) / 1000,
        status: status(app).await?,
        mode: ModeSince { mode, by, reason, since, deadline },
        silence: app.settings.silence,
        triggers: triggers.into_iter().filter(|t| now.since(t.last_heard) < GIVEN_UP).map(trigger).collect(),
        unserved: unserved(app.store.demand().await?, &workers),
        workers,
        oldest_queued: oldest.queued,
        oldest_result: oldest.result,
        oldest_message: app.store.untold().await?.since,
        stale_reports: app.store.stale_count(Span::days(1)).await?,
        mirrors: mirrors::vitals(app, now),
    })
}

fn trigger(view: TriggerView) -> TriggerVitals {
    TriggerVitals {
        behind: (view.counts.recorded + 1).saturating_sub(view.next),
        recorder: view.recorder,
        last_heard: view.last_heard,
        last_event: view.last_event,
        quarantined: view.counts.quarantined,
        troubles: view.troubles.into_iter().map(|trouble| trouble.what).collect(),
    }
}
