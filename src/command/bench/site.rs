//! A whole installation for one benchmark: a scratch folder, databases, tokens, a configuration, and its rooms, each a
//! process of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use model::Role;
use model::operator::Status;
use net::{Client, Secret};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use url::Url;

use super::engine::{self, Databases, Engine};
use super::room::{Room, program};
use crate::exit::{Exit, Failure};
use crate::settings::Settings;
use crate::up::Home;

/// How long anything may take to become ready, or to go on, before the benchmark is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a room that starts is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Rows of one request.
const SUBMIT: usize = 5_000;

/// What a benchmark's jobs run: nothing, as fast as can be.
pub const TRUE: &str = "tasks: { bench: { run: ['true'], results: [exit_code] } }\n";

pub struct Site {
    pub settings: Settings,
    pub engine: Engine,
    /// For operators.
    pub client: Client,
    databases: Databases,
    rooms: Vec<Room>,
    folder: TempDir,
}

/// Makes an installation with this configuration, measures, and removes it whatever happened. `adjust` has the last
/// word on its settings.
pub async fn on<T>(
    engine: Engine,
    configuration: &str,
    adjust: impl FnOnce(&mut Settings),
    measure: impl AsyncFnOnce(&mut Site) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut site = Site::make(engine, configuration, adjust).await?;
    let measured = tokio::select! {
        measured = async {
            site.prepare().await?;
            measure(&mut site).await
        } => measured,
        _ = tokio::signal::ctrl_c() => Err(Failure::error(Exit::Stopped, "interrupted")),
    };
    site.close().await;
    measured
}

impl Site {
    async fn make(engine: Engine, configuration: &str, adjust: impl FnOnce(&mut Settings)) -> anyhow::Result<Site> {
        let folder = tempfile::Builder::new().prefix("taskotron-bench-").tempdir().context("cannot make a folder")?;
        let home = Home::open(folder.path())?;
        home.tokens(true)?;
        let config = folder.path().join("config");
        std::fs::create_dir(&config)?;
        std::fs::write(config.join("bench.yml"), configuration)?;
        let mut settings = settings(&home, &config)?;
        adjust(&mut settings);
        let client = Client::new(settings.master.public_url.clone(), home.token(Role::Operator)?)?;
        let databases = Databases::new(engine.clone(), folder.path());
        Ok(Site { settings, engine, client, databases, rooms: Vec::new(), folder })
    }

    /// Makes what the rooms find when they start.
    async fn prepare(&mut self) -> anyhow::Result<()> {
        self.settings.master.database = Some(self.databases.make("master").await?);
        self.settings.resultsdb.database = Some(self.databases.make("resultsdb").await?);
        self.write_settings()
    }

    /// Writes the settings down for the rooms that start from now on.
    pub fn write_settings(&self) -> anyhow::Result<()> {
        Ok(std::fs::write(self.path("taskotron.toml"), toml::to_string(&self.settings)?)?)
    }

    /// One more database, for what the machine itself can do.
    pub async fn database(&mut self, name: &str) -> anyhow::Result<String> {
        self.databases.make(name).await
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where a role's token is.
    pub fn token_file(&self, role: Role) -> PathBuf {
        self.path(&format!("{role}.token"))
    }

    /// A client in the name of a role, with connections of its own.
    pub fn client_as(&self, role: Role) -> anyhow::Result<Client> {
        let token = Secret::from_file(&self.token_file(role))?;
        Ok(Client::new(self.settings.master.public_url.clone(), token)?)
    }

    /// Starts rooms, each when the one before is ready.
    pub async fn start(&mut self, names: &[&str]) -> anyhow::Result<()> {
        for name in names {
            let settings = self.path("taskotron.toml").display().to_string();
            self.spawn(name, "taskotron", &[(*name).into(), "--settings".into(), settings])?;
            match *name {
                "master" => self.until_listening(self.settings.master.listen).await?,
                "resultsdb" => self.until_listening(self.settings.resultsdb.listen).await?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Starts everything in one process.
    pub async fn start_up(&mut self) -> anyhow::Result<()> {
        // There the results store stands beside the master.
        if let Some(results) = &mut self.settings.master.results {
            results.url = self.settings.master.public_url.clone();
        }
        self.write_settings()?;
        let (data, settings) = (self.folder.path().display().to_string(), self.path("taskotron.toml"));
        let settings = settings.display().to_string();
        self.spawn("up", "taskotron", &["up", "--data", &data, "--settings", &settings].map(String::from))?;
        self.until_listening(self.settings.master.listen).await
    }

    /// Starts any program of ours.
    pub fn spawn(&mut self, name: &str, of: &str, arguments: &[String]) -> anyhow::Result<&mut Room> {
        let room = Room::start(name, &program(of)?, arguments, self.folder.path())?;
        self.rooms.push(room);
        Ok(self.rooms.last_mut().expect("it was put there just now"))
    }

    pub async fn until_listening(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(address).await.is_err() {
            self.all_alive()?;
            if Instant::now() >= end {
                bail!("nobody listens on {address} after {PATIENCE:?}");
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Stops one room in order.
    pub async fn stop(&mut self, name: &str) -> anyhow::Result<()> {
        match self.rooms.iter().position(|room| room.name == name) {
            Some(at) => self.rooms.remove(at).stop().await,
            None => Ok(()),
        }
    }

    pub fn rooms(&self) -> &[Room] {
        &self.rooms
    }

    pub async fn status(&self) -> anyhow::Result<Status> {
        Ok(self.client.get("/api/v1/status").await?)
    }

    /// The status, unless a room has ended.
    pub async fn check(&mut self) -> anyhow::Result<Status> {
        self.all_alive()?;
        self.status().await
    }

    /// Waits until the master's status is as wanted. Fails when it does not change any more, or a room has ended.
    pub async fn until(
        &mut self,
        what: &str,
        every: Duration,
        done: impl Fn(&Status) -> bool,
    ) -> anyhow::Result<Status> {
        let (mut last, mut changed) = (None, Instant::now());
        loop {
            let status = self.check().await?;
            if done(&status) {
                return Ok(status);
            }
            let seen = Some((status.jobs, status.outbox, status.intake));
            if last != seen {
                (last, changed) = (seen, Instant::now());
            } else if changed.elapsed() > PATIENCE {
                bail!("waiting for {what}, and nothing has changed for {PATIENCE:?}: {last:?}");
            }
            sleep(every).await;
        }
    }

    /// Fills the queue with jobs that nobody's event asked for: rows of a job log, as a person would submit them. With
    /// `keys` each is serial on one of so many.
    pub async fn submit(&self, jobs: usize, name: &str, keys: Option<usize>) -> anyhow::Result<()> {
        let key = |n: usize| keys.map(|keys| format!("{name}-{},serial", n % keys)).unwrap_or_else(|| ",".to_owned());
        for begin in (0..jobs).step_by(SUBMIT) {
            let rows =
                (begin..jobs.min(begin + SUBMIT)).map(|n| format!("{name}-{n},koji_build,bench,noarch,{}\n", key(n)));
            let header = "item,item_type,task,arch,supersede_key,supersede_policy\n".to_owned();
            let text: String = std::iter::once(header).chain(rows).collect();
            let kind = [("content-type", "text/csv")];
            let _: serde_json::Value =
                self.client.send(reqwest::Method::POST, "/api/v1/jobs", &kind, text.into()).await?;
        }
        Ok(())
    }

    /// Fails unless the results store has exactly so many results.
    pub async fn proof(&self, results: u64) -> anyhow::Result<()> {
        let database = self.settings.resultsdb.database.as_deref().context("there is a database")?;
        let stored = engine::count(database, "SELECT count(*) FROM results").await?;
        ensure!(stored == results, "{results} jobs have finished, and the results store has {stored} results");
        Ok(())
    }

    fn all_alive(&mut self) -> anyhow::Result<()> {
        self.rooms.iter_mut().try_for_each(Room::alive)
    }

    async fn close(mut self) {
        // Those who hand on before those who take.
        for name in ["up", "trigger", "worker", "master", "resultsdb"] {
            if let Err(e) = self.stop(name).await {
                eprintln!("{name} did not stop in order: {e:#}");
            }
        }
        self.rooms.clear();
        self.databases.drop_all().await;
    }
}

/// The settings of rooms that find each other, each with a port and a folder of its own.
fn settings(home: &Home, config: &Path) -> anyhow::Result<Settings> {
    let mut settings = Settings::default();
    settings.configuration.dir = config.to_owned();
    settings.tokens.file = home.path("tokens");
    let (master, results) = (free()?, free()?);
    let (url, results_url) = (Url::parse(&format!("http://{master}/"))?, Url::parse(&format!("http://{results}/"))?);
    settings.master.listen = master;
    settings.master.public_url = url.clone();
    settings.master.data = home.path("master");
    settings.master.public_read = true;
    settings.master.results =
        Some(master::Results { url: results_url, token_file: Some(home.token_file(Role::Submitter)) });
    settings.resultsdb.listen = results;
    settings.trigger.dir = home.path("trigger");
    settings.trigger.master = Some(url.clone().into());
    settings.trigger.token_file = Some(home.token_file(Role::Trigger));
    settings.worker.dir = home.path("worker");
    settings.worker.master = url.into();
    settings.worker.token_file = Some(home.token_file(Role::Worker));
    settings.worker.name = "bench".into();
    Ok(settings)
}

/// A port that is free now; whoever takes it first has it.
fn free() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?.local_addr()?)
}
