//! A master that lives in the test, a worker beside it, and eyes on the machine's processes.
#![allow(dead_code, reason = "every story uses a part of it")]

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{post, put};
use axum::{Json, Router};
use base64::Engine as _;
use model::lease::{
    Claim, Claimed, Finish, Finished, Hold, LEASE_TOKEN, Lease, LogStored, Receipt, Renew, Renewed, Report,
    ResultFormat, TaskOrder,
};
use model::{JobId, Span};
use net::Secret;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use uuid::Uuid;
use worker::{Settings, Stop, Vigil};

/// How long anything may take before the test says that it does not happen.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// What the master knows, and how it is to misbehave.
#[derive(Default)]
pub struct Book {
    pub queue: VecDeque<Lease>,
    pub given: HashMap<Uuid, Vec<Lease>>,
    /// Every claim that came: its id and the slots it asked for.
    pub claims: Vec<(Uuid, u32)>,
    /// How many claims are held.
    pub claiming: usize,
    pub incarnations: BTreeSet<Uuid>,
    /// What the worker offers, once it has claimed.
    pub labels: Option<BTreeSet<String>>,
    /// How many incarnations had claimed when each request with reports came.
    pub claimants: Vec<usize>,
    pub renewals: usize,
    /// Every report that came, also the repeated ones.
    pub reports: Vec<Report>,
    /// How many reports each request brought.
    pub batches: Vec<usize>,
    pub logs: HashMap<String, Vec<u8>>,
    /// Offset and length of each piece that came by itself.
    pub pieces: Vec<(u64, usize)>,
    /// What `renew` says of a token; `Held` else.
    pub holds: HashMap<String, Hold>,
    pub term: Span,
    /// Answers 503 to everything.
    pub down: bool,
    /// Does so many claims, pieces of log, finishes, but the answer is lost.
    pub lose_claims: usize,
    pub lose_pieces: usize,
    pub lose_finishes: usize,
    /// Never answers a request with reports, of which it counts those that came.
    pub hang_finishes: bool,
    pub hung: usize,
    /// Fails so many pieces of log without storing them.
    pub fail_pieces: usize,
}

#[derive(Clone)]
pub struct Master {
    pub book: Arc<Mutex<Book>>,
    changed: Arc<Notify>,
    pub url: url::Url,
}

impl Master {
    pub async fn start() -> Master {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let book = Book { term: Span::seconds(60), ..Book::default() };
        let master = Master { book: Arc::new(Mutex::new(book)), changed: Arc::new(Notify::new()), url };
        let routes = Router::new()
            .route("/api/v1/claim", post(claim))
            .route("/api/v1/renew", post(renew))
            .route("/api/v1/finish", post(finish))
            .route("/api/v1/log", put(log))
            // Another day.
            .route("/api/v1/artifact", put(async || unavailable()))
            .layer(DefaultBodyLimit::max(4 << 20))
            .with_state(master.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        master
    }

    pub fn change<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        let value = change(&mut self.book.lock().unwrap());
        self.changed.notify_waiters();
        value
    }

    pub fn give(&self, lease: Lease) {
        self.change(|book| book.queue.push_back(lease));
    }

    /// Waits for something to be true.
    pub async fn until<T>(&self, what: &str, look: impl Fn(&Book) -> Option<T>) -> T {
        let waited = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if let Some(found) = look(&self.book.lock().unwrap()) {
                    return found;
                }
                changed.await;
            }
        };
        tokio::time::timeout(DEADLINE, waited).await.unwrap_or_else(|_| panic!("never: {what}"))
    }

    pub async fn report(&self, lease: &Lease) -> Report {
        let token = lease.token.clone();
        self.until("a report", |book| book.reports.iter().find(|r| r.token == token).cloned()).await
    }

    pub fn log(&self, lease: &Lease) -> Vec<u8> {
        self.book.lock().unwrap().logs.get(&lease.token).cloned().unwrap_or_default()
    }
}

fn unavailable() -> Response {
    StatusCode::SERVICE_UNAVAILABLE.into_response()
}

/// A claim as long as it is held: it ends with its connection.
struct Held<'a>(&'a Master);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.change_quietly(|book| book.claiming -= 1);
    }
}

async fn claim(State(master): State<Master>, Json(claim): Json<Claim>) -> Response {
    let _held = Held(&master);
    master.change(|book| {
        book.claiming += 1;
        book.claims.push((claim.claim, claim.slots));
        book.incarnations.insert(claim.worker.incarnation);
        book.labels = Some(claim.worker.labels.clone());
    });
    let until = tokio::time::Instant::now() + claim.wait.0;
    loop {
        let changed = master.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        let over = tokio::time::Instant::now() >= until;
        let answer = master.change_quietly(|book| {
            if book.down {
                return Some(unavailable());
            }
            let mut leases = book.given.get(&claim.claim).cloned().unwrap_or_default();
            if leases.is_empty() {
                let count = book.queue.len().min(claim.slots as usize);
                leases = book.queue.drain(..count).collect();
                book.given.insert(claim.claim, leases.clone());
            }
            if leases.is_empty() && !over {
                return None;
            }
            if book.lose_claims > 0 && !leases.is_empty() {
                book.lose_claims -= 1;
                return Some(unavailable());
            }
            Some(Json(Claimed { leases, term: book.term }).into_response())
        });
        if let Some(answer) = answer {
            return answer;
        }
        let _ = tokio::time::timeout_at(until, changed).await;
    }
}

impl Master {
    /// For handlers that look again and again: nobody is woken by a look.
    fn change_quietly<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        change(&mut self.book.lock().unwrap())
    }
}

async fn renew(State(master): State<Master>, Json(renew): Json<Renew>) -> Response {
    master.change(|book| {
        if book.down {
            return unavailable();
        }
        book.renewals += 1;
        let hold = |token: &String| book.holds.get(token).cloned().unwrap_or(Hold::Held);
        Json(Renewed { leases: renew.tokens.iter().map(hold).collect(), term: book.term }).into_response()
    })
}

async fn finish(State(master): State<Master>, Json(finish): Json<Finish>) -> Response {
    let hangs = master.change(|book| {
        book.hung += usize::from(book.hang_finishes);
        book.hang_finishes
    });
    if hangs {
        return std::future::pending().await;
    }
    master.change(|book| {
        if book.down {
            return unavailable();
        }
        book.batches.push(finish.reports.len());
        book.claimants.push(book.incarnations.len());
        let mut receipts = Vec::new();
        for report in finish.reports {
            receipts.push(match book.holds.get(&report.token) {
                Some(Hold::Gone) => Receipt::Gone,
                _ => Receipt::Accepted,
            });
            if let Some(part) = &report.log {
                let bytes = base64::engine::general_purpose::STANDARD.decode(&part.bytes).unwrap();
                store(book, &report.token, part.offset, &bytes).unwrap();
            }
            book.reports.push(report);
        }
        if book.lose_finishes > 0 {
            book.lose_finishes -= 1;
            return unavailable();
        }
        match receipts.contains(&Receipt::Accepted) {
            true => Json(Finished { reports: receipts }).into_response(),
            false => StatusCode::GONE.into_response(),
        }
    })
}

async fn log(
    State(master): State<Master>,
    Query(query): Query<BTreeMap<String, u64>>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    let token = headers[LEASE_TOKEN].to_str().unwrap().to_owned();
    master.change(|book| {
        if book.down {
            return unavailable();
        }
        if book.fail_pieces > 0 {
            book.fail_pieces -= 1;
            return unavailable();
        }
        if book.holds.get(&token) == Some(&Hold::Gone) {
            return StatusCode::GONE.into_response();
        }
        book.pieces.push((query["offset"], bytes.len()));
        let Some(size) = store(book, &token, query["offset"], &bytes) else {
            return StatusCode::CONFLICT.into_response();
        };
        if book.lose_pieces > 0 {
            book.lose_pieces -= 1;
            return unavailable();
        }
        Json(LogStored { size }).into_response()
    })
}

/// Stores a piece; none when it would leave a hole.
fn store(book: &mut Book, token: &str, offset: u64, bytes: &[u8]) -> Option<u64> {
    let log = book.logs.entry(token.to_owned()).or_default();
    let offset = usize::try_from(offset).unwrap();
    if offset > log.len() {
        return None;
    }
    let known = (log.len() - offset).min(bytes.len());
    assert!(log[offset..offset + known] == bytes[..known], "a log never changes where it was sent");
    log.extend_from_slice(&bytes[known..]);
    Some(log.len() as u64)
}

/// A lease for `sh -c SCRIPT`.
pub fn lease(script: &str) -> Lease {
    let id = net::clock::uuid();
    Lease {
        job: JobId(id),
        attempt: 1,
        token: format!("token-{id}"),
        task: TaskOrder {
            name: "rpmlint".to_owned(),
            run: ["sh", "-c", script].map(str::to_owned).to_vec(),
            source: None,
            timeout: Span::seconds(60),
            no_output_timeout: None,
            grace: Span::seconds(10),
            exclusive: false,
            results: vec![ResultFormat::ResultYaml, ResultFormat::ExitCode],
            testcase: "dist.rpmlint".to_owned(),
            log_limit: 10 << 20,
            secrets: Vec::new(),
            artifacts: Vec::new(),
            artifact_limit: 10 << 20,
            bounds: Default::default(),
        },
        item: "foo-1-1.fc41".to_owned(),
        item_type: "koji_build".to_owned(),
        arch: "x86_64".to_owned(),
        params: serde_json::Map::new(),
        event: None,
        secrets: Default::default(),
    }
}

pub fn lease_with(script: &str, change: impl FnOnce(&mut Lease)) -> Lease {
    let mut lease = lease(script);
    change(&mut lease);
    lease
}

/// Not a test by itself: every worker of these tests has it as its guardian.
#[test]
fn a_guardian() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(dir) = arguments.last().filter(|_| arguments.len() == 5 && arguments[1..4] == GUARDIAN) {
        worker::keep_vigil(Path::new(dir)).unwrap();
    }
}

const GUARDIAN: [&str; 3] = ["--exact", "--nocapture", "kit::a_guardian"];

pub const VIGIL: Vigil = Vigil(&GUARDIAN);

/// A running worker.
pub struct Rig {
    pub master: Master,
    pub dir: tempfile::TempDir,
    pub stop: Stop,
    task: JoinHandle<anyhow::Result<()>>,
}

pub fn settings(master: &Master, dir: &Path) -> Settings {
    Settings {
        master: master.url.clone().into(),
        name: "w1".to_owned(),
        slots: 4,
        dir: dir.join("worker"),
        control_loss_grace: Span::seconds(120),
        writable: vec![dir.to_owned()],
        ..Settings::default()
    }
}

impl Rig {
    pub async fn start() -> Rig {
        Rig::with(Master::start().await, tempfile::tempdir().unwrap(), |_| {})
    }

    pub fn with(master: Master, dir: tempfile::TempDir, change: impl FnOnce(&mut Settings)) -> Rig {
        let mut settings = settings(&master, dir.path());
        change(&mut settings);
        let stop = Stop::default();
        let run = worker::run(settings, Secret::none(), VIGIL, stop.clone());
        let task = tokio::spawn(async move { run.await.inspect_err(|e| eprintln!("the worker failed: {e:#}")) });
        Rig { master, dir, stop, task }
    }

    /// Runs one job to its report.
    pub async fn run(&self, lease: &Lease) -> Report {
        self.master.give(lease.clone());
        self.master.report(lease).await
    }

    /// Waits for the worker's own end.
    pub async fn ended(self) -> tempfile::TempDir {
        tokio::time::timeout(DEADLINE, self.task).await.expect("the worker ends").unwrap().unwrap();
        self.dir
    }

    /// A file in the test's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What lies in one of the worker's folders.
    pub fn lies_in(&self, part: &str) -> Vec<String> {
        let names = fs::read_dir(self.dir.path().join("worker").join(part)).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

/// Looks again and again for what has no event of its own.
pub async fn until(what: &str, mut look: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !look() {
        assert!(begun.elapsed() < DEADLINE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The processes that carry a job's id and have not ended.
pub fn processes_of(lease: &Lease) -> Vec<i32> {
    let mark = format!("TASKOTRON_JOB_ID={}", lease.job);
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|b| *b == 0).any(|entry| entry == mark.as_bytes())
    })
    .collect()
}
