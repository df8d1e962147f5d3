//! One room in a process of its own: its section of the settings, and a few options over it.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use net::{Secret, Tokens};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use toml::Value;
use url::Url;

use crate::exit::{Exit, OrExit as _};
use crate::service::Service;
use crate::settings::{Flag, Settings};
use crate::up::{self, Stages};

use super::{Session, configuration};

const STOPPING: &str = "SIGTERM or SIGINT ends it in order: what it has in hand is on disk or handed on.";

#[derive(Args, Debug)]
#[command(after_long_help = STOPPING)]
#[group(skip)]
pub struct Trigger {
    /// The folder with rules, kinds and tasks; else the settings' [configuration] dir
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    /// The master to forward to; else [trigger] master
    #[arg(long, value_name = "URL")]
    master: Option<Url>,
    /// Where to take events in over HTTP, and to show health and numbers; else [trigger.webhook] listen
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
}

#[derive(Args, Debug)]
#[command(after_long_help = STOPPING)]
pub struct Master {
    /// The folder with rules, kinds and tasks; else the settings' [configuration] dir
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    /// Where to listen; else [master] listen
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
}

#[derive(Args, Debug)]
#[command(after_long_help = "\
SIGTERM or SIGINT once: no new jobs, and running ones are seen to their end. Twice: they are stopped and handed back.")]
#[group(skip)]
pub struct Worker {
    /// The master to ask for work; else [worker] master
    #[arg(long, value_name = "URL")]
    master: Option<Url>,
    /// The worker's name; else [worker] name, else the host's
    #[arg(long)]
    name: Option<String>,
    /// How many jobs run at once; else [worker] slots
    #[arg(long, value_name = "N")]
    slots: Option<u32>,
}

#[derive(Args, Debug)]
#[command(after_long_help = STOPPING)]
pub struct Resultsdb {
    /// Where to listen; else [resultsdb] listen
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
}

/// An option that stands over a setting, where it is given.
fn flag<T: ToString>(option: &'static str, path: &'static str, value: &Option<T>) -> Option<Flag> {
    value.as_ref().map(|value| (option, path, Value::String(value.to_string())))
}

fn settings(session: &Session, flags: impl IntoIterator<Item = Option<Flag>>) -> anyhow::Result<Settings> {
    session.layers(flags.into_iter().flatten().collect())?.settings()
}

/// The token in a file of the settings; none where none is named.
fn token(file: Option<&PathBuf>) -> anyhow::Result<Secret> {
    match file {
        Some(file) => Secret::from_file(file).or_exit(Exit::Usage),
        None => Ok(Secret::none()),
    }
}

/// What makes this program the guardian of a worker. No command for people, and none of the commands' weight.
const GUARDIAN: &str = "guardian";

pub const VIGIL: worker::Vigil = worker::Vigil(&[GUARDIAN]);

/// The folder of the worker that has started this process as its guardian, if one has.
pub fn guarded() -> Option<PathBuf> {
    match &std::env::args_os().collect::<Vec<_>>()[..] {
        [_, word, dir] if word == GUARDIAN => Some(dir.into()),
        _ => None,
    }
}

impl Trigger {
    pub async fn run(self, session: &Session) -> anyhow::Result<Exit> {
        let config = self.config.as_ref().map(|dir| dir.display().to_string());
        let flags = [
            flag("--config", "configuration.dir", &config),
            flag("--master", "trigger.master", &self.master),
            flag("--listen", "trigger.webhook.listen", &self.listen),
        ];
        let settings = settings(session, flags)?;
        let live = up::live(configuration::read(&settings.configuration.dir)?);
        let token = token(settings.trigger.token_file.as_ref())?;
        let stages = Stages::on_signals()?;
        let _service = Service::begin(stages.graceful.clone());
        let (front, stop) = (trigger::Front::default(), CancellationToken::new());
        let served = Trigger::serve(&settings, &front, &stop).await?;
        let ran = trigger::run(settings.trigger, live.trigger.subscribe(), token, front, stages.graceful).await;
        stop.cancel();
        if let Some(served) = served {
            served.await.context("the listener panicked")?.context("the listener failed")?;
        }
        ran.map(|()| Exit::Reached)
    }

    /// Listens where the settings say so.
    async fn serve(
        settings: &Settings,
        front: &trigger::Front,
        stop: &CancellationToken,
    ) -> anyhow::Result<Option<JoinHandle<std::io::Result<()>>>> {
        let Some(webhook) = &settings.trigger.webhook else { return Ok(None) };
        let tokens = tokens(settings, false)?;
        let listener = up::bind(webhook.listen).await?;
        let router = front.events(&settings.trigger, &tokens).merge(front.health(&tokens));
        tracing::info!(listen = %webhook.listen, "events are taken in at http://{}/events", webhook.listen);
        Ok(Some(tokio::spawn(net::serve(listener, router, stop.clone()))))
    }
}

/// Who is let in, by the token file.
fn tokens(settings: &Settings, public_read: bool) -> anyhow::Result<Tokens> {
    let advice = "'taskotron token create' makes the token file, and [tokens] file says where it is";
    let tokens = Tokens::from_file(&settings.tokens.file, public_read).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => anyhow::anyhow!("{e}; {advice}"),
        _ => e.into(),
    });
    tokens.or_exit(Exit::Usage)
}

impl Worker {
    pub async fn run(self, session: &Session) -> anyhow::Result<Exit> {
        let slots = self.slots.map(|n| ("--slots", "worker.slots", Value::Integer(n.into())));
        let flags = [flag("--master", "worker.master", &self.master), flag("--name", "worker.name", &self.name), slots];
        let settings = settings(session, flags)?;
        let token = token(settings.worker.token_file.as_ref())?;
        let Stages { graceful, now } = Stages::on_signals()?;
        let _service = Service::begin(graceful.clone());
        worker::run(settings.worker, token, VIGIL, worker::Stop { graceful, now }).await?;
        Ok(Exit::Reached)
    }
}

impl Master {
    pub async fn run(self, session: &Session) -> anyhow::Result<Exit> {
        let config = self.config.as_ref().map(|dir| dir.display().to_string());
        let flags = [flag("--config", "configuration.dir", &config), flag("--listen", "master.listen", &self.listen)];
        let settings = settings(session, flags)?;
        let live = up::live(configuration::read(&settings.configuration.dir)?);
        let tokens = tokens(&settings, settings.master.public_read)?;
        let stages = Stages::on_signals()?;
        let _service = Service::begin(stages.graceful.clone());
        let listener = up::bind(settings.master.listen).await?;
        let master = up::master(&settings.master, &live, tokens).await?;
        let router = master.router().merge(net::page::assets()).fallback(net::page::not_found);
        let stop = CancellationToken::new();
        let duties = tokio::spawn(master.duties(stop.clone()));
        net::life::ready();
        tracing::info!(listen = %settings.master.listen, "the master serves at {}", settings.master.listen);
        let served = net::serve(listener, router, stages.graceful).await;
        stop.cancel();
        duties.await.context("a duty of the master panicked")?;
        master.store().close().await;
        served?;
        Ok(Exit::Reached)
    }
}

impl Resultsdb {
    pub async fn run(self, session: &Session) -> anyhow::Result<Exit> {
        let settings = settings(session, [flag("--listen", "resultsdb.listen", &self.listen)])?;
        let tokens = tokens(&settings, settings.resultsdb.public_read)?;
        let stages = Stages::on_signals()?;
        let _service = Service::begin(stages.graceful.clone());
        let listener = up::bind(settings.resultsdb.listen).await?;
        let (store, router) = up::resultsdb(&settings.resultsdb, &tokens).await?;
        let router = router.merge(::resultsdb::health(store.clone(), &tokens));
        let router = router.merge(net::page::assets()).fallback(net::page::not_found);
        let stop = CancellationToken::new();
        let telling = up::telling(&settings.resultsdb, &store, stop.clone());
        net::life::ready();
        tracing::info!(listen = %settings.resultsdb.listen, "the results store serves at {}", settings.resultsdb.listen);
        let served = net::serve(listener, ::resultsdb::behind_proxy(router), stages.graceful).await;
        stop.cancel();
        telling.await.context("what tells the bus of results panicked")?;
        served?;
        store.close().await;
        Ok(Exit::Reached)
    }
}
