//! A task: what to run, where it may run, and what its end means.

mod discover;
mod form;
mod read;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use model::lease::{ResultFormat, TaskOrder};
use model::source::{GIT_LABEL, Pin, Source};
use model::{Bounds, JobId, Limit, NOARCH, NewJob, Span};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::retry::RetryPolicy;
use crate::template::{Context, Template};

pub use discover::{Discover, MOST_FOLDERS};
pub use source::{Repo, Wanted};

use discover::{FOLDER, TOP};

use source::Origin;

/// A named description of what to run. Equal descriptions are equal, however they were written; that an author has said
/// what holds anyway is a difference, since it tells that somebody has thought about it.
///
/// Serialized it is its definition: everything a master needs to keep a version of it, defaults included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    name: String,
    source: Option<Origin>,
    run: Vec<Template>,
    needs: BTreeMap<String, Template>,
    timeout: Span,
    no_output_timeout: Option<Span>,
    grace: Span,
    /// None where its author has not said, and the default holds.
    retry: Option<RetryPolicy>,
    /// None where its author has not said, and it is not.
    interruptible: Option<bool>,
    exclusive: bool,
    results: Vec<ResultFormat>,
    log_limit: u64,
    /// None in the definition of a task that was stored before there were any.
    #[serde(default)]
    artifacts: Vec<String>,
    #[serde(default)]
    artifact_limit: u64,
    /// A definition that was stored before there were any has none.
    #[serde(default, skip_serializing_if = "Bounds::is_unsaid")]
    bounds: Bounds,
    testcase: Option<Template>,
    priority: i32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<String>,
    // Left out where it is empty: so the versions of tasks that are stored stay what they are.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    publish: BTreeSet<Stage>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    concurrency: Option<Concurrency>,
}

/// How many of its jobs there may be at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Concurrency {
    limit: u32,
    /// Of those for which this prints the same; of all where there is none.
    key: Option<Template>,
}

/// What is published of a job before it has results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// QUEUED, when it is accepted.
    Queued,
    /// RUNNING, when a worker gets it.
    Running,
}

/// What a task's templates see of a job.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// `job_id`
    pub job: JobId,
    /// `item`
    pub item: &'a str,
    /// `item_type`
    pub item_type: &'a str,
    /// `arch`
    pub arch: &'a str,
    /// `params.NAME`
    pub params: &'a Map<String, Value>,
}

/// The names that a task's templates may use.
const NAMES: [&str; 6] = ["item", "item_type", "arch", "task", "params", "job_id"];

impl<'a> From<&'a NewJob> for Subject<'a> {
    fn from(job: &'a NewJob) -> Subject<'a> {
        Subject { job: job.key, item: &job.item, item_type: &job.item_type, arch: &job.arch, params: &job.params }
    }
}

impl Task {
    /// Its name, as rules and jobs use it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Everything that describes it, as JSON; [`Task::from_definition`] is its inverse.
    pub fn definition(&self) -> Value {
        serde_json::to_value(self).expect("texts, numbers and lists of them are JSON")
    }

    /// A task from a definition that was stored.
    pub fn from_definition(definition: &Value) -> Result<Task, String> {
        Task::deserialize(definition).map_err(|error| format!("not the definition of a task: {error}"))
    }

    /// What a worker gets for one job: every template is text by now. A task from a repository needs the commit that
    /// the job was pinned to.
    pub fn order<'a>(&self, job: impl Into<Subject<'a>>, pin: Option<&Pin>) -> Result<TaskOrder, String> {
        let job = job.into();
        let context = self.context(job);
        Ok(TaskOrder {
            name: self.name.clone(),
            run: self.arguments(&context)?,
            source: self.files(&context, pin)?,
            timeout: self.timeout,
            no_output_timeout: self.no_output_timeout,
            grace: self.grace,
            exclusive: self.exclusive,
            results: self.results.clone(),
            testcase: self.testcase(job)?,
            log_limit: self.log_limit,
            secrets: self.secrets.clone(),
            artifacts: self.artifacts.clone(),
            artifact_limit: self.artifact_limit,
            bounds: self.bounds.clone(),
        })
    }

    /// Whether all of its templates have a text for this job.
    pub fn check<'a>(&self, job: impl Into<Subject<'a>>) -> Result<(), String> {
        let job = job.into();
        self.arguments(&self.context(job))?;
        self.wanted(job)?;
        self.testcase(job)?;
        Ok(())
    }

    fn arguments(&self, context: &Context) -> Result<Vec<String>, String> {
        let argument = |(n, template): (usize, &Template)| {
            template.render(context).map_err(|why| format!("cannot render argument {} of run: {why}", n + 1))
        };
        self.run.iter().enumerate().map(argument).collect()
    }

    fn files(&self, context: &Context, pin: Option<&Pin>) -> Result<Option<Source>, String> {
        match &self.source {
            None => Ok(None),
            Some(Origin::Path(path)) => Ok(Some(Source::Path(path.clone()))),
            Some(Origin::Repo(repo)) => {
                let pin = pin.ok_or("the job has no commit of its task's repository")?;
                repo.wanted(context)?.at(pin).map(Some)
            }
        }
    }

    /// The repository that it comes from, where it comes from one.
    pub fn repo(&self) -> Option<&Repo> {
        match &self.source {
            Some(Origin::Repo(repo)) => Some(repo),
            Some(Origin::Path(_)) | None => None,
        }
    }

    /// What a job with these parameters looks for, where it is to find the folders that its task is in: it runs nothing
    /// itself, and for each folder there is a job [`Task::found`] in it.
    pub fn searches(&self, params: &Map<String, Value>) -> Option<&Discover> {
        self.repo()?.discover().filter(|_| !params.contains_key(FOLDER))
    }

    /// The parameters of the job in a folder that a search with these parameters has found.
    pub fn found(&self, params: &Map<String, Value>, folder: &str) -> Map<String, Value> {
        let mut params = params.clone();
        params.insert(FOLDER.to_owned(), folder.into());
        params
    }

    /// Which repository one job wants, and which branch or tag of it.
    pub fn wanted<'a>(&self, job: impl Into<Subject<'a>>) -> Result<Option<Wanted>, String> {
        self.repo().map(|repo| repo.wanted(&self.context(job.into()))).transpose()
    }

    /// The labels that a worker must offer for one job, sorted: `arch:x86_64`. A job for `noarch` needs no arch; what the
    /// task is to be kept within needs a worker that can do it.
    pub fn needs<'a>(&self, job: impl Into<Subject<'a>>) -> Result<Vec<String>, String> {
        let context = self.context(job.into());
        let mut labels = Vec::with_capacity(self.needs.len());
        for (key, template) in &self.needs {
            let value = template.render(&context).map_err(|why| format!("cannot render needs.{key}: {why}"))?;
            if value.is_empty() || value.chars().any(|c| c.is_whitespace() || c.is_control() || c == ',') {
                return Err(format!("needs.{key} is '{value}', which is no label"));
            }
            if key != "arch" || value != NOARCH {
                labels.push(format!("{key}:{value}"));
            }
        }
        labels.extend(self.secrets.iter().map(|secret| format!("secret:{secret}/{}", self.name)));
        if self.repo().is_some() {
            labels.push(GIT_LABEL.to_owned());
        }
        labels.extend(self.bounds.labels());
        labels.sort();
        labels.dedup();
        Ok(labels)
    }

    /// What its results are called, unless they say so themselves.
    pub fn testcase<'a>(&self, job: impl Into<Subject<'a>>) -> Result<String, String> {
        let job = job.into();
        let Some(template) = &self.testcase else {
            let discovers = self.repo().is_some_and(|repo| repo.discover().is_some());
            let folder = job.params.get(FOLDER).and_then(Value::as_str).filter(|folder| discovers && *folder != TOP);
            return Ok(folder.map_or_else(|| self.name.clone(), |folder| format!("{}.{folder}", self.name)));
        };
        template.render(&self.context(job)).map_err(|why| format!("cannot render testcase: {why}"))
    }

    /// The secrets that its jobs are given, by name.
    pub fn secrets(&self) -> &[String] {
        &self.secrets
    }

    /// When one of its jobs is tried again.
    pub fn retry(&self) -> &RetryPolicy {
        static DEFAULT: LazyLock<RetryPolicy> = LazyLock::new(RetryPolicy::default);
        self.retry.as_ref().unwrap_or(&DEFAULT)
    }

    /// The same, where its author has said it.
    pub fn declared_retry(&self) -> Option<&RetryPolicy> {
        self.retry.as_ref()
    }

    /// Whether a running job may be stopped and run again by a drain or a rollout.
    pub fn interruptible(&self) -> bool {
        self.interruptible.unwrap_or(false)
    }

    /// The same, where its author has said it.
    pub fn declared_interruptible(&self) -> Option<bool> {
        self.interruptible
    }

    /// Whether two attempts must never overlap.
    pub fn exclusive(&self) -> bool {
        self.exclusive
    }

    /// Whether its jobs say that they are there before they have results.
    pub fn publishes_any(&self) -> bool {
        !self.publish.is_empty()
    }

    /// Whether its jobs say this of themselves.
    pub fn publishes(&self, stage: Stage) -> bool {
        self.publish.contains(&stage)
    }

    /// The priority of its jobs where no rule says one.
    pub fn priority(&self) -> i32 {
        self.priority
    }

    /// How many jobs like this one there may be at once.
    pub fn limit<'a>(&self, job: impl Into<Subject<'a>>) -> Result<Option<Limit>, String> {
        let Some(Concurrency { limit, key }) = &self.concurrency else { return Ok(None) };
        let key = match key {
            None => String::new(),
            Some(key) => match key.render(&self.context(job.into())) {
                Ok(key) if key.trim().is_empty() => {
                    return Err("concurrency.key prints nothing; leave it out where all of the task are meant".into());
                }
                Ok(key) => key,
                Err(why) => return Err(format!("cannot render concurrency.key: {why}")),
            },
        };
        Ok(Some(Limit { key, most: *limit }))
    }

    fn context(&self, job: Subject<'_>) -> Context {
        Context::new([
            ("item".to_owned(), job.item.into()),
            ("item_type".to_owned(), job.item_type.into()),
            ("arch".to_owned(), job.arch.into()),
            ("task".to_owned(), self.name.as_str().into()),
            ("job_id".to_owned(), job.job.to_string().into()),
            ("params".to_owned(), Context::value(job.params)),
        ])
    }
}
