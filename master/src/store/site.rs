use super::{Result, Store};
use super::types::*;

impl Store {
    pub async fn active_site(&self) -> Result<Site> {
        unimplemented!()
    }
    /// Makes a site the active one, and fences every store that was opened before (but this one).
    pub async fn site_activate(&self, site: &str, act: &Act) -> Result<Site> {
        unimplemented!()
    }
}

pub(super) async fn enter(_db: &db::Db, _site: &str) -> Result<i64> {
    unimplemented!()
}
