//! Old results go.

use anyhow::Context as _;
use clap::Args;
use model::Time;
use resultsdb::{Pruned, Store};
use serde::Serialize;

use crate::command::output::{Column, Listed, column};
use crate::command::{Session, output};
use crate::exit::{Exit, Failure};

use super::Place;

const AFTER: &str = "\
[resultsdb] retention says how long results are kept, by testcase:

  retention = [
    { testcases = ['dist.*'], keep = '180d' },
    { testcases = ['*'], keep = '1y', latest = '5y' },
  ]

The first entry that is about a testcase counts; results of other testcases stay for ever. The newest result of an item,
testcase, type, arch, scenario, system_architecture and system_variant stays too, since gates go by it; where 'latest' is
said, it goes when it is older than that. A result that the bus is still to be told of stays until it was.

Run it from a timer, also while the results store runs: it works in small transactions, and one that was stopped is gone
on with by the next. PostgreSQL gives the room to new results; VACUUM FULL gives it back to the disk.";

#[derive(Args, Debug)]
#[command(after_long_help = AFTER)]
pub struct Prune {
    #[command(flatten)]
    place: Place,
    /// Count what would go, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// What became of the results of a testcase.
#[derive(Serialize)]
struct Row {
    testcase: String,
    older_than: Time,
    results: u64,
    kept_as_latest: u64,
}

impl Listed for Row {
    const COLUMNS: &'static [Column<Row>] = &[
        column("testcase", |r| r.testcase.clone()),
        column("older_than", |r| r.older_than.to_seconds()),
        column("results", |r| r.results.to_string()),
        column("kept_as_latest", |r| r.kept_as_latest.to_string()),
    ];
}

impl Prune {
    pub async fn run(self, session: &Session) -> anyhow::Result<Exit> {
        let settings = session.layers(Vec::new())?.settings()?.resultsdb;
        let usage = |text: String| Failure::error(Exit::Usage, text);
        settings.check().map_err(|e| usage(format!("[resultsdb] {e}")))?;
        if settings.retention.is_empty() {
            return Err(usage(
                "[resultsdb] retention is empty, so every result stays: see 'results prune --help'".into(),
            ));
        }
        let database = self.place.database(&settings)?;
        let store = Store::open(&database).await.context("cannot open the results store")?;
        let mut rows = Vec::new();
        let told = |Pruned { testcase, bounds, results, latest }: Pruned| {
            if results + latest > 0 {
                rows.push(Row { testcase, older_than: bounds.any, results, kept_as_latest: latest });
            }
        };
        let pruned = store.prune(&settings.retention, net::clock::now(), self.dry_run, told).await;
        store.close().await;
        let results: u64 = rows.iter().map(|row| row.results).sum();
        output::list(session.format, rows)?;
        eprintln!("{results} results {}", if self.dry_run { "would go" } else { "have gone" });
        pruned.context("cannot remove more")?;
        Ok(Exit::Reached)
    }
}
