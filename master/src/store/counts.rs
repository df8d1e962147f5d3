use model::Span;
use model::operator::{IntakeCounts, JobCounts, WorkerView};
use super::{Result, Store};
use super::types::*;

impl Store {
    /// By name. Lost: not seen for three terms.
    pub async fn workers(&self, term: Span) -> Result<Vec<WorkerView>> {
        unimplemented!()
    }
    pub async fn counts(&self) -> Result<JobCounts> {
        unimplemented!()
    }
    pub async fn intake_counts(&self) -> Result<IntakeCounts> {
        unimplemented!()
    }
    pub async fn triggers(&self) -> Result<Vec<TriggerView>> {
        unimplemented!()
    }
}
