//! Text from elsewhere on a terminal: item names, reasons and logs are written by whoever sent an event.

/// The text on one line, without what a terminal would obey.
pub fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| if c == '\n' || c == '\t' { ' ' } else { c })
        .map(|c| if obeyed(c) { '\u{fffd}' } else { c })
        .collect()
}

/// Text of several lines, as a terminal may have it.
pub fn harmless_lines(text: &str) -> String {
    text.chars().map(|c| if obeyed(c) && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// A log on its way to a terminal, piece by piece. Lines, tabs, carriage returns and colours stay; every other escape
/// sequence is made visible.
#[derive(Debug, Default)]
pub struct LogText {
    /// What the next piece may complete: a character, or an escape sequence.
    held: Vec<u8>,
    coloured: bool,
}

impl LogText {
    /// What can be shown by now.
    pub fn next(&mut self, piece: &[u8]) -> String {
        self.held.extend_from_slice(piece);
        let rest = self.held.split_off(whole(&self.held));
        let bytes = std::mem::replace(&mut self.held, rest);
        self.shown(&bytes)
    }

    /// What was held, and the terminal as it was.
    pub fn end(&mut self) -> String {
        let bytes = std::mem::take(&mut self.held);
        let mut text = self.shown(&bytes);
        if std::mem::take(&mut self.coloured) {
            text.push_str("\x1b[0m");
        }
        text
    }

    fn shown(&mut self, bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes);
        let (mut out, mut rest) = (String::with_capacity(text.len()), &*text);
        while let Some(c) = rest.chars().next() {
            if let Some(length) = colour(rest.as_bytes()) {
                self.coloured = true;
                out.push_str(&rest[..length]);
                rest = &rest[length..];
                continue;
            }
            out.push(if obeyed(c) && !matches!(c, '\n' | '\t' | '\r') { '\u{fffd}' } else { c });
            rest = &rest[c.len_utf8()..];
        }
        out
    }
}

/// The length of the sequence that begins here, if it sets colours and nothing else ("SGR", ECMA-48 8.3.117). What hides
/// text (8) is none.
fn colour(bytes: &[u8]) -> Option<usize> {
    let parameters = bytes.strip_prefix(b"\x1b[")?;
    let length = parameters.iter().take(LONGEST).position(|b| *b == b'm')?;
    let parameters = std::str::from_utf8(&parameters[..length]).ok()?;
    let harmless = parameters.split(';').all(|n| n.is_empty() || n.parse::<u8>().is_ok_and(|n| n != 8));
    harmless.then_some(length + 3)
}

/// Bytes of the parameters of a sequence that is obeyed.
const LONGEST: usize = 32;

/// How much of it is whole: what may be the beginning of a sequence or of a character is not.
fn whole(bytes: &[u8]) -> usize {
    if let Some(escape) = bytes.iter().rposition(|b| *b == 0x1b) {
        let begun = &bytes[escape + 1..];
        let open = begun.first().is_none_or(|b| *b == b'[')
            && begun.iter().skip(1).all(|b| b.is_ascii_digit() || *b == b';')
            && begun.len() <= LONGEST;
        if open {
            return escape;
        }
    }
    let last = bytes.len().saturating_sub(3);
    match bytes[last..].utf8_chunks().last() {
        // Not wrong as yet, only not all there.
        Some(chunk) if std::str::from_utf8(chunk.invalid()).is_err_and(|e| e.error_len().is_none()) => {
            bytes.len() - chunk.invalid().len()
        }
        _ => bytes.len(),
    }
}

/// Control characters, and those that change the direction of text.
fn obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_that_a_terminal_obeys() {
        assert_eq!(harmless("a\x1b[2Jb\nc"), "a\u{fffd}[2Jb c");
    }

    #[test]
    fn a_log_keeps_its_colours_and_lines_and_steers_nothing_else_however_it_is_cut() {
        let log = "ok \x1b[1;31mré\x1b[0m\r50%\n\x1b]0;x\x07\x1b[2J\x1b[8mhidden".as_bytes();
        let log = [log, b"\xff\xc3"].concat();
        let want =
            "ok \x1b[1;31mré\x1b[0m\r50%\n\u{fffd}]0;x\u{fffd}\u{fffd}[2J\u{fffd}[8mhidden\u{fffd}\u{fffd}\x1b[0m";
        for size in 1..=log.len() {
            let mut text = LogText::default();
            let shown: String = log.chunks(size).map(|piece| text.next(piece)).collect();
            assert_eq!(shown + &text.end(), want, "pieces of {size}");
        }
    }
}
