//! `taskotron rules`: checks rules without a master, and tries them on events.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use model::operator::{EventDetail, VerdictView};
use model::{Event, NewJob};
use net::clock;
use rules::Configuration;
use serde::Serialize;
use trigger::decode::{Limits, decode_line};

use crate::exit::{Exit, Failure, OrExit as _};

use super::output::{Column, Format, Listed, column};
use super::question::path;
use super::{Session, configuration, output};

#[derive(Subcommand, Debug)]
pub enum Rules {
    /// Read a configuration and run the test cases that its rules carry
    Check(Check),
    /// Print the jobs that rules make of a file of messages, one JSON object a line
    Test(Test),
    /// What each rule says of an event, and the value that it saw
    Explain(Explain),
}

#[derive(Args, Debug)]
pub struct Check {
    /// The folder with the configuration; else the settings' [configuration] dir
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Test {
    /// Messages, one JSON object a line: id, topic, sent_at, headers, body; '-' is stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The folder with the configuration; else the settings' [configuration] dir
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Explain {
    /// An event's id, asked of the master; or a file of messages, asked of the rules in --config
    #[arg(value_name = "EVENT-ID|FILE")]
    event: String,
    /// Try these rules instead of the master's
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
}

/// A job that rules would make of an event.
#[derive(Serialize)]
struct Wanted {
    event_id: String,
    topic: String,
    #[serde(flatten)]
    job: NewJob,
}

impl Listed for Wanted {
    const COLUMNS: &'static [Column<Wanted>] = &[
        column("event_id", |w| w.event_id.clone()),
        column("rule", |w| w.job.rule.clone()),
        column("task", |w| w.job.task.clone()),
        column("item", |w| w.job.item.clone()),
        column("item_type", |w| w.job.item_type.clone()),
        column("arch", |w| w.job.arch.clone()),
        column("job_key", |w| w.job.key.to_string()),
    ];
}

/// What one rule says of one event.
#[derive(Serialize)]
struct Said {
    event_id: String,
    #[serde(flatten)]
    verdict: VerdictView,
}

impl Listed for Said {
    const COLUMNS: &'static [Column<Said>] = &[
        column("event_id", |s| s.event_id.clone()),
        column("rule", |s| s.verdict.rule.clone()),
        column("matched", |s| if s.verdict.matched { "yes".into() } else { "no".into() }),
        column("why", |s| s.verdict.why.clone()),
    ];
}

impl Rules {
    pub async fn run(self, session: &Session) -> anyhow::Result<Exit> {
        match self {
            Rules::Check(check) => check.run(session),
            Rules::Test(test) => test.run(session),
            Rules::Explain(explain) => explain.run(session).await,
        }
    }
}

/// The folder that was named, or that the settings name.
pub fn folder(session: &Session, named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    match named {
        Some(dir) => Ok(dir),
        None => Ok(session.layers(Vec::new())?.settings()?.configuration.dir),
    }
}

impl Check {
    fn run(self, session: &Session) -> anyhow::Result<Exit> {
        let dir = folder(session, self.dir)?;
        let files = configuration::files(&dir).or_exit(Exit::Usage)?;
        let configuration = match Configuration::parse(&files) {
            Ok(configuration) => configuration,
            Err(faults) => {
                let n = faults.0.len();
                return Err(Failure::error(Exit::NotReached, format!("{n} faults in {}\n{faults}", dir.display())));
            }
        };
        let failures = configuration.check();
        for failure in &failures {
            eprintln!("{failure}");
        }
        for warning in secrets(session, &configuration)? {
            eprintln!("{warning}");
        }
        let (rules, tasks) = (configuration.rules().len(), configuration.tasks().len());
        let verdict = if failures.is_empty() { "good" } else { "wrong" };
        writeln!(
            std::io::stdout(),
            "{}: {verdict}: {rules} rules, {tasks} tasks, {} failed test cases",
            dir.display(),
            failures.len()
        )?;
        Ok(if failures.is_empty() { Exit::Reached } else { Exit::NotReached })
    }
}

/// Which tasks ask for secrets that these settings do not give them: a worker elsewhere may.
fn secrets(session: &Session, configuration: &Configuration) -> anyhow::Result<Vec<String>> {
    if configuration.tasks().values().all(|task| task.secrets().is_empty()) {
        return Ok(Vec::new());
    }
    let settings = session.layers(Vec::new())?.settings()?;
    let served = |secret: &str, task: &str| {
        [&settings.master.secrets, &settings.worker.secrets].iter().any(|vault| vault.serves(secret, task))
    };
    let mut warnings = Vec::new();
    for (name, task) in configuration.tasks() {
        for secret in task.secrets().iter().filter(|secret| !served(secret, name)) {
            warnings.push(format!(
                "warning: task {name} asks for secret '{secret}', which neither [master.secrets] nor [worker.secrets] of \
                 these settings gives it; its jobs wait until a worker does"
            ));
        }
    }
    Ok(warnings)
}

impl Test {
    fn run(self, session: &Session) -> anyhow::Result<Exit> {
        let configuration = configuration::read(&folder(session, self.config)?)?;
        let (events, unreadable) = events(&self.file)?;
        let (n, mut jobs) = (events.len(), Vec::new());
        for event in events {
            let decision = configuration.decide(&event, clock::now());
            for what in &decision.unrendered {
                eprintln!("{}: {what}", event.id);
            }
            let wanted = |job| Wanted { event_id: event.id.clone(), topic: event.topic.clone(), job };
            jobs.extend(decision.jobs.into_iter().map(wanted));
        }
        eprintln!("{n} events, {} jobs, {unreadable} lines that are no event", jobs.len());
        output::list(session.format, jobs)?;
        Ok(if unreadable == 0 { Exit::Reached } else { Exit::NotReached })
    }
}

impl Explain {
    async fn run(self, session: &Session) -> anyhow::Result<Exit> {
        let file = PathBuf::from(&self.event);
        if self.event == "-" || file.exists() {
            let configuration = configuration::read(&folder(session, self.config)?)?;
            let (events, unreadable) = events(&file)?;
            let said = events.iter().flat_map(|event| said(&configuration, event)).collect();
            show(session.format, said)?;
            return Ok(if unreadable == 0 { Exit::Reached } else { Exit::NotReached });
        }
        let detail: EventDetail = session.client()?.get(&path(&["events", &self.event], &[])).await?;
        let said = match &self.config {
            Some(dir) => said(&configuration::read(dir)?, &detail.event),
            None => {
                let id = &detail.event.id;
                detail.verdicts.into_iter().map(|verdict| Said { event_id: id.clone(), verdict }).collect()
            }
        };
        show(session.format, said)?;
        Ok(Exit::Reached)
    }
}

fn said(configuration: &Configuration, event: &Event) -> Vec<Said> {
    let verdicts = configuration.verdicts(event, clock::now());
    verdicts.into_iter().map(|v| Said { event_id: event.id.clone(), verdict: v.into() }).collect()
}

fn show(format: Format, said: Vec<Said>) -> anyhow::Result<()> {
    output::list(format, said)
}

/// The events of a JSON-lines file, and how many lines are none.
fn events(file: &Path) -> anyhow::Result<(Vec<Event>, u64)> {
    let text = if file == Path::new("-") {
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut text).map(|_| text)
    } else {
        std::fs::read(file)
    };
    let text = text.with_context(|| format!("cannot read {}", file.display())).or_exit(Exit::Usage)?;
    let name = file.file_name().map_or_else(|| "-".into(), |name| name.to_string_lossy());
    let (mut events, mut unreadable) = (Vec::new(), 0);
    for (number, line) in (1..).zip(text.split(|b| *b == b'\n')) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match decode_line(line.to_vec(), &format!("file:{name}"), &Limits::default()) {
            Ok(event) => events.push(event),
            Err(reason) => {
                unreadable += 1;
                eprintln!("{}:{number}: no event: {reason}", file.display());
            }
        }
    }
    Ok((events, unreadable))
}
