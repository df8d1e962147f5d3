//! For workers: leases, and what became of them. Every write carries the token of its lease.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{post, put};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::lease::{
    Claim, Claimed, Finish, Finished, Hold, LEASE_TOKEN, Lease, LogPart, LogStored, Receipt, Renew, Renewed, Report,
    Worker,
};
use model::{End, Span};
use net::Problem;
use rules::Subject;
use serde::Deserialize;
use tokio::time::Instant;

use super::extract::{Json, Query};
use super::{ApiError, ApiResult};
use crate::app::App;
use crate::logs::LogError;
use crate::secrets;
use crate::store::{ClaimRequest, Granted, NameTaken, ReportIn, Token};

/// The longest that a claim is held, whatever it asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A wake-up may be lost: a held claim looks again this often.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

pub fn routes() -> Router<App> {
    Router::new()
        .route("/claim", post(claim))
        .route("/renew", post(renew))
        .route("/finish", post(finish))
        .route("/log", put(log))
}

/// Gives out leases: at once when there is work, else when there is some or `wait` has passed.
#[utoipa::path(post, path = "/api/v1/claim", tag = "worker", request_body = Claim,
    responses((status = 200, body = Claimed), (status = 409)))]
pub async fn claim(State(app): State<App>, Json(body): Json<Claim>) -> ApiResult<axum::Json<Claimed>> {
    named(&body.worker)?;
    let begin = Instant::now();
    let until = begin + body.wait.0.min(LONGEST_WAIT);
    // Registered before the first look: what comes between the two is not missed.
    let mut changed = app.store.changed();
    let mut empty = 0_u32;
    let granted = loop {
        changed.borrow_and_update();
        let clock = body.worker.clock.map(|clock| clock.plus(Span(begin.elapsed())));
        let worker = Worker { clock, ..body.worker.clone() };
        let request = ClaimRequest { worker, claim: body.claim, slots: body.slots };
        let granted = app.claim(request).await?.map_err(|other| name_taken(&body.worker, &other, &app))?;
        if !granted.is_empty() || Instant::now() >= until || app.stop.is_cancelled() {
            break granted;
        }
        // Work that is not for this worker rings for it too; a little rest keeps a busy bell from becoming a busy loop.
        tokio::time::sleep(Duration::from_millis(u64::from(empty.min(10)) * 2)).await;
        empty += 1;
        tokio::select! {
            _ = changed.changed() => {}
            () = tokio::time::sleep_until(until.min(Instant::now() + LOOK_AGAIN)) => {}
            () = app.stop.cancelled() => {}
        }
    };
    let mut leases = Vec::with_capacity(granted.len());
    for grant in granted {
        leases.extend(lease(&app, &body.worker, grant).await?);
    }
    app.metrics.claimed(leases.len(), begin.elapsed());
    Ok(axum::Json(Claimed { leases, term: app.settings.lease_term }))
}

fn named(worker: &Worker) -> Result<(), Problem> {
    match worker.name.is_empty() || worker.name.contains('\0') {
        true => Err(Problem::bad_request("the worker has no name")),
        false => Ok(()),
    }
}

/// Two workers of one name would void each other's leases for ever.
fn name_taken(worker: &Worker, other: &NameTaken, app: &App) -> Problem {
    let NameTaken { host, incarnation, last_seen } = other;
    let place = if host.is_empty() { String::new() } else { format!(" on {host}") };
    Problem::conflict(format!(
        "another worker is called {}: incarnation {incarnation}{place}, last seen at {}. Give this one another `name` \
         in [worker], or stop the other: its name is free when it was not seen for {}",
        worker.name,
        last_seen.to_seconds(),
        app.settings.lease_term
    ))
}

/// What a worker needs for one attempt. A task that cannot be rendered any more ends the attempt here.
async fn lease(app: &App, worker: &Worker, grant: Granted) -> ApiResult<Option<Lease>> {
    let subject = Subject {
        job: grant.job,
        item: &grant.item,
        item_type: &grant.item_type,
        arch: &grant.arch,
        params: &grant.params,
    };
    let order = match app.tasks.version(grant.task_version).await? {
        Some(task) => task.order(subject, grant.pin.as_ref()),
        None => Err(format!("version {} of its task cannot be read", grant.task_version)),
    };
    app.gave(grant.job, grant.token.clone());
    let order = match order {
        Ok(task) => secrets::give(app, worker, &grant, &task.name, &task.secrets).await?.map(|given| (task, given)),
        Err(reason) => Err(reason),
    };
    match order {
        Ok((task, secrets)) => Ok(Some(Lease {
            job: grant.job,
            attempt: grant.attempt,
            token: grant.token,
            task,
            item: grant.item,
            item_type: grant.item_type,
            arch: grant.arch,
            params: grant.params,
            event: grant.event,
            secrets,
        })),
        Err(reason) => {
            tracing::error!(job.id = %grant.job, attempt = grant.attempt, worker = %worker.name, reason, "cannot order");
            let end = End::NotStarted { reason };
            let report = ReportIn {
                token: grant.token,
                end,
                ran: Span::default(),
                ended_at: None,
                findings: Vec::new(),
                note: None,
                enforced: Default::default(),
                log_size: 0,
            };
            app.report(&worker.name, vec![report]).await?;
            Ok(None)
        }
    }
}

/// Prolongs leases, and says of each whether it is still held.
#[utoipa::path(post, path = "/api/v1/renew", tag = "worker", request_body = Renew,
    responses((status = 200, body = Renewed)))]
pub async fn renew(State(app): State<App>, Json(body): Json<Renew>) -> ApiResult<axum::Json<Renewed>> {
    named(&body.worker)?;
    let term = app.settings.lease_term;
    let leases = app.store.renew(&body.worker, &body.tokens, term).await?;
    app.renewed(body.tokens.iter().zip(&leases).filter(|(_, hold)| **hold != Hold::Gone).map(|(token, _)| token));
    Ok(axum::Json(Renewed { leases, term }))
}

/// Ends attempts. The same report again is accepted again; `410` when none of them counted.
#[utoipa::path(post, path = "/api/v1/finish", tag = "worker", request_body = Finish,
    responses((status = 200, body = Finished), (status = 410, body = Finished)))]
pub async fn finish(State(app): State<App>, Json(body): Json<Finish>) -> ApiResult<(StatusCode, axum::Json<Finished>)> {
    named(&body.worker)?;
    let mut reports = Vec::with_capacity(body.reports.len());
    let mut jobs = Vec::with_capacity(body.reports.len());
    for report in body.reports {
        jobs.extend(report.token.parse::<Token>().ok().map(|token| token.job));
        reports.push(taken(&app, report).await?);
    }
    let reports = app.report(&body.worker.name, reports).await?;
    app.forget(jobs);
    app.metrics.finished(reports.iter().filter(|receipt| **receipt == Receipt::Accepted).count());
    let none_counts = !reports.is_empty() && reports.iter().all(|receipt| *receipt == Receipt::Gone);
    let status = if none_counts { StatusCode::GONE } else { StatusCode::OK };
    Ok((status, axum::Json(Finished { reports })))
}

/// A report, with the log that came in it on disk.
async fn taken(app: &App, report: Report) -> ApiResult<ReportIn> {
    let Report { token, end, ran, ended_at, findings, note, enforced, log_size, log } = report;
    if let Some(part) = log {
        store_part(app, &token, &part).await?;
    }
    Ok(ReportIn { token, end, ran, ended_at, findings, note, enforced, log_size })
}

async fn store_part(app: &App, token: &str, part: &LogPart) -> ApiResult<()> {
    let bytes = STANDARD.decode(&part.bytes).map_err(|_| Problem::bad_request("the log of a report is not base64"))?;
    // A report without a right to its log is late or another's: the store says so, and only the report is kept.
    let Some(token) = app.may_log(token).await? else { return Ok(()) };
    match app.logs.append(token.job, token.attempt, part.offset, &bytes).await {
        Ok(_) => Ok(()),
        // The report counts more than its log: what is missing was lost here, and cannot be had again.
        Err(hole @ LogError::Hole { .. }) => {
            tracing::warn!(job.id = %token.job, attempt = token.attempt, "a part of a log is missing: {hole}");
            Ok(())
        }
        Err(LogError::Io(e)) => Err(ApiError::Disk(e)),
    }
}

#[derive(Debug, Deserialize)]
pub struct LogPlace {
    offset: u64,
}

/// Stores a piece of a log. The answer says how much there is: a piece that begins beyond that was not stored, and the
/// worker sends from there.
#[utoipa::path(put, path = "/api/v1/log", tag = "worker", params(("offset" = u64, Query,)),
    request_body = Vec<u8>, responses((status = 200, body = LogStored), (status = 410)))]
pub async fn log(
    State(app): State<App>,
    Query(place): Query<LogPlace>,
    headers: HeaderMap,
    bytes: Bytes,
) -> ApiResult<axum::Json<LogStored>> {
    let token = headers.get(LEASE_TOKEN).and_then(|value| value.to_str().ok());
    let token = token.ok_or_else(|| Problem::bad_request(format!("the header {LEASE_TOKEN} is missing")))?;
    let Some(token) = app.may_log(token).await? else {
        return Err(Problem::gone("the token is of no attempt that runs, or that its report has ended").into());
    };
    match app.logs.append(token.job, token.attempt, place.offset, &bytes).await {
        Ok(size) | Err(LogError::Hole { size, .. }) => Ok(axum::Json(LogStored { size })),
        Err(LogError::Io(e)) => Err(ApiError::Disk(e)),
    }
}
