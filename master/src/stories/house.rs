//! A master in a temporary folder, and those who call it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use model::lease::{Claimed, Lease, Worker};
use model::operator::{JobDetail, Status};
use model::{JobId, Role, Span};
use net::{Grant, Secret, Tokens};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::Instant;
use tower::ServiceExt as _;

use crate::app::App;
use crate::{Live, Master, Settings, sample};

/// Tasks and a rule that most stories need.
const CONFIGURATION: &str = "
tasks:
  noop: { run: ['true'] }
  again: { run: ['true'], interruptible: true }
  rpmlint: { run: [lint, '{{ item }}', '{{ arch }}'], needs: { arch: '{{ arch }}' } }
  single: { run: ['true'], concurrency: { limit: 1, key: '{{ item_type }}' } }
  picky: { run: [check, '{{ params.level }}'] }
  once: { run: ['true'], retry: never }
  flaky: { run: ['true'], retry: { on: [exit:75], attempts: 2, delay: 30s } }
  gated: { run: ['true'], publish: [queued, running], retry: { on: [exit:75], attempts: 2, delay: 0s } }
rules:
  - name: on-build
    topics: ['a.build']
    when: { body.state: done }
    do: [{ tasks: [noop], item: '{{ body.nvr }}', item_type: koji_build }]
";

pub struct House {
    pub master: Master,
    router: Router,
    _live: watch::Sender<Live>,
    _dir: TempDir,
}

/// An answer, read to its end.
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {} {}", self.status, self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The detail of a problem.
    pub fn detail(&self) -> String {
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json", "{}", self.text());
        self.json::<Value>()["detail"].as_str().unwrap().to_owned()
    }
}

impl House {
    pub async fn new() -> House {
        House::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Settings)) -> House {
        House::of(CONFIGURATION, change).await
    }

    /// With these tasks and rules.
    pub async fn of(configuration: &str, change: impl FnOnce(&mut Settings)) -> House {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings { data: dir.path().into(), ..Settings::default() };
        change(&mut settings);
        let configuration = Arc::new(sample::configuration(configuration));
        let live = watch::Sender::new(Live { configuration, generation: 1 });
        let grant = |role: Role| {
            let grant = Grant { name: format!("the-{role}"), role, expires: None };
            (Secret::new(role.name()), grant)
        };
        let tokens = Tokens::fixed(Role::ALL.map(grant), settings.public_read);
        let master = Master::open(settings, live.subscribe(), tokens).await.unwrap();
        let router = master.router();
        House { master, router, _live: live, _dir: dir }
    }

    pub fn app(&self) -> &App {
        self.master.app()
    }

    pub async fn send(&self, request: Request<Body>) -> Reply {
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Reply { status: parts.status, headers: parts.headers, body }
    }

    /// A request of a role, with a JSON body where there is one.
    pub async fn call(&self, role: Option<Role>, method: Method, path: &str, body: Option<Value>) -> Reply {
        self.send(request(role, method, path, body)).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.call(Some(Role::Reader), Method::GET, path, None).await
    }

    pub async fn post(&self, role: Role, path: &str, body: Value) -> Reply {
        self.call(Some(role), Method::POST, path, Some(body)).await
    }

    pub async fn csv(&self, path: &str, text: &str) -> Reply {
        let request = Request::post(path)
            .header(header::AUTHORIZATION, "Bearer submitter")
            .header(header::CONTENT_TYPE, "text/csv")
            .body(Body::from(text.to_owned()))
            .unwrap();
        self.send(request).await
    }

    /// Submits one job of a task on an item; its id.
    pub async fn submit(&self, task: &str, item: &str) -> JobId {
        let reply = self.csv("/api/v1/jobs", &format!("item,item_type,task,arch\n{item},koji_build,{task},\n")).await;
        let id = reply.json::<Value>()["rows"][0]["job"].as_str().unwrap_or_else(|| panic!("{}", reply.text())).parse();
        id.unwrap()
    }

    pub async fn claim(&self, worker: &Worker, slots: u32, wait: &str) -> Vec<Lease> {
        let body = json!({"worker": worker, "claim": net::clock::uuid(), "slots": slots, "wait": wait});
        let reply = self.post(Role::Worker, "/api/v1/claim", body).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        reply.json::<Claimed>().leases
    }

    pub async fn finish(&self, worker: &Worker, token: &str, end: Value, findings: Value) -> Reply {
        let report = json!({"token": token, "end": end, "ran": "1s", "findings": findings, "log_size": 0});
        self.post(Role::Worker, "/api/v1/finish", json!({"worker": worker, "reports": [report]})).await
    }

    /// Claims one job and finishes it as PASSED.
    pub async fn run_one(&self, worker: &Worker) -> JobId {
        let leases = self.claim(worker, 1, "0s").await;
        let reply = self.finish(worker, &leases[0].token, exited(0), json!([{"outcome": "PASSED"}])).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
        leases[0].job
    }

    pub async fn status(&self) -> Status {
        self.get("/api/v1/status").await.json()
    }

    pub async fn job(&self, job: JobId) -> JobDetail {
        self.get(&format!("/api/v1/jobs/{job}")).await.json()
    }

    /// Lets time pass, for the store.
    pub fn advance(&self, span: Span) {
        self.app().store.advance(span);
    }
}

pub fn request(role: Option<Role>, method: Method, path: &str, body: Option<Value>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(role) = role {
        request = request.header(header::AUTHORIZATION, format!("Bearer {role}"));
    }
    match body {
        Some(body) => request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string())),
        None => request.body(Body::empty()),
    }
    .unwrap()
}

pub fn worker(name: &str, labels: &[&str]) -> Worker {
    Worker {
        name: name.into(),
        incarnation: net::clock::uuid(),
        identity: Some(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes())),
        host: "qa01".into(),
        slots: 4,
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        version: "1".into(),
        clock: None,
        figures: None,
    }
}

/// Looks again and again until it holds.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds().await {
        assert!(Instant::now() < end, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn exited(code: i32) -> Value {
    json!({"how": "exited", "code": code})
}

/// A record of an event that asks for one job of a task.
pub fn record(seq: u64, task: &str) -> Value {
    let id = format!("event-{seq}");
    let item = format!("foo-{seq}");
    let key = JobId::of(&id, task, "koji_build", &item, "noarch");
    json!({
        "seq": seq, "job_seq": seq, "recorded_at": net::clock::now(), "generation": 1,
        "event": {
            "id": id, "topic": "a.build", "sent_at": "2026-01-02T03:04:05Z", "source": "file:x",
            "headers": {"h": "1"}, "body": {"state": "done", "nvr": item},
        },
        "matched": ["on-build"],
        "jobs": [{
            "key": key, "task": task, "item": item, "item_type": "koji_build", "arch": "noarch", "rule": "on-build",
        }],
    })
}

pub fn batch(records: Vec<Value>) -> Value {
    let recorded = records.last().map_or(0, |record| record["seq"].as_u64().unwrap());
    let counts = json!({"recorded": recorded, "forwarded": recorded, "quarantined": 0});
    json!({"recorder": "t1", "records": records, "counts": counts, "generation": 1})
}
