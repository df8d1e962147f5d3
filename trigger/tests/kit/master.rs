//! A master that only takes events: it keeps the cursor, and can be told to misbehave.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use model::intake::{Intake, IntakeAnswer, JobAnswer, Record, TriggerCounts};

type Shared = Arc<Mutex<Inner>>;

pub struct Master {
    port: u16,
    inner: Shared,
}

#[derive(Default)]
struct Inner {
    /// The recorders in the order in which they came.
    recorders: Vec<String>,
    records: BTreeMap<String, Vec<Record>>,
    counts: TriggerCounts,
    lose: u32,
    away: u32,
    refuse: u32,
    fail_at: Option<u64>,
    cut: bool,
}

impl Master {
    pub async fn start() -> Master {
        let inner = Shared::default();
        let app = Router::new()
            .route("/api/v1/intake", post(take))
            .route("/api/v1/intake/{recorder}", get(cursor))
            .with_state(inner.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async { axum::serve(listener, app).await });
        Master { port, inner }
    }

    pub fn url(&self) -> url::Url {
        format!("http://127.0.0.1:{}", self.port).parse().unwrap()
    }

    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.lock().unwrap())
    }

    pub fn recorders(&self) -> Vec<String> {
        self.with(|inner| inner.recorders.clone())
    }

    pub fn records_of(&self, recorder: &str) -> Vec<Record> {
        self.with(|inner| inner.records[recorder].clone())
    }

    /// The records of the first recorder.
    pub fn records(&self) -> Vec<Record> {
        self.records_of(&self.recorders()[0])
    }

    pub fn len(&self) -> usize {
        self.with(|inner| inner.records.values().map(Vec::len).sum())
    }

    pub fn ids(&self) -> BTreeSet<String> {
        self.with(|inner| inner.records.values().flatten().map(|record| record.event.id.clone()).collect())
    }

    pub fn counts(&self) -> TriggerCounts {
        self.with(|inner| inner.counts)
    }

    /// Takes the next batches and answers nothing.
    pub fn lose_answers(&self, n: u32) {
        self.with(|inner| inner.lose = n);
    }

    /// Does not answer the next requests at all.
    pub fn be_away(&self, n: u32) {
        self.with(|inner| inner.away = n);
    }

    pub fn refuse(&self, n: u32) {
        self.with(|inner| inner.refuse = n);
    }

    /// Fails at every batch with this record.
    pub fn fail_at(&self, seq: u64) {
        self.with(|inner| inner.fail_at = Some(seq));
    }

    /// Goes back to what it had, as one that was restored.
    pub fn cut(&self, to: usize) {
        self.with(|inner| {
            inner.records.values_mut().for_each(|records| records.truncate(to));
            inner.cut = true;
        });
    }

    pub fn was_cut(&self) -> bool {
        self.with(|inner| inner.cut)
    }
}

async fn cursor(State(inner): State<Shared>, Path(recorder): Path<String>) -> Response {
    let mut inner = inner.lock().unwrap();
    if inner.away > 0 {
        inner.away -= 1;
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if !inner.recorders.contains(&recorder) {
        inner.recorders.push(recorder.clone());
    }
    let next = inner.records.entry(recorder).or_default().len() as u64 + 1;
    Json(IntakeAnswer { next, jobs: vec![] }).into_response()
}

async fn take(State(inner): State<Shared>, Json(batch): Json<Intake>) -> Response {
    let mut inner = inner.lock().unwrap();
    if inner.refuse > 0 {
        inner.refuse -= 1;
        return (StatusCode::UNPROCESSABLE_ENTITY, "not today").into_response();
    }
    if batch.records.iter().any(|record| Some(record.seq) == inner.fail_at) {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    inner.counts = batch.counts;
    let mut jobs = Vec::new();
    let records = inner.records.entry(batch.recorder).or_default();
    for record in batch.records {
        jobs.extend(record.jobs.iter().map(|_| JobAnswer::Refused { reason: "this master runs nothing".into() }));
        // What is there already is passed over; a gap is not taken, and the answer says where to go on.
        if record.seq == records.len() as u64 + 1 {
            records.push(record);
        }
    }
    let next = records.len() as u64 + 1;
    if inner.lose > 0 {
        inner.lose -= 1;
        return StatusCode::BAD_GATEWAY.into_response();
    }
    Json(IntakeAnswer { next, jobs }).into_response()
}
