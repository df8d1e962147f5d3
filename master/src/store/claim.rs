use model::Span;
use super::{Result, Store};
use super::types::*;

impl Store {
    /// One list for each request, in order; empty where there is nothing, while idle, and at a passive site.
    pub async fn claim(&self, requests: &[ClaimRequest], term: Span) -> Result<Vec<Vec<Granted>>> {
        unimplemented!()
    }
}
