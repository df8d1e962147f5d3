//! What a job found, from what it left behind. Unknown is not OK: what cannot be read is an error, never a pass.
//!
//! The formats of other tools (JUnit, TAP, tmt) list cases. Their sum is the first finding, under the task's own name,
//! so that a gate has one result to wait for; each case follows below that name.

mod case;
mod file;
mod junit;
mod result_yaml;
mod tap;
mod tmt;

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;

use model::lease::{ResultFormat, TaskOrder};
use model::{Finding, Outcome};

use self::case::Cases;

/// Where `TASKOTRON_RESULTS` leads to, in the working folder.
pub const RESULT_YAML: &str = "results.yml";

/// What a job found, and a sentence where there is more to say.
#[derive(Debug, Default, PartialEq)]
pub struct Found {
    pub findings: Vec<Finding>,
    pub note: Option<String>,
}

impl Found {
    fn one(finding: Finding) -> Found {
        Found { findings: vec![finding], note: None }
    }
}

/// What is wrong with a file, and in which line.
#[derive(Debug)]
struct Wrong {
    line: u64,
    what: String,
}

impl Wrong {
    fn yaml(error: &serde_saphyr::Error) -> Wrong {
        let line = error.location().map_or(1, |place| place.line());
        Wrong { line, what: error.without_snippet().to_string() }
    }
}

/// The findings of a process that exited with `code` and may have written files into its `folder`.
pub fn of(task: &TaskOrder, folder: &Path, code: i32) -> Found {
    for format in &task.results {
        let found = match format {
            ResultFormat::ExitCode => Some(by_code(code)),
            ResultFormat::ResultYaml => listed(folder, code),
            ResultFormat::Junit(patterns) => cases(task, folder, patterns, code, |file, cases| {
                junit::read(BufReader::new(file.take(file::MAX_SIZE)), cases)
            }),
            ResultFormat::Tap(patterns) => cases(task, folder, patterns, code, |file, cases| {
                tap::read(BufReader::new(file.take(file::MAX_SIZE)), cases)
            }),
            ResultFormat::Tmt(patterns) => cases(task, folder, patterns, code, |file, cases| {
                let text = file::text(file).map_err(|what| Wrong { line: 1, what })?;
                tmt::read(&text, cases)
            }),
        };
        if let Some(found) = found {
            return found;
        }
    }
    let awaited: Vec<&str> = task.results.iter().flat_map(awaited).collect();
    Found::one(error(format!("exited with {code} and wrote no {}", awaited.join(" nor "))))
}

fn awaited(format: &ResultFormat) -> Vec<&str> {
    match format {
        ResultFormat::ResultYaml => vec![RESULT_YAML],
        ResultFormat::Junit(patterns) | ResultFormat::Tap(patterns) | ResultFormat::Tmt(patterns) => {
            patterns.iter().map(String::as_str).collect()
        }
        ResultFormat::ExitCode => Vec::new(),
    }
}

fn by_code(code: i32) -> Found {
    Found::one(Finding::of(if code == 0 { Outcome::Passed } else { Outcome::Failed }))
}

/// What `results.yml` lists; none where there is no such file.
fn listed(folder: &Path, code: i32) -> Option<Found> {
    let text = match file::open(folder, Path::new(RESULT_YAML)).and_then(|file| file.map(file::text).transpose()) {
        Ok(text) => text?,
        Err(what) => return Some(Found::one(error(format!("{RESULT_YAML}: {what}")))),
    };
    let mut findings = result_yaml::parse(&text);
    let note = match (findings.iter().map(|finding| finding.outcome).max(), code) {
        (None, 0) => {
            let note = format!("exited with 0, and its {RESULT_YAML} lists no result");
            return Some(Found::one(Finding { note: Some(note), ..Finding::of(Outcome::NeedsInspection) }));
        }
        (None, _) => {
            return Some(Found::one(error(format!("exited with {code}, and its {RESULT_YAML} lists no result"))));
        }
        (Some(_), 0) => None,
        (Some(worst), _) => {
            if worst < Outcome::NeedsInspection {
                findings.push(error(contradiction(code)));
            }
            Some(format!("exited with {code} after it wrote {RESULT_YAML}"))
        }
    };
    Some(Found { findings, note })
}

/// Something went wrong that the results do not tell of.
fn contradiction(code: i32) -> String {
    format!("exited with {code}, although nothing that it reports is worse than PASSED or INFO")
}

/// What all files of these patterns say; none where there is no such file. A file that is not as its format wants it
/// says nothing but that, and the sum is an ERROR.
fn cases(
    task: &TaskOrder,
    folder: &Path,
    patterns: &[String],
    code: i32,
    read: impl Fn(File, &mut Cases) -> Result<(), Wrong>,
) -> Option<Found> {
    let (mut all, mut troubles) = (Cases::default(), Vec::new());
    match file::find(folder, patterns) {
        Ok(files) if files.is_empty() => return None,
        Ok(files) => {
            for path in files {
                let name = path.display();
                let file = match file::open(folder, &path) {
                    Ok(Some(file)) => file,
                    Ok(None) => continue,
                    Err(what) => {
                        troubles.push(format!("{name}: {what}"));
                        continue;
                    }
                };
                let mut cases = Cases::default();
                match read(file, &mut cases) {
                    Ok(()) => troubles.extend(all.extend(cases).err().map(|what| format!("{name}: {what}"))),
                    Err(Wrong { line, what }) => troubles.push(format!("{name}, line {line}: {what}")),
                }
            }
        }
        Err(what) => troubles.push(what),
    }
    let mut findings = vec![sum(&all, &troubles, code)];
    findings.extend(all.findings(&task.testcase));
    Some(Found { findings, note: None })
}

/// The one finding for all cases, under the task's own name.
fn sum(cases: &Cases, troubles: &[String], code: i32) -> Finding {
    let said = |outcome, note: String| Finding { note: Some(note), ..Finding::of(outcome) };
    let (worst, sum) = (cases.worst(), cases.sum());
    if !troubles.is_empty() {
        let mut note = troubles.iter().take(10).cloned().collect::<Vec<_>>().join("; ");
        case::cut(&mut note, 4000);
        return said(Outcome::Error, note);
    }
    match worst {
        None if code == 0 => said(Outcome::NeedsInspection, "exited with 0, and its files list no result".to_owned()),
        None => error(format!("exited with {code}, and its files list no result")),
        Some(worst) if worst < Outcome::NeedsInspection && code != 0 => {
            said(Outcome::Error, format!("{}; {sum}", contradiction(code)))
        }
        Some(_) if !cases.any_judged() => said(Outcome::NeedsInspection, format!("nothing was judged; {sum}")),
        // What was skipped is told, and takes nothing from what passed.
        Some(Outcome::Passed | Outcome::Info) => said(Outcome::Passed, sum),
        Some(worst @ (Outcome::NeedsInspection | Outcome::Failed | Outcome::Error)) => said(worst, sum),
    }
}

/// A finding that says that there is no finding.
fn error(note: String) -> Finding {
    Finding { note: Some(note), ..Finding::of(Outcome::Error) }
}

#[cfg(test)]
mod tests;
