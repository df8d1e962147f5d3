//! One connection to one broker.

use std::time::Duration;

use lapin::tcp::AsyncTcpStream;
use lapin::types::LongString;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties};
use serde_json::Value;

use crate::{Broker, Fault, tls};

/// How long a connection may take to be made, TLS and login included.
const PATIENCE: Duration = Duration::from_secs(20);

/// Seconds between signs of life, where the address names no other; a dead broker is noticed within twice this.
const HEARTBEAT: u16 = 20;

/// Reads an address; the error never holds its password.
pub(crate) fn parse(url: &str) -> Result<AMQPUri, String> {
    let mut uri: AMQPUri = url.parse().map_err(|e: String| format!("'{}' is no AMQP address: {e}", host(url)))?;
    uri.query.heartbeat.get_or_insert(HEARTBEAT);
    // lapin takes an IPv6 address for no host at all, which would be this machine.
    if let Ok(url) = url::Url::parse(url)
        && let Some(url::Host::Ipv6(address)) = url.host()
    {
        uri.authority.host = address.to_string();
    }
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
pub async fn connect(broker: &Broker, url: &str, name: &str) -> Result<Connection, Fault> {
    let uri = parse(url).map_err(Fault::Lasting)?;
    let tls = match uri.scheme {
        AMQPScheme::AMQPS => Some(tls::connector(broker).map_err(Fault::Lasting)?),
        AMQPScheme::AMQP => None,
    };
    let runtime = lapin::runtime::default_runtime().map_err(|e| Fault::of("connect", &e))?;
    let connecting = Connection::connector(
        uri,
        runtime,
        async move |uri, runtime| {
            let address = runtime.to_socket_addrs((uri.authority.host.clone(), uri.authority.port));
            let stream = AsyncTcpStream::connect(&runtime, address).await?;
            match &tls {
                Some(connector) => Ok(stream.into_rustls(connector, &uri.authority.host).await?),
                None => Ok(stream),
            }
        },
        properties(broker, name),
    );
    match tokio::time::timeout(PATIENCE, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(Fault::of("connect", &error)),
        Err(_) => Err(Fault::passing(format!("cannot connect: no answer within {} s", PATIENCE.as_secs()))),
    }
}

/// What the broker is told of us; it shows people the name.
fn properties(broker: &Broker, name: &str) -> ConnectionProperties {
    let named = ConnectionProperties::default().with_connection_name(LongString::from(name));
    broker.client_properties.iter().fold(named, |properties, (key, value)| {
        properties.with_client_property(key.as_str().into(), LongString::from(plain(value)))
    })
}

/// A property as one text, since that is what the library sends.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        let uri = parse("amqps://u:p@[::1]:5671/%2Fpubsub?heartbeat=5").unwrap();
        assert_eq!((uri.authority.host.as_str(), uri.vhost.as_str()), ("::1", "/pubsub"));
        assert_eq!(uri.query.heartbeat, Some(5));
        assert_eq!(parse("amqp://a").unwrap().query.heartbeat, Some(HEARTBEAT));
    }

    #[test]
    fn a_list_is_told_as_one_text() {
        assert_eq!(plain(&json!(["a@example.org", "b@example.org"])), "a@example.org, b@example.org");
        assert_eq!(plain(&json!(7)), "7");
    }
}
