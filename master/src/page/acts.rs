//! What an operator does to jobs by way of a page: first a page that says what would be done, by a dry run, then the
//! deed. Without a script, and with the same code as the API.

use std::collections::BTreeMap;

use askama::Template;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use model::JobId;
use model::deed::{Acted, ActedJob, Did, JobsAct, Settlement, Verb};
use net::Problem;
use net::page::Section;

use super::parts::{Tag, job_path};
use super::visitor::{Visitor, from_here};
use super::{PageResult, Sorry, encoded, show};
use crate::acts;
use crate::api::{JobQuery, Query};
use crate::app::App;

/// Rows that a page shows of a long list.
const ROWS: usize = 50;

/// Chunks that are looked through before a page is shown: it says "or more" where that was not all.
const LOOKED: usize = 10;

/// Chunks that one press of the button is about; then it can be pressed again.
const DONE: usize = 25;

/// A button that leads to such a page.
pub struct Button {
    pub path: String,
    pub label: &'static str,
}

impl Button {
    pub fn new(verb: Verb, query: &str) -> Button {
        let label = match verb {
            Verb::Cancel => "Cancel…",
            Verb::Rerun => "Re-run…",
            Verb::Priority => "Priority…",
            Verb::Retry => "Retry now…",
            Verb::Settle => "Settle…",
        };
        Button { path: format!("/acts/{verb}?{query}"), label }
    }
}

fn verb(name: &str) -> Result<Verb, Problem> {
    Verb::ALL
        .into_iter()
        .find(|verb| verb.name() == name)
        .ok_or_else(|| Problem::not_found(format!("there is nothing called '{name}' that can be done to jobs")))
}

/// Which jobs a query or a form names: `job`, or the filters of the listing.
fn which(given: &BTreeMap<String, String>) -> Result<(Vec<JobId>, Option<JobQuery>), Problem> {
    if let Some(job) = given.get("job") {
        let job = job.parse().map_err(|_| Problem::bad_request(format!("'{job}' is no job's id")))?;
        return Ok((vec![job], None));
    }
    let own = ["csrf", "key", "reason", "priority", "as"];
    let filter = given.iter().filter(|(name, value)| !own.contains(&name.as_str()) && !value.is_empty());
    Ok((Vec::new(), Some(JobQuery::of(&filter.map(|(n, v)| (n.clone(), v.clone())).collect())?)))
}

fn asked(
    verb: Verb,
    jobs: &[JobId],
    query: Option<&JobQuery>,
    given: &BTreeMap<String, String>,
) -> Result<JobsAct, Problem> {
    let text = |name: &str| given.get(name).map(|text| text.trim()).filter(|text| !text.is_empty());
    let mut act = JobsAct { jobs: jobs.to_vec(), ..JobsAct::default() };
    act.filter = query.map(|query| query.parameters().into_iter().map(|(n, v)| (n.to_owned(), v)).collect());
    match verb {
        Verb::Cancel | Verb::Rerun | Verb::Retry => {}
        Verb::Priority => {
            let priority = text("priority").unwrap_or("10");
            act.priority = Some(
                priority.parse().map_err(|_| Problem::bad_request(format!("'{priority}' is no priority: a number")))?,
            );
        }
        Verb::Settle => {
            let settlement = text("as").unwrap_or("requeue").parse::<Settlement>();
            act.settlement = Some(settlement.map_err(|e| Problem::bad_request(e.to_string()))?);
        }
    }
    act.reason = text("reason").unwrap_or_default().to_owned();
    Ok(act)
}

/// Sums over chunks, and the first rows that are worth showing.
#[derive(Default)]
struct Sums {
    acted: Acted,
    rows: Vec<ActedJob>,
    next: Option<String>,
}

impl Sums {
    /// Chunk by chunk, as far as one page goes.
    async fn over(
        app: &App,
        verb: Verb,
        mut act: JobsAct,
        actor: &str,
        key: Option<&str>,
        chunks: usize,
        worth: fn(&ActedJob) -> bool,
    ) -> Result<Sums, Sorry> {
        let mut sums = Sums::default();
        for chunk in 0..chunks {
            let key = key.map(|key| format!("{key}/{chunk}"));
            let acted = acts::act(app, verb, &act, actor, key.as_deref()).await?;
            sums.acted.planned += acted.planned;
            sums.acted.done += acted.done;
            sums.acted.skipped += acted.skipped;
            sums.acted.failed += acted.failed;
            let room = ROWS.saturating_sub(sums.rows.len());
            sums.rows.extend(acted.jobs.into_iter().filter(worth).take(room));
            sums.next = acted.next;
            match (&sums.next, &mut act.filter) {
                (Some(next), Some(filter)) => filter.insert("cursor".into(), next.clone()),
                (Some(_), None) | (None, _) => break,
            };
        }
        Ok(sums)
    }
}

/// One job in a table of these pages.
struct Row {
    path: String,
    item: String,
    task: String,
    was: Tag,
    did: &'static str,
    note: String,
    new_job: Option<String>,
}

impl Row {
    fn all(jobs: &[ActedJob]) -> Vec<Row> {
        let row = |job: &ActedJob| Row {
            path: job_path(job.id),
            item: job.item.clone(),
            task: job.task.clone(),
            was: Tag::state(job.state),
            did: job.did.name(),
            note: job.note.clone(),
            new_job: job.new_job.map(job_path),
        };
        jobs.iter().map(row).collect()
    }
}

/// What would be done, and the form that does it.
#[derive(Template)]
#[template(path = "act.html")]
pub struct Confirm {
    title: String,
    verb: &'static str,
    csrf: String,
    key: String,
    /// The jobs, as hidden fields.
    fields: Vec<(String, String)>,
    would: u64,
    skipped: u64,
    /// Whether there are more than were looked through.
    more: bool,
    rows: Vec<Row>,
    priority: Option<i32>,
    settlements: Vec<(String, &'static str)>,
    back: String,
}

const SETTLEMENTS: [(&str, &str); 6] = [
    ("requeue", "another attempt"),
    ("passed", "it passed"),
    ("failed", "it failed"),
    ("needs_inspection", "somebody must look at the item"),
    ("info", "for information only"),
    ("error", "nothing was found out"),
];

/// What was done, and what was not.
#[derive(Template)]
#[template(path = "acted.html")]
pub struct Report {
    title: String,
    verb: &'static str,
    planned: u64,
    done: u64,
    skipped: u64,
    failed: u64,
    rows: Vec<Row>,
    csrf: String,
    key: String,
    /// What the button that goes on sends; none where all is done.
    fields: Option<Vec<(String, String)>>,
    back: String,
}

fn phrase(verb: Verb, jobs: u64, more: bool) -> String {
    let jobs = match (jobs, more) {
        (1, false) => "1 job".to_owned(),
        (n, false) => format!("{n} jobs"),
        (n, true) => format!("{n} jobs and more"),
    };
    match verb {
        Verb::Cancel => format!("Cancel {jobs}"),
        Verb::Rerun => format!("Run {jobs} again"),
        Verb::Priority => format!("Change the priority of {jobs}"),
        Verb::Retry => format!("Try {jobs} again now"),
        Verb::Settle => format!("Settle {jobs}"),
    }
}

fn fields(jobs: &[JobId], query: Option<&JobQuery>) -> Vec<(String, String)> {
    let named = jobs.iter().map(|job| ("job".to_owned(), job.to_string()));
    let found = query.map(JobQuery::parameters).unwrap_or_default().into_iter().map(|(n, v)| (n.to_owned(), v));
    named.chain(found).collect()
}

/// Where the reader came from.
fn back(jobs: &[JobId], query: Option<&JobQuery>) -> String {
    match (jobs, query) {
        ([job, ..], _) => job_path(*job),
        ([], Some(query)) => {
            let pairs = query.parameters().into_iter().map(|(name, value)| format!("{name}={}", encoded(&value)));
            format!("/jobs?{}", pairs.collect::<Vec<_>>().join("&"))
        }
        ([], None) => "/jobs".into(),
    }
}

/// What would be done.
pub async fn confirm(
    State(app): State<App>,
    visitor: Visitor,
    Path(name): Path<String>,
    Query(given): Query<BTreeMap<String, String>>,
) -> PageResult {
    let session = visitor.operator()?;
    let verb = verb(&name)?;
    let (jobs, query) = which(&given)?;
    let act = JobsAct { dry_run: true, ..asked(verb, &jobs, query.as_ref(), &given)? };
    let priority = act.priority;
    let sums = Sums::over(&app, verb, act, &session.name, None, LOOKED, |_| true).await?;
    let title = phrase(verb, sums.acted.done, sums.next.is_some());
    let page = Confirm {
        title: format!("{title}?"),
        verb: verb.name(),
        csrf: session.csrf(),
        key: net::clock::uuid().to_string(),
        fields: fields(&jobs, query.as_ref()),
        would: sums.acted.done,
        skipped: sums.acted.skipped + sums.acted.failed,
        more: sums.next.is_some(),
        rows: Row::all(&sums.rows),
        priority,
        settlements: match verb {
            Verb::Settle => SETTLEMENTS.iter().map(|(name, means)| ((*name).to_owned(), *means)).collect(),
            Verb::Cancel | Verb::Rerun | Verb::Priority | Verb::Retry => Vec::new(),
        },
        back: back(&jobs, query.as_ref()),
    };
    show(&title, Section::Jobs, &visitor, &page)
}

/// Does it.
pub async fn act(
    State(app): State<App>,
    visitor: Visitor,
    Path(name): Path<String>,
    headers: HeaderMap,
    Form(given): Form<BTreeMap<String, String>>,
) -> Result<Response, Sorry> {
    from_here(&headers, &app.settings.public_url)?;
    let session = visitor.operator()?;
    session.gave(given.get("csrf"))?;
    let verb = verb(&name)?;
    let cursor = given.get("cursor").cloned();
    let (jobs, query) = which(&given)?;
    // The page before has said how many there are.
    let mut act = JobsAct { yes: true, ..asked(verb, &jobs, query.as_ref(), &given)? };
    if let (Some(filter), Some(cursor)) = (&mut act.filter, cursor) {
        filter.insert("cursor".into(), cursor);
    }
    let key = given.get("key").filter(|key| !key.is_empty());
    let choice = (act.reason.clone(), act.priority, act.settlement);
    let worth = |job: &ActedJob| job.did != Did::Done;
    let named = !jobs.is_empty();
    let keep = if named { |_: &ActedJob| true } else { worth };
    let sums = Sums::over(&app, verb, act, &session.name, key.map(String::as_str), DONE, keep).await?;
    if let ([job], true) = (&sums.rows[..], named)
        && job.did == Did::Done
    {
        let path = job_path(job.new_job.unwrap_or(job.id));
        return Ok((StatusCode::SEE_OTHER, [(header::LOCATION, path)]).into_response());
    }
    let go_on = sums.next.map(|next| {
        let (reason, priority, settlement) = choice;
        let mut fields = fields(&jobs, query.as_ref());
        fields.extend([("cursor".to_owned(), next), ("reason".to_owned(), reason)]);
        fields.extend(priority.map(|priority| ("priority".to_owned(), priority.to_string())));
        fields.extend(settlement.map(|settlement| ("as".to_owned(), settlement.to_string())));
        fields
    });
    let title = phrase(verb, sums.acted.done, false);
    let page = Report {
        title: title.clone(),
        verb: verb.name(),
        planned: sums.acted.planned,
        done: sums.acted.done,
        skipped: sums.acted.skipped,
        failed: sums.acted.failed,
        rows: Row::all(&sums.rows),
        csrf: session.csrf(),
        key: net::clock::uuid().to_string(),
        fields: go_on,
        back: back(&jobs, query.as_ref()),
    };
    let page: Html<String> = show(&title, Section::Jobs, &visitor, &page)?;
    Ok(page.into_response())
}

#[cfg(test)]
mod samples {
    use super::*;
    use crate::page::{Sample, sample};

    fn row() -> ActedJob {
        let job = sample::job();
        ActedJob {
            id: job.id,
            task: job.task,
            item: job.item,
            arch: job.arch,
            state: job.state,
            did: Did::Skipped,
            note: sample::HOSTILE.into(),
            new_job: Some(job.id),
        }
    }

    fn hostile() -> Vec<(String, String)> {
        vec![(sample::HOSTILE.into(), sample::HOSTILE.into())]
    }

    impl Sample for Confirm {
        fn sample() -> Confirm {
            Confirm {
                title: sample::HOSTILE.into(),
                verb: "settle",
                csrf: "c".into(),
                key: sample::HOSTILE.into(),
                fields: hostile(),
                would: 3,
                skipped: 1,
                more: true,
                rows: Row::all(&[row()]),
                priority: Some(10),
                settlements: vec![("requeue".into(), "another attempt")],
                back: sample::HOSTILE.into(),
            }
        }
    }

    impl Sample for Report {
        fn sample() -> Report {
            Report {
                title: sample::HOSTILE.into(),
                verb: "cancel",
                planned: 3,
                done: 1,
                skipped: 1,
                failed: 1,
                rows: Row::all(&[row()]),
                csrf: "c".into(),
                key: sample::HOSTILE.into(),
                fields: Some(hostile()),
                back: sample::HOSTILE.into(),
            }
        }
    }
}
