//! Taskotron's ResultYAML, as libtaskotron's `check.py` writes and reads it.
//!
//! ```yaml
//! results:
//!   - item: xchat-0.5-1.fc20
//!     type: koji_build
//!     checkname: rpmlint
//!     outcome: PASSED
//!     note: 5 ERRORS, 10 WARNINGS
//!     artifact: xchat-0.5-1.fc20.x86_64.log
//!     anything_else: further data
//! ```
//!
//! What a playbook of the Standard Test Interface lists, `{test: NAME, result: pass, logs: [FILE]}`, is understood too: it
//! is a check name, its outcome, and an artifact.
//!
//! As there: no outcome is NEEDS_INSPECTION, and `results:` may be empty. Its ABORTED and CRASHED are ERROR here. What
//! is absent of item, type and check name is the job's own. One result that makes no sense does not hide the others:
//! it becomes an ERROR that names its line.

use std::collections::BTreeMap;

use model::{Finding, Outcome};
use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Spanned;

use super::case::ROOM;
use super::error;

/// Results of one job that are taken.
const MAX_RESULTS: usize = 10_000;

#[derive(Deserialize)]
struct Document {
    // Read so, the key must be there; its value may be empty.
    #[serde(deserialize_with = "Option::deserialize")]
    results: Option<Vec<Spanned<Value>>>,
}

/// The findings a text lists. A text that is not in the format gives one finding that says so.
pub fn parse(text: &str) -> Vec<Finding> {
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    let document: Document = match serde_saphyr::from_str_with_options(text, options) {
        Ok(document) => document,
        Err(e) => {
            let what = e.without_snippet().to_string();
            return vec![error(match e.location() {
                Some(place) => format!("results.yml, line {}: {what}", place.line()),
                None => format!("results.yml: {what}"),
            })];
        }
    };
    let results = document.results.unwrap_or_default();
    if results.len() > MAX_RESULTS {
        let count = results.len();
        return vec![error(format!("results.yml lists {count} results; at most {MAX_RESULTS} are taken"))];
    }
    let found: Vec<Finding> = results.into_iter().map(|entry| finding(entry.value, entry.referenced.line())).collect();
    // An alias can repeat a short text until no master takes the report.
    if found.iter().map(weight).sum::<usize>() > ROOM {
        let most = model::Size(ROOM as u64);
        return vec![error(format!(
            "results.yml says more than {most}; write it to the log or to an artifact instead"
        ))];
    }
    found
}

/// Bytes of its texts.
fn weight(finding: &Finding) -> usize {
    let Finding { outcome: _, testcase, item, item_type, note, data } = finding;
    let texts = [testcase, item, item_type, note].into_iter().flatten();
    let data = data.iter().flat_map(|(name, texts)| texts.iter().chain([name]));
    // Empty ones take room, too.
    texts.chain(data).map(|text| text.len() + 1).sum()
}

fn finding(entry: Value, line: u64) -> Finding {
    let wrong = |what: String| error(format!("results.yml, line {line}: {what}"));
    let Value::Object(mut fields) = entry else {
        return wrong("a result is a mapping with item, type, outcome …".to_owned());
    };
    let standard = fields.contains_key("test") && fields.contains_key("result");
    let mut text = |name: &str| -> Result<Option<String>, String> {
        match fields.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Array(_) | Value::Object(_)) => Err(format!("'{name}' must be a text")),
            Some(value) => Ok(Some(scalar(&value))),
        }
    };
    let mut read = || -> Result<Finding, String> {
        let (outcome, checkname) = match (text("outcome")?, standard) {
            (Some(word), _) => (outcome(&word)?, text("checkname")?),
            (None, false) => (Outcome::NeedsInspection, text("checkname")?),
            (None, true) => (standard_outcome(&text("result")?.unwrap_or_default())?, text("test")?),
        };
        Ok(Finding {
            outcome,
            testcase: text("testcase")?.or(checkname),
            item: text("item")?,
            item_type: text("type")?,
            note: text("note")?,
            data: text("artifact")?.map(|path| ("artifact".to_owned(), vec![path])).into_iter().collect(),
        })
    };
    match read() {
        Err(what) => wrong(what),
        Ok(mut finding) => {
            fields.remove("_internal");
            finding.data.extend(further(fields.into_iter().collect()));
            finding
        }
    }
}

fn outcome(word: &str) -> Result<Outcome, String> {
    match word.trim().to_ascii_uppercase().as_str() {
        "ABORTED" | "CRASHED" => Ok(Outcome::Error),
        _ => Outcome::parse(word)
            .ok_or_else(|| format!("'{word}' is no outcome: PASSED, INFO, FAILED, NEEDS_INSPECTION or ERROR")),
    }
}

/// The words of the Standard Test Interface.
fn standard_outcome(word: &str) -> Result<Outcome, String> {
    match word.trim().to_ascii_lowercase().as_str() {
        "pass" => Ok(Outcome::Passed),
        "fail" => Ok(Outcome::Failed),
        "error" => Ok(Outcome::Error),
        "info" | "skip" => Ok(Outcome::Info),
        _ => Err(format!("'{word}' is no result: pass, fail, error, info or skip")),
    }
}

/// All other fields are data of the result, as lists of texts.
fn further(fields: BTreeMap<String, Value>) -> BTreeMap<String, Vec<String>> {
    let mut data = BTreeMap::new();
    for (name, value) in fields {
        match value {
            Value::Null => {}
            Value::Array(values) => {
                data.insert(name, values.iter().map(scalar).collect());
            }
            value => {
                data.insert(name, vec![scalar(&value)]);
            }
        }
    }
    data
}

/// A value as a text; a nested one as JSON.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_carries_all_that_it_says() {
        let found = parse(
            "results:\n\
             - item: xchat-0.5-1.fc20\n  type: koji_build\n  checkname: rpmlint\n  outcome: PASSED\n  note: 5 ERRORS\n  \
             artifact: x.log\n  arch: [x86_64, i686]\n  build: 17\n  nothing:\n  _internal: {a: 1}\n\
             - item: b\n  outcome: crashed\n- {}\n",
        );
        assert_eq!(found.len(), 3);
        assert_eq!((found[0].outcome, found[1].outcome), (Outcome::Passed, Outcome::Error));
        assert_eq!(found[2], Finding::of(Outcome::NeedsInspection));
        assert_eq!(found[0].item.as_deref(), Some("xchat-0.5-1.fc20"));
        assert_eq!(found[0].item_type.as_deref(), Some("koji_build"));
        assert_eq!(found[0].testcase.as_deref(), Some("rpmlint"));
        assert_eq!(found[0].note.as_deref(), Some("5 ERRORS"));
        let data = serde_json::to_string(&found[0].data).unwrap();
        assert_eq!(data, r#"{"arch":["x86_64","i686"],"artifact":["x.log"],"build":["17"]}"#);
    }

    #[test]
    fn what_the_standard_test_interface_lists_is_understood() {
        let found = parse(
            "results:\n- {test: smoke, result: pass, logs: [smoke.log]}\n- {test: deep, result: fail}\n\
             - {test: odd, result: FINE}\n",
        );
        let said: Vec<_> = found.iter().map(|f| (f.outcome, f.testcase.as_deref())).collect();
        let want = [(Outcome::Passed, Some("smoke")), (Outcome::Failed, Some("deep")), (Outcome::Error, None)];
        assert_eq!(said, want);
        assert_eq!(found[0].data["logs"], ["smoke.log"]);
    }

    #[test]
    fn a_file_that_makes_no_sense_is_one_error_with_its_line() {
        for (text, line) in [
            ("results:\n- item: [a\n- b: }\n", "line 3"),
            ("results:\n  a: b\n", "line 2"),
            ("[]", "line 1"),
            ("", "results.yml"),
            ("outcome: PASSED\n", "results.yml"),
        ] {
            let found = parse(text);
            assert_eq!((found.len(), found[0].outcome), (1, Outcome::Error), "{text:?}");
            let note = found[0].note.as_deref().unwrap();
            assert!(note.contains(line), "{text:?}: {note}");
        }
        assert!(parse("results:\n").is_empty());
    }

    #[test]
    fn one_wrong_result_does_not_hide_the_others() {
        let found = parse("results:\n- item: a\n  outcome: PASSED\n- item: b\n  outcome: FINE\n- 7\n");
        let outcomes: Vec<_> = found.iter().map(|f| f.outcome).collect();
        assert_eq!(outcomes, [Outcome::Passed, Outcome::Error, Outcome::Error]);
        let note = "results.yml, line 4: 'FINE' is no outcome: PASSED, INFO, FAILED, NEEDS_INSPECTION or ERROR";
        assert_eq!(found[1].note.as_deref(), Some(note));
    }

    #[test]
    fn results_that_say_too_much_are_one_error() {
        let long = |times: usize, what: &str| {
            let text = "x".repeat(1 << 20);
            format!("results:\n- &a {{outcome: PASSED, {what}: {text}}}\n{}", "- *a\n".repeat(times - 1))
        };
        for what in ["note", "item", "anything"] {
            let taken = parse(&long(3, what));
            assert_eq!((taken.len(), taken[2].outcome), (3, Outcome::Passed), "{what}");
            let found = parse(&long(4, what));
            let note = "results.yml says more than 4MiB; write it to the log or to an artifact instead";
            assert_eq!((found.len(), found[0].note.as_deref()), (1, Some(note)), "{what}");
        }
    }

    #[test]
    fn too_many_results_are_one_error() {
        let many = "results:\n".to_owned() + &"- {}\n".repeat(MAX_RESULTS + 1);
        let found = parse(&many);
        assert_eq!(found[0].note.as_deref(), Some("results.yml lists 10001 results; at most 10000 are taken"));
    }
}
