//! Counting: what was expected is what was found, each once.

use serde_json::{Value, json};

use super::{Story, secs};

/// Panics, naming some of what is missing, unwanted or there twice. The order does not count.
#[track_caller]
pub fn assert_same<S: Into<String>>(
    what: &str,
    expected: impl IntoIterator<Item = S>,
    found: impl IntoIterator<Item = S>,
) {
    if let Err(difference) = same(expected, found) {
        panic!("{what}: {difference}");
    }
}

/// The same as an answer.
pub fn same<S: Into<String>>(
    expected: impl IntoIterator<Item = S>,
    found: impl IntoIterator<Item = S>,
) -> Result<(), String> {
    let (expected, found) = (sorted(expected), sorted(found));
    if found == expected {
        return Ok(());
    }
    let missing: Vec<_> = expected.iter().filter(|one| found.binary_search(one).is_err()).collect();
    let unwanted: Vec<_> = found.iter().filter(|one| expected.binary_search(one).is_err()).collect();
    let twice: Vec<_> = found.windows(2).filter(|two| two[0] == two[1]).map(|two| &two[0]).collect();
    let counts = [&missing, &unwanted, &twice].map(Vec::len);
    let some = |of: Vec<&String>| of.into_iter().take(5).cloned().collect::<Vec<_>>();
    Err(format!(
        "expected {}, found {}; missing {} {:?}, unwanted {} {:?}, twice {} {:?}",
        expected.len(),
        found.len(),
        counts[0],
        some(missing),
        counts[1],
        some(unwanted),
        counts[2],
        some(twice),
    ))
}

pub fn sorted<S: Into<String>>(all: impl IntoIterator<Item = S>) -> Vec<String> {
    let mut all: Vec<String> = all.into_iter().map(Into::into).collect();
    all.sort();
    all
}

/// The keys of jobs, each `[cause, task, item_type, item, arch]`: by the definition and by no code of ours. Sorted.
#[track_caller]
pub fn keys(story: &Story, jobs: &[[String; 5]]) -> Vec<String> {
    story.write("jobs.json", json!(jobs).to_string());
    let mut python = story.python();
    python.args([
        "-c",
        "import json, uuid\n\
         namespace = uuid.UUID('6f1d1c1e-8f0a-5b7e-9d5c-2f6f0e2b7a11')\n\
         for job in json.load(open('jobs.json')):\n\
         \x20   print(uuid.uuid5(namespace, json.dumps(job, separators=(',', ':'))))",
    ]);
    let ran = story.run(secs(60), python);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    sorted(ran.out.lines())
}

/// The text in a JSON value.
#[track_caller]
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}
