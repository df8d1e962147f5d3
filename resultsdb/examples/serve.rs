//! Serves a results store alone, open to all: `serve DATABASE_URL [ADDRESS]`. To try things out, and to measure.

use std::net::SocketAddr;

use anyhow::Context as _;
use net::Tokens;
use resultsdb::{Settings, Store, WriteAccess};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let database = arguments.next().context("usage: serve DATABASE_URL [ADDRESS]")?;
    let mut settings = Settings { write_access: WriteAccess::Open, ..Settings::default() };
    if let Some(address) = arguments.next() {
        settings.listen = address.parse::<SocketAddr>().context("ADDRESS is IP:PORT")?;
    }
    let store = Store::open(&database).await.context("failed to open the database")?;
    let tokens = Tokens::fixed([], settings.public_read);
    let router = resultsdb::behind_proxy(resultsdb::router(store, &settings, &tokens).merge(net::page::assets()));
    let listener = net::bind(settings.listen).await?;
    net::serve(listener, router, CancellationToken::new()).await?;
    Ok(())
}
