//! Who may post results of which testcases.

use serde::{Deserialize, Serialize};

/// One entry of `[resultsdb] permissions`: its users may post results of its testcases. Both are lists of shell patterns:
/// `*` is any text, `?` one character, `[a-z]` one of these and `[!a-z]` one of the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permission {
    /// Names of tokens; `anonymous` is whoever has none.
    pub users: Vec<String>,
    pub testcases: Vec<String>,
}

/// All entries; without any, whoever may post may post results of every testcase.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Permissions(Vec<Permission>);

impl Permissions {
    pub fn allow(&self, user: &str, testcase: &str) -> bool {
        let named = |patterns: &[String], name: &str| patterns.iter().any(|pattern| matches(pattern, name));
        self.0.is_empty() || self.0.iter().any(|one| named(&one.testcases, testcase) && named(&one.users, user))
    }

    /// The entries that are about a testcase.
    pub fn of(&self, testcase: &str) -> Permissions {
        let about = |one: &&Permission| one.testcases.iter().any(|pattern| matches(pattern, testcase));
        Permissions(self.0.iter().filter(about).cloned().collect())
    }
}

/// Whether a shell pattern matches a whole text. A `[` without its `]` stands for itself.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where to go on when it does not fit: after the last star, which then takes one character more.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&'*') {
            p += 1;
            star = Some((p, t));
            continue;
        }
        if t == text.len() && p == pattern.len() {
            return true;
        }
        let fits = text.get(t).and_then(|&c| one(&pattern[p..], c));
        if let Some(length) = fits {
            p += length;
            t += 1;
            continue;
        }
        match &mut star {
            Some((after, taken)) if *taken < text.len() => {
                *taken += 1;
                (p, t) = (*after, *taken);
            }
            _ => return false,
        }
    }
}

/// How long the beginning of a pattern is that stands for this one character, if it does.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern.first()? {
        '?' => Some(1),
        '[' => {
            let none = pattern.get(1) == Some(&'!');
            let first = if none { 2 } else { 1 };
            // A `]` that comes first is one of the characters.
            let Some(end) = pattern.iter().skip(first + 1).position(|&c| c == ']').map(|at| at + first + 1) else {
                return (c == '[').then_some(1);
            };
            (within(&pattern[first..end], c) != none).then_some(end + 1)
        }
        &plain => (plain == c).then_some(1),
    }
}

fn within(mut set: &[char], c: char) -> bool {
    while let Some((&from, rest)) = set.split_first() {
        if let ['-', to, rest @ ..] = rest {
            if (from..=*to).contains(&c) {
                return true;
            }
            set = rest;
        } else {
            if from == c {
                return true;
            }
            set = rest;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_the_shells() {
        for (pattern, yes, no) in [
            ("dist.*", &["dist.", "dist.rpm/x.y"][..], &["dist", "adist.x"][..]),
            ("*", &["", "x", "a/b"], &[]),
            ("a?c", &["abc", "aéc"], &["ac", "abbc"]),
            ("*.x86_64", &["t.x86_64", "a.x86_64.x86_64"], &["t.x86_64 "]),
            ("a*b*c", &["abc", "a-b-b-c"], &["acb", "a-b"]),
            ("[ab]x[!0-9]", &["axe", "bx-"], &["cxe", "ax5", "ax"]),
            ("[]]", &["]"], &["["]),
            ("[!]]", &["["], &["]"]),
            ("a[b", &["a[b"], &["ab"]),
            ("[a-]", &["a", "-"], &["b"]),
            ("", &[""], &["x"]),
        ] {
            for text in yes {
                assert!(matches(pattern, text), "{pattern} {text}");
            }
            for text in no {
                assert!(!matches(pattern, text), "{pattern} {text}");
            }
        }
        let long = "a".repeat(5000);
        assert!(!matches(&"*a".repeat(50), &format!("{long}b")), "it does not take for ever");
    }

    #[test]
    fn an_entry_needs_both_its_user_and_its_testcase() {
        let permissions: Permissions = serde_json::from_str(
            r#"[{"users": ["ci", "bot-*"], "testcases": ["dist.*"]}, {"users": ["*"], "testcases": ["scratch.*", "t"]}]"#,
        )
        .unwrap();
        for (user, testcase, allowed) in [
            ("ci", "dist.rpmlint", true),
            ("bot-7", "dist.rpmlint", true),
            ("other", "dist.rpmlint", false),
            ("other", "scratch.x", true),
            ("ci", "else", false),
        ] {
            assert_eq!(permissions.allow(user, testcase), allowed, "{user} {testcase}");
        }
        assert_eq!(permissions.of("t"), Permissions(permissions.0[1..].to_vec()));
        assert!(Permissions::default().allow("anyone", "anything"));
        assert!(serde_json::from_str::<Permissions>(r#"[{"groups": ["g"], "users": [], "testcases": []}]"#).is_err());
    }
}
