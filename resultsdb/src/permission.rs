//! Who may post results of which testcases.

use globset::{Glob, GlobSet};
use serde::{Deserialize, Serialize};

/// One entry of `[resultsdb] permissions`: its users may post results of its testcases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permission {
    /// Names of tokens; `anonymous` is whoever has none.
    pub users: Patterns,
    pub testcases: Patterns,
}

/// Shell patterns of whole names: `*` is any text, `?` one byte, `[a-z]` one of these, `[!a-z]` one of the others,
/// and `{a,b}` one of these texts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Patterns {
    written: Vec<String>,
    set: GlobSet,
}

/// All entries; without any, whoever may post may post results of every testcase.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Permissions(Vec<Permission>);

impl Permissions {
    pub fn allow(&self, user: &str, testcase: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|one| one.testcases.fit(testcase) && one.users.fit(user))
    }

    /// The entries that are about a testcase.
    pub fn of(&self, testcase: &str) -> Permissions {
        Permissions(self.0.iter().filter(|one| one.testcases.fit(testcase)).cloned().collect())
    }
}

impl Patterns {
    pub fn fit(&self, name: &str) -> bool {
        self.set.is_match(name)
    }
}

impl TryFrom<Vec<String>> for Patterns {
    type Error = globset::Error;

    fn try_from(written: Vec<String>) -> Result<Patterns, globset::Error> {
        let mut set = GlobSet::builder();
        for pattern in &written {
            set.add(Glob::new(pattern)?);
        }
        Ok(Patterns { set: set.build()?, written })
    }
}

impl From<Patterns> for Vec<String> {
    fn from(patterns: Patterns) -> Vec<String> {
        patterns.written
    }
}

impl PartialEq for Patterns {
    fn eq(&self, other: &Patterns) -> bool {
        self.written == other.written
    }
}

impl Eq for Patterns {}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Patterns::try_from(vec![pattern.to_owned()]).unwrap().fit(text)
    }

    #[test]
    fn patterns_are_the_shells() {
        for (pattern, yes, no) in [
            ("dist.*", &["dist.", "dist.rpm/x.y"][..], &["dist", "adist.x"][..]),
            ("*", &["", "x", "a/b"], &[]),
            ("a?c", &["abc", "a/c"], &["ac", "abbc"]),
            ("*.x86_64", &["t.x86_64", "a.x86_64.x86_64"], &["t.x86_64 "]),
            ("a*b*c", &["abc", "a-b-b-c"], &["acb", "a-b"]),
            ("[ab]x[!0-9]", &["axe", "bx-"], &["cxe", "ax5", "ax"]),
            ("[]]", &["]"], &["["]),
            ("[!]]", &["["], &["]"]),
            ("dist.{rpmlint,abi}", &["dist.abi"], &["dist.", "dist.rpm"]),
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
        assert!(Patterns::try_from(vec!["a[b".to_owned()]).unwrap_err().to_string().contains("a[b"));
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
