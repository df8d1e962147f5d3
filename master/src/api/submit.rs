//! For submitters: a job log, read as it comes, judged and stored in chunks.

mod sheet;

use std::collections::HashMap;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use model::intake::JobAnswer;
use model::joblog::{Row, RowAnswer, RowVerdict, Submitted};
use model::{JobId, JobState, Time};
use net::{Caller, Problem};
use serde::Deserialize;
use tokio::sync::mpsc;
use utoipa::IntoParams;

use super::ApiResult;
use super::extract::Query;
use crate::acts;
use crate::app::App;
use crate::judge::{Origin, judge};
use crate::mirrors::Pins;
use crate::store::Candidate;
use crate::tasks::Current;
use sheet::{Line, WAITING, feed, parse, pieces};

pub fn routes() -> Router<App> {
    Router::new().route("/jobs", post(submit))
}

#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct How {
    /// Only say what would become of each row.
    dry_run: bool,
    /// Rows whose job has ended are run again, as new jobs.
    rerun: bool,
}

/// Takes a job log and answers for each of its rows: 100,000 at most, of 8 MiB each and 256 MiB together.
#[utoipa::path(post, path = "/api/v1/jobs", tag = "submitter", params(How),
    request_body(content = String, content_type = "text/csv"), responses((status = 200, body = Submitted), (status = 413)))]
pub async fn submit(
    State(app): State<App>,
    caller: Caller,
    Query(how): Query<How>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<axum::Json<Submitted>> {
    csv_only(&headers)?;
    let request = super::acts::key(&headers).map_or_else(|| net::clock::uuid().to_string(), str::to_owned);
    let (current, generation) = app.current().await?;
    let now = app.store.now().await?;
    let mut desk = Desk {
        app: &app,
        caller: &caller,
        current: &current,
        generation,
        pins: app.mirrors.pins(now),
        now,
        how,
        request,
        anew: HashMap::new(),
    };
    let (pieces, reader) = pieces();
    let (chunks, mut parsed) = mpsc::channel(WAITING);
    let parsing = tokio::task::spawn_blocking(move || parse(reader, &chunks));
    let feeding = tokio::spawn(feed(body, pieces));
    let mut rows = Vec::new();
    while let Some(chunk) = parsed.recv().await {
        rows.extend(desk.answer(chunk).await?);
    }
    let parsed = parsing.await.map_err(|_| Problem::internal())?;
    feeding.abort();
    parsed?;
    Ok(axum::Json(Submitted { rows }))
}

fn csv_only(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("text/csv");
    match kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "text/csv" | "text/plain" | "application/octet-stream" => Ok(()),
        other => {
            let detail = format!("a job log is text/csv, not {other}");
            Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
        }
    }
}

/// What the rows of one request are answered with.
struct Desk<'a> {
    app: &'a App,
    caller: &'a Caller,
    current: &'a Current,
    generation: u64,
    pins: Pins,
    now: Time,
    how: How,
    request: String,
    /// What was run again by it: the new jobs by the old ones.
    anew: HashMap<JobId, JobId>,
}

impl Desk<'_> {
    async fn answer(&mut self, lines: Vec<Line>) -> ApiResult<Vec<RowAnswer>> {
        let mut verdicts: Vec<(u64, Option<RowVerdict>)> = Vec::with_capacity(lines.len());
        let mut candidates = Vec::with_capacity(lines.len());
        for Line { line, row } in lines {
            match row {
                Err(invalid) => verdicts.push((line, Some(RowVerdict::Invalid { invalid }))),
                Ok(row) => {
                    candidates.push(self.judge(row));
                    verdicts.push((line, None));
                }
            }
        }
        let mut answers = self.settle(candidates).await?.into_iter();
        let answer = |(line, verdict): (u64, Option<RowVerdict>)| {
            let verdict = verdict.or_else(|| answers.next().map(RowVerdict::Job));
            verdict.map(|verdict| RowAnswer { line, verdict }).ok_or_else(|| Problem::internal().into())
        };
        verdicts.into_iter().map(answer).collect()
    }

    fn judge(&self, row: Row) -> Candidate {
        let origin = Origin {
            recorder: if row.recorder.is_empty() { format!("by hand: {}", self.caller.name) } else { row.recorder },
            recorded_at: row.recorded_at.unwrap_or(self.now),
            event_time: row.event_time,
            generation: row.generation.unwrap_or(self.generation),
            event: (!row.event_id.is_empty()).then_some(row.event_id),
        };
        judge(row.job, origin, self.current, &self.pins, self.now, self.app.settings.key_horizon)
    }

    async fn settle(&mut self, candidates: Vec<Candidate>) -> ApiResult<Vec<JobAnswer>> {
        if self.how.dry_run {
            let mut answers = Vec::with_capacity(candidates.len());
            for candidate in &candidates {
                answers.push(self.would(candidate).await?);
            }
            return Ok(answers);
        }
        let mut answers = self.app.store.submit(&candidates).await?;
        self.app.mirrors.look_for(&candidates);
        if self.how.rerun {
            for answer in &mut answers {
                if let JobAnswer::Exists { job, state } = answer
                    && state.is_end()
                {
                    *answer = self.again(*job).await?;
                }
            }
        }
        Ok(answers)
    }

    /// What would become of a candidate.
    async fn would(&self, candidate: &Candidate) -> ApiResult<JobAnswer> {
        let admitted = match candidate {
            Candidate::Answered(answer) => return Ok(answer.clone()),
            Candidate::Admitted(admitted) => admitted,
        };
        let job = admitted.job.key;
        Ok(match self.app.store.job(job).await?.map(|parts| parts.summary.state) {
            Some(state) if self.how.rerun && state.is_end() => JobAnswer::Submitted { job },
            Some(state) => JobAnswer::Exists { job, state },
            None => JobAnswer::Submitted { job },
        })
    }

    /// A job that is named by several rows is run again once.
    async fn again(&mut self, job: JobId) -> ApiResult<JobAnswer> {
        if let Some(new) = self.anew.get(&job) {
            return Ok(JobAnswer::Exists { job: *new, state: JobState::Queued });
        }
        let reason = "submitted again with rerun";
        let answer = acts::again(self.app, job, reason, &self.caller.name, Some(&self.request)).await?;
        if let JobAnswer::Submitted { job: new } = answer {
            self.anew.insert(job, new);
        }
        Ok(answer)
    }
}
