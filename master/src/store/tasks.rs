//! Task definitions, each version once.

use serde_json::Value;
use super::{Result, Store};

impl Store {
    /// The number of this version of a task: the same text has the same number.
    pub async fn task_version(&self, name: &str, definition: &Value) -> Result<i64> {
        unimplemented!()
    }
    /// The name and the definition of a version that [`Store::task_version`] numbered.
    pub async fn task_definition(&self, version: i64) -> Result<Option<(String, Value)>> {
        unimplemented!()
    }
}
