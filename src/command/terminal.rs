//! Text from elsewhere on a terminal: item names, reasons and logs are written by whoever sent an event.

/// The text on one line, without what a terminal would obey.
pub fn harmless(text: &str) -> String {
    text.chars()
        .map(|c| if c == '\n' || c == '\t' { ' ' } else { c })
        .map(|c| if obeyed(c) { '\u{fffd}' } else { c })
        .collect()
}

/// Bytes of a log as a terminal may have them: lines and tabs stay, escape sequences are made visible.
pub fn harmless_log(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|c| if obeyed(c) && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
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
        assert_eq!(harmless_log(b"ok\n\x1b]0;x\x07\xff"), "ok\n\u{fffd}]0;x\u{fffd}\u{fffd}");
    }
}
