//! What the machine itself can do: bare processes, bare commits, bare messages, bare rows. Each for about a second.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::str::FromStr as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use db::sqlx::postgres::PgConnection;
use db::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use db::sqlx::{self, Connection as _, SqliteConnection};
use tokio::task::spawn_blocking;

use super::broker::Broker;
use super::figure::percentile;

const FOR: Duration = Duration::from_secs(1);

/// Messages of one measurement.
const MESSAGES: usize = 10_000;

/// Rows of one measurement.
const ROWS: usize = 200_000;

/// Processes of `true` a second that are started and waited for, with so many at once.
pub async fn spawns(at_once: usize) -> anyhow::Result<f64> {
    spawn_blocking(move || {
        let (begun, count) = (Instant::now(), AtomicUsize::new(0));
        let spawner = || {
            while begun.elapsed() < FOR {
                run_true()?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..at_once).map(|_| scope.spawn(spawner)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
        })?;
        Ok(per_second(count.into_inner(), begun))
    })
    .await?
}

/// Milliseconds to start one process and see its end, in the middle.
pub async fn spawn() -> anyhow::Result<f64> {
    spawn_blocking(|| median(100, run_true)).await?
}

fn run_true() -> anyhow::Result<()> {
    let null = Stdio::null;
    let status = Command::new("true").stdin(null()).stdout(null()).stderr(null()).status();
    status.context("cannot run 'true'")?;
    Ok(())
}

/// Milliseconds to append a line to a file in `folder` and sync it, in the middle.
pub async fn sync(folder: &Path) -> anyhow::Result<f64> {
    let path = folder.join("synced");
    spawn_blocking(move || {
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        median(100, || {
            file.write_all(&[b'x'; 1000])?;
            Ok(file.sync_data()?)
        })
    })
    .await?
}

/// Transactions of one row a second on one connection, each on disk before the next.
pub async fn commits(url: &str) -> anyhow::Result<f64> {
    const TABLE: &str = "CREATE TABLE bare (n BIGINT PRIMARY KEY, t TEXT)";
    const INSERT: &str = "INSERT INTO bare (n, t) VALUES ($1, 'a row of some length, as they are')";
    macro_rules! measure {
        ($connection:expr) => {{
            let mut connection = $connection;
            sqlx::query(TABLE).execute(&mut connection).await?;
            let (begun, mut count) = (Instant::now(), 0);
            while begun.elapsed() < FOR {
                sqlx::query(INSERT).bind(i64::try_from(count)?).execute(&mut connection).await?;
                count += 1;
            }
            let rate = per_second(count, begun);
            sqlx::query("DROP TABLE bare").execute(&mut connection).await?;
            Ok(rate)
        }};
    }
    match is_sqlite(url) {
        true => measure!(sqlite(url).await?),
        false => measure!(PgConnection::connect(url).await?),
    }
}

/// Rows of a job log a second that the engine takes in one go, into a table with nothing but a key: COPY in PostgreSQL,
/// one transaction in SQLite.
pub async fn rows(url: &str) -> anyhow::Result<f64> {
    const TABLE: &str = "CREATE TABLE bare (n BIGINT PRIMARY KEY, item TEXT, item_type TEXT, task TEXT, arch TEXT)";
    if is_sqlite(url) {
        let mut connection = sqlite(url).await?;
        sqlx::query(TABLE).execute(&mut connection).await?;
        let begun = Instant::now();
        let mut transaction = connection.begin().await?;
        for n in 0..ROWS {
            sqlx::query("INSERT INTO bare VALUES ($1, $2, 'koji_build', 'bench', 'noarch')")
                .bind(i64::try_from(n)?)
                .bind(format!("package-{n}-1.fc41"))
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        return Ok(per_second(ROWS, begun));
    }
    let mut connection = PgConnection::connect(url).await?;
    sqlx::query(TABLE).execute(&mut connection).await?;
    let text: String =
        (0..ROWS).map(|n| format!("{n},package-{n}-1.fc41,koji_build,bench,noarch\n")).collect::<Vec<_>>().concat();
    let begun = Instant::now();
    let mut copy = connection.copy_in_raw("COPY bare FROM STDIN WITH (FORMAT csv)").await?;
    copy.send(text.into_bytes()).await?;
    copy.finish().await?;
    Ok(per_second(ROWS, begun))
}

/// Messages a second that the broker takes, and gives to a consumer that acknowledges them.
pub async fn messages(url: &str) -> anyhow::Result<f64> {
    let broker = Broker::connect(url).await?;
    let body = vec![b'x'; 1000];
    let begun = Instant::now();
    let mut consumer = broker.consume(500).await?;
    let messages = (0..MESSAGES).map(|n| ("bare".to_owned(), n.to_string(), body.clone()));
    tokio::try_join!(broker.publish_all(messages), broker.take(&mut consumer, MESSAGES))?;
    let rate = per_second(MESSAGES, begun);
    broker.close().await?;
    Ok(rate)
}

/// Milliseconds from a publish to the delivery, in the middle.
pub async fn delivery(url: &str) -> anyhow::Result<f64> {
    let broker = Broker::connect(url).await?;
    let mut consumer = broker.consume(10).await?;
    let mut samples = Vec::new();
    for n in 0..100 {
        let begun = Instant::now();
        let confirm = broker.publish("bare", &n.to_string(), b"{}").await?;
        broker.take(&mut consumer, 1).await?;
        samples.push(begun.elapsed().as_secs_f64() * 1e3);
        confirm.await?;
    }
    broker.close().await?;
    Ok(percentile(&mut samples, 0.5))
}

fn is_sqlite(url: &str) -> bool {
    url.starts_with("sqlite:")
}

/// As durable as a room's own: a commit that was reported survives a power cut.
async fn sqlite(url: &str) -> anyhow::Result<SqliteConnection> {
    let options = SqliteConnectOptions::from_str(url)?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    Ok(SqliteConnection::connect_with(&options).await?)
}

fn median(times: usize, mut act: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let mut samples = Vec::with_capacity(times);
    for _ in 0..times {
        let begun = Instant::now();
        act()?;
        samples.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(percentile(&mut samples, 0.5))
}

pub fn per_second(count: usize, since: Instant) -> f64 {
    count as f64 / since.elapsed().as_secs_f64()
}
