//! From when on a log has missed nothing: the words that a source leaves in it about its own listening.
//!
//! A log without a gap in its numbers may still lack what the bus sent while nobody listened. So a source says when it
//! begins, whether its queue has kept what came meanwhile, and now and then that it has everything. Whoever compares
//! with the log can tell from that which spans it covers.

use model::Time;
use serde::{Deserialize, Serialize};

/// What a source says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// It listens from here on, to a queue that was made just now: what came before is not here.
    Began,
    /// It listens from here on, and its queue has kept what came meanwhile.
    Again,
    /// Whatever the bus had for it by then is in the log.
    Still,
    /// The same, and it was stopped in order.
    Ended,
}

/// The latest span without a gap that a log knows of. Nothing where no source has ever left a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Coverage {
    pub since: Option<Time>,
    pub until: Option<Time>,
}

/// A span of which a log has not everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub from: Time,
    pub to: Time,
}

impl Coverage {
    /// Takes a word in; says the gap that it ends.
    pub fn hear(&mut self, word: Word, at: Time) -> Option<Gap> {
        let known = self.until.or(self.since);
        match word {
            Word::Began => *self = Coverage { since: Some(at), until: Some(at) },
            Word::Again => *self = Coverage { since: self.since.or(Some(at)), until: known.or(Some(at)) },
            Word::Still | Word::Ended => {
                *self = Coverage { since: self.since.or(Some(at)), until: known.max(Some(at)) };
            }
        }
        known.filter(|_| word == Word::Began).map(|from| Gap { from, to: at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_queue_that_was_made_anew_makes_a_gap() {
        let mut coverage = Coverage::default();
        let words = [
            (Word::Again, 10, None, (10, 10)),
            (Word::Still, 20, None, (10, 20)),
            (Word::Again, 90, None, (10, 20)),
            (Word::Still, 91, None, (10, 91)),
            (Word::Began, 99, Some(Gap { from: Time(91), to: Time(99) }), (99, 99)),
            (Word::Ended, 120, None, (99, 120)),
        ];
        for (word, at, gap, (since, until)) in words {
            assert_eq!(coverage.hear(word, Time(at)), gap, "{word:?} at {at}");
            assert_eq!(coverage, Coverage { since: Some(Time(since)), until: Some(Time(until)) });
        }
    }
}
