//! `taskotron resume`: says what waits, by the rule that asked for it, then lets it go.

use std::io::Write as _;

use clap::Args;
use model::operator::{ResumeRequest, Resumed, WindowView};
use net::ClientError;

use crate::exit::{Exit, Failure};
use crate::replay::Rate;

use super::output::Format;
use super::terminal::harmless;
use super::{Session, idle, output, question};

const AFTER: &str = "\
What has waited is printed first, by rule and task, with what became pointless meanwhile; then what came in while it was
idle, as a sum that adds up, and what is known to have been missed. With more jobs waiting than the master's
resume.max_backlog, resume is refused (3) unless --yes is given.

What has waited is let go at --rate (else the master's resume.rate), in its order. What comes in meanwhile goes at once,
before it.

Exit codes: 0 work is given out again; 3 too much waits and --yes was not given, nothing was changed.";

#[derive(Args, Debug)]
#[command(after_long_help = AFTER)]
pub struct Resume {
    /// Why, for those who come after
    #[arg(short = 'm', long, value_name = "TEXT")]
    reason: String,
    /// Also when more waits than the settings let through unasked
    #[arg(long)]
    yes: bool,
    /// Let so many jobs of the backlog go a time: 600/min, 5/s
    #[arg(long, value_name = "N/min", conflicts_with = "at_once")]
    rate: Option<Rate>,
    /// Let all of the backlog go at once
    #[arg(long)]
    at_once: bool,
    /// Only say what would be let go
    #[arg(long)]
    dry_run: bool,
}

impl Resume {
    pub async fn run(self, session: &Session) -> anyhow::Result<Exit> {
        let client = session.client()?;
        let rate = if self.at_once { Some(0) } else { self.rate.map(Rate::per_minute) };
        let request = ResumeRequest { reason: question::reason(&self.reason)?, yes: self.yes, dry_run: true, rate };
        let plan: Resumed = client.post("/api/v1/resume", &request).await?;
        if session.format == Format::Table {
            backlog(&plan)?;
        }
        if self.dry_run {
            eprintln!("nothing was changed: this was a dry run");
            if session.format == Format::Table {
                plan.window.as_ref().map_or(Ok(()), window)?;
            } else {
                output::one(session.format, &plan, |_| String::new())?;
            }
            return Ok(Exit::Reached);
        }
        let resumed = client.post_within("/api/v1/resume", &ResumeRequest { dry_run: false, ..request }, LONG).await;
        let resumed: Resumed = resumed.map_err(|e| match e {
            // Too much waits: that is a question to the operator, not a conflict with somebody.
            ClientError::Refused { status: 409, detail } => Failure::error(Exit::Refused, detail),
            e => e.into(),
        })?;
        if session.format == Format::Table {
            resumed.window.as_ref().map_or(Ok(()), window)?;
        }
        output::one(session.format, &resumed, sentence)?;
        Ok(Exit::Reached)
    }
}

/// A large backlog takes its time to be lined up.
const LONG: std::time::Duration = std::time::Duration::from_secs(600);

fn sentence(resumed: &Resumed) -> String {
    let mode = idle::sentence(&resumed.mode);
    let release = resumed.release;
    match release.held {
        0 => mode,
        held => format!(
            "{mode}\n{held} jobs of the backlog are let go at {} a minute, the last at {}",
            release.rate,
            release.until.to_seconds()
        ),
    }
}

/// What waits, the most first as the master orders it.
fn backlog(plan: &Resumed) -> anyhow::Result<()> {
    if plan.backlog.is_empty() {
        writeln!(std::io::stdout(), "nothing waits")?;
        return Ok(());
    }
    let stale = plan.backlog.iter().any(|line| line.stale > 0);
    let columns = ["rule", "task", "jobs"].into_iter().chain(stale.then_some("stale"));
    let mut table = output::table(columns);
    for line in &plan.backlog {
        let rule = if line.rule.is_empty() { "(by hand)" } else { &line.rule };
        let mut row = vec![harmless(rule), harmless(&line.task), line.jobs.to_string()];
        row.extend(stale.then(|| line.stale.to_string()));
        table.add_row(row);
    }
    output::print(&table)
}

/// What came in while it was idle.
fn window(window: &WindowView) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let WindowView { seen, made, nothing, duplicates, refused, quarantined, .. } = window;
    writeln!(
        out,
        "idle from {} to {}: {seen} events seen = {made} called for jobs + {nothing} matched nothing + {duplicates} \
         duplicates + {refused} refused + {quarantined} quarantined",
        window.since.to_seconds(),
        window.until.to_seconds()
    )?;
    if !window.adds_up {
        writeln!(out, "THIS DOES NOT ADD UP: events were lost or counted wrong; keep the triggers' logs")?;
    }
    for source in &window.sources {
        let recorder = harmless(&source.recorder);
        match source.to >= source.from {
            true => writeln!(out, "  {recorder}: events {} to {}", source.from, source.to)?,
            false => writeln!(out, "  {recorder}: none")?,
        }
    }
    for missed in &window.missed {
        writeln!(out, "missed: {}", harmless(missed))?;
    }
    Ok(())
}
