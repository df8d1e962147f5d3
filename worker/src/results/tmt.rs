//! The `results.yaml` that tmt's execute step writes: a list of results, each with its name, result and notes.
//!
//! | tmt | outcome |
//! |---|---|
//! | pass | PASSED |
//! | fail | FAILED |
//! | info, skip | INFO |
//! | warn | NEEDS_INSPECTION |
//! | error, pending (it never ran) | ERROR |

use model::Outcome;
use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Spanned;

use super::Wrong;
use super::case::{Case, Cases};

/// Only what is looked at; there is more, and more to come with each version of tmt.
#[derive(Deserialize)]
struct Entry {
    name: String,
    result: Spanned<String>,
    #[serde(default)]
    note: Value,
    #[serde(default)]
    guest: Option<Guest>,
    #[serde(default)]
    duration: Option<String>,
    #[serde(default)]
    subresult: Vec<Entry>,
}

#[derive(Deserialize)]
struct Guest {
    #[serde(default)]
    name: Option<String>,
}

/// Adds the cases of a file; a subresult's name follows its result's.
pub fn read(text: &str, cases: &mut Cases) -> Result<(), Wrong> {
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    let entries: Option<Vec<Entry>> =
        serde_saphyr::from_str_with_options(text, options).map_err(|e| Wrong::yaml(&e))?;
    entries.unwrap_or_default().into_iter().try_for_each(|entry| add(entry, "", cases))
}

fn add(entry: Entry, above: &str, cases: &mut Cases) -> Result<(), Wrong> {
    let Entry { name, result, note, guest, duration, subresult } = entry;
    let line = result.referenced.line();
    let name = format!("{above}{}", name.trim());
    let outcome = outcome(&result.value).ok_or_else(|| {
        let what = format!("'{}' is no result of tmt: pass, fail, info, warn, error, skip or pending", result.value);
        Wrong { line, what }
    })?;
    let mut case = Case::new(name.trim_start_matches('/'), outcome).noted(texts(&note));
    let guest = guest.and_then(|guest| guest.name);
    for (key, value) in [("guest", guest), ("duration", duration)] {
        case.data.extend(value.map(|value| (key.to_owned(), vec![value])));
    }
    cases.add(case).map_err(|what| Wrong { line, what })?;
    subresult.into_iter().try_for_each(|entry| add(entry, &name, cases))
}

fn outcome(word: &str) -> Option<Outcome> {
    Some(match word {
        "pass" => Outcome::Passed,
        "fail" => Outcome::Failed,
        "info" | "skip" => Outcome::Info,
        "warn" => Outcome::NeedsInspection,
        "error" | "pending" => Outcome::Error,
        _ => return None,
    })
}

/// One note, or a list of them.
fn texts(note: &Value) -> String {
    match note {
        Value::String(text) => text.clone(),
        Value::Array(notes) => notes.iter().map(texts).collect::<Vec<_>>().join("; "),
        Value::Null => String::new(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Object(_)) => other.to_string(),
    }
}
