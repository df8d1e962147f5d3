//! The queue and its bindings, made or found.

use bus::{Fault, code};
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ExchangeKind};

use super::headers::arguments;
use super::{Passive, Settings};

/// A channel, and the queue that it is to consume.
pub struct Declared {
    pub channel: Channel,
    pub name: String,
    /// Whether it was there before, and has kept what came meanwhile.
    pub kept: bool,
}

/// Finds or makes the queue and binds it. A failed question costs its channel, so each next one gets a new channel.
pub async fn declare(connection: &Connection, settings: &Settings, alone: bool) -> Result<Declared, Fault> {
    let kept = !settings.queue.is_empty() && found(connection, settings, alone).await?;
    let mut declared = match settings.passive {
        // Nobody else can have made a queue that has no name yet.
        _ if settings.queue.is_empty() => make(connection, settings, active(settings)).await?,
        Passive::No => make(connection, settings, active(settings)).await?,
        Passive::Only => make(connection, settings, passive()).await?,
        Passive::First if kept => make(connection, settings, passive()).await?,
        Passive::First => make(connection, settings, active(settings)).await?,
    };
    declared.kept = kept;
    bind(&declared.channel, settings, &declared.name).await?;
    Ok(declared)
}

/// Binds the queue to everything that the settings name, which changes nothing where it is bound already.
pub async fn bind(channel: &Channel, settings: &Settings, name: &str) -> Result<(), Fault> {
    for binding in &settings.bindings {
        let (exchange, pattern) = binding.parts(&settings.exchange);
        let (how, none) = (QueueBindOptions::default(), FieldTable::default());
        channel
            .queue_bind(name.into(), exchange.into(), pattern.into(), how, none)
            .await
            .map_err(|e| Fault::of(&format!("bind queue '{name}' to {pattern} of {exchange}"), &e))?;
    }
    Ok(())
}

/// Makes the exchanges of the settings, except where others make everything.
async fn make_exchanges(channel: &Channel, settings: &Settings) -> Result<(), Fault> {
    if settings.passive == Passive::Only {
        return Ok(());
    }
    for (name, exchange) in &settings.exchanges {
        // Those that begin so are there, and nobody may make one.
        if name.is_empty() || name.starts_with("amq.") {
            continue;
        }
        let how = ExchangeDeclareOptions {
            durable: exchange.durable,
            auto_delete: exchange.auto_delete,
            ..ExchangeDeclareOptions::default()
        };
        let kind = ExchangeKind::Custom(exchange.kind.clone());
        channel
            .exchange_declare(name.as_str().into(), kind, how, arguments(&exchange.arguments))
            .await
            .map_err(|e| Fault::of(&format!("declare exchange '{name}'"), &e))?;
    }
    Ok(())
}

/// Whether the queue is there by now; `alone` refuses one that somebody consumes.
async fn found(connection: &Connection, settings: &Settings, alone: bool) -> Result<bool, Fault> {
    let channel = open(connection).await?;
    match channel.queue_declare(settings.queue.as_str().into(), passive(), FieldTable::default()).await {
        Ok(queue) if alone && queue.consumer_count() > 0 => Err(Fault::InUse(settings.queue.clone())),
        // 405: exclusive to another connection.
        Err(error) if alone && code(&error) == Some(405) => Err(Fault::InUse(settings.queue.clone())),
        Ok(_) => Ok(true),
        Err(error) if alone && code(&error) != Some(404) => Err(Fault::of("look for the queue", &error)),
        // Whatever is wrong with it, declaring it tells.
        Err(_) => Ok(false),
    }
}

async fn open(connection: &Connection) -> Result<Channel, Fault> {
    connection.create_channel().await.map_err(|e| Fault::of("open a channel", &e))
}

async fn make(connection: &Connection, settings: &Settings, how: QueueDeclareOptions) -> Result<Declared, Fault> {
    let channel = open(connection).await?;
    make_exchanges(&channel, settings).await?;
    let queue = channel
        .queue_declare(settings.queue.as_str().into(), how, arguments(&settings.arguments))
        .await
        .map_err(|e| Fault::of(&format!("declare queue '{}'", settings.queue), &e))?;
    Ok(Declared { name: queue.name().to_string(), channel, kept: false })
}

pub fn passive() -> QueueDeclareOptions {
    QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() }
}

/// A queue that the server names is ours alone and goes with us, whatever the settings say: nobody could find it again.
fn active(settings: &Settings) -> QueueDeclareOptions {
    let unnamed = settings.queue.is_empty();
    QueueDeclareOptions {
        durable: settings.durable && !unnamed,
        exclusive: settings.exclusive || unnamed,
        auto_delete: settings.auto_delete || unnamed,
        ..QueueDeclareOptions::default()
    }
}
