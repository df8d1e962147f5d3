//! Starts rooms, sees whether they still run, and stops them in the order in which they hand things on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::resultsdb::Store;
use anyhow::Context as _;
use axum::Router;
use model::Role;
use model::operator::Status;
use net::{Client, Tokens};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::command::VIGIL;
use crate::settings::Settings;

use super::home::Home;
use super::stages::Stages;

/// How often the outbox is looked at while it drains.
const LOOK: Duration = Duration::from_millis(20);

/// The configuration in force, for a master and a trigger of one process.
pub struct Live {
    pub master: watch::Sender<::master::Live>,
    pub trigger: watch::Sender<trigger::Live>,
}

/// A configuration as the first and only one of this process.
pub fn live(configuration: rules::Configuration) -> Live {
    let configuration = Arc::new(configuration);
    let generation = 1;
    Live {
        master: watch::Sender::new(::master::Live { configuration: configuration.clone(), generation }),
        trigger: watch::Sender::new(trigger::Live { configuration, generation }),
    }
}

/// Opens a master's store.
pub async fn master(settings: &::master::Settings, live: &Live, tokens: Tokens) -> anyhow::Result<::master::Master> {
    std::fs::create_dir_all(&settings.data).with_context(|| format!("cannot make {}", settings.data.display()))?;
    ::master::Master::open(settings.clone(), live.master.subscribe(), tokens).await.context("cannot open the master")
}

/// Opens a results store and makes its routes.
pub async fn resultsdb(settings: &::resultsdb::Settings, tokens: &Tokens) -> anyhow::Result<(Store, Router)> {
    let database = settings.database.as_deref().context("[resultsdb] database is not set")?;
    settings.check().map_err(anyhow::Error::msg)?;
    let store = Store::open(database).await.context("cannot open the results store")?;
    Ok((store.clone(), ::resultsdb::router(store, settings, tokens)))
}

/// Tells the bus of results, where the settings say so, until `stop`.
pub fn telling(settings: &::resultsdb::Settings, store: &Store, stop: CancellationToken) -> JoinHandle<()> {
    let (messages, store) = (settings.messages.clone(), store.clone());
    tokio::spawn(async move {
        if let Some(messages) = messages {
            ::resultsdb::tell(store, messages, stop).await;
        }
    })
}

/// Gives the results store a place where nobody named one.
pub fn settle_resultsdb(settings: &mut ::resultsdb::Settings, file: &Path) {
    settings.database.get_or_insert_with(|| format!("sqlite:{}", file.display()));
}

/// The rooms of one process.
pub struct Running {
    serving: JoinHandle<std::io::Result<()>>,
    duties: JoinHandle<()>,
    telling: JoinHandle<()>,
    trigger: JoinHandle<anyhow::Result<()>>,
    worker: JoinHandle<anyhow::Result<()>>,
    stop_trigger: CancellationToken,
    stop_worker: worker::Stop,
    stop_duties: CancellationToken,
    stop_serving: CancellationToken,
    master: ::master::Master,
    results: Store,
    _live: Live,
}

impl Running {
    /// Stores, then the listener, then those who talk to it.
    pub async fn start(
        settings: &Settings,
        configuration: rules::Configuration,
        home: &Home,
        listener: TcpListener,
    ) -> anyhow::Result<Running> {
        let live = live(configuration);
        let tokens = home.tokens(settings.resultsdb.public_read)?;
        let (results, results_routes) = resultsdb(&settings.resultsdb, &tokens).await?;
        let master = master(&settings.master, &live, home.tokens(settings.master.public_read)?).await?;
        let front = trigger::Front::default();
        let events = front.events(&settings.trigger, &home.tokens(settings.master.public_read)?);
        let numbers = ::resultsdb::metrics("/metrics/results", results.clone(), &tokens);
        let rooms = master.router().merge(results_routes).merge(numbers).merge(events);
        let router = ::resultsdb::behind_proxy(rooms.merge(net::page::assets()).fallback(net::page::not_found));
        let (stop_serving, stop_duties) = (CancellationToken::new(), CancellationToken::new());
        let serving = tokio::spawn(net::serve(listener, router, stop_serving.clone()));
        let duties = tokio::spawn(master.duties(stop_duties.clone()));
        let telling = telling(&settings.resultsdb, &results, stop_serving.clone());

        let (stop_trigger, stop_worker) = (CancellationToken::new(), worker::Stop::default());
        let trigger = tokio::spawn(trigger::run(
            settings.trigger.clone(),
            live.trigger.subscribe(),
            home.token(Role::Trigger)?,
            front,
            stop_trigger.clone(),
        ));
        let worker = worker::run(settings.worker.clone(), home.token(Role::Worker)?, VIGIL, stop_worker.clone());
        let worker = tokio::spawn(worker);
        let _live = live;
        Ok(Running {
            serving,
            duties,
            telling,
            trigger,
            worker,
            stop_trigger,
            stop_worker,
            stop_duties,
            stop_serving,
            master,
            results,
            _live,
        })
    }

    /// An address that logs one visitor in as the operator.
    pub async fn login_address(&self, url: &url::Url, home: &Home) -> anyhow::Result<url::Url> {
        self.master.login_address(url, &home.token(Role::Operator)?).await
    }

    /// Runs until a signal, or until a room cannot go on; then stops the others in order.
    pub async fn until_stopped(
        mut self,
        stages: &Stages,
        feeding: &CancellationToken,
        client: &Client,
        drain: Duration,
    ) -> anyhow::Result<()> {
        let failed = tokio::select! {
            () = stages.graceful.cancelled() => None,
            ended = &mut self.trigger => Some(early("the trigger", ended)),
            ended = &mut self.worker => Some(early("the worker", ended)),
            ended = &mut self.serving => Some(early("the listener", ended.map(|done| done.map_err(Into::into)))),
            ended = &mut self.duties => Some(early("the master", ended.map(Ok))),
        };
        if let Some(error) = &failed {
            tracing::error!(error = %format!("{error:#}"), "a room has ended; stopping the others");
        }
        feeding.cancel();
        self.stop_trigger.cancel();
        self.stop_worker.graceful.cancel();
        let now = self.stop_worker.now.clone();
        let second = async {
            stages.now.cancelled().await;
            now.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = async { end("the worker", &mut self.worker).await; end("the trigger", &mut self.trigger).await } => {}
            () = second => {}
        }
        let left = drained(client, drain).await;
        if left > 0 {
            tracing::info!(outbox = left, "the outbox is not empty; it is delivered after the next start");
        }
        self.stop_duties.cancel();
        if !self.duties.is_finished() && (&mut self.duties).await.is_err() {
            tracing::error!("a duty of the master panicked");
        }
        self.stop_serving.cancel();
        if !self.serving.is_finished() {
            (&mut self.serving).await.context("the listener panicked")?.context("the listener failed")?;
        }
        if (&mut self.telling).await.is_err() {
            tracing::error!("what tells the bus of results panicked");
        }
        self.master.store().close().await;
        self.results.close().await;
        failed.map_or(Ok(()), Err)
    }
}

/// Why a room that should run for ever does not.
fn early(who: &str, ended: Result<anyhow::Result<()>, tokio::task::JoinError>) -> anyhow::Error {
    match ended {
        Ok(Ok(())) => anyhow::anyhow!("{who} ended without being asked to"),
        Ok(Err(e)) => e.context(format!("{who} cannot go on")),
        Err(e) => anyhow::anyhow!("{who} panicked: {e}"),
    }
}

/// Waits for a room that was told to stop.
async fn end(who: &str, room: &mut JoinHandle<anyhow::Result<()>>) {
    if room.is_finished() {
        return;
    }
    match room.await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => tracing::error!(error = %format!("{e:#}"), "{who} did not stop in order"),
        Err(e) => tracing::error!(error = %e, "{who} panicked while it stopped"),
    }
}

/// Waits until everything is delivered, and says how much was not in time.
async fn drained(client: &Client, within: Duration) -> u64 {
    let end = Instant::now() + within;
    loop {
        let outbox = match client.get::<Status>("/api/v1/status").await {
            Ok(status) => status.outbox,
            // It cannot be told: whatever is left is delivered after the next start.
            Err(_) => return 0,
        };
        if outbox == 0 || Instant::now() >= end {
            return outbox;
        }
        tokio::time::sleep(LOOK).await;
    }
}
