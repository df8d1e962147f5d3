use model::operator::{EventSummary, JobSummary};
use super::{Result, Store};
use super::types::*;

impl Store {
    /// Newest first, with the place at which to go on.
    pub async fn events(&self, filter: &EventFilter, after: Cursor, limit: u32) -> Result<(Vec<EventSummary>, Cursor)> {
        unimplemented!()
    }
    pub async fn event(&self, id: &str) -> Result<Option<StoredEvent>> {
        unimplemented!()
    }
    pub async fn jobs_of_event(&self, id: &str) -> Result<Vec<JobSummary>> {
        unimplemented!()
    }
}
