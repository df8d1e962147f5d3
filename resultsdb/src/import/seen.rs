//! Which ids have been met: a bit each, so that millions fit into a few megabytes.

use std::collections::BTreeMap;

/// How many ids share a page, by the bits of an id that tell its place there.
const BITS: u32 = 16;
const WORDS: usize = (1 << BITS) / 64;

#[derive(Default)]
pub struct Seen {
    pages: BTreeMap<i64, Box<[u64]>>,
    ends: Option<(i64, i64)>,
}

impl Seen {
    /// Whether it is new.
    pub fn add(&mut self, id: i64) -> bool {
        let (page, word, bit) = place(id);
        let word = &mut self.pages.entry(page).or_insert_with(|| vec![0; WORDS].into_boxed_slice())[word];
        let new = *word & bit == 0;
        *word |= bit;
        let (least, greatest) = self.ends.unwrap_or((id, id));
        self.ends = Some((least.min(id), greatest.max(id)));
        new
    }

    pub fn has(&self, id: i64) -> bool {
        let (page, word, bit) = place(id);
        self.pages.get(&page).is_some_and(|words| words[word] & bit != 0)
    }

    /// The least and the greatest.
    pub fn ends(&self) -> Option<(i64, i64)> {
        self.ends
    }
}

fn place(id: i64) -> (i64, usize, u64) {
    let within = id & ((1 << BITS) - 1);
    (id >> BITS, within as usize / 64, 1 << (within % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_new_once() {
        let mut seen = Seen::default();
        assert_eq!(seen.ends(), None);
        for id in [1, 63, 64, 65_535, 65_536, 13_000_000_000] {
            assert!(!seen.has(id) && seen.add(id) && seen.has(id) && !seen.add(id), "{id}");
        }
        assert!(!seen.has(2) && !seen.has(65_537));
        assert_eq!(seen.ends(), Some((1, 13_000_000_000)));
    }
}
