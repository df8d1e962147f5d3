//! Searches: jobs that run nothing, but make the jobs of what they find in a repository.
//!
//! A search is a job of its own, so that whoever asks again, by whichever way, is told that it exists, whatever the
//! repository has by then. It ends in the transaction that makes what it found.

use model::JobState;
use model::source::Pin;

use super::moves::{EndedRow, Moves};
use super::submit::{Wanted, admitted, append, events_of, needs};
use super::text::clean;
use super::tx::{on_tx, retrying};
use super::types::Candidate;
use super::{Result, Store};

/// What a search found.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The search's number.
    pub seq: i64,
    /// Where it looked.
    pub pin: &'a Pin,
    pub state: JobState,
    pub reason: &'a str,
    pub jobs: &'a [Candidate],
}

impl Store {
    /// Ends a search with what it found, and makes those jobs, all at once; how many. A search that has ended meanwhile,
    /// by another master or by a person, makes none.
    pub async fn found(&self, found: &Found<'_>) -> Result<usize> {
        let sets = self.label_sets_of(needs(found.jobs)).await?;
        let made = retrying(async || {
            let mut work = self.begin().await?;
            if !work.active {
                return Ok(0);
            }
            let ours = on_tx!(&mut work.tx, |conn| {
                sqlx::query("DELETE FROM waiting WHERE job = $1 AND key = 'source'")
                    .bind(found.seq)
                    .execute(&mut *conn)
                    .await?
                    .rows_affected()
            });
            if ours == 0 {
                return Ok(0);
            }
            on_tx!(&mut work.tx, |conn| {
                sqlx::query("UPDATE jobs SET source_ref = $2, source_commit = $3 WHERE seq = $1")
                    .bind(found.seq)
                    .bind(clean(&found.pin.reference))
                    .bind(found.pin.commit.as_str())
                    .execute(&mut *conn)
                    .await?;
            });
            let ended = EndedRow {
                job: found.seq,
                state: found.state,
                reason: found.reason.to_owned(),
                outcome: None,
                attempts: 0,
                successor: None,
                keyed: true,
            };
            Moves { ended: vec![ended], ..Moves::default() }.write(&mut work).await?;
            let causes = events_of(&mut work, found.jobs).await?;
            let wanted = admitted(found.jobs).map(|admitted| Wanted::caused(admitted, &causes)).collect();
            append(&mut work, &sets, wanted).await?;
            work.commit().await?;
            Ok(found.jobs.len())
        })
        .await?;
        if made > 0 {
            self.ring();
        }
        Ok(made)
    }
}
