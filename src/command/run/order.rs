//! What to run, and on what: from the command line, a configuration and an event.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use model::lease::JobOrder;
use model::{Event, JobId, NOARCH, NewJob};
use net::clock;
use rules::{Configuration, Task};
use serde_json::{Map, Value};
use trigger::decode::{Limits, decode_line};

use crate::exit::{Exit, Failure, OrExit as _};

use super::super::{Session, configuration, rules as rules_command};
use super::commit;

/// The item type where nothing says one.
const ITEM_TYPE: &str = "koji_build";

#[derive(Args, Debug)]
#[group(skip)]
pub struct Subject {
    /// What to test
    #[arg(long)]
    item: Option<String>,
    /// What kind of thing that is; koji_build where nothing says another
    #[arg(long, value_name = "TYPE")]
    item_type: Option<String>,
    /// The arch to test it for; noarch where nothing says another
    #[arg(long)]
    arch: Option<String>,
    /// A parameter of the job; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    param: Vec<(String, String)>,
    /// A file with one event as JSON, which the task gets; '-' is stdin
    #[arg(long, value_name = "FILE")]
    event: Option<PathBuf>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("it is NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn wrong(what: String) -> anyhow::Error {
    Failure::error(Exit::Usage, what)
}

impl Subject {
    /// The order of `name`, a task or a folder with tests.
    pub async fn order(self, session: &Session, name: &str, config: Option<PathBuf>) -> anyhow::Result<JobOrder> {
        let event = self.event.as_deref().map(event).transpose()?;
        let is_folder = name.contains('/') || name == "." || name == "..";
        let (configuration, name) = match is_folder {
            true => foreign(Path::new(name))?,
            false => (configuration::read(&rules_command::folder(session, config)?)?, name.to_owned()),
        };
        let Some(task) = configuration.task(&name) else {
            let near = configuration.nearest_task(&name);
            let hint = near.map_or_else(String::new, |near| format!("; did you mean '{near}'?"));
            return Err(wrong(format!("there is no task '{name}'{hint}")));
        };
        let mut job = self.job(&configuration, &name, event.as_ref())?;
        say_needs(session, task, &job)?;
        let cannot = |why| wrong(format!("task '{name}' cannot run this: {why}"));
        let pin = match task.wanted(&job).map_err(cannot)? {
            Some(wanted) => {
                let pin = commit::of(&wanted).await?;
                if let Some(discover) = task.searches(&job.params) {
                    job.params = task.found(&job.params, &commit::folder(&wanted, &pin, discover).await?);
                }
                Some(pin)
            }
            None => None,
        };
        let order = task.order(&job, pin.as_ref()).map_err(cannot)?;
        let NewJob { key, item, item_type, arch, params, .. } = job;
        Ok(JobOrder { job: key, task: order, item, item_type, arch, params, event })
    }

    /// The job that the rules make of the event, or that the command line says.
    fn job(self, configuration: &Configuration, task: &str, event: Option<&Event>) -> anyhow::Result<NewJob> {
        let made = event.map(|event| configuration.decide(event, clock::now()).jobs).unwrap_or_default();
        let fits = |said: &Option<String>, made: &str| said.as_deref().is_none_or(|said| said == made);
        let mut made: Vec<NewJob> = made
            .into_iter()
            .filter(|job| {
                job.task == task
                    && fits(&self.item, &job.item)
                    && fits(&self.item_type, &job.item_type)
                    && fits(&self.arch, &job.arch)
            })
            .collect();
        if made.len() > 1 {
            let all: Vec<_> = made.iter().map(|job| format!("\n  --item {} --arch {}", job.item, job.arch)).collect();
            let all = all.concat();
            return Err(wrong(format!("the rules make {} jobs of it; choose one:{all}", made.len())));
        }
        let mut job = match (made.pop(), self.item) {
            (Some(job), _) => job,
            (None, Some(item)) => {
                let (item_type, arch) =
                    (self.item_type.unwrap_or(ITEM_TYPE.into()), self.arch.unwrap_or(NOARCH.into()));
                NewJob {
                    key: JobId(clock::uuid()),
                    task: task.to_owned(),
                    item,
                    item_type,
                    arch,
                    rule: String::new(),
                    priority: 0,
                    params: Map::new(),
                    expires_at: None,
                    supersede: None,
                }
            }
            (None, None) if event.is_some() => {
                return Err(wrong(format!(
                    "no rule makes a job of '{task}' of this event ('taskotron rules explain' says why): name the --item"
                )));
            }
            (None, None) => return Err(wrong("name the --item to test, or an --event".to_owned())),
        };
        // As a worker's: one of no other run, so that two at once are told apart.
        job.key = JobId(clock::uuid());
        job.params.extend(self.param.into_iter().map(|(name, value)| (name, Value::String(value))));
        Ok(job)
    }
}

/// One event, on one line or many.
fn event(file: &Path) -> anyhow::Result<Event> {
    let text = match file == Path::new("-") {
        true => std::io::read_to_string(std::io::stdin()),
        false => std::fs::read_to_string(file),
    };
    let text = text.with_context(|| format!("cannot read {}", file.display())).or_exit(Exit::Usage)?;
    let line = serde_json::from_str::<Value>(&text).map_or(text, |value| value.to_string());
    let source = format!("file:{}", file.display());
    decode_line(line.into_bytes(), &source, &Limits::default())
        .map_err(|why| wrong(format!("{} is no event: {why}", file.display())))
}

/// What begins a label that no settings give: it is found out when it is needed, and its lack ends the run with a reason.
const FOUND: [&str; 4] = ["source:", "secret:", "limit:", "sandbox:"];

/// Says where this machine may not be one that the task is meant for.
fn say_needs(session: &Session, task: &Task, job: &NewJob) -> anyhow::Result<()> {
    let needs = task.needs(job).map_err(|why| wrong(format!("task '{}' cannot run this: {why}", job.task)))?;
    let labels = session.layers(Vec::new())?.settings()?.worker.labels;
    let told_later = |label: &String| FOUND.iter().any(|kind| label.starts_with(kind));
    let lacks: Vec<_> = needs.into_iter().filter(|label| !labels.contains(label) && !told_later(label)).collect();
    if !lacks.is_empty() {
        eprintln!("the task needs {}, which this machine does not offer; running it all the same", lacks.join(" and "));
    }
    Ok(())
}

/// Tests that were written for others, as a task of their own.
fn foreign(path: &Path) -> anyhow::Result<(Configuration, String)> {
    let cannot = || format!("cannot find {}", path.display());
    let path = path.canonicalize().with_context(cannot).or_exit(Exit::Usage)?;
    let (folder, file) = if path.is_dir() { (path.clone(), None) } else { split(&path) };
    let formula = file.clone().unwrap_or_else(|| "runtask.yml".into());
    if formula.ends_with("runtask.yml") && folder.join(&formula).is_file() {
        return Err(refused(&folder, &formula)?);
    }
    let run = match file {
        Some(file) => format!("{{ standard_test: {} }}", Value::from(file)),
        None if folder.join("tests/tests.yml").is_file() => "{ standard_test: tests/tests.yml }".to_owned(),
        None if folder.join(".fmf/version").is_file() => "{ tmt: . }".to_owned(),
        None => {
            let path = path.display();
            return Err(wrong(format!("there is no tests/tests.yml, no .fmf/version and no runtask.yml in {path}")));
        }
    };
    let name = folder.file_name().map_or_else(|| "tests".into(), |name| name.to_string_lossy().replace(' ', "-"));
    let (task, source) = (Value::from(name.as_str()), Value::from(folder.to_string_lossy()));
    let text = format!("tasks:\n  {task}:\n    source: {{ path: {source} }}\n    run: {run}\n");
    let configuration = Configuration::parse(&[(path.display().to_string(), text)]);
    Ok((configuration.map_err(|faults| wrong(faults.to_string()))?, name))
}

/// The folder that is a task's source, and a playbook below it: `tests/` belongs to what it stands in.
fn split(file: &Path) -> (PathBuf, Option<String>) {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let folder = file.parent().unwrap_or(Path::new("/"));
    match (folder.file_name().and_then(|name| name.to_str()), folder.parent()) {
        (Some("tests"), Some(above)) => (above.to_owned(), Some(format!("tests/{name}"))),
        _ => (folder.to_owned(), Some(name)),
    }
}

fn refused(folder: &Path, formula: &str) -> anyhow::Result<anyhow::Error> {
    let file = folder.join(formula);
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()));
    let lines = rules::translate_formula(&text.or_exit(Exit::Usage)?, &folder.to_string_lossy());
    Ok(match lines {
        Ok(lines) => wrong(format!(
            "{} is a formula of libtaskotron, which is not run. Write this into a configuration instead, and run it by its \
             name:\n\n{lines}",
            file.display()
        )),
        Err(why) => wrong(format!("{}: {why}", file.display())),
    })
}
