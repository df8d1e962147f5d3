//! A store to test, on either engine, and builders with defaults for everything.

use std::collections::{BTreeMap, BTreeSet};

use master::store::{
    Act, Admitted, Batch, Candidate, ClaimRequest, Deed, Ending, Fresh, Granted, Next, Obeyed, Order, Publication,
    ReportIn, Request, Store,
};
use model::deed::{Acted, ActedJob};
use model::intake::{JobAnswer, TriggerCounts};
use model::lease::{Receipt, Worker};
use model::{End, Event, Finding, JobId, JobState, Limit, NOARCH, NewJob, Outcome, Policy, Span, Supersede, Time};
use serde_json::{Map, Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

pub const TERM: Span = Span::seconds(60);
pub const SITE: &str = "here";
/// A trigger that was not heard from for longer is silent.
pub const SILENCE: Span = Span::seconds(60);

/// A database of its own, with one store over it.
pub struct Bed {
    pub store: Store,
    pub url: String,
    /// The number of the one task's version.
    pub task: i64,
    _folder: Option<tempfile::TempDir>,
}

impl Bed {
    pub async fn sqlite() -> Bed {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("master.db").display());
        Bed::over(url, Some(folder)).await
    }

    pub async fn postgres() -> Bed {
        let server = std::env::var("TASKOTRON_TEST_POSTGRES")
            .expect("TASKOTRON_TEST_POSTGRES is not set, so nothing was tested on PostgreSQL: run ./test");
        let name = format!("store_{}", net::clock::uuid().simple());
        let mut admin = PgConnection::connect(&server).await.unwrap();
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut admin).await.unwrap();
        admin.close().await.unwrap();
        let (server, _) = server.rsplit_once('/').unwrap();
        Bed::over(format!("{server}/{name}"), None).await
    }

    async fn over(url: String, folder: Option<tempfile::TempDir>) -> Bed {
        let store = Store::open(&url, SITE).await.unwrap();
        let task = store.task_version("rpmlint", &json!({"run": ["rpmlint"]})).await.unwrap();
        Bed { store, url, task, _folder: folder }
    }

    /// Another master over the same database.
    pub async fn another(&self, site: &str) -> Store {
        Store::open(&self.url, site).await.unwrap()
    }

    pub fn is_postgres(&self) -> bool {
        self.url.starts_with("postgres")
    }

    /// A connection beside the store: an observer, or a troublemaker. Only on PostgreSQL.
    pub async fn raw(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    /// A statement behind the store's back.
    pub async fn meddle(&self, sql: &'static str) {
        db::on_write!(self.store.db(), |pool| {
            sqlx::query(sql).execute(pool).await.unwrap();
        });
    }

    pub async fn sound(&self) {
        assert_eq!(self.store.invariants().await.unwrap(), Vec::<String>::new());
    }

    pub fn admitted(&self, n: u32) -> Admitted {
        let (task, item_type, item) = ("rpmlint".to_owned(), "koji_build".to_owned(), format!("foo-{n}-1"));
        Admitted {
            job: NewJob {
                key: JobId::of(&format!("cause-{n}"), &task, &item_type, &item, NOARCH),
                task,
                item,
                item_type,
                arch: NOARCH.into(),
                rule: "rpmlint-on-build".into(),
                priority: 0,
                params: Map::from_iter([("n".to_owned(), json!(n))]),
                expires_at: None,
                supersede: None,
            },
            task_version: self.task,
            needs: Vec::new(),
            source: None,
            limit: None,
            recorder: "by-hand".into(),
            recorded_at: Time(1_000_000),
            ordered_at: Time(1_000_000),
            generation: 7,
            event: None,
            rerun_of: None,
            search: None,
        }
    }

    pub fn candidate(&self, n: u32) -> Candidate {
        fit(self.admitted(n))
    }

    pub fn candidates(&self, numbers: std::ops::Range<u32>) -> Vec<Candidate> {
        numbers.map(|n| self.candidate(n)).collect()
    }

    /// Makes one job.
    pub async fn submit(&self, n: u32) -> JobId {
        let answers = self.store.submit(&[self.candidate(n)]).await.unwrap();
        let [JobAnswer::Submitted { job }] = answers[..] else { panic!("{answers:?}") };
        job
    }

    pub async fn claim(&self, worker: &Worker, slots: u32) -> Vec<Granted> {
        claim(&self.store, worker, slots).await
    }

    /// Makes one job and gives it to this worker.
    pub async fn run(&self, n: u32, worker: &Worker) -> Granted {
        let job = self.submit(n).await;
        let granted = self.claim(worker, 1).await.pop().unwrap();
        assert_eq!(granted.job, job);
        granted
    }

    pub async fn finish(&self, worker: &Worker, report: ReportIn) -> Receipt {
        self.store.finish(&worker.name, &[report], &decide).await.unwrap()[0]
    }

    /// Does it to these jobs, as alice.
    pub async fn act(&self, deed: Deed, jobs: &[JobId]) -> Vec<ActedJob> {
        match act_on(&self.store, deed, jobs, &request_named(&net::clock::uuid().to_string()), false).await {
            Obeyed::Acted(acted) => acted.jobs,
            other => panic!("{other:?}"),
        }
    }

    pub async fn cancel(&self, jobs: &[JobId]) -> Vec<ActedJob> {
        self.act(Deed::Cancel, jobs).await
    }

    /// Orders a job anew, with its task as it is now where that is given.
    pub async fn rerun(&self, job: JobId, request: &str, fresh: Option<Fresh>) -> JobId {
        let fresh = fresh.map(|fresh| (job, fresh)).into_iter().collect();
        let obeyed = act_with(&self.store, Deed::Rerun, &[job], &request_named(request), false, &fresh).await;
        acted(obeyed).jobs[0].new_job.unwrap()
    }

    pub async fn state(&self, job: JobId) -> JobState {
        self.store.job(job).await.unwrap().unwrap().summary.state
    }
}

pub fn request_named(key: &str) -> Request {
    Request { key: key.into(), content: [1; 32] }
}

pub async fn act_on(store: &Store, deed: Deed, jobs: &[JobId], request: &Request, dry_run: bool) -> Obeyed {
    act_with(store, deed, jobs, request, dry_run, &BTreeMap::new()).await
}

async fn act_with(
    store: &Store,
    deed: Deed,
    jobs: &[JobId],
    request: &Request,
    dry_run: bool,
    fresh: &BTreeMap<JobId, Fresh>,
) -> Obeyed {
    let order = Order {
        deed,
        jobs,
        actor: "alice",
        reason: "tests",
        dry_run,
        request,
        next: None,
        fresh,
        settled: &|ending, outcome, note| {
            let key = Uuid::new_v5(&ending.job.0, b"result");
            let results = vec![Publication { key, body: json!({"item": ending.item, "outcome": outcome}) }];
            Next::Ended { state: JobState::Finished, reason: note.into(), outcome: Some(outcome), results }
        },
    };
    store.act(&order).await.unwrap()
}

pub fn acted(obeyed: Obeyed) -> Acted {
    match obeyed {
        Obeyed::Acted(acted) => acted,
        other => panic!("{other:?}"),
    }
}

pub fn fit(admitted: Admitted) -> Candidate {
    Candidate::Admitted(Box::new(admitted))
}

pub async fn claim(store: &Store, worker: &Worker, slots: u32) -> Vec<Granted> {
    let request = request(worker, slots);
    store.claim(&[request], TERM).await.unwrap().pop().unwrap().unwrap()
}

pub fn request(worker: &Worker, slots: u32) -> ClaimRequest {
    ClaimRequest { worker: worker.clone(), claim: net::clock::uuid(), slots }
}

pub fn worker(name: &str) -> Worker {
    worker_with(name, &[])
}

pub fn worker_with(name: &str, labels: &[&str]) -> Worker {
    Worker {
        name: name.into(),
        incarnation: net::clock::uuid(),
        identity: Some(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())),
        host: "qa01".into(),
        slots: 4,
        labels: labels.iter().map(|label| (*label).to_owned()).collect::<BTreeSet<_>>(),
        version: "0.1.0".into(),
        clock: None,
        figures: None,
    }
}

pub fn report(granted: &Granted, end: End) -> ReportIn {
    ReportIn {
        token: granted.token.clone(),
        end,
        ran: Span::seconds(2),
        ended_at: None,
        findings: Vec::new(),
        note: None,
        enforced: [("memory".to_owned(), "1GiB, by cgroup v2".to_owned())].into(),
        log_size: 9,
    }
}

pub fn passed(granted: &Granted) -> ReportIn {
    ReportIn { findings: vec![Finding::of(Outcome::Passed)], ..report(granted, End::Exited { code: 0 }) }
}

/// What these tests make of an end: infrastructure is tried again at once, exit 75 in a minute, the rest has ended.
pub fn decide(ending: &Ending) -> Next {
    let last = ending.ends.last().unwrap();
    let ended = |state, outcome| {
        let key = Uuid::new_v5(&ending.job.0, b"result");
        let results = vec![Publication { key, body: json!({"item": ending.item}) }];
        Next::Ended { state, reason: last.to_string(), outcome, results }
    };
    match last {
        End::Exited { code: 75 } => {
            Next::Again { at: Some(ending.now.plus(Span::minutes(1))), reason: "exit:75 is tried again".into() }
        }
        _ if ending.cancelled => ended(JobState::Cancelled, None),
        end if end.is_infrastructure() => Next::Again { at: None, reason: end.to_string() },
        _ => ended(JobState::Finished, ending.findings.iter().map(|f| f.outcome).max()),
    }
}

pub fn act(action: &'static str) -> Act {
    Act {
        actor: "alice".into(),
        action,
        object: "system".into(),
        reason: "tests".into(),
        before: Value::Null,
        after: json!({"done": true}),
    }
}

pub fn event(id: &str, n: u32) -> Event {
    Event {
        id: id.into(),
        topic: "org.example.build".into(),
        sent_at: Some("2026-11-21T04:33:00Z".into()),
        headers: Map::new(),
        body: Map::from_iter([("n".to_owned(), json!(n))]),
        source: "file:test".into(),
    }
}

/// Events of a recorder, from `first` on, without jobs.
pub fn batch(recorder: &str, first: u64, events: Vec<Event>) -> Batch {
    let recorded = first + events.len() as u64 - 1;
    let events = (first..).zip(events).map(|(seq, event)| master::store::NewEvent {
        seq,
        recorded_at: Time(2_000_000),
        generation: 7,
        event,
        matched: Vec::new(),
        jobs: Vec::new(),
        decided: Vec::new(),
    });
    Batch {
        recorder: recorder.into(),
        counts: TriggerCounts { recorded, forwarded: first - 1, ..TriggerCounts::default() },
        generation: 7,
        pair: None,
        troubles: Vec::new(),
        events: events.collect(),
    }
}

/// Serial on this key.
pub fn serial(admitted: Admitted, key: &str) -> Admitted {
    keyed(admitted, key, Policy::Serial)
}

pub fn keyed(mut admitted: Admitted, key: &str, policy: Policy) -> Admitted {
    admitted.job.supersede = Some(Supersede { key: key.into(), policy, quiet: None });
    admitted
}

/// Which waits until none like it has come for so long.
pub fn quiet(mut admitted: Admitted, seconds: u64) -> Admitted {
    admitted.job.supersede.as_mut().unwrap().quiet = Some(Span::seconds(seconds));
    admitted
}

/// At most so many of the task with this key.
pub fn limited(mut admitted: Admitted, key: &str, most: u32) -> Admitted {
    admitted.limit = Some(Limit { key: key.into(), most });
    admitted
}

/// Makes these jobs in one go.
pub async fn make(store: &Store, jobs: impl IntoIterator<Item = Admitted>) -> Vec<JobId> {
    let candidates: Vec<_> = jobs.into_iter().map(fit).collect();
    let answers = store.submit(&candidates).await.unwrap();
    let job = |answer: JobAnswer| match answer {
        JobAnswer::Submitted { job } => job,
        other => panic!("{other:?}"),
    };
    answers.into_iter().map(job).collect()
}

/// Where these jobs are, in a sound store.
pub async fn states(bed: &Bed, jobs: &[JobId]) -> Vec<JobState> {
    let mut states = Vec::new();
    for job in jobs {
        states.push(bed.state(*job).await);
    }
    bed.sound().await;
    states
}
