//! A real disk that is full.

mod kit;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;

use kit::{Bench, configuration, line, until};
use tokio_util::sync::CancellationToken;

/// A small file system, where we may mount one.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path) -> Option<Small> {
        std::fs::create_dir_all(at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"]).arg(at).output().ok()?;
        mounted.status.success().then(|| Small(at.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_waited_for() {
    let bench = Bench::new();
    let Some(small) = Small::mount(&bench.path("small")) else {
        // Without the right to mount, the simulated disk of the crash test has to do.
        eprintln!("cannot mount a small file system here; this test proves nothing");
        return;
    };
    std::fs::write(small.0.join("ballast"), vec![1; 300 << 10]).unwrap();
    let input = bench.file("in.jsonl", &(1..=900).map(line).collect::<Vec<_>>());
    let settings = trigger::Settings { dir: small.0.join("log"), file: Some(input), ..trigger::Settings::default() };
    let stop = CancellationToken::new();
    let run = trigger::run(settings, configuration(1), net::Secret::none(), bench.metrics.clone(), stop.clone());
    let running = tokio::spawn(run);
    until("the disk is full", async || bench.metrics.stalled.load(Ordering::Relaxed)).await;
    assert!(bench.metrics.recorded.load(Ordering::Relaxed) < 900);
    std::fs::remove_file(small.0.join("ballast")).unwrap();
    until("all is recorded", async || bench.metrics.recorded.load(Ordering::Relaxed) == 900).await;
    assert!(!bench.metrics.stalled.load(Ordering::Relaxed));
    stop.cancel();
    running.await.unwrap().unwrap();
    let text = std::fs::read_to_string(small.0.join("log/events.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 901);
    let rows = csv::Reader::from_path(small.0.join("log/jobs.csv")).unwrap().into_records().count();
    assert_eq!(rows, 450);
}
