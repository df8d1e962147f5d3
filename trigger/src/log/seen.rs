//! Which events the log already has: a window over the latest ones.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};

use super::entry::Mark;

/// The marks of the latest events, about 50 bytes each.
#[derive(Debug, Default)]
pub struct Seen {
    /// How many; all of them where there is no bound.
    window: Option<usize>,
    order: VecDeque<Mark>,
    /// The content that an id came with first.
    first: HashMap<u64, u64>,
    /// Other contents that came with an id already known.
    others: HashSet<Mark>,
}

/// What a mark is to those seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Novelty {
    New,
    Duplicate,
    /// The id is known with other content.
    Beside,
}

impl Seen {
    pub fn new(window: Option<usize>) -> Seen {
        Seen { window, ..Seen::default() }
    }

    /// Says what the mark is, and remembers it.
    pub fn add(&mut self, mark: Mark) -> Novelty {
        let novelty = match self.first.entry(mark.id) {
            Entry::Vacant(entry) => {
                entry.insert(mark.content);
                Novelty::New
            }
            Entry::Occupied(entry) if *entry.get() == mark.content => return Novelty::Duplicate,
            Entry::Occupied(_) if self.others.insert(mark) => Novelty::Beside,
            Entry::Occupied(_) => return Novelty::Duplicate,
        };
        self.order.push_back(mark);
        if self.window.is_some_and(|window| self.order.len() > window) {
            self.forget();
        }
        novelty
    }

    fn forget(&mut self) {
        let Some(oldest) = self.order.pop_front() else { return };
        if !self.others.remove(&oldest) && self.first.get(&oldest.id) == Some(&oldest.content) {
            self.first.remove(&oldest.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(id: u64, content: u64) -> Mark {
        Mark { id, content }
    }

    #[test]
    fn the_same_is_a_duplicate_and_other_content_stands_beside() {
        let mut seen = Seen::new(None);
        assert_eq!(seen.add(mark(1, 1)), Novelty::New);
        assert_eq!(seen.add(mark(1, 1)), Novelty::Duplicate);
        assert_eq!(seen.add(mark(1, 2)), Novelty::Beside);
        assert_eq!(seen.add(mark(1, 2)), Novelty::Duplicate);
        assert_eq!(seen.add(mark(1, 1)), Novelty::Duplicate);
        assert_eq!(seen.add(mark(2, 1)), Novelty::New);
    }

    #[test]
    fn the_window_forgets_the_oldest() {
        let mut seen = Seen::new(Some(2));
        for id in 0..1000 {
            assert_eq!(seen.add(mark(id, 0)), Novelty::New);
            assert_eq!(seen.add(mark(id, 0)), Novelty::Duplicate);
        }
        assert_eq!(seen.add(mark(998, 0)), Novelty::Duplicate);
        assert_eq!(seen.add(mark(997, 0)), Novelty::New);
        assert_eq!((seen.order.len(), seen.first.len(), seen.others.len()), (2, 2, 0));
    }
}
