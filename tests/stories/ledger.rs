//! Tasks whose every run leaves a line in a ledger outside of Taskotron, and says in its result which attempt it was
//! and whose: so that what ran can be compared with what the master knows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::kit::Story;
use crate::kit::count::text;
use crate::site::Site;

const TASKS: &str = r#"
tasks:
  quick: { run: [sh, -c, "echo $TASKOTRON_JOB_ID $TASKOTRON_ATTEMPT $WHO >>$LEDGER; . $REPORT"] }
  other: { run: [sh, -c, "echo $TASKOTRON_JOB_ID $TASKOTRON_ATTEMPT $WHO >>$LEDGER; sleep 0.1; . $REPORT"] }
  slow: { run: [sh, -c, "echo $TASKOTRON_JOB_ID $TASKOTRON_ATTEMPT $WHO >>$LEDGER; sleep 1.5; . $REPORT"] }
"#;

const REPORT: &str = r#"#!/bin/sh
printf 'results:\n  - { outcome: PASSED, note: "%s %s" }\n' "$TASKOTRON_ATTEMPT" "$WHO" >"$TASKOTRON_RESULTS"
"#;

/// Writes the tasks `quick`, `other` (a tenth of a second) and `slow` (one and a half) into the story's `config`.
pub fn write_tasks(story: &Story) {
    story.write("config/tasks.yml", TASKS);
    let report = story.write("report", REPORT);
    fs::set_permissions(report, fs::Permissions::from_mode(0o755)).expect("it is ours");
}

/// The lines of a worker's settings that the tasks need; they write outside of their workspaces.
pub fn environment(story: &Story, who: &str) -> String {
    let (ledger, report) = (story.path("ledger"), story.path("report"));
    let environment = format!("environment = {{ WHO = {who:?}, LEDGER = {ledger:?}, REPORT = {report:?} }}");
    format!("{environment}\nwritable = [{:?}]\n", story.folder())
}

/// Proves that each of these jobs has passed, by its last attempt, and that whatever ran was one of the attempts that
/// the master knows, once.
#[track_caller]
pub fn assert_accounts(story: &Story, site: &Site, jobs: &[Value], results: &BTreeMap<String, Vec<Value>>) {
    let attempts = jobs.iter().map(|job| {
        let id = text(&job["id"]);
        let made = site.get(&format!("/api/v1/jobs/{id}"))["attempts_made"].clone();
        let made = made.as_array().expect("attempts").iter();
        (id, made.map(|a| format!("{} {}", a["attempt"], text(&a["worker"]))).collect())
    });
    assert_accounts_of(story, jobs, results, &attempts.collect());
}

/// The same, with the attempts that the master knows of each job, in their order: number and worker.
#[track_caller]
pub fn assert_accounts_of(
    story: &Story,
    jobs: &[Value],
    results: &BTreeMap<String, Vec<Value>>,
    attempts: &BTreeMap<String, Vec<String>>,
) {
    let ledger = fs::read_to_string(story.path("ledger")).unwrap_or_default();
    let mut runs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (job, run) in ledger.lines().filter_map(|line| line.split_once(' ')) {
        runs.entry(job).or_default().push(run);
    }
    let mut seen = BTreeSet::new();
    for job in jobs {
        let id = text(&job["id"]);
        assert_eq!((&job["state"], &job["outcome"]), (&json!("finished"), &json!("PASSED")), "{job}");
        let known = attempts.get(&id).map_or(&[][..], |known| known);
        assert_eq!(job["attempts"], known.len(), "{job}");
        let last = known.last().expect("a job that has ended has an attempt");
        let numbers: Vec<usize> = known.iter().filter_map(|attempt| attempt.split(' ').next()?.parse().ok()).collect();
        assert_eq!(numbers, (1..=known.len()).collect::<Vec<_>>(), "attempts are numbered without a gap: {job}");
        assert_eq!(results[&id][0]["note"], **last, "a result is of the attempt that ended its job: {job}");
        let ran = runs.get(&*id).map_or(&[][..], |runs| runs);
        for run in ran {
            assert!(known.iter().any(|attempt| attempt == run), "run {run} is no attempt of {job}, only {known:?}");
            assert!(seen.insert((id.clone(), *run)), "attempt {run} ran twice: {job}");
        }
        assert!(ran.contains(&&**last), "{last} of {job} has a result and did not run");
    }
    assert_eq!(runs.len(), jobs.len(), "something ran that is no job");
}
