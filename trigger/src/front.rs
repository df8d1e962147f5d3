//! What a trigger shows of itself to whoever has a listener: its health, its numbers, and a door for events.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use model::Role;
use net::{Problem, Tokens, guard};

use crate::intake::Intake;
use crate::metrics::Metrics;
use crate::{Settings, webhook};

/// Made before a trigger runs, so that a listener can be there first; cheap to clone.
#[derive(Clone, Default)]
pub struct Front {
    pub metrics: Arc<Metrics>,
    /// There while the trigger takes events in.
    intake: Arc<Mutex<Option<Intake>>>,
}

impl From<Arc<Metrics>> for Front {
    fn from(metrics: Arc<Metrics>) -> Front {
        Front { metrics, intake: Arc::default() }
    }
}

impl Front {
    /// `POST /events`, for submitters.
    pub fn events(&self, settings: &Settings, tokens: &Tokens) -> Router {
        webhook::routes(self, settings, tokens)
    }

    /// `/healthz` and `/readyz`, open to everyone, and `/metrics`.
    pub fn health(&self, tokens: &Tokens) -> Router {
        let open = Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready));
        let metrics = Router::new().route("/metrics", get(metrics));
        open.merge(guard(metrics, tokens, Role::Reader)).with_state(self.clone())
    }

    /// Lets events in until what it gives back is dropped.
    pub(crate) fn open(&self, intake: Intake) -> Open<'_> {
        self.set(Some(intake));
        Open(self)
    }

    /// The intake, while there is one.
    pub(crate) fn intake(&self) -> Result<Intake, Problem> {
        let intake = self.intake.lock().unwrap_or_else(PoisonError::into_inner).clone();
        intake.ok_or_else(|| {
            Problem::unavailable("the trigger takes nothing in: it is starting or stopping; send it again")
        })
    }

    fn set(&self, intake: Option<Intake>) {
        *self.intake.lock().unwrap_or_else(PoisonError::into_inner) = intake;
    }
}

/// A door that stands open.
pub(crate) struct Open<'a>(&'a Front);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

/// Ready is a trigger that takes in what there is to take in.
async fn ready(State(front): State<Front>) -> Result<&'static str, Problem> {
    front.intake()?;
    match front.metrics.troubles.list().as_slice() {
        [] => Ok("ready\n"),
        troubles => {
            let said: Vec<_> = troubles.iter().map(|trouble| format!("it {}", trouble.what)).collect();
            Err(Problem::unavailable(said.join("; ")))
        }
    }
}

async fn metrics(State(front): State<Front>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], front.metrics.text())
}
