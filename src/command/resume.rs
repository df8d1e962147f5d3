//! `taskotron resume`: says what waits, by the rule that asked for it, then lets it go.

use std::io::Write as _;

use clap::Args;
use model::operator::{ResumeRequest, Resumed};
use net::ClientError;

use crate::exit::{Exit, Failure};

use super::output::Format;
use super::terminal::harmless;
use super::{Session, idle, output, question};

#[derive(Args, Debug)]
#[command(after_long_help = "\
What has waited is printed first, by rule and task. With more jobs waiting than the master's resume.max_backlog, resume
is refused (3) unless --yes is given.")]
pub struct Resume {
    /// Why, for those who come after
    #[arg(short = 'm', long, value_name = "TEXT")]
    reason: String,
    /// Also when more waits than the settings let through unasked
    #[arg(long)]
    yes: bool,
    /// Only say what would be let go
    #[arg(long)]
    dry_run: bool,
}

impl Resume {
    pub async fn run(self, session: &Session) -> anyhow::Result<Exit> {
        let client = session.client()?;
        let request = ResumeRequest { reason: question::reason(&self.reason)?, yes: self.yes, dry_run: true };
        let plan: Resumed = client.post("/api/v1/resume", &request).await?;
        if session.format == Format::Table {
            backlog(&plan)?;
        }
        if self.dry_run {
            eprintln!("nothing was changed: this was a dry run");
            if session.format != Format::Table {
                output::one(session.format, &plan, |_| String::new())?;
            }
            return Ok(Exit::Reached);
        }
        let resumed = client.post("/api/v1/resume", &ResumeRequest { dry_run: false, ..request }).await;
        let resumed: Resumed = resumed.map_err(|e| match e {
            // Too much waits: that is a question to the operator, not a conflict with somebody.
            ClientError::Refused { status: 409, detail } => Failure::error(Exit::Refused, detail),
            e => e.into(),
        })?;
        output::one(session.format, &resumed, |resumed| idle::sentence(&resumed.mode))?;
        Ok(Exit::Reached)
    }
}

/// What waits, the most first as the master orders it.
fn backlog(plan: &Resumed) -> anyhow::Result<()> {
    if plan.backlog.is_empty() {
        writeln!(std::io::stdout(), "nothing waits")?;
        return Ok(());
    }
    let mut table = output::table(["rule", "task", "jobs"].into_iter());
    for line in &plan.backlog {
        let rule = if line.rule.is_empty() { "(by hand)" } else { &line.rule };
        table.add_row([harmless(rule), harmless(&line.task), line.jobs.to_string()]);
    }
    output::print(&table)
}
