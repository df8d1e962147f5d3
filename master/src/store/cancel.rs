use model::JobId;
use super::{Result, Store};
use super::types::*;

impl Store {
    /// One answer for each job, in order.
    pub async fn cancel(&self, jobs: &[JobId], act: &Act) -> Result<Vec<Cancel>> {
        unimplemented!()
    }
    /// Tells the workers to stop whatever runs, to be queued again; how many that concerns.
    pub async fn requeue_running(&self, reason: &str) -> Result<u64> {
        unimplemented!()
    }
    /// Tells the workers to stop whatever runs, to end cancelled; how many that concerns.
    pub async fn kill_running(&self, reason: &str) -> Result<u64> {
        unimplemented!()
    }
}
