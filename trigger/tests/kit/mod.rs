//! What the tests of a whole trigger share: a folder, a configuration, events, a small master, and patience.

#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

mod bus;
mod master;
mod running;
mod small;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use trigger::{Live, Metrics};

pub use bus::{Broker, Bus, brokers, ordinary};
pub use master::Master;
pub use running::{Running, get, ids, numbered, sorted, start, start_with};
pub use small::Small;

const RULES: &str = r"
rules:
  - name: even
    topics: ['a.#']
    when: { body.n: { $mod: [2, 0] } }
    do:
      - tasks: [check]
        item: 'n-{{ body.n }}'
        item_type: number
  - name: builds
    kind: KojiBuildCompleted
    do:
      - tasks: [check]
tasks:
  check:
    run: ['true']
";

/// A configuration in which every second event calls for a job.
pub fn configuration(generation: u64) -> watch::Receiver<Live> {
    let parsed = rules::Configuration::parse(&[("rules.yml".into(), RULES.into())]);
    let configuration = Arc::new(parsed.map_err(|e| format!("{e:?}")).unwrap());
    // The receiver goes on showing its value when the sender is gone.
    watch::channel(Live { generation, configuration }).1
}

/// One line of input.
pub fn line(n: u64) -> String {
    format!(r#"{{"id":"e-{n}","topic":"a.b","sent_at":"2024-01-01T00:00:00Z","headers":{{}},"body":{{"n":{n}}}}}"#)
}

/// A folder of its own, and counters.
pub struct Bench {
    dir: tempfile::TempDir,
    pub metrics: Arc<Metrics>,
}

impl Bench {
    pub fn new() -> Bench {
        Bench { dir: tempfile::tempdir().unwrap(), metrics: Arc::default() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn file(&self, name: &str, lines: &[String]) -> String {
        let path = self.path(name);
        std::fs::write(&path, lines.join("\n")).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub fn copy(&self, from: &str, to: &str) {
        std::fs::create_dir_all(self.path(to)).unwrap();
        for entry in std::fs::read_dir(self.path(from)).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), self.path(to).join(entry.file_name())).unwrap();
        }
    }

    pub fn remove(&self, name: &str) {
        std::fs::remove_dir_all(self.path(name)).unwrap();
    }
}

/// Waits until something holds, for at most a minute.
pub async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds().await {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
