//! Databases for one benchmark, in either engine, and their end.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use anyhow::Context as _;
use clap::ValueEnum;
use db::sqlx::postgres::PgConnectOptions;
use db::sqlx::{self, AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, SqliteConnection};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    Postgres,
    Sqlite,
}

/// Where databases are made.
#[derive(Clone, Debug)]
pub enum Engine {
    /// The server's address.
    Postgres(String),
    Sqlite,
}

impl Engine {
    pub fn name(&self) -> &'static str {
        match self {
            Engine::Postgres(_) => "PostgreSQL",
            Engine::Sqlite => "SQLite",
        }
    }
}

/// The databases of one benchmark.
pub struct Databases {
    engine: Engine,
    folder: PathBuf,
    made: Vec<String>,
}

impl Databases {
    /// SQLite's files go into `folder`.
    pub fn new(engine: Engine, folder: &Path) -> Databases {
        Databases { engine, folder: folder.to_owned(), made: Vec::new() }
    }

    /// An empty database; its address.
    pub async fn make(&mut self, name: &str) -> anyhow::Result<String> {
        let Engine::Postgres(server) = &self.engine else {
            return Ok(format!("sqlite:{}", self.folder.join(format!("{name}.sqlite")).display()));
        };
        let name = format!("taskotron_bench_{}_{name}", std::process::id());
        let options = PgConnectOptions::from_str(server).context("--database is no address of PostgreSQL")?;
        statement(server, format!("CREATE DATABASE {name}"))
            .await
            .context("cannot make a database for the benchmark")?;
        self.made.push(name.clone());
        Ok(options.database(&name).to_url_lossy().to_string())
    }

    /// Drops what was made.
    pub async fn drop_all(&mut self) {
        let Engine::Postgres(server) = &self.engine else { return };
        for name in self.made.drain(..) {
            if let Err(e) = statement(server, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await {
                eprintln!("the database {name} is left, drop it by hand: {e:#}");
            }
        }
    }
}

async fn statement(server: &str, text: String) -> anyhow::Result<()> {
    // To drop a database takes a checkpoint, which is slow and no fault.
    let options = PgConnectOptions::from_str(server)?.disable_statement_logging();
    let mut connection = options.connect().await.context("cannot reach PostgreSQL")?;
    sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut connection).await?;
    Ok(connection.close().await?)
}

/// The one number that a query of ours gives.
pub async fn count(url: &str, query: &'static str) -> anyhow::Result<u64> {
    let number: i64 = match url.starts_with("sqlite:") {
        true => sqlx::query_scalar(query).fetch_one(&mut SqliteConnection::connect(url).await?).await?,
        false => sqlx::query_scalar(query).fetch_one(&mut PgConnection::connect(url).await?).await?,
    };
    Ok(u64::try_from(number)?)
}
