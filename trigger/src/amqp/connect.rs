//! One connection to one broker.

use std::time::Duration;

use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use lapin::types::LongString;
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties};

use super::{Fault, Settings};

/// How long a connection may take to be made, TLS and login included.
const PATIENCE: Duration = Duration::from_secs(20);

/// Seconds between signs of life, where the address names no other; a dead broker is noticed within twice this.
const HEARTBEAT: u16 = 20;

/// Reads an address; the error never holds its password.
pub fn parse(url: &str) -> Result<AMQPUri, String> {
    let mut uri: AMQPUri = url.parse().map_err(|e: String| format!("'{}' is no AMQP address: {e}", host(url)))?;
    uri.query.heartbeat.get_or_insert(HEARTBEAT);
    Ok(uri)
}

/// The host of an address, for people: without user and password.
pub fn host(url: &str) -> String {
    let parsed = url::Url::parse(url).ok();
    let host = parsed.as_ref().and_then(|url| Some((url.host_str()?, url.port())));
    match host {
        Some((host, Some(port))) => format!("{host}:{port}"),
        Some((host, None)) => host.to_owned(),
        None => "(no host)".to_owned(),
    }
}

/// Connects and logs in.
pub async fn connect(settings: &Settings, url: &str, name: &str) -> Result<Connection, Fault> {
    let uri = parse(url).map_err(Fault::Lasting)?;
    let properties = ConnectionProperties::default().with_connection_name(LongString::from(name));
    let tls = tls(settings).map_err(Fault::Lasting)?;
    let runtime = lapin::runtime::default_runtime().map_err(|e| Fault::of("connect", &e))?;
    let connecting = Connection::connect_uri_with_config(uri, properties, tls, runtime);
    match tokio::time::timeout(PATIENCE, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(Fault::of("connect", &error)),
        Err(_) => Err(Fault::passing(format!("cannot connect: no answer within {} s", PATIENCE.as_secs()))),
    }
}

fn tls(settings: &Settings) -> Result<OwnedTLSConfig, String> {
    let read = |path: &std::path::Path| std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()));
    let cert_chain = match &settings.ca_file {
        Some(path) => Some(String::from_utf8_lossy(&read(path)?).into_owned()),
        None => None,
    };
    let identity = match (&settings.cert_file, &settings.key_file) {
        (Some(cert), Some(key)) => Some(OwnedIdentity::PKCS8 { pem: read(cert)?, key: read(key)? }),
        (_, _) => None,
    };
    Ok(OwnedTLSConfig { identity, cert_chain })
}
