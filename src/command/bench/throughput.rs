//! The whole chain: a queue that was filled beforehand, a process for each job, until its result is in the results store.

use std::io::Write as _;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::Servers;
use super::figure::{Figure, Unit};
use super::isolation::Isolation;
use super::site::{self, Site, TRUE};
use super::{limit, limit::per_second};

#[derive(Args, Debug)]
pub struct Throughput {
    /// How many jobs
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    jobs: usize,
    /// How many of them run at once
    #[arg(long, default_value_t = 32, value_name = "N")]
    slots: u32,
    /// What jobs are kept in; given several times, one is measured after the other
    #[arg(long, value_name = "WHICH", default_value = "on")]
    isolation: Vec<Isolation>,
}

const RULE: &str =
    "rules: [{ name: bench, topics: ['bench.#'], do: [{ tasks: [bench], item: '{{ id }}', item_type: x }] }]\n";

impl Throughput {
    pub async fn measure(&self, servers: &Servers) -> anyhow::Result<Vec<Figure>> {
        let configuration = format!("{RULE}{TRUE}");
        let mut figures = Vec::new();
        for isolation in &self.isolation {
            let adjust = |settings: &mut crate::settings::Settings| {
                settings.worker.slots = self.slots;
                isolation.set(&mut settings.worker);
            };
            let run = async |site: &mut Site| self.run(site, *isolation).await;
            figures.extend(site::on(servers.engine()?, &configuration, adjust, run).await?);
        }
        Ok(figures)
    }

    async fn run(&self, site: &mut Site, isolation: Isolation) -> anyhow::Result<Vec<Figure>> {
        let spawns = limit::spawns(self.slots as usize).await?;
        let bare = site.database("bare").await?;
        let commits = limit::commits(&bare).await?;
        site.settings.trigger.file = Some(self.messages(site)?);
        site.write_settings()?;
        site.start(&["resultsdb", "master", "trigger"]).await?;
        let (jobs, look) = (self.jobs as u64, Duration::from_millis(20));
        site.until("the queue to be full", look * 10, |s| s.jobs.queued == jobs).await?;
        let begun = Instant::now();
        site.start(&["worker"]).await?;
        site.until("every result to be stored", look, |s| s.jobs.finished == jobs && s.outbox == 0).await?;
        let rate = per_second(self.jobs, begun);
        site.proof(jobs).await?;
        let what = format!("whole chain, {} jobs, {} slots{}", self.jobs, self.slots, isolation.note());
        let engine = site.engine.name();
        Ok(vec![
            Figure::new(what, engine, rate, Unit::PerSecond).budget(600.0, 1500.0).limit(
                "bare processes",
                spawns,
                Unit::PerSecond,
            ),
            Figure::new("the same", engine, rate, Unit::PerSecond).limit(
                "bare commits, one by one",
                commits,
                Unit::PerSecond,
            ),
        ])
    }

    /// A file of messages, each of which makes one job.
    fn messages(&self, site: &Site) -> anyhow::Result<String> {
        let path = site.path("messages.jsonl");
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path)?);
        for n in 0..self.jobs {
            let body = json!({"name": format!("package-{n}"), "version": "1", "release": "1.fc41", "n": n});
            writeln!(file, "{}", json!({"id": format!("bench-{n}"), "topic": "bench.build", "body": body}))?;
        }
        file.flush()?;
        Ok(path.display().to_string())
    }
}
