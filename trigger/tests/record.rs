//! Recording a file: a job log that is complete when it is done, and the same however often.

mod kit;

use std::path::Path;

use kit::{Bench, configuration, line};
use tokio_util::sync::CancellationToken;
use trigger::{Origin, RecordError, Recording, Summary, record};

async fn recorded(bench: &Bench, from: &str, append: bool) -> Result<Summary, RecordError> {
    let recording = Recording {
        from: Origin::File(from.into()),
        out: bench.path("jobs.csv"),
        append,
        live: configuration(0),
        limits: trigger::decode::Limits::default(),
        metrics: bench.metrics.clone(),
    };
    record(recording, CancellationToken::new()).await
}

fn rows(path: &Path) -> Vec<csv::StringRecord> {
    csv::Reader::from_path(path).unwrap().into_records().map(Result::unwrap).collect()
}

#[tokio::test]
async fn messages_of_the_bus_twice_are_recorded_once() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/messages.jsonl");
    let mut bench = Bench::new();
    let first = recorded(&bench, corpus, false).await.unwrap();
    assert_eq!((first.received, first.recorded, first.duplicates, first.quarantined), (60, 60, 0, 0));
    assert!(first.jobs > 0 && first.jobs == first.rows);
    let before = std::fs::read(bench.path("jobs.csv")).unwrap();

    bench.metrics = std::sync::Arc::default();
    let second = recorded(&bench, corpus, true).await.unwrap();
    assert_eq!((second.received, second.recorded, second.duplicates), (60, 0, 60));
    assert_eq!((second.jobs, second.rows, second.recorder), (0, first.rows, first.recorder));
    assert_eq!(std::fs::read(bench.path("jobs.csv")).unwrap(), before);

    let rows = rows(&bench.path("jobs.csv"));
    assert_eq!(rows.len() as u64, first.rows);
    assert!(rows.iter().zip(1..).all(|(row, seq)| row[0] == *seq.to_string()));
    let mut names: Vec<_> =
        std::fs::read_dir(bench.path("")).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["jobs.csv", "jobs.csv.events.jsonl"]);
}

#[tokio::test]
async fn an_existing_file_is_refused_without_append_and_another_always() {
    let bench = Bench::new();
    let input = bench.file("in.jsonl", &[line(2)]);
    std::fs::write(bench.path("jobs.csv"), "my,own,table\n").unwrap();
    assert!(matches!(recorded(&bench, &input, false).await, Err(RecordError::Exists(_))));
    assert!(matches!(recorded(&bench, &input, true).await, Err(RecordError::NoJobLog(_))));
    assert_eq!(std::fs::read_to_string(bench.path("jobs.csv")).unwrap(), "my,own,table\n");
    std::fs::remove_file(bench.path("jobs.csv")).unwrap();
    recorded(&bench, &input, true).await.unwrap();
    std::fs::remove_file(bench.path("jobs.csv")).unwrap();
    assert!(matches!(recorded(&bench, &input, false).await, Err(RecordError::Exists(_))), "its event log is there");
    assert_eq!(recorded(&bench, &input, true).await.unwrap().rows, 1, "and makes the rows again");
    assert_eq!(rows(&bench.path("jobs.csv")).len(), 1);
}

#[tokio::test]
async fn no_input_is_a_job_log_without_rows_and_a_missing_one_leaves_nothing() {
    let bench = Bench::new();
    assert!(recorded(&bench, "/nowhere/at/all.jsonl", false).await.is_err());
    assert!(!bench.path("jobs.csv").exists());
    let empty = bench.file("in.jsonl", &[]);
    assert_eq!(recorded(&bench, &empty, false).await.unwrap().rows, 0);
    let text = std::fs::read_to_string(bench.path("jobs.csv")).unwrap();
    assert_eq!(text.trim_end(), model::joblog::COLUMNS.join(","));
}

#[tokio::test]
async fn what_cannot_be_read_is_kept_aside_and_counted() {
    let bench = Bench::new();
    let input = bench.file("in.jsonl", &[line(2), "{".into(), String::new(), "[]".into(), line(4), line(2)]);
    let summary = recorded(&bench, &input, false).await.unwrap();
    assert_eq!((summary.received, summary.recorded, summary.duplicates, summary.quarantined), (5, 2, 1, 2));
    let kept = std::fs::read_to_string(bench.path("jobs.csv.quarantine.jsonl")).unwrap();
    assert!(kept.contains("truncated") && kept.contains("json-array"));
}
