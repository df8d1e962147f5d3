//! `taskotron check`: a Nagios plugin. One line with performance data, and 0, 1, 2 or 3; what cannot be told is 3.

mod finding;
mod judge;
mod range;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use model::Span;
use model::vitals::Vitals;

use super::output::Format;
use super::{Session, output};

use finding::{Finding, Severity};
use judge::Limits;
use range::Range;

const NAMES: &str = "\
intake   a trigger is silent, or tells why it takes nothing in; seconds since its last event; events not yet forwarded
queue    queued jobs; seconds that the oldest waits. While the system is not active, neither is judged
workers  lost workers; jobs for which no connected worker is there, by label
results  seconds since the job ended whose results wait longest; undelivered results; late reports
mode     seconds since the system is not active; an idle with a deadline is as planned until then
mirrors  repositories of tasks that cannot be fetched; branches that were force-pushed or deleted in the last day
clock    seconds by which the clocks of workers and of the master are ahead of the database's
all      all of them, a line each, the worst first

-w and -c are for the first figure of a check, which is also the first of its performance data. RANGE as Nagios has it:
'10' warns outside of 0 to 10, '10:' below 10, '~:10' above 10, '10:20' outside, '@10:20' inside.

Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN (no answer in time, wrong usage, or whatever else keeps it from \
telling).";

#[derive(Args, Debug)]
#[command(after_long_help = NAMES)]
pub struct Check {
    /// What to check
    name: Name,
    /// Warn when the figure is outside of this range
    #[arg(short, long, value_name = "RANGE")]
    warning: Option<Range>,
    /// Call it critical when the figure is outside of this range
    #[arg(short, long, value_name = "RANGE")]
    critical: Option<Range>,
    /// How long to wait for the master's answer; a number alone is seconds
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = patience)]
    timeout: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// Whether events come in
    Intake,
    /// How much waits, and for how long
    Queue,
    /// Whether there is somebody for every job
    Workers,
    /// Whether results are delivered
    Results,
    /// Whether the system is as active as it should be
    Mode,
    /// Whether the repositories of tasks can be fetched
    Mirrors,
    /// Whether the clocks agree
    Clock,
    /// All of them
    All,
}

impl Name {
    const EACH: [Name; 7] =
        [Name::Intake, Name::Queue, Name::Workers, Name::Results, Name::Mode, Name::Mirrors, Name::Clock];

    fn word(self) -> &'static str {
        match self {
            Name::Intake => "INTAKE",
            Name::Queue => "QUEUE",
            Name::Workers => "WORKERS",
            Name::Results => "RESULTS",
            Name::Mode => "MODE",
            Name::Mirrors => "MIRRORS",
            Name::Clock => "CLOCK",
            Name::All => "ALL",
        }
    }
}

fn patience(text: &str) -> Result<Span, String> {
    match text.parse::<u64>() {
        Ok(seconds) => Ok(Span::seconds(seconds)),
        Err(_) => text.parse::<Span>().map_err(|e| e.to_string()),
    }
}

impl Check {
    /// Asks, judges and prints. Whatever goes wrong is something that cannot be told.
    pub async fn run(self, session: Session) -> ExitCode {
        let (name, format, timeout) = (self.name, session.format, self.timeout.0);
        // A panic of ours must not look like a code that says something else.
        let checking = tokio::spawn(async move { self.findings(&session, timeout).await });
        let findings = match checking.await {
            Ok(Ok(findings)) => findings,
            Ok(Err(error)) => vec![Finding::unknown(name.word(), format!("cannot tell: {error:#}"))],
            Err(_) => vec![Finding::unknown(name.word(), "cannot tell: the check itself failed".into())],
        };
        let worst = findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Unknown);
        match print(format, &findings) {
            Ok(()) => ExitCode::from(worst.code()),
            Err(_) => ExitCode::from(Severity::Unknown.code()),
        }
    }

    async fn findings(self, session: &Session, timeout: Duration) -> anyhow::Result<Vec<Finding>> {
        let limits = Limits { warning: self.warning, critical: self.critical };
        if self.name == Name::All && !limits.is_empty() {
            anyhow::bail!("-w and -c are for one check: 'all' has figures of several kinds");
        }
        let client = session.client()?;
        let answer = tokio::time::timeout(timeout, client.get::<Vitals>("/api/v1/vitals")).await;
        let vitals = answer.with_context(|| format!("no answer within {}", Span(timeout)))??;
        let names: &[Name] = if self.name == Name::All { &Name::EACH } else { std::slice::from_ref(&self.name) };
        let mut findings: Vec<Finding> = names.iter().map(|name| judge::judge(*name, &vitals, &limits)).collect();
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        Ok(findings)
    }
}

fn print(format: Format, findings: &[Finding]) -> anyhow::Result<()> {
    let lines = |findings: &&[Finding]| findings.iter().map(|finding| finding.line() + "\n").collect::<String>();
    output::one(format, &findings, lines)
}
