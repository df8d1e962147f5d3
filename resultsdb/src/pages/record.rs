//! What a stretch of a testcase's results says of it: how often it passes, how often it changes its mind, how long it
//! takes.
//!
//! A *repeat* is a verdict on an item that had one before, in the same flavour. A *flip* is a repeat that turned out
//! otherwise than the one before it. The flake rate is flips by repeats.

use std::collections::{BTreeMap, HashMap};

use super::verdict::{Flavour, Verdict};
use crate::result::StoredResult;

#[derive(Default)]
pub struct Record {
    pub good: usize,
    pub bad: usize,
    /// Items and flavours whose newest result is no verdict yet.
    pub pending: usize,
    pub neither: usize,
    pub repeats: usize,
    pub flips: usize,
    /// Items that flipped, most first.
    pub unsteady: Vec<Unsteady>,
    /// Where it is known, oldest first.
    pub durations: Vec<Duration>,
    /// Each result's verdict, oldest first, and whether it was a repeat and a flip.
    pub course: Vec<Step>,
}

pub struct Unsteady {
    pub item: String,
    pub kind: String,
    pub flips: usize,
}

pub struct Duration {
    /// Microseconds since 1970.
    pub ended: i64,
    pub seconds: f64,
    pub verdict: Verdict,
}

pub struct Step {
    /// Microseconds since 1970.
    pub time: i64,
    pub verdict: Verdict,
    pub repeat: bool,
    pub flip: bool,
}

/// What was tested, as far as it can be told.
#[derive(PartialEq, Eq, Hash)]
struct Subject {
    item: String,
    kind: String,
    flavours: Vec<Flavour>,
}

#[derive(Default)]
struct Course {
    last: Option<Verdict>,
    running_since: Option<i64>,
    pending: bool,
}

impl Record {
    /// Reads results that come newest first.
    pub fn of(results: &[StoredResult]) -> Record {
        let mut record = Record::default();
        let mut courses: HashMap<Subject, Course> = HashMap::new();
        let mut flips: BTreeMap<(String, String), usize> = BTreeMap::new();
        for result in results.iter().rev() {
            let data = result.data();
            let verdict = Verdict::of(&result.outcome);
            match verdict {
                Verdict::Good => record.good += 1,
                Verdict::Bad => record.bad += 1,
                Verdict::Pending => {}
                Verdict::Neither => record.neither += 1,
            }
            let first = |key: &str| data.get(key).and_then(|values| values.first()).cloned().unwrap_or_default();
            let (item, kind) = (first("item"), first("type"));
            let mut step = Step { time: result.submit_time, verdict, repeat: false, flip: false };
            let told = data.get("duration").and_then(|values| values.first()).and_then(|text| seconds(text));
            let mut measured = None;
            if !item.is_empty() {
                let subject = Subject { item: item.clone(), kind: kind.clone(), flavours: Flavour::all(&data) };
                let course = courses.entry(subject).or_default();
                course.pending = verdict == Verdict::Pending;
                match verdict {
                    Verdict::Pending if result.outcome == "RUNNING" => {
                        course.running_since.get_or_insert(result.submit_time);
                    }
                    Verdict::Pending => {}
                    Verdict::Neither => course.running_since = None,
                    Verdict::Good | Verdict::Bad => {
                        measured = course.running_since.take().map(|since| (result.submit_time - since) as f64 / 1e6);
                        step.repeat = course.last.is_some();
                        step.flip = course.last.is_some_and(|last| last != verdict);
                        course.last = Some(verdict);
                    }
                }
            }
            record.repeats += usize::from(step.repeat);
            if step.flip {
                record.flips += 1;
                *flips.entry((item, kind)).or_default() += 1;
            }
            if let Some(seconds) = told.or(measured) {
                record.durations.push(Duration { ended: result.submit_time, seconds, verdict });
            }
            record.course.push(step);
        }
        record.pending = courses.values().filter(|course| course.pending).count();
        record.unsteady = flips.into_iter().map(|((item, kind), flips)| Unsteady { item, kind, flips }).collect();
        record.unsteady.sort_by_key(|unsteady| std::cmp::Reverse(unsteady.flips));
        record
    }

    /// Of all verdicts, in percent; `None` when there are none.
    pub fn pass_rate(&self) -> Option<f64> {
        percent(self.good, self.good + self.bad)
    }

    /// In percent; `None` when nothing was tested twice.
    pub fn flake_rate(&self) -> Option<f64> {
        percent(self.flips, self.repeats)
    }

    /// The median, in seconds.
    pub fn usual_duration(&self) -> Option<f64> {
        let mut all: Vec<f64> = self.durations.iter().map(|d| d.seconds).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied()
    }
}

pub fn percent(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 * 100.0 / whole as f64)
}

/// A duration as results bring it: seconds as a number, or `[H:]MM:SS[.f]` as tmt writes it.
fn seconds(text: &str) -> Option<f64> {
    let mut seconds = 0.0;
    let parts: Vec<&str> = text.trim().split(':').collect();
    for part in &parts {
        let number = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        seconds = seconds * 60.0 + if number { part.parse::<f64>().ok()? } else { return None };
    }
    (parts.len() <= 3 && seconds < 1e9).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(second: i64, outcome: &str, data: &str) -> StoredResult {
        StoredResult {
            id: second,
            outcome: outcome.into(),
            submit_time: second * 1_000_000,
            note: None,
            ref_url: None,
            data: data.into(),
            groups: "[]".into(),
            testcase: "t".into(),
            testcase_ref_url: None,
        }
    }

    #[test]
    fn flips_are_told_from_changes_between_items_and_flavours() {
        let mut results = vec![
            result(1, "PASSED", r#"{"item":["a"]}"#),
            result(2, "FAILED", r#"{"item":["b"]}"#),
            result(3, "FAILED", r#"{"item":["a"],"arch":["x"]}"#),
            result(4, "NEEDS_INSPECTION", r#"{"item":["a"]}"#),
            result(5, "ERROR", r#"{"item":["a"]}"#),
            result(6, "INFO", r#"{"item":["a"]}"#),
            result(7, "PASSED", r#"{"item":["a"]}"#),
            result(8, "PASSED", "{}"),
            result(9, "FAILED", "{}"),
        ];
        results.reverse();
        let record = Record::of(&results);
        assert_eq!((record.good, record.bad, record.neither), (4, 4, 1));
        assert_eq!((record.repeats, record.flips), (3, 2));
        assert_eq!(record.pass_rate(), Some(50.0));
        let unsteady: Vec<(&str, usize)> = record.unsteady.iter().map(|u| (u.item.as_str(), u.flips)).collect();
        assert_eq!(unsteady, [("a", 2)]);
        assert_eq!((Record::default().pass_rate(), Record::default().flake_rate()), (None, None));
    }

    #[test]
    fn a_duration_is_told_or_goes_from_running_to_the_verdict() {
        let mut results = vec![
            result(1, "QUEUED", r#"{"item":["a"]}"#),
            result(2, "RUNNING", r#"{"item":["a"]}"#),
            result(5, "RUNNING", r#"{"item":["b"]}"#),
            result(62, "PASSED", r#"{"item":["a"]}"#),
            result(70, "FAILED", r#"{"item":["a"]}"#),
            result(71, "ERROR", r#"{"item":["b"]}"#),
            result(72, "PASSED", r#"{"item":["b"]}"#),
            result(80, "PASSED", r#"{"item":["c"],"duration":["00:01:30"]}"#),
            result(81, "RUNNING", r#"{"item":["c"]}"#),
        ];
        results.reverse();
        let record = Record::of(&results);
        let all: Vec<(i64, f64)> = record.durations.iter().map(|d| (d.ended / 1_000_000, d.seconds)).collect();
        assert_eq!(all, [(62, 60.0), (80, 90.0)]);
        assert_eq!((record.usual_duration(), record.pending), (Some(90.0), 1));
        for (text, want) in [
            ("1.5", Some(1.5)),
            ("02:03", Some(123.0)),
            ("1:0:0", Some(3600.0)),
            ("", None),
            ("-1", None),
            ("1:2:3:4", None),
            ("nan", None),
            ("1e9", None),
        ] {
            assert_eq!(seconds(text), want, "{text}");
        }
    }
}
