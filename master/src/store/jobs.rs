use model::JobId;
use model::operator::{AttemptView, JobSummary};
use super::{Result, Store};
use super::types::*;

impl Store {
    /// Newest first, with the place at which to go on.
    pub async fn jobs(&self, filter: &JobFilter, after: Cursor, limit: u32) -> Result<(Vec<JobSummary>, Cursor)> {
        unimplemented!()
    }
    /// The job that a text names: an id, or the beginning of one (4 hex digits or more).
    pub async fn lookup(&self, text: &str) -> Result<Lookup> {
        unimplemented!()
    }
    pub async fn job(&self, id: JobId) -> Result<Option<JobParts>> {
        unimplemented!()
    }
    /// The ended attempts and the running one, first first.
    pub async fn attempts(&self, job: JobId) -> Result<Vec<AttemptView>> {
        unimplemented!()
    }
    pub async fn stale_reports(&self, job: JobId) -> Result<Vec<StaleReport>> {
        unimplemented!()
    }
}
