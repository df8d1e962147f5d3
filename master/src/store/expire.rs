use super::{Result, Store};
use super::types::*;

impl Store {
    /// Ends the attempts whose lease has run out as lost, and the jobs that are pointless by now as expired.
    pub async fn expire(&self, decide: Decide<'_>) -> Result<Expired> {
        unimplemented!()
    }
    /// Queues what has waited long enough; how many that were.
    pub async fn promote(&self) -> Result<u64> {
        unimplemented!()
    }
}
