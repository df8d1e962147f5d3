//! A real disk that is full.

mod kit;

use std::sync::atomic::Ordering;

use kit::{Bench, Small, configuration, line, until};
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_waited_for() {
    let bench = Bench::new();
    let Some(small) = Small::mount(&bench.path("small"), 300 << 10) else {
        // Without the right to mount, the simulated disk of the crash test has to do.
        eprintln!("cannot mount a small file system here; this test proves nothing");
        return;
    };
    let input = bench.file("in.jsonl", &(1..=900).map(line).collect::<Vec<_>>());
    let settings = trigger::Settings { dir: small.path("log"), file: Some(input), ..trigger::Settings::default() };
    let stop = CancellationToken::new();
    let run = trigger::run(settings, configuration(1), net::Secret::none(), bench.metrics.clone(), stop.clone());
    let running = tokio::spawn(run);
    until("the disk is full", async || bench.metrics.is_stalled()).await;
    assert!(bench.metrics.recorded.load(Ordering::Relaxed) < 900);
    small.relieve();
    until("all is recorded", async || bench.metrics.recorded.load(Ordering::Relaxed) == 900).await;
    assert!(!bench.metrics.is_stalled());
    stop.cancel();
    running.await.unwrap().unwrap();
    let text = std::fs::read_to_string(small.path("log/events.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 901);
    let rows = csv::Reader::from_path(small.path("log/jobs.csv")).unwrap().into_records().count();
    assert_eq!(rows, 450);
}
