//! `taskotron event`: looks at events, and why they made jobs or none.

use clap::{Args, Subcommand};
use model::operator::{Divergence, EventDetail, EventSummary, Why};

use crate::exit::Exit;

use super::output::{Column, Listed, column, maybe, wide};
use super::question::path;
use super::terminal::harmless;
use super::{Session, job, output, question};

#[derive(Subcommand, Debug)]
pub enum Event {
    /// List events, newest first
    List(List),
    /// Show one event, what each rule says of it, and its jobs
    Show(Named),
    /// Why an event made the jobs that it made, or none
    Why(Named),
    /// List events about which the two triggers of a pair differ, newest first
    Divergences(Divergences),
}

#[derive(Args, Debug)]
pub struct Named {
    /// The event's id, or the beginning of it
    #[arg(value_name = "ID")]
    id: String,
}

#[derive(Args, Debug)]
pub struct List {
    /// How many to list at most
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u64,
    /// Only events of this topic; one that ends in '*' means all that begin so
    #[arg(long)]
    topic: Option<String>,
    /// Only events that made jobs (true), or none (false)
    #[arg(long, value_name = "BOOL")]
    with_jobs: Option<bool>,
}

#[derive(Args, Debug)]
pub struct Divergences {
    /// How many to list at most
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u64,
}

impl Listed for Divergence {
    const COLUMNS: &'static [Column<Divergence>] = &[
        column("event", |d| d.event_id.clone()),
        wide("topic", |d| d.topic.clone()),
        column("pair", |d| d.pair.clone()),
        column("at", |d| d.at.to_seconds()),
        wide("first", |d| d.first.clone()),
        wide("second", |d| d.second.clone()),
        column("differs", |d| d.differs.name().to_owned()),
        column("why", |d| d.to_string()),
    ];
}

impl Listed for EventSummary {
    const COLUMNS: &'static [Column<EventSummary>] = &[
        column("id", |e| e.id.clone()),
        column("topic", |e| e.topic.clone()),
        wide("sent_at", |e| maybe(&e.sent_at)),
        column("recorded_at", |e| e.recorded_at.to_seconds()),
        wide("source", |e| e.source.clone()),
        wide("recorder", |e| e.recorder.clone()),
        column("jobs", |e| e.jobs.to_string()),
    ];
}

impl Event {
    pub async fn run(self, session: &Session) -> anyhow::Result<Exit> {
        let client = session.client()?;
        match self {
            Event::List(List { limit, topic, with_jobs }) => {
                let query = [("topic", topic), ("with_jobs", with_jobs.map(|yes| yes.to_string()))];
                let query = query.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
                question::pages::<EventSummary>(&client, session.format, "events", query, limit).await?;
            }
            Event::Show(Named { id }) => {
                let detail: EventDetail = client.get(&path(&["events", &id], &[])).await?;
                output::one(session.format, &detail, people)?;
            }
            Event::Why(Named { id }) => {
                let why: Why = client.get(&path(&["why", "event", &id], &[])).await?;
                output::one(session.format, &why, job::reasons)?;
            }
            Event::Divergences(Divergences { limit }) => {
                question::pages::<Divergence>(&client, session.format, "divergences", Vec::new(), limit).await?;
            }
        }
        Ok(Exit::Reached)
    }
}

fn people(detail: &EventDetail) -> String {
    let event = &detail.event;
    let mut text = output::facts(&[
        ("event", event.id.clone()),
        ("topic", event.topic.clone()),
        ("sent", maybe(&event.sent_at)),
        ("source", event.source.clone()),
        ("recorded", detail.recorded_at.to_seconds()),
        ("recorder", detail.recorder.clone()),
        ("generation", detail.generation.to_string()),
        ("matched", detail.matched.join(", ")),
    ]);
    for divergence in &detail.divergences {
        text += &harmless(&format!("! pair {}: {divergence}", divergence.pair));
        text.push('\n');
    }
    for job in &detail.jobs {
        let outcome = maybe(&job.outcome);
        text +=
            &harmless(&format!("job {} {} on {} ({}): {} {outcome}", job.id, job.task, job.item, job.arch, job.state));
        text.push('\n');
    }
    for verdict in &detail.verdicts {
        let mark = if verdict.matched { "+" } else { "-" };
        text += &harmless(&format!("{mark} {}: {}", verdict.rule, verdict.why));
        text.push('\n');
    }
    let body = serde_json::to_string_pretty(&event.body).unwrap_or_default();
    text + &super::terminal::harmless_lines(&body)
}
