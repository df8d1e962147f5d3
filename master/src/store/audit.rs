use super::{Result, Store};
use super::types::*;

impl Store {
    /// Notes an act that changes nothing in the store.
    pub async fn note(&self, act: &Act) -> Result<()> {
        unimplemented!()
    }
    /// Newest first, with the place at which to go on.
    pub async fn audit(&self, after: Cursor, limit: u32) -> Result<(Vec<Audited>, Cursor)> {
        unimplemented!()
    }
}
