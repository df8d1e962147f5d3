//! A trigger at work, and what it has on disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use trigger::Metrics;
use trigger::amqp::Settings;

use super::{Bench, configuration, until};

/// A trigger without a master, running.
pub struct Running {
    task: JoinHandle<anyhow::Result<()>>,
    stop: CancellationToken,
    pub metrics: Arc<Metrics>,
}

/// Starts one that consumes.
pub fn start(bench: &Bench, amqp: Settings) -> Running {
    start_with(trigger::Settings { dir: bench.path("log"), amqp: Some(amqp), ..trigger::Settings::default() })
}

pub fn start_with(settings: trigger::Settings) -> Running {
    let (stop, metrics) = (CancellationToken::new(), Arc::new(Metrics::default()));
    let run = trigger::run(settings, configuration(1), net::Secret::none(), metrics.clone(), stop.clone());
    net::install_crypto();
    Running { task: tokio::spawn(run), stop, metrics }
}

impl Running {
    pub async fn consuming(&self) {
        until("the trigger consumes", async || self.metrics.is_connected()).await;
    }

    pub async fn has(&self, what: impl Fn(&Metrics) -> &AtomicU64, n: u64) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while get(what(&self.metrics)) < n {
            assert!(Instant::now() < deadline, "waited in vain for {n}; there were {:?}", self.metrics);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until somebody who asks what is wrong is told something with these words.
    pub async fn is_in_trouble(&self, words: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let troubles = self.metrics.troubles.list();
            if troubles.iter().any(|trouble| trouble.what.contains(words)) {
                return;
            }
            assert!(Instant::now() < deadline, "waited in vain for '{words}'; there was {troubles:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn stop(self) -> Arc<Metrics> {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
        self.metrics
    }
}

/// Reads a counter.
pub fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// The ids in the event log, in order.
pub fn ids(bench: &Bench) -> Vec<String> {
    let text = std::fs::read_to_string(bench.path("log/events.jsonl")).unwrap();
    let records = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    records.filter_map(|record| Some(record["event"]["id"].as_str()?.to_owned())).collect()
}

pub fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

/// The ids of ordinary events, sorted.
pub fn numbered(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    sorted(numbers.into_iter().map(|n| format!("e-{n}")).collect())
}
