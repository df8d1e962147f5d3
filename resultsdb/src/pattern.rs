//! Patterns of `:like` filters: `*` or `%` is any text, `_` one character, a backslash takes the next as it stands.
//!
//! Both engines must match case-sensitively. SQLite's LIKE does not unless a deprecated pragma is set on every
//! connection, so there a pattern becomes a GLOB; nothing of a client's text reaches an engine's pattern unescaped.

/// A pattern that must match a whole text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Char(char),
    /// One character, whichever.
    One,
    /// Any text, also none.
    Any,
}

impl Pattern {
    pub fn parse(text: &str) -> Pattern {
        let mut pieces = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                // Several in a row say the same as one, and would only make the engine slow.
                '*' | '%' if pieces.last() == Some(&Piece::Any) => {}
                '*' | '%' => pieces.push(Piece::Any),
                '_' => pieces.push(Piece::One),
                '\\' => pieces.push(Piece::Char(chars.next().unwrap_or('\\'))),
                c => pieces.push(Piece::Char(c)),
            }
        }
        Pattern(pieces)
    }

    /// The text that everything it matches begins with.
    pub fn prefix(&self) -> String {
        self.0.iter().map_while(|p| if let Piece::Char(c) = p { Some(*c) } else { None }).collect()
    }

    /// Whether what it matches can be found by three characters in a row.
    pub fn has_trigram(&self) -> bool {
        self.0.split(|p| !matches!(p, Piece::Char(c) if c.is_alphanumeric())).any(|letters| letters.len() >= 3)
    }

    /// For PostgreSQL's LIKE.
    pub fn like(&self) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Any => text.push('%'),
                Piece::One => text.push('_'),
                Piece::Char(c @ ('%' | '_' | '\\')) => text.extend(['\\', *c]),
                Piece::Char(c) => text.push(*c),
            }
        }
        text
    }

    /// For SQLite's GLOB.
    pub fn glob(&self) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Any => text.push('*'),
                Piece::One => text.push('?'),
                Piece::Char(c @ ('*' | '?' | '[')) => text.extend(['[', *c, ']']),
                Piece::Char(c) => text.push(*c),
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trigrams_are_of_letters_in_a_row() {
        for (text, has) in [("*foo*", true), ("*f-o-o*", false), ("fo*o", false), ("a*b2c", true), ("*", false)] {
            assert_eq!(Pattern::parse(text).has_trigram(), has, "{text}");
        }
    }

    #[test]
    fn a_pattern_is_said_in_both_dialects() {
        for (text, like, glob, prefix) in [
            ("dist.*", "dist.%", "dist.*", "dist."),
            ("a_b%c**", "a_b%c%", "a?b*c*", "a"),
            (r"a\_b\%c\\", r"a\_b\%c\\", r"a_b%c\", r"a_b%c\"),
            (r"x[1]?\*", "x[1]?*", "x[[]1][?][*]", "x[1]?*"),
            ("trailing\\", r"trailing\\", "trailing\\", "trailing\\"),
            ("", "", "", ""),
        ] {
            let pattern = Pattern::parse(text);
            assert_eq!((pattern.like().as_str(), pattern.glob().as_str()), (like, glob), "{text}");
            assert_eq!(pattern.prefix(), prefix, "{text}");
        }
    }
}
