//! What a store shows of itself: whether it lives, whether it can work, and its numbers.

use std::sync::atomic::AtomicU64;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use model::Role;
use net::{Problem, Tokens, guard};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::store::Store;

/// `/healthz` and `/readyz`, open to everyone, and `/metrics`: for a store that runs alone.
pub fn health(store: Store, tokens: &Tokens) -> Router {
    let open = Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready));
    open.with_state(store.clone()).merge(metrics("/metrics", store, tokens))
}

/// The store's numbers, at this path.
pub fn metrics(path: &str, store: Store, tokens: &Tokens) -> Router {
    guard(Router::new().route(path, get(numbers)), tokens, Role::Reader).with_state(store)
}

/// Ready is a store whose database answers. A bus that is away stops nothing.
async fn ready(State(store): State<Store>) -> Result<&'static str, Problem> {
    store.ping().await.map_err(|_| Problem::unavailable("the results database does not answer"))?;
    Ok("ready\n")
}

async fn numbers(State(store): State<Store>) -> Result<impl IntoResponse, Problem> {
    let backlog = store.backlog().await.map_err(|_| Problem::unavailable("the results database does not answer"))?;
    let mut registry = Registry::with_prefix("taskotron_resultsdb");
    for (name, help, value) in [
        ("messages", "Results that the bus is yet to be told of", backlog.messages),
        ("messages_refused", "Those of them that the broker has refused", backlog.refused),
        ("bus_troubles", "Whether something keeps this store from telling the bus", store.trouble().is_some().into()),
    ] {
        let gauge = Gauge::<u64, AtomicU64>::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    }
    let told = Counter::<u64>::default();
    told.inc_by(store.results_told());
    registry.register("results_told", "Results that this store has told the bus of", told);
    let mut text = String::new();
    encode(&mut text, &registry).expect("writing to a String cannot fail");
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text))
}
