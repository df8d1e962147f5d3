//! Hides secrets in what a job prints, as it prints it.
//!
//! Bytes go through as they come; only what may be the beginning of a secret waits for what follows. A secret is hidden as
//! it is, line by line where it has several, and in Base64. What a job does to it otherwise nobody can know.

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};

/// What stands in the log instead.
pub const HIDDEN: &[u8] = b"[secret]";

/// A text that is shorter is not looked for: it would be found everywhere.
const SHORTEST: usize = 5;

/// What is looked for, and what has come that may be the beginning of it.
#[derive(Debug)]
pub struct Mask {
    finder: AhoCorasick,
    needles: Vec<Vec<u8>>,
    held: Vec<u8>,
}

impl Mask {
    /// None where there is nothing to be hidden.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<Mask>, String> {
        let mut needles: Vec<Vec<u8>> = Vec::new();
        for value in values {
            let whole = value.trim_ascii();
            needles.push(whole.to_vec());
            needles.extend(whole.split(|byte| *byte == b'\n').map(|line| line.trim_ascii().to_vec()));
            for bytes in [value, whole] {
                needles.push(BASE64_STANDARD_NO_PAD.encode(bytes).into_bytes());
                needles.push(BASE64_URL_SAFE_NO_PAD.encode(bytes).into_bytes());
            }
        }
        needles.retain(|needle| needle.len() >= SHORTEST);
        needles.sort_unstable();
        needles.dedup();
        if needles.is_empty() {
            return Ok(None);
        }
        let finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&needles);
        let finder = finder.map_err(|e| format!("cannot look for secrets in the log: {e}"))?;
        Ok(Some(Mask { finder, needles, held: Vec::new() }))
    }

    /// What can be shown by now.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        let settled = self.settled();
        self.show(settled)
    }

    /// The rest: nothing follows.
    pub fn end(&mut self) -> Vec<u8> {
        self.show(self.held.len())
    }

    /// Up to where no secret can begin that is not whole yet.
    fn settled(&self) -> usize {
        let longest = self.needles.iter().map(Vec::len).max().unwrap_or(0);
        let from = self.held.len().saturating_sub(longest.saturating_sub(1));
        let open = |at: &usize| {
            let rest = &self.held[*at..];
            self.needles.iter().any(|needle| needle.len() > rest.len() && needle.starts_with(rest))
        };
        (from..self.held.len()).find(open).unwrap_or(self.held.len())
    }

    /// Takes everything before `settled` out, hidden where it must be; a secret that begins there goes as a whole.
    fn show(&mut self, settled: usize) -> Vec<u8> {
        let mut shown = Vec::with_capacity(settled);
        let mut at = 0;
        for found in self.finder.find_iter(&self.held) {
            if found.start() >= settled {
                break;
            }
            shown.extend_from_slice(&self.held[at..found.start()]);
            shown.extend_from_slice(HIDDEN);
            at = found.end();
        }
        if at < settled {
            shown.extend_from_slice(&self.held[at..settled]);
            at = settled;
        }
        self.held.drain(..at);
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(values: &[&str], pieces: &[&str]) -> String {
        let mut mask = Mask::new(values.iter().map(|value| value.as_bytes())).unwrap().unwrap();
        let mut shown = Vec::new();
        for piece in pieces {
            shown.extend(mask.feed(piece.as_bytes()));
        }
        shown.extend(mask.end());
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn a_secret_is_hidden_however_it_is_cut_into_pieces() {
        let text = "a hunter2 b hunter2hunter2 hunt hunter";
        let hidden = "a [secret] b [secret][secret] hunt hunter";
        for size in 1..text.len() {
            let pieces: Vec<&str> = (0..text.len()).step_by(size).map(|n| &text[n..text.len().min(n + size)]).collect();
            assert_eq!(masked(&["hunter2\n"], &pieces), hidden, "in pieces of {size}");
        }
    }

    #[test]
    fn each_line_of_a_secret_and_its_base64_is_hidden_and_the_longest_first() {
        let key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nab\n-----END KEY-----\n";
        assert_eq!(masked(&[key], &["x MIIEvQIBADANBg y\nab\n"]), "x [secret] y\nab\n", "what is too short is left");
        let encoded = base64::prelude::BASE64_STANDARD.encode("hunter2\n");
        assert_eq!(masked(&["hunter2\n"], &[&encoded]), "[secret]=");
        assert_eq!(masked(&["secret-1", "secret-12345"], &["secret-1", "2345."]), "[secret].");
        assert!(Mask::new([&b"abc"[..]]).unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_a_secret_is_shown_at_once() {
        let mut mask = Mask::new([&b"hunter2"[..]]).unwrap().unwrap();
        assert_eq!(mask.feed(b"50 % done\r"), b"50 % done\r");
        assert_eq!(mask.feed(b"hun"), b"");
        assert_eq!(mask.feed(b"ting"), b"hunting");
    }
}
