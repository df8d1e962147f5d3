use model::intake::JobAnswer;
use model::JobId;
use super::{Result, Store};
use super::types::*;

impl Store {
    /// One answer for each candidate, in order.
    pub async fn submit(&self, candidates: &[Candidate]) -> Result<Vec<JobAnswer>> {
        unimplemented!()
    }
    /// A new job that asks for the same again; the same `request` again gives the same job. `fresh` is the task as it is configured now (version, labels): without it the old version runs. None: there is no such job.
    pub async fn rerun(&self, job: JobId, request: &str, fresh: Option<(i64, Vec<String>)>, act: &Act) -> Result<Option<JobAnswer>> {
        unimplemented!()
    }
}
