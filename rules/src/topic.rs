//! AMQP topic patterns: `*` stands for one word, `#` for any number of them.

use std::fmt;

/// A compiled pattern over the words of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    words: Vec<Word>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    Literal(Box<str>),
    One,
    Any,
}

impl Pattern {
    /// Reads a pattern; every text is one, as it is for a broker.
    pub fn new(text: &str) -> Pattern {
        let mut words: Vec<Word> = text.split('.').map(Word::new).collect();
        // Two of them in a row say no more than one, and one never looks twice.
        words.dedup_by(|a, b| *a == Word::Any && *b == Word::Any);
        Pattern { text: text.to_owned(), words }
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a whole topic fits.
    pub fn matches(&self, topic: &str) -> bool {
        let words: Vec<&str> = topic.split('.').collect();
        self.matches_words(&words)
    }

    /// Whether a topic fits that was already split at its dots.
    pub fn matches_words(&self, topic: &[&str]) -> bool {
        // The usual wildcard walk: on a mismatch, let the last `#` take one word more. No step is repeated, so a
        // pattern full of `#` costs at most its length times the topic's.
        let (mut p, mut t) = (0, 0);
        let mut last_any: Option<(usize, usize)> = None;
        while t < topic.len() {
            match self.words.get(p) {
                Some(Word::Any) => {
                    last_any = Some((p, t));
                    p += 1;
                }
                Some(word) if word.fits(topic[t]) => {
                    p += 1;
                    t += 1;
                }
                Some(_) | None => {
                    let Some((any, from)) = last_any else { return false };
                    last_any = Some((any, from + 1));
                    p = any + 1;
                    t = from + 1;
                }
            }
        }
        self.words[p..].iter().all(|word| *word == Word::Any)
    }
}

impl Word {
    fn new(text: &str) -> Word {
        match text {
            "*" => Word::One,
            "#" => Word::Any,
            literal => Word::Literal(literal.into()),
        }
    }

    fn fits(&self, word: &str) -> bool {
        match self {
            Word::Literal(literal) => **literal == *word,
            Word::One => true,
            Word::Any => false,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, word by word.
    fn naive(pattern: &[&str], topic: &[&str]) -> bool {
        match pattern.split_first() {
            None => topic.is_empty(),
            Some((&"#", rest)) => (0..=topic.len()).any(|n| naive(rest, &topic[n..])),
            Some((word, rest)) => {
                topic.split_first().is_some_and(|(first, topic)| (*word == "*" || word == first) && naive(rest, topic))
            }
        }
    }

    #[test]
    fn patterns_mean_what_a_broker_means() {
        let cases = [
            ("a.b", "a.b", true),
            ("a.b", "a.b.c", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.#", "a", true),
            ("a.#", "a.b.c", true),
            ("#", "", true),
            ("#.c", "a.b.c", true),
            ("#.b.#", "b", true),
            ("#.b.#", "a.c", false),
            ("a.*.#.c", "a.c", false),
            ("a.*.#.c", "a.b.c", true),
            ("*", "", true),
            ("a.", "a.", true),
        ];
        for (pattern, topic, want) in cases {
            assert_eq!(Pattern::new(pattern).matches(topic), want, "{pattern} {topic}");
        }
    }

    #[test]
    fn a_pattern_full_of_hashes_is_not_slow() {
        let pattern = Pattern::new(&"#.a.".repeat(40));
        assert!(!pattern.matches(&vec!["a"; 200].join(".")));
    }

    proptest! {
        #[test]
        fn a_pattern_agrees_with_its_definition(
            pattern in prop::collection::vec(prop::sample::select(vec!["a", "b", "*", "#"]), 1..7),
            topic in prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..7),
        ) {
            let compiled = Pattern::new(&pattern.join("."));
            prop_assert_eq!(compiled.matches(&topic.join(".")), naive(&pattern, &topic));
        }
    }
}
