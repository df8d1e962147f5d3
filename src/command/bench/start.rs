//! From the start of 'taskotron up' to the moment at which it is ready, and from SIGTERM to its end.

use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::time::sleep;

use super::Servers;
use super::figure::{Figure, Unit, percentile};
use super::site::{self, Site, TRUE};

/// The first makes the databases' tables, the others find them.
const TIMES: usize = 6;

pub async fn measure(servers: &Servers) -> anyhow::Result<Vec<Figure>> {
    site::on(servers.engine()?, TRUE, |_| {}, run).await
}

async fn run(site: &mut Site) -> anyhow::Result<Vec<Figure>> {
    let (mut ready, mut gone) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let begun = Instant::now();
        site.start_up().await?;
        while site.client.get_raw("/readyz").await.is_err() {
            ensure!(begun.elapsed() < Duration::from_secs(60), "up is not ready after a minute");
            sleep(Duration::from_millis(1)).await;
        }
        ready.push(begun.elapsed().as_secs_f64());
        site.until("the worker to be there", Duration::from_millis(20), |s| s.workers.ready == 1).await?;
        let begun = Instant::now();
        site.stop("up").await?;
        gone.push(begun.elapsed().as_secs_f64());
    }
    let engine = site.engine.name();
    let first = ready.remove(0);
    let figure = |what: &str, value| Figure::new(what, engine, value, Unit::Seconds).budget(1.0, 0.2);
    Ok(vec![
        figure("up, start to ready, the first time", first),
        figure("up, start to ready, later", percentile(&mut ready, 0.5)),
        figure("up, SIGTERM to end when idle", percentile(&mut gone, 0.5)),
    ])
}
