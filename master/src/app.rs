//! What every handler and duty of a master shares.

use std::sync::{Arc, Mutex, MutexGuard};

use db::Coalesce;
use model::JobId;
use model::lease::Receipt;
use rules::Configuration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::announce::Announcements;
use crate::artifacts::Artifacts;
use crate::given::Given;
use crate::logs::Logs;
use crate::metrics::Metrics;
use crate::mirrors::Mirrors;
use crate::next;
use crate::outbox::Health;
use crate::settings::Settings;
use crate::store::{self, ClaimRequest, Ending, Next, ReportIn, Served, Store, Token};
use crate::tasks::{Current, Tasks};

/// How many callers share one transaction.
const BATCH: usize = 64;

/// The configuration in force and its number.
#[derive(Clone, Debug)]
pub struct Live {
    pub configuration: Arc<Configuration>,
    /// 0 before the first.
    pub generation: u64,
}

/// An error of a batch, which each of its callers is told.
pub type Shared<T> = Result<T, Arc<store::Error>>;

/// The state of a master. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Inner>);

pub struct Inner {
    pub store: Store,
    pub settings: Settings,
    pub live: watch::Receiver<Live>,
    pub logs: Logs,
    pub artifacts: Artifacts,
    pub tasks: Tasks,
    pub mirrors: Mirrors,
    pub outbox: Health,
    pub messages: crate::messages::Health,
    pub metrics: Metrics,
    /// Ends the waiting of long polls.
    pub stop: CancellationToken,
    given: Mutex<Given>,
    claims: Coalesce<ClaimRequest, Shared<Served>>,
    reports: Coalesce<(String, ReportIn), Shared<Receipt>>,
}

impl std::ops::Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl App {
    pub fn new(store: Store, settings: Settings, live: watch::Receiver<Live>) -> App {
        let tasks = Tasks::new(store.clone(), settings.secrets.clone());
        store.announce_by(Arc::new(Announcements { known: tasks.known.clone(), settings: settings.clone() }));
        App(Arc::new_cyclic(|app: &std::sync::Weak<Inner>| {
            let term = settings.lease_term;
            let (claiming, reporting) = (store.clone(), app.clone());
            let claims = Coalesce::new(BATCH, move |requests: Vec<ClaimRequest>| {
                let store = claiming.clone();
                async move {
                    let n = requests.len();
                    each(n, store.claim(&requests, term).await)
                }
            });
            let reports = Coalesce::new(BATCH, move |reports: Vec<(String, ReportIn)>| {
                let app = reporting.upgrade().map(App);
                async move {
                    // A caller that waits for its answer holds the state, so it is there.
                    let Some(app) = app else { return Vec::new() };
                    let n = reports.len();
                    each(n, app.store.finish_many(&reports, &|ending| app.decide(ending)).await)
                }
            });
            Inner {
                logs: Logs::new(&settings.data.join("logs")),
                artifacts: Artifacts::new(store.clone(), &settings.data.join("artifacts")),
                tasks,
                mirrors: Mirrors::new(store.clone(), &settings.data, &settings.mirrors),
                outbox: Health::default(),
                messages: crate::messages::Health::default(),
                metrics: Metrics::default(),
                stop: CancellationToken::new(),
                given: Mutex::default(),
                claims,
                reports,
                store,
                settings,
                live,
            }
        }))
    }

    /// The tasks of the configuration in force, and its number.
    pub async fn current(&self) -> store::Result<(Arc<Current>, u64)> {
        let live = self.live();
        Ok((self.tasks.of(&live.configuration).await?, live.generation))
    }

    pub fn live(&self) -> Live {
        self.live.borrow().clone()
    }

    /// Asks for work together with whoever asks at the same time.
    pub async fn claim(&self, request: ClaimRequest) -> Shared<Served> {
        self.claims.call(request).await.unwrap_or_else(|_| Err(Arc::new(no_answer())))
    }

    /// Reports the ends of attempts together with whoever reports at the same time.
    pub async fn report(&self, worker: &str, reports: Vec<ReportIn>) -> Shared<Vec<Receipt>> {
        // Another master may have given the job out, by a task that this one has not read.
        if !reports.iter().all(|report| self.gave_out(&report.token)) {
            self.tasks.catch_up().await.map_err(Arc::new)?;
        }
        let calls = reports.into_iter().map(|report| self.reports.call((worker.to_owned(), report)));
        let answers = futures_util::future::join_all(calls).await;
        answers.into_iter().map(|answer| answer.unwrap_or_else(|_| Err(Arc::new(no_answer())))).collect()
    }

    /// How an attempt's end moves its job. Never waits: what it needs was read before.
    pub fn decide(&self, ending: &Ending) -> Next {
        next::next(ending, self.tasks.known(ending.task_version).as_deref(), &self.settings)
    }

    /// Whether a drain may stop a job of this version of a task. What cannot be read is not stopped.
    pub fn interruptible(&self, version: i64) -> bool {
        self.tasks.known(version).is_some_and(|task| task.interruptible())
    }

    /// Whether this is the token of a lease that this master gave out.
    fn gave_out(&self, text: &str) -> bool {
        self.given().holds(text, Instant::now())
    }

    fn given(&self) -> MutexGuard<'_, Given> {
        self.given.lock().expect("no one panics while holding it")
    }

    /// Remembers a job that runs, for the term of its lease.
    pub fn gave(&self, job: JobId, token: String) {
        let now = Instant::now();
        self.given().insert(job, token, now, now + self.settings.lease_term.0);
        self.logs.ring(job);
    }

    /// Remembers for another term which of these leases are held.
    pub fn renewed<'a>(&self, held: impl IntoIterator<Item = &'a String>) {
        let until = Instant::now() + self.settings.lease_term.0;
        let mut given = self.given();
        held.into_iter().for_each(|token| given.prolong(token, until));
    }

    /// Forgets jobs that run no more, and tells those who watch them.
    pub fn forget(&self, jobs: impl IntoIterator<Item = JobId>) {
        let mut given = self.given();
        jobs.into_iter().for_each(|job| {
            given.forget(job);
            self.logs.ring(job);
        });
    }

    /// The token of a lease that runs, or whose report ended its attempt; none has a right to another attempt's log.
    pub async fn may_log(&self, text: &str) -> store::Result<Option<Token>> {
        let Ok(token) = text.parse::<Token>() else { return Ok(None) };
        // Where this master gave the lease out it knows the token without asking.
        Ok((self.gave_out(text) || self.store.may_log(&token).await?).then_some(token))
    }
}

/// One answer for each caller of a batch.
fn each<T>(n: usize, answer: store::Result<Vec<T>>) -> Vec<Shared<T>> {
    match answer {
        Ok(answers) => answers.into_iter().map(Ok).collect(),
        Err(error) => {
            let error = Arc::new(error);
            (0..n).map(|_| Err(error.clone())).collect()
        }
    }
}

/// The batch came to nothing: its task panicked, or the process is ending.
fn no_answer() -> store::Error {
    store::Error::Db(db::Error::Unavailable(sqlx::Error::WorkerCrashed))
}
