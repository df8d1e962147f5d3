//! What a run found, for people and for programs.

use std::collections::BTreeMap;

use model::lease::{JobOrder, Report};
use model::source::{JobSource, Source};
use model::{End, Finding, Outcome};
use serde::Serialize;

use super::super::output;
use super::super::terminal::harmless;

/// As a master would publish it.
#[derive(Serialize)]
pub struct Ran {
    task: String,
    item: String,
    item_type: String,
    arch: String,
    /// The commit that was run, where the task comes from a repository.
    source: Option<JobSource>,
    end: End,
    outcome: Outcome,
    note: Option<String>,
    /// How many seconds there was a process.
    ran: f64,
    /// What it was kept within.
    enforced: BTreeMap<String, String>,
    results: Vec<Finding>,
}

impl Ran {
    /// What the order asked for, and what became of it.
    pub fn new(order: JobOrder, report: Report) -> Ran {
        let JobOrder { task, item, item_type, arch, .. } = order;
        let source = match task.source {
            Some(Source::Git(checkout)) => Some(checkout.into()),
            Some(Source::Path(_)) | None => None,
        };
        let mut results = match &report.end {
            End::Exited { .. } => report.findings,
            End::Signalled { .. }
            | End::TimedOut { .. }
            | End::OverLimit { .. }
            | End::Cancelled
            | End::HandedBack
            | End::Lost
            | End::NotStarted { .. } => Vec::new(),
        };
        if results.is_empty() {
            // Whatever kept it from judging its item is not the item's fault.
            let note = Some(format!("did not judge its item: {}", report.end));
            results.push(Finding { note, ..Finding::of(Outcome::Error) });
        }
        for finding in &mut results {
            finding.testcase.get_or_insert_with(|| task.testcase.clone());
        }
        let outcome = results.iter().map(|finding| finding.outcome).max().unwrap_or(Outcome::Error);
        let ran = report.ran.0.as_secs_f64();
        let Report { end, note, enforced, .. } = report;
        Ran { task: task.name, item, item_type, arch, source, end, outcome, note, ran, enforced, results }
    }

    pub fn passed(&self) -> bool {
        matches!(self.outcome, Outcome::Passed | Outcome::Info)
    }
}

/// The results as a table, and then the whole in a few lines.
pub fn people(ran: &Ran) -> String {
    let mut table = output::table(["outcome", "testcase", "item", "note"].into_iter());
    for finding in &ran.results {
        let note = finding.note.as_deref().unwrap_or_default();
        // The rest of it is in the log, or in -o json.
        let note = note.lines().next().unwrap_or_default();
        let (testcase, item) = (finding.testcase.as_deref().unwrap_or_default(), finding.item.as_ref());
        let row = [finding.outcome.name(), testcase, item.map_or(ran.item.as_str(), String::as_str), note];
        table.add_row(row.map(harmless));
    }
    let table: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    let facts = output::facts(&[
        ("task", ran.task.clone()),
        ("item", format!("{} ({}, {})", ran.item, ran.item_type, ran.arch)),
        ("source", ran.source.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("end", format!("{} after {:.1} s", ran.end, ran.ran)),
        ("note", ran.note.clone().unwrap_or_default()),
        ("outcome", ran.outcome.to_string()),
    ]);
    format!("{}\n\n{facts}", table.join("\n"))
}
