//! How fast the results store is read and written, beside what is known of the original on the same data.

mod asked;
pub(super) mod client;
pub(super) mod made;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use model::{Role, Span};
use serde::Serialize;
use tokio::task::spawn_blocking;

use super::figure::percentile;
use super::site::{self, Site, TRUE};
use super::{Servers, engine, limit};
use crate::command::output::{Column, Listed, column};
use crate::settings::Settings;
use asked::Asked;
use client::Client;
use made::{Made, chance};

#[derive(Args, Debug)]
pub struct Results {
    /// How many results there are: items with 50 each, 40 testcases, 6 keys of data, groups of 10, one year
    #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(50..))]
    load: u64,
    /// A database for them that stays: filled when it is empty, else measured as it is
    #[arg(long, value_name = "URL")]
    into: Option<String>,
    /// How long each kind of request is sent
    #[arg(long = "for", default_value = "6s", value_name = "D")]
    length: Span,
    /// Only requests that have this in their name
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Meanwhile the bus of --amqp is told of each result
    #[arg(long)]
    tell: bool,
}

/// What was measured of one kind of request.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    what: &'static str,
    clients: usize,
    /// Requests in a second, and milliseconds.
    rate: f64,
    p50: f64,
    p99: f64,
    /// Of one answer, in bytes.
    length: usize,
    /// What the original does in a second.
    original: Option<f64>,
    /// What we want: a rate and a 99th percentile.
    wanted: Option<(f64, f64)>,
}

impl Listed for Measured {
    const COLUMNS: &'static [Column<Measured>] = &[
        column("what", |m| m.what.to_owned()),
        column("clients", |m| m.clients.to_string()),
        column("/s", |m| format!("{:.0}", m.rate)),
        column("p50_ms", |m| format!("{:.2}", m.p50)),
        column("p99_ms", |m| format!("{:.2}", m.p99)),
        column("bytes", |m| m.length.to_string()),
        column("original_/s", |m| m.original.map(|o| o.to_string()).unwrap_or_default()),
        column("times", |m| m.original.map(|o| format!("{:.1}", m.rate / o)).unwrap_or_default()),
        column("wanted", |m| m.wanted.map(|(rate, p99)| format!("{rate:.0} /s, {p99} ms")).unwrap_or_default()),
        column("reached", Measured::reached),
    ];
}

impl Measured {
    fn reached(&self) -> String {
        let Some((rate, p99)) = self.wanted else { return String::new() };
        match (self.rate >= rate, self.p99 <= p99) {
            (true, true) => "both",
            (true, false) => "rate",
            (false, true) => "p99",
            (false, false) => "none",
        }
        .to_owned()
    }
}

impl Results {
    pub async fn measure(&self, servers: &Servers) -> anyhow::Result<Vec<Measured>> {
        let messages = if self.tell { Some(messages(servers.amqp()?)) } else { None };
        let adjust = |settings: &mut Settings| settings.resultsdb.messages = messages;
        site::on(servers.engine()?, TRUE, adjust, async |site| self.run(site).await).await
    }

    async fn run(&self, site: &mut Site) -> anyhow::Result<Vec<Measured>> {
        let bare = site.database("bare").await?;
        let commits = limit::commits(&bare).await?;
        if self.into.is_some() {
            site.settings.resultsdb.database.clone_from(&self.into);
            site.write_settings()?;
        }
        let database = site.settings.resultsdb.database.clone().context("there is a database")?;
        let made = self.made(&database).await?;
        site.start(&["resultsdb"]).await?;
        let address = site.settings.resultsdb.listen;
        let token = std::fs::read_to_string(site.token_file(Role::Submitter))?.trim().to_owned();
        let limit = Measured {
            what: "bare commits of one row, one by one",
            clients: 1,
            rate: commits,
            p50: 1e3 / commits,
            p99: f64::NAN,
            length: 0,
            original: None,
            wanted: None,
        };
        let mut all = vec![limit];
        for asked in asked::all() {
            if self.only.as_ref().is_some_and(|only| !asked.what.contains(only)) {
                continue;
            }
            eprintln!("{}, {} clients", asked.what, asked.clients);
            let (token, length) = (token.clone(), self.length.0);
            all.push(spawn_blocking(move || ask(&asked, made, address, &token, length)).await??);
        }
        if self.tell {
            let untold = engine::count(&database, "SELECT count(*) FROM messages").await?;
            eprintln!("the bus is yet to be told of {untold} results");
        }
        Ok(all)
    }

    /// What is in the database, which is filled when nothing is.
    async fn made(&self, database: &str) -> anyhow::Result<Made> {
        let made = Made { results: self.load };
        // The tables are made by whoever opens it first.
        resultsdb::Store::open(database).await.context("cannot open the database")?.close().await;
        let there = engine::count(database, "SELECT count(*) FROM results").await?;
        if there == 0 {
            let took = made.load(database).await?;
            eprintln!("loaded {} results in {:.0} s", made.results, took.as_secs_f64());
        } else {
            ensure!(
                there >= made.results,
                "the database has {there} results: say --load with a number that was loaded"
            );
            eprintln!("measuring a database of {there} results as it is");
        }
        Ok(made)
    }
}

fn messages(url: &str) -> resultsdb::Messages {
    let mut messages = resultsdb::Messages::default();
    messages.broker.urls = vec![url.to_owned()];
    messages
}

/// Has every client ask one request after the other for so long.
fn ask(asked: &Asked, made: Made, address: SocketAddr, token: &str, length: Duration) -> anyhow::Result<Measured> {
    // The first requests of a kind make plans and fill caches.
    one(asked, made, address, token, 0, length / 6)?;
    let begun = Instant::now();
    let sampled: Vec<_> = std::thread::scope(|scope| {
        let client = |n| scope.spawn(move || one(asked, made, address, token, n, length));
        let threads: Vec<_> = (1..=asked.clients as u64).map(client).collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect::<anyhow::Result<_>>()
    })?;
    let took = begun.elapsed();
    let bytes = sampled.first().map_or(0, |(_, bytes)| *bytes);
    let mut samples: Vec<f64> = sampled.into_iter().flat_map(|(samples, _)| samples).collect();
    Ok(Measured {
        what: asked.what,
        clients: asked.clients,
        rate: samples.len() as f64 / took.as_secs_f64(),
        p50: percentile(&mut samples, 0.5),
        p99: percentile(&mut samples, 0.99),
        length: bytes,
        original: asked.original,
        wanted: asked.wanted,
    })
}

/// One client's share: milliseconds of each request, and the length of the last answer.
fn one(
    asked: &Asked,
    made: Made,
    address: SocketAddr,
    token: &str,
    client: u64,
    length: Duration,
) -> anyhow::Result<(Vec<f64>, usize)> {
    let mut connection = Client::connect(address, token)?;
    let (begun, mut samples, mut bytes) = (Instant::now(), Vec::new(), 0);
    for n in 0.. {
        let by_chance = chance(client << 32 | n);
        let path = format!("/api/v2.0{}", (asked.path)(made, by_chance));
        let body = asked.body.map(|body| body(made, by_chance));
        let sent = Instant::now();
        let answer = connection.send(&path, body.as_deref())?;
        samples.push(sent.elapsed().as_secs_f64() * 1e3);
        let good = if path.ends_with("/unknown") { 404 } else { 200 + u16::from(body.is_some()) };
        ensure!(answer.status == good, "{path} is answered with {}", answer.status);
        bytes = answer.length;
        if begun.elapsed() >= length {
            break;
        }
    }
    Ok((samples, bytes))
}
