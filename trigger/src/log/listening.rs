//! From when on a log has missed nothing: the words that a source leaves in it about its own listening.
//!
//! A log without a gap in its numbers may still lack what the bus sent while nobody listened. So a source says when it
//! begins, whether its queue has kept what came meanwhile, and now and then that it has everything. Whoever compares
//! with the log can tell from that which spans it covers.

use std::collections::BTreeMap;

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

/// What each source of a log has said, by what it listens to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Listening(BTreeMap<String, Coverage>);

impl Listening {
    /// Takes a source's word in; says the gap that it ends.
    pub fn hear(&mut self, to: &str, word: Word, at: Time) -> Option<Gap> {
        self.0.entry(to.to_owned()).or_default().hear(word, at)
    }

    /// Whether nothing is known of what this source has listened to.
    pub fn is_new(&self, to: &str) -> bool {
        !self.0.contains_key(to)
    }

    /// What is covered by all of these sources; nothing where one of them has never spoken.
    pub fn of<'a>(&self, sources: impl IntoIterator<Item = &'a str>) -> Coverage {
        let all: Option<Vec<Coverage>> = sources.into_iter().map(|source| self.0.get(source).copied()).collect();
        common(&all.unwrap_or_default())
    }

    /// What is covered by every source that has ever spoken.
    pub fn all(&self) -> Coverage {
        common(&self.0.values().copied().collect::<Vec<_>>())
    }

    /// The same sources, of which nothing is known before this moment.
    pub fn from(&self, at: Time) -> Listening {
        let since = |coverage: &Coverage| Coverage { since: Some(at), until: coverage.until.max(Some(at)) };
        Listening(self.0.iter().map(|(to, coverage)| (to.clone(), since(coverage))).collect())
    }
}

fn common(all: &[Coverage]) -> Coverage {
    let since = all.iter().map(|coverage| coverage.since).max().flatten();
    let until = all.iter().map(|coverage| coverage.until).min().flatten();
    Coverage { since, until }
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

    #[test]
    fn a_log_of_several_sources_covers_what_all_of_them_do() {
        let mut listening = Listening::default();
        let words = [("a", Word::Began, 10), ("b", Word::Began, 20), ("a", Word::Still, 50), ("b", Word::Still, 40)];
        for (to, word, at) in words {
            listening.hear(to, word, Time(at));
        }
        let coverage = |since, until| Coverage { since: Some(Time(since)), until: Some(Time(until)) };
        assert_eq!(listening.all(), coverage(20, 40));
        assert_eq!(listening.of(["a"]), coverage(10, 50));
        assert_eq!(listening.of(["a", "c"]), Coverage::default(), "of c nothing is known");
        assert_eq!(listening.of([]), Coverage::default());
        assert_eq!(listening.from(Time(45)).all(), coverage(45, 45));
    }
}
