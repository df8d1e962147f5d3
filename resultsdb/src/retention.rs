//! How long results are kept.

use model::{Span, Time};
use serde::{Deserialize, Serialize};

use crate::permission::Patterns;

/// One entry of `[resultsdb] retention`: results of its testcases go when they are older than
/// `keep`. The newest of an item stays: what a gate would be told of it must not change by growing old. It goes when it
/// is older than `latest`, where that is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    pub testcases: Patterns,
    pub keep: Span,
    pub latest: Option<Span>,
}

/// All entries: the first that is about a testcase counts; results of other testcases stay for ever.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Retentions(Vec<Retention>);

/// Up to when results of a testcase go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub any: Time,
    /// Also those that are the newest of their item.
    pub latest: Option<Time>,
}

impl Retentions {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is wrong with them, if anything is.
    pub fn check(&self) -> Result<(), String> {
        match self.0.iter().find(|one| one.latest.is_some_and(|latest| latest < one.keep)) {
            None => Ok(()),
            Some(one) => Err(format!(
                "retention of {}: latest is how long the newest result of an item is kept, and must not be shorter than \
                 keep, {}",
                Vec::from(one.testcases.clone()).join(", "),
                one.keep
            )),
        }
    }

    pub fn bounds(&self, testcase: &str, now: Time) -> Option<Bounds> {
        let one = self.0.iter().find(|one| one.testcases.fit(testcase))?;
        Some(Bounds { any: now.minus(one.keep), latest: one.latest.map(|latest| now.minus(latest)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_entry_counts() {
        let text =
            r#"[{"testcases": ["dist.*"], "keep": "10s", "latest": "20s"}, {"testcases": ["*"], "keep": "30s"}]"#;
        let all: Retentions = serde_json::from_str(text).unwrap();
        let now = Time(100_000_000);
        let bounds = |any, latest: Option<i64>| Some(Bounds { any: Time(any), latest: latest.map(Time) });
        assert_eq!(all.bounds("dist.a", now), bounds(90_000_000, Some(80_000_000)));
        assert_eq!(all.bounds("other", now), bounds(70_000_000, None));
        assert_eq!(Retentions::default().bounds("other", now), None);
        assert_eq!(all.check(), Ok(()));
    }

    #[test]
    fn the_newest_are_not_kept_for_less() {
        let text = r#"[{"testcases": ["*"], "keep": "30s", "latest": "20s"}]"#;
        let all: Retentions = serde_json::from_str(text).unwrap();
        assert!(all.check().unwrap_err().contains("must not be shorter than keep, 30s"));
        assert!(serde_json::from_str::<Retentions>(r#"[{"testcases": [], "keep": "1s", "lastest": "1s"}]"#).is_err());
    }
}
