//! Terms: what a result can be found by, as fixed-size keys.
//!
//! A term is the first half of a SHA-256, so any length of key or value can be indexed, a writer needs no look-up to
//! know a term, and two terms that meet are not a thing to plan for.

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// How much of a name or value stands in an index that is searched by prefix.
const HEAD: usize = 64;

/// Parts a key from its value in a place. Sorts before every printable character.
const GAP: char = '\u{1}';

/// The result has this value for this key of its data.
pub fn fact(key: &str, value: &str) -> Uuid {
    hash("data", &[key, value])
}

/// The result is in this group.
pub fn group(uuid: &str) -> Uuid {
    hash("group", &[uuid])
}

pub fn testcase(name: &str) -> Uuid {
    hash("testcase", &[name])
}

pub fn description(text: &str) -> Uuid {
    hash("description", &[text])
}

/// What `poster` has posted under a key: two who use the same keys know nothing of each other.
pub fn idempotency(poster: &str, key: &str) -> Uuid {
    hash("idempotency", &[poster, key])
}

/// The parts hold no NUL, which is refused at the edge, so the NUL between them tells them apart.
fn hash(kind: &str, parts: &[&str]) -> Uuid {
    let mut hasher = Sha256::new();
    hasher.update(kind);
    for part in parts {
        hasher.update([0]);
        hasher.update(part);
    }
    let mut half = [0; 16];
    half.copy_from_slice(&hasher.finalize()[..16]);
    Uuid::from_bytes(half)
}

/// The beginning of a text, as it stands in an index.
pub fn head(text: &str) -> &str {
    text.char_indices().nth(HEAD).map_or(text, |(end, _)| &text[..end])
}

/// Where a key and value stand in the index that patterns are searched in.
pub fn place(key: &str, value: &str) -> String {
    format!("{}{GAP}{}", head(key), head(value))
}

/// The least text that sorts after every text that begins with `prefix`; `None` when there is none.
pub fn after(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        let next = match last {
            char::MAX => continue,
            '\u{d7ff}' => '\u{e000}',
            c => char::from_u32(c as u32 + 1)?,
        };
        chars.push(next);
        return Some(chars.into_iter().collect());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_of_different_things_differ() {
        let all = [
            fact("a", "b"),
            fact("a", ""),
            fact("", "a"),
            group("a"),
            testcase("a"),
            description("a"),
            idempotency("a", "b"),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b));
        }
    }

    #[test]
    fn a_range_holds_what_begins_with_its_prefix() {
        let wide = format!("a{}", char::MAX);
        for (prefix, next) in
            [("ab", Some("ac")), ("a\u{d7ff}", Some("a\u{e000}")), (wide.as_str(), Some("b")), ("", None)]
        {
            assert_eq!(after(prefix).as_deref(), next);
        }
        assert_eq!(head("é".repeat(70).as_str()).chars().count(), 64);
    }
}
