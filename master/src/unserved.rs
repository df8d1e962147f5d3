//! Jobs for which no connected worker is there: what each set of them needs, and what of that is missing.

use model::operator::{WorkerState, WorkerView};
use model::vitals::Unserved;

use crate::store::Demand;

/// What no connected worker offers of these needs; none where one of them offers all.
pub fn lacking(needs: &[String], workers: &[WorkerView]) -> Option<String> {
    let connected: Vec<&WorkerView> = workers.iter().filter(|w| w.state != WorkerState::Lost).collect();
    let offers = |worker: &WorkerView, label: &String| worker.labels.contains(label);
    if connected.iter().any(|worker| needs.iter().all(|label| offers(worker, label))) {
        return None;
    }
    let missing: Vec<&str> = (needs.iter())
        .filter(|label| !connected.iter().any(|worker| offers(worker, label)))
        .map(String::as_str)
        .collect();
    Some(match missing[..] {
        [] if needs.is_empty() => "no worker is connected".into(),
        [] => format!("needs {}; no connected worker offers all of them", needs.join(", ")),
        [label] => format!("needs {label}; no connected worker offers it"),
        _ => format!("needs {}; no connected worker offers them", missing.join(", ")),
    })
}

/// Which of the jobs that are to run have nobody to run them.
pub fn unserved(demand: Vec<Demand>, workers: &[WorkerView]) -> Vec<Unserved> {
    let judge = |Demand { needs, queued, running }: Demand| {
        let why = lacking(&needs, workers)?;
        Some(Unserved { needs, queued, running, why })
    };
    demand.into_iter().filter_map(judge).collect()
}

/// `2 queued jobs and 1 running job`
pub fn jobs(unserved: &Unserved) -> String {
    let count = |n: u64, what: &str| match n {
        0 => None,
        1 => Some(format!("1 {what} job")),
        n => Some(format!("{n} {what} jobs")),
    };
    let counts = [count(unserved.queued, "queued"), count(unserved.running, "running")];
    counts.into_iter().flatten().collect::<Vec<_>>().join(" and ")
}
