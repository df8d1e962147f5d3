//! What keeps a trigger from its work at the moment, so that whoever asks is told.

use std::collections::BTreeMap;

use model::Time;
use model::intake::Trouble;
use tokio::sync::watch;

/// The troubles of one trigger, each under the name of what has it.
#[derive(Debug, Default)]
pub struct Troubles(watch::Sender<BTreeMap<String, Trouble>>);

impl Troubles {
    /// Notes a trouble; one that goes on keeps its beginning, whatever it says now. Says whether it is a new one.
    pub fn begin(&self, of: &str, what: String, now: Time) -> bool {
        let mut new = false;
        self.0.send_if_modified(|troubles| {
            let before = troubles.get(of);
            new = before.is_none();
            let trouble = Trouble { since: before.map_or(now, |before| before.since), what };
            let changed = before != Some(&trouble);
            troubles.insert(of.to_owned(), trouble);
            changed
        });
        new
    }

    /// Notes that it is over. Says whether there was one.
    pub fn end(&self, of: &str) -> bool {
        self.0.send_if_modified(|troubles| troubles.remove(of).is_some())
    }

    pub fn has(&self, of: &str) -> bool {
        self.0.borrow().contains_key(of)
    }

    pub fn list(&self) -> Vec<Trouble> {
        self.0.borrow().values().cloned().collect()
    }

    /// Wakes whoever waits after each change.
    pub fn changes(&self) -> watch::Receiver<BTreeMap<String, Trouble>> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_that_goes_on_keeps_its_beginning() {
        let troubles = Troubles::default();
        let changes = troubles.changes();
        assert!(troubles.begin("bus", "refused".into(), Time(1)));
        assert!(!troubles.begin("bus", "no answer".into(), Time(2)));
        assert_eq!(troubles.list(), [Trouble { what: "no answer".into(), since: Time(1) }]);
        assert!(changes.has_changed().unwrap());
        assert!(troubles.end("bus") && !troubles.end("bus"));
        assert!(troubles.list().is_empty() && !troubles.has("bus"));
    }
}
