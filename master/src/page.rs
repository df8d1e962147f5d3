//! The pages: rendered here, whole without a script. Reading them changes nothing; what an operator does, who has logged
//! in, goes by forms.

mod acts;
mod event;
mod events;
mod job;
mod jobs;
mod login;
mod overview;
mod parts;
#[cfg(test)]
mod sample;
mod visitor;
mod workers;

use askama::Template;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use model::JobState;
use model::operator::JobDetail;
use net::page::{Section, escape, secure, shell, shell_with};
use net::{Problem, Tokens};

use crate::api::{ApiError, EventQuery, JobQuery, Query, left_by_jobs};
use crate::app::App;
use crate::logs::Part;
use crate::store::{EventFilter, JobFilter};
use crate::{detail, status, why};

pub use parts::encoded;
pub use visitor::hash_of;

use visitor::{Door, Visitor};

/// Rows of each listing on the first page.
const NEWEST: u32 = 10;

/// Jobs of one event on the first page.
const FIRST_JOBS: usize = 4;

/// Bytes of a log that stand on its job's page.
const TAIL: u64 = 64 * 1024;

/// Bytes that a form has at most.
const FORM: usize = 64 * 1024;

/// A page that can make a sample of itself.
#[cfg(test)]
trait Sample: Template {
    fn sample() -> Self;
}

/// All pages of the master.
pub fn routes(app: &App, tokens: &Tokens) -> Router {
    let pages = Router::new()
        .route("/", get(overview))
        .route("/jobs", get(jobs))
        .route("/jobs/{job}", get(job))
        .route("/events", get(events))
        .route("/events/{event}", get(event))
        .route("/workers", get(workers))
        .route("/acts/{verb}", get(acts::confirm).post(acts::act))
        .merge(left_by_jobs());
    let door = |readers| Door { app: app.clone(), tokens: tokens.clone(), readers };
    let admitted = |pages: Router<App>, readers| pages.route_layer(from_fn_with_state(door(readers), visitor::admit));
    let pages = admitted(pages, true).merge(admitted(login::routes(), false)).layer(DefaultBodyLimit::max(FORM));
    secure(pages).with_state(app.clone())
}

type PageResult = Result<Html<String>, Sorry>;

/// What was wrong, as a page.
struct Sorry(Problem);

impl<E: Into<ApiError>> From<E> for Sorry {
    fn from(error: E) -> Sorry {
        Sorry(error.into().problem())
    }
}

impl IntoResponse for Sorry {
    fn into_response(self) -> Response {
        let Problem { status, title, detail } = self.0;
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let login = if status == StatusCode::UNAUTHORIZED { "\n<p><a href=\"/login\">Log in</a></p>" } else { "" };
        let body = format!("<h1>{}</h1>\n<p>{}</p>{login}", escape(&title), escape(&detail));
        (status, shell(&title, Section::Elsewhere, &body)).into_response()
    }
}

fn show(title: &str, section: Section, visitor: &Visitor, page: &impl Template) -> PageResult {
    let body = page.render().map_err(|error| {
        tracing::error!(%error, title, "a page cannot be rendered");
        Sorry(Problem::internal())
    })?;
    Ok(shell_with(title, section, &visitor.corner(), &body))
}

async fn overview(State(app): State<App>, visitor: Visitor) -> PageResult {
    let status = status::status(&app).await?;
    let (newest, _) = app.store.events(&EventFilter::default(), None, NEWEST).await?;
    let mut events = Vec::with_capacity(newest.len());
    for event in newest {
        let mut jobs = match event.jobs {
            0 => Vec::new(),
            _ => app.store.jobs_of_event(&event.id).await?,
        };
        jobs.truncate(FIRST_JOBS);
        events.push((event, jobs));
    }
    let ended = JobFilter {
        states: JobState::ALL.into_iter().filter(|state| state.is_end()).collect(),
        ..JobFilter::default()
    };
    let (ended, _) = app.store.jobs(&ended, None, NEWEST).await?;
    let workers = app.store.workers(app.settings.lease_term).await?;
    let now = app.store.now().await?;
    show("Overview", Section::Overview, &visitor, &overview::Overview::new(&status, &events, &ended, &workers, now))
}

async fn jobs(State(app): State<App>, visitor: Visitor, Query(query): Query<JobQuery>) -> PageResult {
    let (after, limit) = query.place()?;
    let (jobs, next) = app.store.jobs(&query.filter()?, after, limit).await?;
    let next = next.map(|n| n.to_string());
    let now = app.store.now().await?;
    show("Jobs", Section::Jobs, &visitor, &jobs::Jobs::new(&query, &jobs, next.as_deref(), visitor.may_act(), now))
}

async fn job(State(app): State<App>, visitor: Visitor, Path(job): Path<String>) -> PageResult {
    let id = detail::named(&app, &job).await?;
    let detail = detail::job(&app, id).await?;
    let log = tail(&app, &detail).await?;
    let now = app.store.now().await?;
    let artifacts = app.store.artifacts(id).await?;
    let page = job::Job::new(&detail, &artifacts, log, &app.settings.results_pages(), visitor.may_act(), now);
    show(&page.title(), Section::Jobs, &visitor, &page)
}

/// The end of the newest attempt's log.
async fn tail(app: &App, detail: &JobDetail) -> Result<Option<(u32, Part)>, ApiError> {
    let Some(attempt) = detail.attempts_made.last() else { return Ok(None) };
    let part = app.logs.tail(detail.job.id, attempt.attempt, TAIL).await?;
    // One that runs may begin to print.
    let part = part.or_else(|| attempt.finished_at.is_none().then(Part::default));
    Ok(part.map(|part| (attempt.attempt, part)))
}

async fn events(State(app): State<App>, visitor: Visitor, Query(query): Query<EventQuery>) -> PageResult {
    let (after, limit) = query.place()?;
    let (events, next) = app.store.events(&query.filter(), after, limit).await?;
    let next = next.map(|n| n.to_string());
    let now = app.store.now().await?;
    show("Events", Section::Events, &visitor, &events::Events::new(&query, &events, next.as_deref(), now))
}

async fn event(State(app): State<App>, visitor: Visitor, Path(event): Path<String>) -> PageResult {
    let detail = detail::event(&app, &event).await?;
    let why = why::event(&detail).why;
    let now = app.store.now().await?;
    show(&detail.event.topic, Section::Events, &visitor, &event::EventPage::new(&detail, why, now))
}

async fn workers(State(app): State<App>, visitor: Visitor) -> PageResult {
    let workers = app.store.workers(app.settings.lease_term).await?;
    let now = app.store.now().await?;
    show("Workers", Section::Workers, &visitor, &workers::Workers::new(&workers, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered<P: Sample>() -> String {
        P::sample().render().unwrap()
    }

    #[test]
    fn every_page_renders_and_lets_nothing_hostile_through() {
        let pages = [
            rendered::<overview::Overview>(),
            rendered::<jobs::Jobs>(),
            rendered::<job::Job>(),
            rendered::<events::Events>(),
            rendered::<event::EventPage>(),
            rendered::<workers::Workers>(),
            rendered::<login::Login>(),
            rendered::<acts::Confirm>(),
            rendered::<acts::Report>(),
        ];
        for page in pages {
            assert!(!page.contains("<script"), "{page}");
            assert!(!page.contains("\"onload="), "{page}");
            assert!(!page.contains("style="), "the policy forbids inline styles: {page}");
            assert!(!page.contains('\u{1b}'));
        }
    }
}
