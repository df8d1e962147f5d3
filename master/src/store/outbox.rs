use model::Time;
use super::{Result, Store};
use super::types::*;

impl Store {
    pub async fn publications_due(&self, limit: u32) -> Result<Vec<Due>> {
        unimplemented!()
    }
    pub async fn delivered(&self, seqs: &[i64]) -> Result<()> {
        unimplemented!()
    }
    pub async fn postpone(&self, seqs: &[i64], until: Time, error: &str) -> Result<()> {
        unimplemented!()
    }
    pub async fn outbox_len(&self) -> Result<u64> {
        unimplemented!()
    }
}
