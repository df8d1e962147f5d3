//! The master, as a worker speaks to it: `model::lease` over HTTP.

use std::time::Duration;

use bytes::Bytes;
use model::Span;
use model::lease::{Claim, Claimed, Finish, Finished, LEASE_TOKEN, LogStored, Renew, Renewed, Report, Worker};
use net::{Client, ClientError};
use uuid::Uuid;

/// One worker's line to its master. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Master {
    client: Client,
    worker: Worker,
}

/// How much longer than asked for an answer may take.
const SLACK: Duration = Duration::from_secs(15);

impl Master {
    pub fn new(client: Client, worker: Worker) -> Master {
        Master { client, worker }
    }

    pub fn worker(&self) -> &Worker {
        &self.worker
    }

    /// The worker as it is now.
    fn presented(&self) -> Worker {
        Worker { clock: Some(net::clock::now()), ..self.worker.clone() }
    }

    pub async fn claim(&self, claim: Uuid, slots: u32, wait: Duration) -> Result<Claimed, ClientError> {
        let body = Claim { worker: self.presented(), claim, slots, wait: Span(wait) };
        self.client.post_within("/api/v1/claim", &body, wait + SLACK).await
    }

    pub async fn renew(&self, tokens: Vec<String>, within: Duration) -> Result<Renewed, ClientError> {
        let body = Renew { worker: self.presented(), tokens };
        self.client.post_within("/api/v1/renew", &body, within).await
    }

    pub async fn finish(&self, reports: Vec<Report>) -> Result<Finished, ClientError> {
        self.client.post("/api/v1/finish", &Finish { worker: self.presented(), reports }).await
    }

    pub async fn log(&self, token: &str, offset: u64, bytes: Bytes) -> Result<LogStored, ClientError> {
        self.client.put_bytes(&format!("/api/v1/log?offset={offset}"), &[(LEASE_TOKEN, token)], bytes).await
    }
}
