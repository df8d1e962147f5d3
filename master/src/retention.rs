//! What is kept of logs and artifacts, and for how long: a duty of one master at a time.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::app::App;
use crate::logs::enough;
use crate::store::GiveUp;

/// How long a file may lie on the shelf before the store knows of it.
const UNKNOWN: Duration = Duration::from_secs(24 * 3600);

/// Goes round the folders, as far as there is time for at each turn.
#[derive(Debug, Default)]
pub struct Retention {
    next: u8,
}

/// What one turn has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub logs_rested: usize,
    pub logs_removed: usize,
    pub artifacts_removed: usize,
}

impl Retention {
    pub async fn tick(&mut self, app: &App) -> anyhow::Result<Summary> {
        let mut summary = Summary { artifacts_removed: artifacts(app).await?, ..Summary::default() };
        let begin = Instant::now();
        for _ in 0..=u8::MAX {
            self.folder(app, self.next, &mut summary).await?;
            self.next = self.next.wrapping_add(1);
            if enough(begin) {
                break;
            }
        }
        Ok(summary)
    }

    async fn folder(&self, app: &App, first: u8, summary: &mut Summary) -> anyhow::Result<()> {
        let kept = app.settings.logs;
        let (loose, removed) = app.logs.look_through(first, kept.keep.0, kept.compress_after.0).await?;
        summary.logs_removed += removed;
        let running = if loose.is_empty() { BTreeSet::new() } else { app.store.running().await? };
        for log in loose {
            if !running.contains(&log.job) {
                app.logs.put_to_rest(log).await?;
                summary.logs_rested += 1;
            }
        }
        // What a crash has left between the shelf and the store.
        let lying = app.artifacts.shelf().names(first, UNKNOWN).await?;
        if !lying.is_empty() {
            let needed: BTreeSet<_> = app.store.blobs_from(first).await?.into_iter().collect();
            for name in lying.iter().filter(|name| !needed.contains(*name)) {
                app.artifacts.shelf().remove(name).await?;
            }
        }
        Ok(())
    }
}

/// Removes artifacts that are too old, and the oldest while all take too much; how many.
async fn artifacts(app: &App) -> anyhow::Result<usize> {
    let kept = app.settings.artifacts;
    app.artifacts.clear_incoming(UNKNOWN).await?;
    let mut removed = 0;
    loop {
        let which = match app.store.artifact_space().await?.saturating_sub(kept.space) {
            0 => GiveUp::Older(kept.keep),
            too_much => GiveUp::Bytes(too_much),
        };
        let (count, files) = app.store.give_up_artifacts(which).await?;
        for file in files {
            // One that is not removed now is found later, as one that nobody needs.
            app.artifacts.shelf().remove(&file).await?;
        }
        removed += count;
        if count == 0 {
            return Ok(removed);
        }
    }
}
