//! Resident memory: of 'up' and of a worker, idle and under load; and with --for, whether it grows.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use model::Span;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::Servers;
use super::broker::Broker;
use super::figure::{Figure, Unit};
use super::site::{self, Site, TRUE};
use crate::settings::Settings;

#[derive(Args, Debug)]
pub struct Memory {
    /// Watch every room as a process of its own for so long under steady load, with a line a minute on stderr
    #[arg(long = "for", value_name = "D")]
    length: Option<Span>,
    /// The steady load: messages a second, each of which makes a job
    #[arg(long, default_value_t = 30, value_name = "N")]
    rate: u32,
    /// Jobs of the load without --for
    #[arg(long, default_value_t = 5_000, value_name = "N")]
    jobs: usize,
}

const RULE: &str =
    "rules: [{ name: bench, topics: ['#'], do: [{ tasks: [bench], item: '{{ id }}', item_type: x }] }]\n";

const ROOMS: [&str; 4] = ["resultsdb", "master", "worker", "trigger"];

/// How often memory is looked at under load.
const LOOK: Duration = Duration::from_millis(100);

/// How long a process is left alone before it counts as idle.
const SETTLE: Duration = Duration::from_secs(3);

/// The part of a long watch that does not count: tables fill, pools open.
const WARM_UP: f64 = 1.0 / 6.0;

impl Memory {
    pub async fn measure(&self, servers: &Servers) -> anyhow::Result<Vec<Figure>> {
        if let Some(length) = self.length {
            return self.watch(servers, length.0).await;
        }
        let slots = |settings: &mut Settings| settings.worker.slots = 32;
        let (idle, load) = site::on(servers.engine()?, TRUE, slots, async |site| {
            site.start_up().await?;
            self.idle_and_load(site, "up").await
        })
        .await?;
        let (worker_idle, worker_load) = site::on(servers.engine()?, TRUE, slots, async |site| {
            site.start(&["resultsdb", "master", "worker"]).await?;
            self.idle_and_load(site, "worker").await
        })
        .await?;
        let engine = servers.engine()?.name();
        let figure =
            |what: &str, value, first, goal| Figure::new(what, engine, value, Unit::Megabytes).budget(first, goal);
        Ok(vec![
            figure("memory of up, idle", idle, 80.0, 50.0),
            figure("memory of up, most under load", load, 250.0, 150.0),
            figure("memory of a worker, idle", worker_idle, 30.0, 15.0),
            figure("memory of a worker, most under load", worker_load, 30.0, 15.0),
        ])
    }

    async fn idle_and_load(&self, site: &mut Site, room: &str) -> anyhow::Result<(f64, f64)> {
        sleep(SETTLE).await;
        let idle = of(site, room);
        let (before, jobs) = (site.status().await?.jobs.finished, self.jobs as u64);
        site.submit(self.jobs, "load", None).await?;
        let mut most = idle;
        loop {
            most = most.max(of(site, room));
            let status = site.status().await?;
            if status.jobs.finished - before == jobs && status.outbox == 0 {
                return Ok((idle, most));
            }
            sleep(LOOK).await;
        }
    }

    /// A line a minute, and at the end what each process had and by how much it grew in an hour.
    async fn watch(&self, servers: &Servers, length: Duration) -> anyhow::Result<Vec<Figure>> {
        let url = servers.amqp()?;
        let broker = Broker::connect(url).await?;
        let amqp = broker.settings(url);
        let adjust = |settings: &mut Settings| settings.trigger.amqp = Some(amqp);
        let configuration = format!("{RULE}{TRUE}");
        let engine = servers.engine()?;
        let name = engine.name();
        let watched = site::on(engine, &configuration, adjust, async |site| {
            site.start(&ROOMS).await?;
            tokio::select! {
                fed = feed(&broker, self.rate) => fed,
                watched = watch(site, length) => return watched,
            }?;
            unreachable!("the feed has no end")
        })
        .await;
        broker.close().await?;
        Ok(figures(&watched?, name))
    }
}

/// Memory of a process; none has none.
fn of(site: &Site, room: &str) -> f64 {
    site.rooms().iter().find(|r| r.name == room).and_then(|r| r.memory()).unwrap_or(0.0)
}

/// Publishes at a steady rate, for ever.
async fn feed(broker: &Broker, rate: u32) -> anyhow::Result<()> {
    let mut ticks = interval(Duration::from_secs(1) / rate.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for n in 0_u64.. {
        ticks.tick().await;
        let body = json!({"name": format!("package-{n}"), "version": "1", "release": "1.fc41", "n": n}).to_string();
        broker.publish("bench.build", &format!("bench-{n}"), body.as_bytes()).await?.await?;
    }
    Ok(())
}

/// Samples of each room: hours since the beginning, and megabytes.
type Samples = BTreeMap<&'static str, Vec<(f64, f64)>>;

async fn watch(site: &mut Site, length: Duration) -> anyhow::Result<Samples> {
    let (begun, mut samples) = (Instant::now(), Samples::new());
    let period = Duration::from_secs(60).min(length / 12);
    eprintln!("minutes  {}  jobs finished  queued  undelivered", ROOMS.map(|room| format!("{room} MB")).join("  "));
    while begun.elapsed() < length {
        sleep(period).await;
        let (hours, status) = (begun.elapsed().as_secs_f64() / 3600.0, site.check().await?);
        let mut line = format!("{:7.1}", hours * 60.0);
        for room in ROOMS {
            let memory = of(site, room);
            samples.entry(room).or_default().push((hours, memory));
            line += &format!("  {memory:w$.1}", w = room.len() + 3);
        }
        eprintln!("{line}  {:13}  {:6}  {:11}", status.jobs.finished, status.jobs.queued, status.outbox);
    }
    Ok(samples)
}

fn figures(samples: &Samples, engine: &'static str) -> Vec<Figure> {
    let of_room = |(room, samples): (&&'static str, &Vec<(f64, f64)>)| {
        let last = samples.last().map_or(0.0, |(_, memory)| *memory);
        [
            Figure::new(format!("memory of the {room} at the end"), engine, last, Unit::Megabytes),
            Figure::new(format!("growth of the {room}"), engine, slope(samples), Unit::MegabytesPerHour),
        ]
    };
    samples.iter().flat_map(of_room).collect()
}

/// Growth by least squares, without the beginning.
fn slope(samples: &[(f64, f64)]) -> f64 {
    let begin = samples.last().map_or(0.0, |(hours, _)| hours * WARM_UP);
    let counted: Vec<_> = samples.iter().filter(|(hours, _)| *hours >= begin).collect();
    let n = counted.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| counted.iter().map(|sample| of(sample)).sum::<f64>() / n;
    let (x, y) = (mean(|s| s.0), mean(|s| s.1));
    let (above, below) = counted.iter().fold((0.0, 0.0), |(above, below), (hours, memory)| {
        (above + (hours - x) * (memory - y), below + (hours - x) * (hours - x))
    });
    if below > 0.0 { above / below } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_told_from_noise_and_from_the_beginning() {
        let line: Vec<_> = (1..=60).map(|n| (f64::from(n) / 60.0, 50.0 + f64::from(n % 2))).collect();
        assert!(slope(&line).abs() < 0.5, "{}", slope(&line));
        let grows: Vec<_> =
            (1..=60).map(|n| (f64::from(n) / 60.0, if n < 10 { 10.0 } else { 40.0 + f64::from(n) })).collect();
        assert!((slope(&grows) - 60.0).abs() < 1e-6, "{}", slope(&grows));
    }
}
