use model::lease::Receipt;
use super::{Result, Store};
use super::types::*;

impl Store {
    /// One receipt for each report, in order.
    pub async fn finish(&self, worker: &str, reports: &[ReportIn], decide: Decide<'_>) -> Result<Vec<Receipt>> {
        unimplemented!()
    }
    /// The same for the reports of many workers in one transaction: (worker, report).
    pub async fn finish_many(&self, reports: &[(String, ReportIn)], decide: Decide<'_>) -> Result<Vec<Receipt>> {
        unimplemented!()
    }
}
