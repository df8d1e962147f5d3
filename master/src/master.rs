//! A master, from its settings to its routes.

use anyhow::Context as _;
use axum::Router;
use model::Span;
use net::{Secret, Tokens};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::app::{App, Live};
use crate::settings::Settings;
use crate::store::Store;
use crate::{api, duty, page, secrets};

/// How long an address for one visit is good.
const LOGIN: Span = Span::minutes(10);

/// An open master: its routes serve, and its duties keep it going.
#[derive(Clone)]
pub struct Master {
    app: App,
    tokens: Tokens,
}

impl Master {
    /// Opens the database, brings its schema up to date, and stores the tasks of the configuration.
    pub async fn open(settings: Settings, live: watch::Receiver<Live>, tokens: Tokens) -> anyhow::Result<Master> {
        let logs = settings.data.join("logs");
        std::fs::create_dir_all(&logs).with_context(|| format!("cannot make the folder {}", logs.display()))?;
        let url = settings.database();
        secrets::check(&settings).map_err(anyhow::Error::msg)?;
        if let Some(messages) = &settings.messages {
            messages.check().map_err(anyhow::Error::msg)?;
        }
        let store = Store::open(&url, &settings.site).await.context("cannot open the master's database")?;
        if let Some(messages) = &settings.messages {
            store.announce(messages.announced());
        }
        let app = App::new(store, settings, live);
        app.current().await.context("cannot store the tasks of the configuration")?;
        app.mirrors.catch_up().await.context("cannot read what the mirrors show")?;
        Ok(Master { app, tokens })
    }

    /// The API below `/api/v1`, the pages, `/healthz`, `/readyz` and `/metrics`.
    ///
    /// The pages' stylesheet ([`net::page::assets`]) and the answer to unknown paths ([`net::page::not_found`]) are
    /// the listener's to add, once for all rooms that it serves.
    pub fn router(&self) -> Router {
        api::router(&self.app, &self.tokens)
            .merge(page::routes(&self.app, &self.tokens))
            .merge(api::health(&self.app, &self.tokens))
    }

    /// An address below `base` that logs its first visitor in as the holder of this token, once and within ten minutes.
    pub async fn login_address(&self, base: &Url, token: &Secret) -> anyhow::Result<Url> {
        let code = Secret::random();
        let (secret, until) = (page::hash_of(&code), self.app.store.now().await?.plus(LOGIN));
        let token = Tokens::hash(token.expose().context("there is no token to log in with")?);
        self.app.store.offer_login(&secret, &token, until).await.context("cannot offer a login")?;
        Ok(base.join(&format!("login/{}", code.expose().unwrap_or_default()))?)
    }

    /// Everything that a master does by itself, until `stop`; held claims are answered then.
    pub fn duties(&self, stop: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
        let app = self.app.clone();
        async move {
            let ending = async {
                stop.cancelled().await;
                app.stop.cancel();
            };
            tokio::join!(duty::all(app.clone(), stop.clone()), ending);
        }
    }

    /// What it remembers, for what else runs in its process.
    pub fn store(&self) -> &Store {
        &self.app.store
    }

    #[cfg(test)]
    pub(crate) fn app(&self) -> &App {
        &self.app
    }
}

/// A master on a listener of its own, until `stop`.
pub async fn run(
    settings: Settings,
    live: watch::Receiver<Live>,
    tokens: Tokens,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let listener = net::bind(settings.listen).await?;
    let master = Master::open(settings, live, tokens).await?;
    let router = master.router().merge(net::page::assets()).fallback(net::page::not_found);
    let serving = net::serve(listener, router, stop.clone());
    let (served, ()) = tokio::join!(serving, master.duties(stop));
    master.store().close().await;
    served.context("cannot serve")
}
