use super::{Result, Store};
use super::types::*;

impl Store {
    pub async fn cursor(&self, recorder: &str) -> Result<u64> {
        unimplemented!()
    }
    pub async fn intake(&self, batch: &Batch) -> Result<Intake> {
        unimplemented!()
    }
}
