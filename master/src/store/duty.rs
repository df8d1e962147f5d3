use model::Span;
use super::{Result, Store};

impl Store {
    /// Whether `holder` has this duty now, for `term` from now: it was free, had run out, or was already held.
    pub async fn take_duty(&self, name: &str, holder: &str, term: Span) -> Result<bool> {
        unimplemented!()
    }
    /// Adds up what grew by single steps (the totals of ended jobs), and forgets workers that were not seen for `keep`.
    pub async fn tidy(&self, keep: Span) -> Result<()> {
        unimplemented!()
    }
}
