//! How long the pages of the results store take: many rows, an item with many results, a testcase with very many.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::Args;
use model::Role;
use resultsdb::{NewResult, Store};

use super::figure::{Budget, Figure, Unit, percentile};
use super::results::client::Client;
use super::results::made::{Made, chance};
use super::site::{self, Site, TRUE};
use super::{Servers, engine};

#[derive(Args, Debug)]
pub struct Pages {
    /// How many results there are: nearly all of one testcase, 2,000 of one item
    #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(2_000..))]
    load: u64,
    /// How often each page is asked for
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
    /// A database for them that stays: filled when it is empty, else measured as it is
    #[arg(long, value_name = "URL")]
    into: Option<String>,
}

/// How many results one item has.
const OF_THE_ITEM: u64 = 2_000;

const ITEM: &str = "large-1.0-1.fc41";
const TESTCASE: &str = "dist.everything";

const OF_THE_TESTCASE: &str =
    "SELECT count(*) FROM results r JOIN testcases t ON t.id = r.testcase WHERE t.name = 'dist.everything'";

/// Milliseconds that a page may take in the median.
const BUDGET: Budget = Budget { first: 50.0, goal: 50.0 };

const PAGES: [(&str, &str); 4] = [
    ("100 results", "/results?limit=100"),
    ("an item with 2,000 results", "/items?item=large-1.0-1.fc41&type=koji_build"),
    ("a testcase with nearly all of them", "/testcases/dist.everything"),
    ("the same, the tenth thousand of its results", "/testcases/dist.everything?page=9"),
];

fn result(made: Made, n: u64) -> NewResult {
    let mut result = made.result(n);
    if n.is_multiple_of(made.results / OF_THE_ITEM) {
        result.data.insert("item".into(), vec![ITEM.into()]);
        result.testcase.name = Made::testcase(chance(n));
    } else {
        result.testcase.name = TESTCASE.into();
    }
    result
}

impl Pages {
    pub async fn measure(&self, servers: &Servers) -> anyhow::Result<Vec<Figure>> {
        site::on(servers.engine()?, TRUE, |_| {}, async |site| self.run(site).await).await
    }

    async fn run(&self, site: &mut Site) -> anyhow::Result<Vec<Figure>> {
        if self.into.is_some() {
            site.settings.resultsdb.database.clone_from(&self.into);
            site.write_settings()?;
        }
        let database = site.settings.resultsdb.database.clone().context("there is a database")?;
        Store::open(&database).await.context("cannot open the database")?.close().await;
        if engine::count(&database, "SELECT count(*) FROM results").await? == 0 {
            let took = Made { results: self.load }.load_as(&database, result).await?;
            eprintln!("loaded {} results in {:.0} s", self.load, took.as_secs_f64());
        }
        let there = engine::count(&database, "SELECT count(*) FROM results").await?;
        let of_testcase = engine::count(&database, OF_THE_TESTCASE).await?;
        ensure!(of_testcase > 0, "the database has other results: name an empty one");
        site.start(&["resultsdb"]).await?;
        let address = site.settings.resultsdb.listen;
        let token = std::fs::read_to_string(site.token_file(Role::Submitter))?.trim().to_owned();
        let times = self.times;
        let engine = site.engine.name();
        let ask = move || {
            let mut client = Client::connect(address, &token)?;
            let mut figures = Vec::new();
            for (what, path) in PAGES {
                let mut samples = Vec::new();
                // The first make plans and fill caches.
                for n in 0..times + 5 {
                    let sent = Instant::now();
                    let answer = client.send(path, None)?;
                    ensure!(answer.status == 200, "{path} is answered with {}", answer.status);
                    if n >= 5 {
                        samples.push(sent.elapsed().as_secs_f64() * 1e3);
                    }
                }
                for (name, part, budget) in [("median", 0.5, Some(BUDGET)), ("p99", 0.99, None)] {
                    figures.push(Figure {
                        what: format!("page of {what}, {there} results: {name}"),
                        engine,
                        value: percentile(&mut samples, part),
                        unit: Unit::Milliseconds,
                        budget,
                        limit: None,
                    });
                }
            }
            anyhow::Ok(figures)
        };
        tokio::task::spawn_blocking(ask).await?
    }
}
