//! For triggers: events and the jobs decided from them. The master owns the cursor.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use futures_util::future::BoxFuture;
use model::intake::{Intake, IntakeAnswer, Record};
use model::{Span, Time};
use net::Problem;

use super::ApiResult;
use super::extract::Json;
use crate::app::App;
use crate::judge::{Origin, judge};
use crate::mirrors::Pins;
use crate::store::{Batch, Intake as Stored, NewEvent};
use crate::tasks::Current;

pub fn routes() -> Router<App> {
    Router::new().route("/intake/{recorder}", get(cursor)).route("/intake", post(intake))
}

/// Where a trigger goes on sending.
#[utoipa::path(get, path = "/api/v1/intake/{recorder}", tag = "trigger", params(("recorder" = String, Path,)),
    responses((status = 200, body = IntakeAnswer)))]
pub async fn cursor(State(app): State<App>, Path(recorder): Path<String>) -> ApiResult<axum::Json<IntakeAnswer>> {
    let next = app.store.cursor(&recorder).await?;
    Ok(axum::Json(IntakeAnswer { next, jobs: Vec::new() }))
}

/// Stores a batch of records. When it does not begin where the cursor stands, nothing is stored and the answer says
/// where to go on; a trigger follows `next` in any answer.
#[utoipa::path(post, path = "/api/v1/intake", tag = "trigger", request_body = Intake,
    responses((status = 200, body = IntakeAnswer)))]
pub async fn intake(State(app): State<App>, Json(body): Json<Intake>) -> ApiResult<axum::Json<IntakeAnswer>> {
    let (current, _) = app.current().await?;
    let now = app.store.now().await?;
    let batch = batch(body, &current, &app.mirrors.pins(now), now, app.settings.key_horizon)?;
    // Boxed: the compiler cannot prove the bare future to be Send for every lifetime.
    let storing: BoxFuture<'_, _> = Box::pin(app.store.intake(&batch));
    let answer = match storing.await? {
        Stored::Stored { next, jobs } => {
            app.mirrors.hear(batch.events.iter().map(|event| &event.event));
            app.mirrors.look_for(batch.events.iter().flat_map(|event| &event.jobs));
            IntakeAnswer { next, jobs }
        }
        Stored::Elsewhere { next } => IntakeAnswer { next, jobs: Vec::new() },
    };
    Ok(axum::Json(answer))
}

/// What was sent, with each of its jobs judged.
fn batch(body: Intake, current: &Current, pins: &Pins, now: Time, horizon: Span) -> Result<Batch, Problem> {
    let Intake { recorder, records, counts, generation, pair, troubles } = body;
    if recorder.is_empty() {
        return Err(Problem::bad_request("recorder is empty: it names the log that the records come from"));
    }
    if let Some(gap) = records.windows(2).find(|pair| pair[1].seq != pair[0].seq + 1) {
        let (one, other) = (gap[0].seq, gap[1].seq);
        return Err(Problem::bad_request(format!("record {other} follows record {one}: there is a gap")));
    }
    let events = records.into_iter().map(|record| event(&recorder, record, current, pins, now, horizon)).collect();
    Ok(Batch { recorder, counts, generation, pair, troubles, events })
}

/// One record with each of its jobs judged: one bad job does not hold up the others.
fn event(recorder: &str, record: Record, current: &Current, pins: &Pins, now: Time, horizon: Span) -> NewEvent {
    let origin = Origin {
        recorder: recorder.to_owned(),
        recorded_at: record.recorded_at,
        event_time: record.event.sent_at.as_deref().and_then(Time::parse_loose),
        generation: record.generation,
        event: Some(record.event.id.clone()),
    };
    NewEvent {
        seq: record.seq,
        recorded_at: record.recorded_at,
        generation: record.generation,
        matched: record.matched,
        decided: record.jobs.iter().map(|job| job.key).collect(),
        jobs: record.jobs.into_iter().map(|job| judge(job, origin.clone(), current, pins, now, horizon)).collect(),
        event: record.event,
    }
}
