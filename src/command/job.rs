//! `taskotron job`: looks at jobs and their logs, and changes their course.

mod act;
mod artifacts;
mod filter;
mod log;
mod watch;

use std::time::Duration;

use clap::{Args, Subcommand};
use model::deed::{JobsAct, Verb};
use model::operator::{JobDetail, JobSummary, Why};
use net::Client;

use crate::exit::Exit;

use super::output::{Column, Listed, column, maybe, wide};
use super::question::path;
use super::terminal::harmless;
use super::{Session, output, question};
use act::{Change, Prioritise, Settle};
use filter::Filter;
use watch::Watch;

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
    /// Follow jobs and what they print until they have ended; 0 when all passed
    #[command(after_long_help = watch::AFTER)]
    Watch(Watch),
    /// Stop jobs; they end as cancelled
    #[command(after_long_help = act::AFTER)]
    Cancel(Change),
    /// Make jobs anew, with the same task, item and arch
    #[command(after_long_help = act::AFTER)]
    Rerun(Change),
    /// Change the priority of jobs that are queued or wait
    #[command(after_long_help = act::AFTER)]
    Priority(Prioritise),
    /// Try jobs again now that wait for the moment of their next attempt
    #[command(after_long_help = act::AFTER)]
    Retry(Change),
    /// Say what becomes of jobs that wait for a person ('retry: never')
    #[command(after_long_help = act::AFTER)]
    Settle(Settle),
}

#[derive(Args, Debug)]
pub struct Named {
    /// The job's id, or the beginning of it
    #[arg(value_name = "ID")]
    id: String,
}

#[derive(Args, Debug)]
pub struct List {
    /// How many to list at most
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u64,
    #[command(flatten)]
    filter: Filter,
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
            Job::Watch(watch) => watch.run(session, &client).await,
            Job::Cancel(change) => change.run(Verb::Cancel, JobsAct::default(), session, &client).await,
            Job::Rerun(change) => change.run(Verb::Rerun, JobsAct::default(), session, &client).await,
            Job::Retry(change) => change.run(Verb::Retry, JobsAct::default(), session, &client).await,
            Job::Priority(change) => change.run(session, &client).await,
            Job::Settle(change) => change.run(session, &client).await,
        }
    }
}

impl List {
    async fn run(self, session: &Session, client: &Client) -> anyhow::Result<Exit> {
        question::pages::<JobSummary>(client, session.format, "jobs", self.filter.parameters(), self.limit).await?;
        Ok(Exit::Reached)
    }
}

impl Named {
    async fn detail(&self, client: &Client) -> anyhow::Result<JobDetail> {
        Ok(client.get(&path(&["jobs", &self.id], &[])).await?)
    }
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
        ("source", maybe(&detail.source)),
        ("priority", detail.priority.to_string()),
        ("generation", detail.generation.to_string()),
        ("recorder", detail.recorder.clone()),
        ("queued", job.queued_at.to_seconds()),
        ("started", job.started_at.map(|t| t.to_seconds()).unwrap_or_default()),
        ("finished", job.finished_at.map(|t| t.to_seconds()).unwrap_or_default()),
        ("results", maybe(&detail.results_url)),
    ]);
    for found in &detail.found {
        let outcome = found.outcome.map(|outcome| format!(" {outcome}")).unwrap_or_default();
        text += &format!("found job {}: {}{outcome}\n", found.id, found.state);
    }
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
        for (what, how) in &attempt.enforced {
            text += &format!("  {}\n", harmless(&format!("{what}: {how}")));
        }
    }
    text
}

/// A reason and the facts behind it.
pub fn reasons(why: &Why) -> String {
    let facts: Vec<_> = why.facts.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    format!("{}\n{}", harmless(&why.why), output::facts(&facts))
}
