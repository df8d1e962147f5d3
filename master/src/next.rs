//! What the end of an attempt means for its job. Pure: the store asks inside its transaction.
//!
//! A process that judged its item has findings, and they are published. Whatever kept it from judging is not the
//! item's fault: it is tried again, and when that is over published as one ERROR, never as FAILED.

use model::{End, Finding, JobState, Outcome};
use rules::{Retry, RetryPolicy, Subject, Task};

use crate::Settings;
use crate::publication::Publisher;
use crate::store::{Ending, Next, Publication};

/// How an ended attempt moves its job. `task` is the version that the job runs: where it cannot be read nobody knows
/// what its author asked for, so its job is tried again as by default, and then ends with an ERROR.
pub fn next(ending: &Ending, task: Option<&Task>, settings: &Settings) -> Next {
    let default = RetryPolicy::default();
    let retry = task.map_or(&default, Task::retry);
    let Some(end) = ending.ends.last() else {
        return Next::Again { at: None, reason: "no attempt has ended yet".into() };
    };
    if *end == End::Cancelled {
        return cancelled("cancelled while it ran".into());
    }
    match retry.next(&ending.ends) {
        Retry::Again { .. } | Retry::Person if ending.cancelled => {
            return cancelled(format!("cancelled; its last attempt {}", past(end)));
        }
        Retry::Again { after } => {
            let at = (after.0 > std::time::Duration::ZERO).then(|| ending.now.plus(after));
            return Next::Again { at, reason: again(ending, end, retry) };
        }
        Retry::Person => return Next::Unsettled { reason: unsettled(ending, end) },
        Retry::Spent => {}
    }
    match end {
        End::Exited { .. } if task.is_none() => error(ending, "its task cannot be read", task, settings),
        End::Exited { .. } if !ending.findings.is_empty() => found(ending, task, settings),
        End::Exited { .. } => error(ending, "left no results", task, settings),
        End::Cancelled => cancelled("cancelled while it ran".into()),
        End::Lost | End::NotStarted { .. } | End::HandedBack if ending.cancelled => {
            cancelled(format!("cancelled; its last attempt {}", past(end)))
        }
        End::Lost | End::NotStarted { .. } | End::HandedBack => {
            let made = ending.ends.len();
            error(ending, &format!("was given up after {made} attempts"), task, settings)
        }
        End::Signalled { .. } | End::TimedOut { .. } | End::OverLimit { .. } => {
            error(ending, "did not judge its item", task, settings)
        }
    }
}

fn cancelled(reason: String) -> Next {
    Next::Ended { state: JobState::Cancelled, reason, outcome: None, results: Vec::new() }
}

/// "retry 2 of 3 after exit:75": which of the retries that its budget has is the next one.
fn again(ending: &Ending, end: &End, retry: &RetryPolicy) -> String {
    let word = end.word();
    if end.is_infrastructure() {
        let n = ending.ends.iter().filter(|end| end.is_infrastructure()).count();
        return format!("retry {n} after {word}");
    }
    let made = ending.ends.iter().filter(|end| !end.is_infrastructure()).count();
    match retry {
        RetryPolicy::Never => format!("retry after {word}"),
        RetryPolicy::On { attempts, .. } => format!("retry {made} of {} after {word}", attempts.saturating_sub(1)),
    }
}

/// What a person is told who must say what becomes of the job.
fn unsettled(ending: &Ending, end: &End) -> String {
    format!(
        "attempt {} {}, and its task says 'retry: never'; look what it has done, then 'taskotron job settle {} --as \
         requeue|passed|failed|error -m REASON'",
        ending.attempt,
        past(end),
        ending.job
    )
}

/// What becomes of a job of which a person says what it has found: one result that says so, and who said it.
pub fn settled(ending: &Ending, outcome: Outcome, note: &str, task: Option<&Task>, settings: &Settings) -> Next {
    let finding = Finding { note: Some(note.to_owned()), ..Finding::of(outcome) };
    let results = publications(ending, &[finding], task, settings);
    Next::Ended { state: JobState::Finished, reason: note.to_owned(), outcome: Some(outcome), results }
}

fn past(end: &End) -> String {
    match end {
        End::HandedBack => "was handed back".into(),
        End::Cancelled => "was cancelled".into(),
        End::Lost => "was lost with its worker".into(),
        end @ (End::Exited { .. }
        | End::Signalled { .. }
        | End::TimedOut { .. }
        | End::OverLimit { .. }
        | End::NotStarted { .. }) => end.to_string(),
    }
}

fn found(ending: &Ending, task: Option<&Task>, settings: &Settings) -> Next {
    let outcome = ending.findings.iter().map(|finding| finding.outcome).max();
    let end = ending.ends.last().map(ToString::to_string).unwrap_or_default();
    let reason = match (outcome, ending.findings.len()) {
        (Some(outcome), 1) => format!("{end} and found {outcome}"),
        (Some(outcome), n) => format!("{end} and found {n} results, the gravest {outcome}"),
        (None, _) => end,
    };
    let results = publications(ending, &ending.findings, task, settings);
    Next::Ended { state: JobState::Finished, reason, outcome, results }
}

/// Ends the job with one ERROR, which says that nothing was found out about the item.
fn error(ending: &Ending, what: &str, task: Option<&Task>, settings: &Settings) -> Next {
    let end = ending.ends.last().map(ToString::to_string).unwrap_or_default();
    let reason = format!("{what}: {end}");
    let note = match &ending.note {
        Some(note) => format!("{reason} ({note})"),
        None => reason.clone(),
    };
    let finding = Finding { note: Some(note), ..Finding::of(Outcome::Error) };
    let results = publications(ending, &[finding], task, settings);
    Next::Ended { state: JobState::Finished, reason, outcome: Some(Outcome::Error), results }
}

fn publications(ending: &Ending, findings: &[Finding], task: Option<&Task>, settings: &Settings) -> Vec<Publication> {
    let subject = Subject {
        job: ending.job,
        item: &ending.item,
        item_type: &ending.item_type,
        arch: &ending.arch,
        params: &ending.params,
    };
    let publisher = Publisher::new(subject, &ending.task, task, ending.note.as_deref(), settings);
    let result =
        |(index, finding): (usize, &Finding)| publisher.result(&index.to_string(), finding.outcome.name(), finding);
    let mut results: Vec<_> = findings.iter().enumerate().map(result).collect();
    // What was announced under the task's own name would stay the last word of it.
    if task.is_some_and(Task::publishes_any) && !findings.iter().any(|finding| publisher.is_own(finding)) {
        let worst = findings.iter().map(|finding| finding.outcome).max().unwrap_or(Outcome::Error);
        let note = Some(format!("the gravest of {} results", findings.len()));
        results.push(result((findings.len(), &Finding { note, ..Finding::of(worst) })));
    }
    results
}

#[cfg(test)]
mod tests {
    use model::{JobId, Quota, Time};
    use serde_json::json;

    use super::*;
    use crate::sample;

    fn ending(ends: Vec<End>, findings: Vec<Finding>) -> Ending {
        Ending {
            job: JobId::of("e", "rpmlint", "koji_build", "foo-1-1", "x86_64"),
            attempt: u32::try_from(ends.len()).unwrap(),
            task_version: 1,
            task: "rpmlint".into(),
            item: "foo-1-1".into(),
            item_type: "koji_build".into(),
            arch: "x86_64".into(),
            params: serde_json::Map::new(),
            ends,
            findings,
            note: None,
            cancelled: false,
            now: Time(0),
        }
    }

    fn decide(ending: &Ending) -> Next {
        let task = sample::task("rpmlint", "retry: { on: [exit:75], attempts: 3, delay: 30s }");
        next(ending, Some(&task), &Settings::default())
    }

    /// One line for one decision.
    fn line(ending: &Ending) -> String {
        match decide(ending) {
            Next::Again { at, reason } => format!("again at {}: {reason}", at.map_or(0, |t| t.0)),
            Next::Unsettled { reason } => format!("a person: {reason}"),
            Next::Ended { state, reason, outcome, results } => {
                let outcome = outcome.map_or("-", Outcome::name);
                format!("{state} {outcome} {}: {reason}", results.len())
            }
        }
    }

    #[test]
    fn every_end_moves_its_job_in_one_way() {
        let exit = |code| End::Exited { code };
        let found = |outcome| vec![Finding::of(outcome)];
        let not_started = || End::NotStarted { reason: "no disk".into() };
        let table = [
            (vec![exit(0)], found(Outcome::Passed), "finished PASSED 1: exited with 0 and found PASSED"),
            (vec![exit(1)], found(Outcome::Failed), "finished FAILED 1: exited with 1 and found FAILED"),
            (vec![exit(0)], vec![], "finished ERROR 1: left no results: exited with 0"),
            (vec![exit(75)], found(Outcome::Failed), "again at 30000000: retry 1 of 2 after exit:75"),
            (vec![exit(75); 2], found(Outcome::Failed), "again at 30000000: retry 2 of 2 after exit:75"),
            (vec![exit(75); 3], found(Outcome::Failed), "finished FAILED 1: exited with 75 and found FAILED"),
            (vec![End::Lost], vec![], "again at 0: retry 1 after lost"),
            (vec![End::Lost, not_started()], vec![], "again at 1000000: retry 2 after not_started"),
            (vec![End::Lost; 11], vec![], "finished ERROR 1: was given up after 11 attempts: its worker was lost"),
            (vec![End::HandedBack; 30], vec![], "again at 0: retry 30 after handed_back"),
            (
                vec![End::TimedOut { quota: Quota::Total }],
                found(Outcome::Failed),
                "finished ERROR 1: did not judge its item: ran longer than its timeout",
            ),
            (
                vec![End::OverLimit { limit: model::Bound::Memory }],
                found(Outcome::Failed),
                "finished ERROR 1: did not judge its item: went over its limit of memory",
            ),
            (
                vec![End::Signalled { signal: 11 }],
                vec![],
                "finished ERROR 1: did not judge its item: ended by signal 11",
            ),
            (vec![End::Cancelled], vec![], "cancelled - 0: cancelled while it ran"),
        ];
        for (ends, findings, want) in table {
            assert_eq!(line(&ending(ends, findings)), want);
        }
    }

    #[test]
    fn what_a_person_cancelled_is_not_tried_again_but_what_it_found_is_kept() {
        let cancelled = |ends, findings| Ending { cancelled: true, ..ending(ends, findings) };
        let lost = line(&cancelled(vec![End::Lost], vec![]));
        assert_eq!(lost, "cancelled - 0: cancelled; its last attempt was lost with its worker");
        let spent = line(&cancelled(vec![End::Lost; 11], vec![]));
        assert_eq!(spent, "cancelled - 0: cancelled; its last attempt was lost with its worker");
        let retried = line(&cancelled(vec![End::Exited { code: 75 }], vec![]));
        assert_eq!(retried, "cancelled - 0: cancelled; its last attempt exited with 75");
        let crossed = line(&cancelled(vec![End::Exited { code: 0 }], vec![Finding::of(Outcome::Passed)]));
        assert_eq!(crossed, "finished PASSED 1: exited with 0 and found PASSED");
    }

    #[test]
    fn what_is_never_tried_again_waits_for_a_person_who_says_what_it_found() {
        let task = sample::task("rpmlint", "retry: never");
        let lost = ending(vec![End::Lost], vec![]);
        let Next::Unsettled { reason } = next(&lost, Some(&task), &Settings::default()) else { panic!("it waits") };
        let command = format!("taskotron job settle {} --as requeue|passed|failed|error", lost.job);
        assert!(reason.starts_with("attempt 1 was lost with its worker") && reason.contains(&command), "{reason}");
        let note = "settled as FAILED by kath: its log says so";
        let said = settled(&lost, Outcome::Failed, note, Some(&task), &Settings::default());
        let Next::Ended { state, reason, outcome, results } = said else { panic!("it ended") };
        assert_eq!((state, reason.as_str(), outcome), (JobState::Finished, note, Some(Outcome::Failed)));
        assert_eq!((&results[0].body["outcome"], &results[0].body["note"]), (&json!("FAILED"), &json!(note)));
        let stopped = next(&Ending { cancelled: true, ..lost }, Some(&task), &Settings::default());
        assert!(matches!(stopped, Next::Ended { state: JobState::Cancelled, .. }), "{stopped:?}");
        let failed = ending(vec![End::Exited { code: 75 }], vec![Finding::of(Outcome::Failed)]);
        assert!(matches!(next(&failed, Some(&task), &Settings::default()), Next::Ended { .. }));
    }

    #[test]
    fn a_job_is_as_bad_as_its_worst_result_and_each_result_has_its_key() {
        let findings = vec![
            Finding::of(Outcome::Failed),
            Finding {
                testcase: Some("dist.other".into()),
                item: Some("bar".into()),
                data: [("item".to_owned(), vec!["x".to_owned()]), ("k".to_owned(), vec!["v".to_owned()])].into(),
                ..Finding::of(Outcome::Passed)
            },
        ];
        let ending = ending(vec![End::Exited { code: 1 }], findings);
        let Next::Ended { outcome, results, .. } = decide(&ending) else { panic!("it ended") };
        assert_eq!(outcome, Some(Outcome::Failed));
        assert_ne!(results[0].key, results[1].key);
        assert_eq!(results[0].body["testcase"], "rpmlint");
        assert_eq!(results[0].body["groups"][0]["uuid"], json!(ending.job));
        assert_eq!(results[0].body["ref_url"], json!(format!("http://127.0.0.1:8080/jobs/{}", ending.job)));
        assert_eq!(results[1].body["testcase"], "dist.other");
        assert_eq!(results[1].body["data"]["item"], json!(["bar"]));
        assert_eq!(results[1].body["data"]["k"], json!(["v"]));
        assert_eq!(results[1].body["data"]["arch"], json!(["x86_64"]));
        let again = Ending { attempt: ending.attempt + 1, ..ending };
        let Next::Ended { results: of_another, .. } = decide(&again) else { panic!("it ended") };
        let keys = |results: &[Publication]| results.iter().map(|result| result.key).collect::<Vec<_>>();
        assert_eq!(keys(&results), keys(&of_another), "a job has the same keys, whichever attempt ends it");
    }

    #[test]
    fn what_was_announced_gets_a_last_word_under_the_same_name() {
        let task = sample::task("rpmlint", "publish: [running]");
        let published = |findings| {
            let ending = ending(vec![End::Exited { code: 1 }], findings);
            let Next::Ended { results, .. } = next(&ending, Some(&task), &Settings::default()) else {
                panic!("it ended")
            };
            let line = |result: &Publication| format!("{} {}", result.body["testcase"], result.body["outcome"]);
            results.iter().map(line).collect::<Vec<_>>()
        };
        let other = |outcome| Finding { testcase: Some("other".into()), ..Finding::of(outcome) };
        let of_another = Finding { item: Some("bar".into()), ..Finding::of(Outcome::Passed) };
        let sum = published(vec![other(Outcome::Passed), other(Outcome::Failed), of_another]);
        assert_eq!(
            sum,
            [r#""other" "PASSED""#, r#""other" "FAILED""#, r#""rpmlint" "PASSED""#, r#""rpmlint" "FAILED""#]
        );
        let own = published(vec![Finding::of(Outcome::Passed), other(Outcome::Info)]);
        assert_eq!(own, [r#""rpmlint" "PASSED""#, r#""other" "INFO""#]);
    }

    #[test]
    fn whatever_a_job_wrote_is_a_result_that_a_store_takes() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let odd = Finding {
            testcase: Some(String::new()),
            item: Some("foo\0".into()),
            item_type: Some("\0".into()),
            note: Some("a\0b".into()),
            data: [
                ("a:b".to_owned(), texts(&["1"])),
                ("a_b".to_owned(), texts(&["2"])),
                ("job:\0".to_owned(), texts(&["x\0y"])),
            ]
            .into(),
            ..Finding::of(Outcome::Passed)
        };
        let named = Finding { testcase: Some("dist.\0".into()), ..Finding::of(Outcome::Passed) };
        let Next::Ended { results, .. } = decide(&ending(vec![End::Exited { code: 0 }], vec![odd, named])) else {
            panic!("it ended")
        };
        let body = &results[0].body;
        assert_eq!(body["testcase"], "rpmlint");
        assert_eq!(body["note"], "a\u{fffd}b");
        assert_eq!(body["data"]["item"], json!(["foo\u{fffd}"]));
        assert_eq!(body["data"]["a_b"], json!(["1", "2"]), "nothing is lost where two names become one");
        assert_eq!(body["data"]["job_\u{fffd}"], json!(["x\u{fffd}y"]));
        assert_eq!(results[1].body["testcase"], "dist.\u{fffd}");
        for result in results {
            let text = result.body.to_string();
            assert!(!text.contains("\\u0000") && !text.contains('\0'), "{text}");
        }
    }

    #[test]
    fn a_job_whose_task_cannot_be_read_ends_with_an_error_and_not_never() {
        let without = |ends, findings| next(&ending(ends, findings), None, &Settings::default());
        assert!(matches!(without(vec![End::Lost], vec![]), Next::Again { .. }));
        let unclear = without(vec![End::Exited { code: 1 }], vec![Finding::of(Outcome::Failed)]);
        for ended in [without(vec![End::Lost; 11], vec![]), unclear] {
            let Next::Ended { outcome, results, .. } = ended else { panic!("it ended: {ended:?}") };
            assert_eq!(outcome, Some(Outcome::Error), "what its author would have tried again is not known");
            assert_eq!(results[0].body["testcase"], "rpmlint");
        }
    }
}
