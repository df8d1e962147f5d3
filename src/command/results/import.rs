//! `taskotron results import`: another ResultsDB's results, as they were.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use net::{Client, Secret};
use resultsdb::Store;
use resultsdb::import::{Done, Importer, Origin, Reading};
use tokio::io::{AsyncBufRead, BufReader};
use url::Url;

use crate::exit::{Exit, Failure, OrExit as _};

use super::super::Session;
use super::Place;

const AFTER: &str = "\
SOURCE is one of
  FILE    lines that 'taskotron results export' has written, or a plain dump of ResultsDB's PostgreSQL; '-' is stdin:
            pg_dump -t result -t result_data -t testcase -t '\"group\"' -t groups_to_results resultsdb | \\
              taskotron results import -
  URL     a ResultsDB that runs, read over its API v2.0 with one request at a time: http://resultsdb.example.org

They go straight into the store's database: [resultsdb] database of the settings, --database, or the folder of 'taskotron
up' (--data). The store may run meanwhile. Ids, uuids and times stay what they were, and later results get ids above the
greatest imported one. A result whose id is here already must be the same in every part, else the import ends: bring old
results into a store that has none of its own yet. Nothing is sent to the bus.

An import that was killed is run again: what is here is not stored twice, and a URL is read on from where it stopped, also
later for what has come since. At the end it looks whether every result that the source named is here, and with a URL
whether there are as many as there.

Exit codes: 0 everything is here; 1 it broke off, or something is missing; 2 bad input, with its line; 6 the URL cannot be
reached.";

/// How often the progress is told.
const TELL: Duration = Duration::from_secs(5);

/// How much of a file is read at once, in bytes.
const READ: usize = 1 << 20;

#[derive(Args, Debug)]
#[command(after_long_help = AFTER)]
pub struct Import {
    /// A file, '-' for stdin, or the address of a ResultsDB
    #[arg(value_name = "SOURCE")]
    source: String,
    #[command(flatten)]
    place: Place,
    /// Read a URL from its first result on, not from where the last import stopped
    #[arg(long)]
    anew: bool,
    /// How many results a page of a URL has
    #[arg(long, value_name = "N", default_value = "500")]
    page: u64,
    /// A file with the token that a URL asks for
    #[arg(long, value_name = "FILE")]
    origin_token: Option<PathBuf>,
    /// The folder for the scratch file that a dump needs; as large as the dump [default: the system's]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

impl Import {
    pub async fn run(self, session: &Session) -> anyhow::Result<Exit> {
        let settings = session.layers(Vec::new())?.settings()?;
        if self.source.starts_with("postgres:") || self.source.starts_with("postgresql:") {
            return Err(Failure::error(
                Exit::Usage,
                "a database is imported by its dump: 'pg_dump DATABASE | taskotron results import -'",
            ));
        }
        let database = self.place.database(&settings.resultsdb)?;
        let store = Store::open(&database).await.context("cannot open the results store's database")?;
        let mut told = Instant::now();
        let mut report = move |done: &Done| {
            if told.elapsed() >= TELL {
                told = Instant::now();
                eprintln!("{} results, {} of them new", done.results, done.stored);
            }
        };
        let importer = Importer::new(store.clone(), &mut report);
        let done = if self.source.starts_with("http://") || self.source.starts_with("https://") {
            self.origin()?.read(&store, importer, if self.anew { Reading::Anew } else { Reading::On }).await?
        } else {
            self.file(importer).await?
        };
        let (results, testcases, groups) = store.counts(None).await?;
        let summary = told_of(&done, &settings.resultsdb.outcomes());
        eprintln!("{summary}the store has {results} results, {testcases} testcases and {groups} groups now");
        store.close().await;
        Ok(Exit::Reached)
    }

    async fn file(&self, mut importer: Importer<'_>) -> anyhow::Result<Done> {
        let input: Box<dyn AsyncBufRead + Unpin + Send> = match self.source.as_str() {
            "-" => Box::new(BufReader::with_capacity(READ, tokio::io::stdin())),
            name => {
                let file = tokio::fs::File::open(name).await.with_context(|| format!("cannot open {name}"));
                Box::new(BufReader::with_capacity(READ, file.or_exit(Exit::Usage)?))
            }
        };
        let mut scratch = tempfile::Builder::new();
        let scratch = scratch.prefix("taskotron-import-");
        let scratch = match &self.scratch {
            Some(folder) => scratch.tempdir_in(folder),
            None => scratch.tempdir(),
        };
        let scratch = scratch.context("cannot make a scratch folder").or_exit(Exit::Usage)?;
        let read = importer.read(input, Path::new(scratch.path())).await;
        let name = if self.source == "-" { "stdin" } else { &self.source };
        match read.with_context(|| name.to_owned()) {
            Ok(()) => importer.finish().await,
            // What came before the fault is here, and the same again changes nothing.
            Err(e) if e.chain().any(is_ours) => Err(e),
            Err(e) => Err(e).or_exit(Exit::Usage),
        }
    }

    fn origin(&self) -> anyhow::Result<Origin> {
        let text = self.source.trim_end_matches('/').trim_end_matches("/api/v2.0").trim_end_matches('/');
        let url: Url = text.parse().with_context(|| format!("{text} is no URL")).or_exit(Exit::Usage)?;
        let token = match &self.origin_token {
            Some(file) => Secret::from_file(file).or_exit(Exit::Usage)?,
            None => Secret::none(),
        };
        let client = Client::new(url, token).or_exit(Exit::Usage)?;
        Ok(Origin::new(client, text, self.page, Box::new(|why| eprintln!("{why}; asking again"))))
    }
}

/// Whether it is a fault of a database or a disk, and not of what was read.
fn is_ours(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.is::<Arc<db::Error>>() || cause.is::<db::sqlx::Error>() || cause.is::<std::io::Error>()
}

/// What was done, for people.
fn told_of(done: &Done, outcomes: &[String]) -> String {
    let Done { testcases, groups, results, stored, .. } = done;
    let mut text = format!(
        "all {results} results that the source names are here: {stored} new, {} were here; it names {testcases} testcases \
         and {groups} groups\n",
        results - stored.min(results)
    );
    for left_out in &done.left_out {
        writeln!(text, "left out: {left_out}").expect("writing to a String cannot fail");
    }
    let unknown: Vec<&str> = done.outcomes.iter().filter(|o| !outcomes.contains(o)).map(String::as_str).collect();
    if !unknown.is_empty() {
        let unknown = unknown.join(", ");
        writeln!(text, "nobody can ask for the outcomes {unknown} until [resultsdb] additional_outcomes names them")
            .expect("writing to a String cannot fail");
    }
    text
}
