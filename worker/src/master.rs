//! The master, as a worker speaks to it: `model::lease` over HTTP.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::lease::{Claim, Claimed, Finish, Finished, LEASE_TOKEN, LogStored, Renew, Renewed, Report, Worker};
use model::{ArtifactPiece, ArtifactStored, Span};
use net::{Client, ClientError};
use uuid::Uuid;

use crate::figures::Gauge;

/// One worker's line to its master. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Master {
    client: Client,
    worker: Worker,
    gauge: Arc<Gauge>,
}

/// How much longer than asked for an answer may take.
const SLACK: Duration = Duration::from_secs(15);

impl Master {
    pub fn new(client: Client, worker: Worker, gauge: Arc<Gauge>) -> Master {
        Master { client, worker, gauge }
    }

    pub fn worker(&self) -> &Worker {
        &self.worker
    }

    /// The worker as it is now.
    fn presented(&self) -> Worker {
        Worker { clock: Some(net::clock::now()), ..self.worker.clone() }
    }

    /// The same, with how its machine stands.
    fn with_figures(&self) -> Worker {
        Worker { figures: Some(self.gauge.read()), ..self.presented() }
    }

    /// Why there is no room for another job, where there is none.
    pub fn takes_none(&self) -> Option<String> {
        self.gauge.read().takes_none
    }

    pub async fn claim(&self, claim: Uuid, slots: u32, wait: Duration) -> Result<Claimed, ClientError> {
        let body = Claim { worker: self.with_figures(), claim, slots, wait: Span(wait) };
        self.client.post_within("/api/v1/claim", &body, wait + SLACK).await
    }

    pub async fn renew(&self, tokens: Vec<String>, within: Duration) -> Result<Renewed, ClientError> {
        let body = Renew { worker: self.with_figures(), tokens };
        self.client.post_within("/api/v1/renew", &body, within).await
    }

    pub async fn finish(&self, reports: Vec<Report>) -> Result<Finished, ClientError> {
        self.client.post("/api/v1/finish", &Finish { worker: self.presented(), reports }).await
    }

    pub async fn log(&self, token: &str, offset: u64, bytes: Bytes) -> Result<LogStored, ClientError> {
        self.client.put_bytes(&format!("/api/v1/log?offset={offset}"), &[(LEASE_TOKEN, token)], bytes).await
    }

    pub async fn artifact(
        &self,
        token: &str,
        piece: &ArtifactPiece,
        bytes: Bytes,
    ) -> Result<ArtifactStored, ClientError> {
        let ArtifactPiece { name, size, sha256, offset } = piece;
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("name", name)
            .append_pair("size", &size.to_string())
            .append_pair("sha256", sha256)
            .append_pair("offset", &offset.to_string())
            .finish();
        self.client.put_bytes(&format!("/api/v1/artifact?{query}"), &[(LEASE_TOKEN, token)], bytes).await
    }
}
