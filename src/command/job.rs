//! `taskotron job`: looks at jobs and their logs, and changes their course.

mod artifacts;
mod log;

use std::time::Duration;

use clap::{Args, Subcommand};
use model::intake::JobAnswer;
use model::operator::{JobDetail, JobSummary, Why};
use model::source::JobSource;
use model::{JobId, JobState, Outcome};
use net::Client;
use serde::Serialize;
use serde_json::json;

use crate::exit::{Exit, Failure};

use super::output::{Column, Listed, Listing, column, maybe, wide};
use super::question::path;
use super::terminal::harmless;
use super::{Session, output, question};

/// How often a job that is watched is looked at.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Subcommand, Debug)]
pub enum Job {
    /// List jobs, newest first
    List(List),
    /// Show one job, with its attempts
    Show(Named),
    /// Print a job's log
    Log(log::Log),
    /// List the files that a job left, or fetch them
    Artifacts(artifacts::Artifacts),
    /// Why a job is where it is, in one sentence
    Why(Named),
    /// Wait until a job has ended; 0 when it passed
    Watch(Named),
    /// Stop a job; it ends as cancelled
    Cancel(Change),
    /// Make a job anew, with the same task, item and arch
    Rerun(Change),
}

#[derive(Args, Debug)]
pub struct Named {
    /// The job's id, or the beginning of it
    #[arg(value_name = "ID")]
    id: String,
}

#[derive(Args, Debug)]
pub struct Change {
    /// The whole id of each job
    #[arg(value_name = "ID", required = true)]
    ids: Vec<JobId>,
    /// Why, for those who come after
    #[arg(short = 'm', long, value_name = "TEXT")]
    reason: String,
}

#[derive(Args, Debug)]
pub struct List {
    /// How many to list at most
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u64,
    /// Only jobs in this state; may be given several times
    #[arg(long, value_name = "STATE")]
    state: Vec<JobState>,
    /// Only jobs of this task
    #[arg(long)]
    task: Option<String>,
    /// Only jobs on this item
    #[arg(long)]
    item: Option<String>,
    /// Only jobs that this rule asked for
    #[arg(long)]
    rule: Option<String>,
    /// Only jobs of this event
    #[arg(long, value_name = "ID")]
    event: Option<String>,
    /// Only jobs for this arch
    #[arg(long)]
    arch: Option<String>,
    /// Only jobs with this outcome: PASSED, FAILED …
    #[arg(long, value_parser = outcome)]
    outcome: Option<Outcome>,
}

fn outcome(text: &str) -> Result<Outcome, String> {
    Outcome::parse(text).ok_or_else(|| format!("it is one of {}", Outcome::ALL.map(Outcome::name).join(", ")))
}

impl Listed for JobSummary {
    const COLUMNS: &'static [Column<JobSummary>] = &[
        column("id", |j| j.id.to_string()),
        wide("key", |j| j.key.to_string()),
        column("state", |j| j.state.to_string()),
        wide("end", |j| j.end.as_ref().map(|end| end.word()).unwrap_or_default()),
        column("outcome", |j| maybe(&j.outcome)),
        column("task", |j| j.task.clone()),
        column("item", |j| j.item.clone()),
        wide("item_type", |j| j.item_type.clone()),
        column("arch", |j| j.arch.clone()),
        wide("event_id", |j| maybe(&j.event_id)),
        wide("rule", |j| j.rule.clone()),
        column("attempts", |j| j.attempts.to_string()),
        column("queued_at", |j| j.queued_at.to_seconds()),
        wide("started_at", |j| maybe(&j.started_at)),
        wide("finished_at", |j| maybe(&j.finished_at)),
    ];
}

impl Job {
    pub async fn run(self, session: &Session) -> anyhow::Result<Exit> {
        let client = session.client()?;
        match self {
            Job::List(list) => list.run(session, &client).await,
            Job::Show(job) => {
                output::one(session.format, &job.detail(&client).await?, people)?;
                Ok(Exit::Reached)
            }
            Job::Log(log) => log.run(&client).await,
            Job::Artifacts(artifacts) => artifacts.run(session, &client).await,
            Job::Why(job) => {
                let why: Why = client.get(&path(&["why", "job", &job.id], &[])).await?;
                output::one(session.format, &why, reasons)?;
                Ok(Exit::Reached)
            }
            Job::Watch(job) => tokio::select! {
                watched = job.watch(session, &client) => watched,
                _ = tokio::signal::ctrl_c() => {
                    eprintln!("detached; the job goes on. Watch: taskotron job watch {}", job.id);
                    Ok(Exit::Detached)
                }
            },
            Job::Cancel(change) => change.cancel(session, &client).await,
            Job::Rerun(change) => change.rerun(session, &client).await,
        }
    }
}

impl List {
    async fn run(self, session: &Session, client: &Client) -> anyhow::Result<Exit> {
        let states: Vec<_> = self.state.iter().map(JobState::to_string).collect();
        let mut query = Vec::new();
        if !states.is_empty() {
            query.push(("state", states.join(",")));
        }
        let more = [
            ("task", self.task),
            ("item", self.item),
            ("rule", self.rule),
            ("event", self.event),
            ("arch", self.arch),
            ("outcome", self.outcome.map(|outcome| outcome.to_string())),
        ];
        query.extend(more.into_iter().filter_map(|(name, value)| Some((name, value?))));
        question::pages::<JobSummary>(client, session.format, "jobs", query, self.limit).await?;
        Ok(Exit::Reached)
    }
}

impl Named {
    async fn detail(&self, client: &Client) -> anyhow::Result<JobDetail> {
        Ok(client.get(&path(&["jobs", &self.id], &[])).await?)
    }

    /// Says every change of state, and ends with the job.
    async fn watch(&self, session: &Session, client: &Client) -> anyhow::Result<Exit> {
        let mut said = String::new();
        loop {
            let detail = self.detail(client).await?;
            if detail.job.state.is_end() {
                let passed = matches!(detail.job.outcome, Some(Outcome::Passed | Outcome::Info));
                output::one(session.format, &detail, people)?;
                let reached = passed && detail.job.state == JobState::Finished;
                return Ok(if reached { Exit::Reached } else { Exit::NotReached });
            }
            let now = format!("{}: {}", detail.job.state, harmless(&detail.why));
            if now != said {
                eprintln!("{now}");
                said = now;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Change {
    async fn cancel(self, session: &Session, client: &Client) -> anyhow::Result<Exit> {
        let body = json!({ "reason": question::reason(&self.reason)? });
        let mut listing = Listing::new(session.format);
        for id in &self.ids {
            let detail: JobDetail = client.post(&path(&["jobs", &id.to_string(), "cancel"], &[]), &body).await?;
            listing.add(vec![detail.job])?;
        }
        listing.finish()?;
        Ok(Exit::Reached)
    }

    async fn rerun(self, session: &Session, client: &Client) -> anyhow::Result<Exit> {
        let body = json!({ "reason": question::reason(&self.reason)? });
        let mut listing = Listing::new(session.format);
        for id in self.ids {
            let answer: JobAnswer = client.post(&path(&["jobs", &id.to_string(), "rerun"], &[]), &body).await?;
            match answer {
                JobAnswer::Submitted { job } | JobAnswer::Exists { job, .. } => {
                    listing.add(vec![Again { id: job, rerun_of: id }])?
                }
                JobAnswer::Refused { reason } => {
                    return Err(Failure::error(Exit::NotReached, format!("job {id}: {reason}")));
                }
                JobAnswer::Expired => return Err(Failure::error(Exit::NotReached, format!("job {id} has expired"))),
            }
        }
        listing.finish()?;
        Ok(Exit::Reached)
    }
}

/// A job that was made anew.
#[derive(Serialize)]
struct Again {
    id: JobId,
    rerun_of: JobId,
}

impl Listed for Again {
    const COLUMNS: &'static [Column<Again>] =
        &[column("id", |a| a.id.to_string()), column("rerun_of", |a| a.rerun_of.to_string())];
}

/// `https://… main at 0123…, folder tests`
fn source(source: &JobSource) -> String {
    let JobSource { git, reference, commit, path } = source;
    let commit = commit.as_ref().map_or_else(|| " (no commit yet)".to_owned(), |commit| format!(" at {commit}"));
    let path = path.as_ref().map(|path| format!(", folder {path}")).unwrap_or_default();
    format!("{git} {reference}{commit}{path}")
}

fn people(detail: &JobDetail) -> String {
    let job = &detail.job;
    let mut text = output::facts(&[
        ("job", job.id.to_string()),
        ("task", job.task.clone()),
        ("item", format!("{} ({})", job.item, job.item_type)),
        ("arch", job.arch.clone()),
        ("state", job.state.to_string()),
        ("outcome", maybe(&job.outcome)),
        ("why", detail.why.clone()),
        ("rule", job.rule.clone()),
        ("event", maybe(&job.event_id)),
        ("needs", detail.needs.join(", ")),
        ("source", detail.source.as_ref().map(source).unwrap_or_default()),
        ("priority", detail.priority.to_string()),
        ("generation", detail.generation.to_string()),
        ("recorder", detail.recorder.clone()),
        ("queued", job.queued_at.to_seconds()),
        ("started", job.started_at.map(|t| t.to_seconds()).unwrap_or_default()),
        ("finished", job.finished_at.map(|t| t.to_seconds()).unwrap_or_default()),
        ("results", maybe(&detail.results_url)),
    ]);
    for attempt in &detail.attempts_made {
        let end = attempt.end.as_ref().map_or_else(|| "running".to_owned(), |end| end.to_string());
        let note = attempt.note.as_deref().map(|note| format!("; {note}")).unwrap_or_default();
        let line = format!("attempt {} on {}: {end}{note}", attempt.attempt, attempt.worker);
        let ran = attempt.ran.map(|ran| format!(", ran {:.1?}", ran.0)).unwrap_or_default();
        text += &format!("{}{ran}, {} bytes of log\n", harmless(&line), attempt.log_size);
        if let (Some(finished), Some(claimed)) = (attempt.finished_at, attempt.other_end()) {
            let (finished, claimed) = (finished.to_seconds(), claimed.to_seconds());
            text += &format!("  its report came at {finished}; it ended at {claimed}, as its worker's clock claims\n");
        }
    }
    text
}

/// A reason and the facts behind it.
pub fn reasons(why: &Why) -> String {
    let facts: Vec<_> = why.facts.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    format!("{}\n{}", harmless(&why.why), output::facts(&facts))
}
