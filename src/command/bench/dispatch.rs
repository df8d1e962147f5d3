//! One message on an idle bus, and how long until its job's process runs: the process says itself when that was.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use model::operator::{JobSummary, Page};
use net::clock;
use serde_json::json;
use tokio::time::sleep;

use super::broker::Broker;
use super::figure::{Figure, Unit, percentile};
use super::isolation::Isolation;
use super::site::{self, Site};
use super::{Servers, limit};

#[derive(Args, Debug)]
pub struct Dispatch {
    /// How many messages
    #[arg(long, default_value_t = 300, value_name = "N")]
    messages: usize,
    /// What jobs are kept in; given several times, one is measured after the other
    #[arg(long, value_name = "WHICH", default_value = "on")]
    isolation: Vec<Isolation>,
}

/// The item is the moment of publishing; what the process prints is the moment at which it ran, in nanoseconds.
const CONFIGURATION: &str = "
rules: [{ name: bench, topics: ['bench'], do: [{ tasks: [bench], item: '{{ body.sent }}', item_type: x }] }]
tasks: { bench: { run: [date, '+%s%N'], results: [exit_code] } }
";

/// Between two messages, so that the system is idle again; with a part that is no multiple of any period.
const REST: Duration = Duration::from_micros(61_803);

impl Dispatch {
    pub async fn measure(&self, servers: &Servers) -> anyhow::Result<Vec<Figure>> {
        let url = servers.amqp()?.to_owned();
        let broker = Broker::connect(&url).await?;
        let amqp = broker.settings(&url);
        let mut figures = Vec::new();
        for isolation in &self.isolation {
            let adjust = |settings: &mut crate::settings::Settings| {
                settings.trigger.amqp = Some(amqp.clone());
                isolation.set(&mut settings.worker);
            };
            let run = async |site: &mut Site| self.run(site, &broker, &url, *isolation).await;
            figures.push(site::on(servers.engine()?, CONFIGURATION, adjust, run).await);
        }
        broker.close().await?;
        Ok(figures.into_iter().collect::<anyhow::Result<Vec<_>>>()?.concat())
    }

    async fn run(
        &self,
        site: &mut Site,
        broker: &Broker,
        url: &str,
        isolation: Isolation,
    ) -> anyhow::Result<Vec<Figure>> {
        let floor = self.floor(site, url).await?;
        site.start(&["resultsdb", "master", "worker", "trigger"]).await?;
        site.until("the worker to be there", Duration::from_millis(50), |s| s.workers.ready == 1).await?;
        // The first ones find everything cold, as a system that has idled for long would be.
        for n in 0..self.messages {
            let body = json!({"sent": clock::now().0.to_string()}).to_string();
            broker.publish("bench", &format!("bench-{n}"), body.as_bytes()).await?.await?;
            sleep(REST).await;
        }
        let jobs = self.messages as u64;
        site.until("every job to be over", Duration::from_millis(100), |s| s.jobs.finished == jobs).await?;
        let mut samples = self.samples(site).await?;
        let engine = site.engine.name();
        let name = |what: &str| format!("{what}{}", isolation.note());
        let figure = |what: &str, value| Figure::new(name(what), engine, value, Unit::Milliseconds);
        let what = "bare delivery, log sync, two commits, spawn";
        Ok(vec![
            figure("dispatch, idle, p50", percentile(&mut samples, 0.5)).budget(10.0, 4.0).limit(
                what,
                floor,
                Unit::Milliseconds,
            ),
            figure("dispatch, idle, p99", percentile(&mut samples, 0.99)).budget(30.0, 12.0),
            figure("dispatch, idle, longest", percentile(&mut samples, 1.0)),
        ])
    }

    /// The middle of each step that no system of this durability can leave out, added up.
    async fn floor(&self, site: &mut Site, url: &str) -> anyhow::Result<f64> {
        let bare = site.database("bare").await?;
        let commit = 1e3 / limit::commits(&bare).await?;
        Ok(limit::delivery(url).await? + limit::sync(&site.path("")).await? + 2.0 * commit + limit::spawn().await?)
    }

    /// Milliseconds from publish to process, of every job.
    async fn samples(&self, site: &Site) -> anyhow::Result<Vec<f64>> {
        let (mut samples, mut after) = (Vec::new(), String::new());
        loop {
            let page: Page<JobSummary> = site.client.get(&format!("/api/v1/jobs?limit=500{after}")).await?;
            for job in &page.items {
                let log = site.client.get_raw(&format!("/api/v1/jobs/{}/log", job.id)).await?.text().await?;
                let ran: f64 = log.trim().parse().with_context(|| format!("a job printed '{log}' and no time"))?;
                let sent: f64 = job.item.parse()?;
                samples.push(ran / 1e6 - sent / 1e3);
            }
            match page.next {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        ensure!(samples.len() == self.messages, "{} of {} jobs have a log", samples.len(), self.messages);
        Ok(samples)
    }
}
