//! A whole trigger: sources, log, forwarder, until it is told to stop.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Context as _;
use net::{Client, Secret};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::forward::Forwarder;
use crate::intake::{self, Ended, Intake, Parts};
use crate::log::{Layout, Log};
use crate::{Front, Live, Settings, amqp, jsonl};

/// How often a trigger without a master shows that its intake goes round.
const ROUND: Duration = Duration::from_secs(20);

/// Runs a trigger until `stop`; then everything in hand is on disk and acknowledged.
///
/// An error means that it cannot go on: settings that cannot work, a folder that another process has, a disk that
/// fails to sync. After the last the whole process has to end, since only a new one reads what is really on disk.
pub async fn run(
    settings: Settings,
    live: watch::Receiver<Live>,
    token: Secret,
    front: impl Into<Front>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let front = front.into();
    let metrics = front.metrics.clone();
    anyhow::ensure!(
        settings.pair.is_none() || settings.name != Settings::default().name,
        "a trigger of a pair needs a name that the other one does not have: set [trigger] name"
    );
    let log = {
        let (layout, options, name) = (Layout::folder(&settings.dir), settings.log(), settings.name.clone());
        tokio::task::spawn_blocking(move || Log::open(layout, options, &intake::new_recorder(&name), net::clock::now()))
            .await??
    };
    let shared = log.shared();
    shared.expect(settings.buses()?.iter().map(amqp::called).collect());
    intake::begin_counts(&metrics, &log);
    info!(recorder = log.recorder(), "recording in {} as {}", settings.dir.display(), log.recorder());

    let reader = log.reader();
    let started = intake::start(Parts {
        log,
        live: live.clone(),
        limits: settings.limits,
        metrics: metrics.clone(),
        stop: stop.clone(),
        name: settings.name.clone(),
    });
    net::life::ready();
    // Sources stop first, then the intake by itself, then the forwarder.
    let last = CancellationToken::new();
    let forwarder = match &settings.master {
        Some(addresses) => {
            let client = Client::new(addresses.clone(), token).context("cannot make a client for the master")?;
            let orders = started.orders.clone();
            let pair = settings.pair();
            let forwarder = Forwarder::new(client, reader, shared, orders, live, metrics.clone(), pair);
            Some(tokio::spawn(forwarder.run(last.clone())))
        }
        None => None,
    };

    let mut end = started.end;
    let ended = tokio::select! {
        ended = &mut end => ended,
        consumed = fed(&settings, started.intake, &front, &stop) => {
            let ended = end.await;
            consumed.map(|()| ended)?
        }
    };
    last.cancel();
    if let Some(forwarder) = forwarder {
        forwarder.await.context("the forwarder")?;
    }
    match ended.context("the event log's thread")? {
        Ok(mut log) => {
            let done = tokio::task::spawn_blocking(move || log.finish_jobs()).await?;
            done.context("the job log is not on disk; the next start makes it good from the event log")
        }
        // A stop while the disk is full: the broker still has what was in hand.
        Err(Ended::Stopped) => Ok(()),
        Err(failed) => Err(failed.into()),
    }
}

/// Runs the sources; where no forwarder shows that work goes round, the intake itself does.
async fn fed(settings: &Settings, intake: Intake, front: &Front, stop: &CancellationToken) -> anyhow::Result<()> {
    tokio::select! {
        consumed = sources(settings, intake.clone(), front, stop) => consumed,
        never = go_round(&intake), if settings.master.is_none() => match never {},
    }
}

/// Hands nothing over, again and again, and sees it come back.
async fn go_round(intake: &Intake) -> Infallible {
    loop {
        if let Some(receipt) = intake.hand(Vec::new()).await
            && receipt.await.is_ok()
        {
            net::life::beat();
        }
        tokio::time::sleep(ROUND).await;
    }
}

/// Runs the sources to their end, and holds the intake open until `stop`.
async fn sources(settings: &Settings, intake: Intake, front: &Front, stop: &CancellationToken) -> anyhow::Result<()> {
    let _open = front.open(intake.clone());
    let bus = async {
        let consuming = settings.buses()?.into_iter().map(|amqp| async {
            let source = amqp::Source {
                settings: amqp,
                name: format!("taskotron trigger {}", settings.name),
                alone: false,
                metrics: front.metrics.clone(),
            };
            amqp::consume(&source, &intake, stop).await.context("[trigger.amqp]")
        });
        futures_util::future::try_join_all(consuming).await?;
        Ok(())
    };
    let file = async {
        let Some(from) = &settings.file else { return Ok(()) };
        jsonl::consume(jsonl::open(from)?, settings.limits.size, &intake, stop).await.context("[trigger] file")
    };
    tokio::try_join!(bus, file)?;
    stop.cancelled().await;
    Ok(())
}
