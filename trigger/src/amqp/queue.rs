//! The queue and its bindings, made or found.

use lapin::options::{QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};

use super::fault::{Fault, code};
use super::{Passive, Settings};

/// A channel, and the queue that it is to consume.
pub struct Declared {
    pub channel: Channel,
    pub name: String,
}

/// Finds or makes the queue and binds it. A failed question costs its channel, so each next one gets a new channel.
pub async fn declare(connection: &Connection, settings: &Settings, alone: bool) -> Result<Declared, Fault> {
    if alone && !settings.queue.is_empty() {
        let channel = open(connection).await?;
        match channel.queue_declare(settings.queue.as_str().into(), passive(), FieldTable::default()).await {
            Ok(queue) if queue.consumer_count() > 0 => return Err(Fault::InUse(settings.queue.clone())),
            Ok(_) => {}
            Err(error) if code(&error) == Some(404) => {}
            // 405: exclusive to another connection.
            Err(error) if code(&error) == Some(405) => return Err(Fault::InUse(settings.queue.clone())),
            Err(error) => return Err(Fault::of("look for the queue", &error)),
        }
    }
    let declared = match settings.passive {
        Passive::No => make(connection, settings, active(settings)).await?,
        Passive::Only => make(connection, settings, passive()).await?,
        Passive::First if settings.queue.is_empty() => make(connection, settings, active(settings)).await?,
        Passive::First => match make(connection, settings, passive()).await {
            Ok(declared) => declared,
            Err(_) => make(connection, settings, active(settings)).await?,
        },
    };
    for key in &settings.bindings {
        let (queue, exchange) = (declared.name.as_str().into(), settings.exchange.as_str().into());
        declared
            .channel
            .queue_bind(queue, exchange, key.as_str().into(), QueueBindOptions::default(), FieldTable::default())
            .await
            .map_err(|e| Fault::of(&format!("bind {} to {key} of {}", declared.name, settings.exchange), &e))?;
    }
    Ok(declared)
}

async fn open(connection: &Connection) -> Result<Channel, Fault> {
    connection.create_channel().await.map_err(|e| Fault::of("open a channel", &e))
}

async fn make(connection: &Connection, settings: &Settings, how: QueueDeclareOptions) -> Result<Declared, Fault> {
    let channel = open(connection).await?;
    let queue = channel
        .queue_declare(settings.queue.as_str().into(), how, FieldTable::default())
        .await
        .map_err(|e| Fault::of(&format!("declare queue '{}'", settings.queue), &e))?;
    Ok(Declared { name: queue.name().to_string(), channel })
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
