//! Claims and reports over HTTP as fast as they go, without a process behind them; also beside many ended jobs.

use std::time::Instant;

use anyhow::ensure;
use clap::Args;
use model::lease::{Claim as ClaimBody, Claimed, Finish, Finished, Lease, Receipt, Report, Worker};
use model::{End, Finding, Outcome, Role, Span};
use net::Client;

use super::figure::{Figure, Unit};
use super::limit::per_second;
use super::site::{self, Site, TRUE};
use super::{Servers, limit, load};

#[derive(Args, Debug)]
pub struct Claim {
    /// How many jobs
    #[arg(long, default_value_t = 50_000, value_name = "N")]
    jobs: usize,
    /// How many workers ask at the same time
    #[arg(long, default_value_t = 4, value_name = "N")]
    workers: usize,
    /// How many jobs each asks for, and reports together
    #[arg(long, default_value_t = 50, value_name = "N")]
    batch: u32,
    /// Once more with so many ended jobs in the tables, vacuumed
    #[arg(long, value_name = "N")]
    ended: Option<u64>,
    /// Once more with each job serial on one of so many keys
    #[arg(long, value_name = "N")]
    keys: Option<usize>,
}

impl Claim {
    pub async fn measure(&self, servers: &Servers) -> anyhow::Result<Vec<Figure>> {
        // What is to be published stays in the outbox: this is about claims.
        let adjust = |settings: &mut crate::settings::Settings| settings.master.results = None;
        site::on(servers.engine()?, TRUE, adjust, async |site| self.run(site).await).await
    }

    async fn run(&self, site: &mut Site) -> anyhow::Result<Vec<Figure>> {
        let bare = site.database("bare").await?;
        let commits = limit::commits(&bare).await?;
        site.start(&["master"]).await?;
        let engine = site.engine.name();
        let what = format!("claim and finish, {} workers, {} at once", self.workers, self.batch);
        let empty = self.rate(site, "new", None).await?;
        let limited = |what: String, rate: f64| {
            let figure = Figure::new(what, engine, rate, Unit::PerSecond).budget(5_000.0, 15_000.0);
            figure.limit("bare commits, one by one", commits, Unit::PerSecond)
        };
        let mut figures = vec![limited(what.clone(), empty)];
        if let Some(ended) = self.ended {
            eprintln!("loading {ended} ended jobs");
            load::ended(site.settings.master.database.as_deref().unwrap_or_default(), ended).await?;
            let full = self.rate(site, "newer", None).await?;
            figures.push(limited(format!("{what}, beside {ended} ended jobs"), full));
            let change = 100.0 * (full / empty - 1.0);
            figures.push(Figure::new("the change", engine, change, Unit::Percent).budget(-40.0, -20.0));
        }
        if let Some(keys) = self.keys {
            let keyed = self.rate(site, "keyed", Some(keys.max(1))).await?;
            figures.push(limited(format!("{what}, serial on {keys} keys"), keyed));
        }
        Ok(figures)
    }

    async fn rate(&self, site: &Site, name: &str, keys: Option<usize>) -> anyhow::Result<f64> {
        site.submit(self.jobs, name, keys).await?;
        let before = site.status().await?.jobs.finished;
        let begun = Instant::now();
        let workers = (0..self.workers).map(|n| {
            let (worker, client) = (worker(format!("{name}-{n}"), self.batch), site.client_as(Role::Worker));
            tokio::spawn(async move { work(&worker, &client?).await })
        });
        let mut done = 0;
        for worker in workers.collect::<Vec<_>>() {
            done += worker.await??;
        }
        let rate = per_second(done, begun);
        let finished = site.status().await?.jobs.finished - before;
        ensure!(
            done == self.jobs && finished == self.jobs as u64,
            "{done} reports were taken, {finished} jobs finished"
        );
        Ok(rate)
    }
}

fn worker(name: String, slots: u32) -> Worker {
    Worker {
        name,
        incarnation: net::clock::uuid(),
        identity: None,
        host: "bench".to_owned(),
        slots,
        labels: ["arch:noarch".to_owned()].into(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        clock: None,
        figures: None,
    }
}

/// Claims and reports until there is nothing more; how many jobs that were.
async fn work(worker: &Worker, client: &Client) -> anyhow::Result<usize> {
    let mut done = 0;
    loop {
        let claim =
            ClaimBody { worker: worker.clone(), claim: net::clock::uuid(), slots: worker.slots, wait: Span::default() };
        let claimed: Claimed = client.post("/api/v1/claim", &claim).await?;
        if claimed.leases.is_empty() {
            return Ok(done);
        }
        let reports: Vec<Report> = claimed.leases.into_iter().map(passed).collect();
        let finish = Finish { worker: worker.clone(), reports };
        let finished: Finished = client.post("/api/v1/finish", &finish).await?;
        done += finished.reports.iter().filter(|receipt| **receipt == Receipt::Accepted).count();
    }
}

fn passed(lease: Lease) -> Report {
    Report {
        token: lease.token,
        end: End::Exited { code: 0 },
        ran: Span::millis(1),
        ended_at: None,
        findings: vec![Finding::of(Outcome::Passed)],
        note: None,
        enforced: Default::default(),
        log_size: 0,
        log: None,
    }
}
