use model::Span;
use model::lease::{Hold, Worker};
use super::{Result, Store};

impl Store {
    /// One answer for each token, in order.
    pub async fn renew(&self, worker: &Worker, tokens: &[String], term: Span) -> Result<Vec<Hold>> {
        unimplemented!()
    }
    /// Every lease holds for at least one full term from now: to be called once at boot, before anything is expired.
    pub async fn grant_full_term(&self, term: Span) -> Result<u64> {
        unimplemented!()
    }
}
