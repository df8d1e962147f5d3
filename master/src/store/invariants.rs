use super::{Result, Store};

impl Store {
    /// What does not add up, one sentence each; empty in a sound database. Reads everything.
    pub async fn invariants(&self) -> Result<Vec<String>> {
        unimplemented!()
    }
}
