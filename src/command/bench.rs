//! `taskotron bench`: how fast this machine runs Taskotron, each figure beside what the machine could do at most.
//!
//! Every benchmark sets up an installation of its own in a scratch folder, starts the real rooms as processes of this
//! very binary, measures from outside, and removes everything again. Nothing here is used by any room.

mod broker;
mod claim;
mod dispatch;
mod engine;
mod figure;
mod intake;
mod isolation;
mod limit;
mod load;
mod memory;
mod pages;
mod replay;
mod results;
mod room;
mod site;
mod start;
mod throughput;

use clap::{Args, Subcommand};

use crate::exit::{Exit, Failure};

use super::{Session, output};
use engine::{Engine, Kind};
use figure::Figure;

const AFTER: &str = "\
Run it by './bench' in the source tree, which builds it for speed and starts a PostgreSQL and a RabbitMQ of its own.
Databases are made in the named server and dropped at the end; nothing else there is touched. Each figure stands beside
the budget of the design and the machine's own limit, measured in the same run: ratios say more than absolute times.";

#[derive(Args, Debug)]
#[command(after_long_help = AFTER)]
pub struct Bench {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    servers: Servers,
}

/// The servers to measure with.
#[derive(Args, Clone, Debug)]
pub struct Servers {
    /// The database's engine; without it PostgreSQL where one is named, else SQLite
    #[arg(long, global = true)]
    engine: Option<Kind>,
    /// A PostgreSQL server, and a user who may make databases in it
    #[arg(long, value_name = "URL", env = "TASKOTRON_BENCH_DATABASE", global = true, hide_env_values = true)]
    database: Option<String>,
    /// A RabbitMQ server, in which a queue is made and deleted again
    #[arg(long, value_name = "URL", env = "TASKOTRON_BENCH_AMQP", global = true, hide_env_values = true)]
    amqp: Option<String>,
}

#[derive(Subcommand, Debug)]
enum What {
    /// From a message on an idle bus to the start of its job's process
    Dispatch(dispatch::Dispatch),
    /// Jobs a second from the queue through a process to the results store
    Throughput(throughput::Throughput),
    /// Jobs a second claimed and finished over HTTP, without a process
    Claim(claim::Claim),
    /// Messages a second from the bus into the event log and the master
    Intake(intake::Intake),
    /// Rows a second of a job log through jobrunner
    Replay(replay::Replay),
    /// Memory of 'up' and of a worker; with --for, whether it grows
    Memory(memory::Memory),
    /// Reads and writes of the results store a second, beside those of the original
    Results(results::Results),
    /// How long the pages of the results store take
    Pages(pages::Pages),
    /// From start to ready, and from the signal to the end
    Start,
}

impl Servers {
    fn engine(&self) -> anyhow::Result<Engine> {
        match (self.engine, &self.database) {
            (Some(Kind::Sqlite), _) | (None, None) => Ok(Engine::Sqlite),
            (Some(Kind::Postgres) | None, Some(url)) => Ok(Engine::Postgres(url.clone())),
            (Some(Kind::Postgres), None) => {
                Err(Failure::error(Exit::Usage, "no PostgreSQL is named: give --database URL, or run it by ./bench"))
            }
        }
    }

    fn amqp(&self) -> anyhow::Result<&str> {
        let missing = || Failure::error(Exit::Usage, "no RabbitMQ is named: give --amqp URL, or run it by ./bench");
        self.amqp.as_deref().ok_or_else(missing)
    }
}

impl Bench {
    pub async fn run(self, session: &Session) -> anyhow::Result<Exit> {
        if cfg!(debug_assertions) {
            eprintln!("this is a debug build, many times slower than what 'cargo build --release' makes");
        }
        let figures: Vec<Figure> = match self.what {
            What::Dispatch(dispatch) => dispatch.measure(&self.servers).await?,
            What::Throughput(throughput) => throughput.measure(&self.servers).await?,
            What::Claim(claim) => claim.measure(&self.servers).await?,
            What::Intake(intake) => intake.measure(&self.servers).await?,
            What::Replay(replay) => replay.measure(&self.servers).await?,
            What::Memory(memory) => memory.measure(&self.servers).await?,
            What::Results(results) => {
                output::list(session.format, results.measure(&self.servers).await?)?;
                return Ok(Exit::Reached);
            }
            What::Pages(pages) => pages.measure(&self.servers).await?,
            What::Start => start::measure(&self.servers).await?,
        };
        output::list(session.format, figures)?;
        Ok(Exit::Reached)
    }
}
