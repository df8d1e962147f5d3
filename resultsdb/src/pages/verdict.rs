//! What an outcome says, in the words of those who gate on it.

use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// INFO counts as passed.
    Good,
    /// NEEDS_INSPECTION counts as failed.
    Bad,
    /// There is none yet.
    Pending,
    /// The test itself did not come to one.
    Neither,
}

impl Verdict {
    pub fn of(outcome: &str) -> Verdict {
        match outcome {
            "PASSED" | "INFO" => Verdict::Good,
            "FAILED" | "NEEDS_INSPECTION" => Verdict::Bad,
            "QUEUED" | "RUNNING" => Verdict::Pending,
            _ => Verdict::Neither,
        }
    }

    /// Its class in the stylesheet.
    pub fn class(self) -> &'static str {
        match self {
            Verdict::Good => "passed",
            Verdict::Bad => "failed",
            Verdict::Pending => "running",
            Verdict::Neither => "error",
        }
    }
}

/// What tells apart results of one testcase and item; a part that a result does not name is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flavour {
    pub arch: String,
    pub scenario: String,
    pub variant: String,
}

impl Flavour {
    /// Of one result, no more flavours than this count: values of different keys multiply.
    const MOST: usize = 64;

    /// All that a result of these data stands for; at least one.
    pub fn all(data: &BTreeMap<String, Vec<String>>) -> Vec<Flavour> {
        let values = |keys: &[&str]| -> Vec<String> {
            let found = keys.iter().find_map(|key| data.get(*key)).filter(|values| !values.is_empty());
            found.cloned().unwrap_or_else(|| vec![String::new()])
        };
        let (arches, scenarios) = (values(&["system_architecture", "arch"]), values(&["scenario"]));
        let variants = values(&["system_variant"]);
        let mut all = Vec::new();
        for arch in &arches {
            for scenario in &scenarios {
                for variant in &variants {
                    if all.len() < Flavour::MOST {
                        all.push(Flavour { arch: arch.clone(), scenario: scenario.clone(), variant: variant.clone() });
                    }
                }
            }
        }
        all
    }

    /// For people.
    pub fn name(&self) -> String {
        let parts: Vec<&str> = [&self.arch, &self.scenario, &self.variant]
            .into_iter()
            .map(String::as_str)
            .filter(|p| !p.is_empty())
            .collect();
        if parts.is_empty() { "—".to_owned() } else { parts.join(" · ") }
    }
}
