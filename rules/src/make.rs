//! From a rule that matched to the jobs that it asks for.

use std::collections::HashSet;
use std::sync::Arc;

use model::{JobId, NOARCH, NewJob, Supersede, Time};
use serde_json::{Map, Value};

use crate::configuration::Configuration;
use crate::kind::Applied;
use crate::rule::{Order, Rule};
use crate::seen::Seen;
use crate::template::{Context, Template};
use crate::when::{Document, show};

/// How many jobs, and how many bytes of text in them, one `do` may ask for because of one event. Lists of builds have
/// hundreds of elements; a record of the log, and a request to the master, must stay of a size that both can take.
const MOST_JOBS: usize = 10_000;
const MOST_TEXT: usize = 4 << 20;

/// What a rule that matched asks for, before other rules are looked at.
#[derive(Default)]
pub(crate) struct Wish {
    pub jobs: Vec<NewJob>,
    /// What could not be made and why, a sentence each.
    pub unrendered: Vec<String>,
}

/// One job is asked for once for one event: the same task, item type, item and arch.
pub(crate) type Same = (String, String, String, String);

pub(crate) fn same(job: &NewJob) -> Same {
    (job.task.clone(), job.item_type.clone(), job.item.clone(), job.arch.clone())
}

/// Makes the jobs of one rule for one event.
pub(crate) struct Maker<'a> {
    configuration: &'a Configuration,
    rule: &'a Rule,
    seen: &'a Seen<'a>,
    applied: Option<&'a Applied>,
    expires_at: Option<Time>,
}

impl<'a> Maker<'a> {
    pub fn new(
        configuration: &'a Configuration,
        rule: &'a Rule,
        seen: &'a Seen<'a>,
        applied: Option<&'a Applied>,
        now: Time,
    ) -> Maker<'a> {
        Maker { configuration, rule, seen, applied, expires_at: rule.expires.map(|span| now.plus(span)) }
    }

    pub fn wish(&self) -> Wish {
        let mut wish = Wish::default();
        let cause = self.cause(&mut wish);
        for order in &self.rule.orders {
            let elements = match self.elements(order) {
                Ok(elements) => elements,
                Err(why) => {
                    wish.unrendered.push(why);
                    continue;
                }
            };
            let before = wish.jobs.len();
            let mut text = 0;
            for element in elements {
                match self.jobs(order, element, &cause) {
                    Ok(jobs) => {
                        text += jobs.iter().map(length).sum::<usize>();
                        wish.jobs.extend(jobs);
                    }
                    Err(why) => wish.unrendered.push(why),
                }
                if text > MOST_TEXT {
                    // All of them or none: nobody could tell which were left out.
                    wish.jobs.truncate(before);
                    wish.unrendered.push(format!("asks for jobs with more than {MOST_TEXT} bytes of text in all"));
                    break;
                }
            }
        }
        // Two elements of a list may well be the same thing.
        let mut asked = HashSet::new();
        wish.jobs.retain(|job| asked.insert(same(job)));
        wish
    }

    /// What caused the jobs: what the kind's `dedup` prints, else the event's id.
    fn cause(&self, wish: &mut Wish) -> String {
        match self.applied.and_then(|applied| applied.cause.as_ref()) {
            Some(Ok(cause)) => return cause.clone(),
            // A job too many is better than a job that is missing.
            Some(Err(why)) => {
                wish.unrendered.push(format!("cannot render dedup: {why}; the event's id stands in for it"));
            }
            None => {}
        }
        self.seen.event.id.clone()
    }

    fn fields(&self) -> Option<&'a Arc<Map<String, Value>>> {
        self.applied.map(|applied| &applied.fields)
    }

    /// The elements that an order goes over: those of its list, or one that is nothing.
    fn elements(&self, order: &Order) -> Result<Vec<&Value>, String> {
        static NOTHING: Value = Value::Null;
        let Some(path) = &order.for_each else { return Ok(vec![&NOTHING]) };
        match path.lookup(Document { event: self.seen.document(), fields: self.fields().map(AsRef::as_ref) }) {
            Some(Value::Array(list)) => {
                let jobs = list.len().saturating_mul(order.tasks.len() * order.arches.len().max(1));
                if jobs > MOST_JOBS {
                    return Err(format!("for_each {} asks for {jobs} jobs, more than {MOST_JOBS}", path.text));
                }
                Ok(list.iter().collect())
            }
            Some(other) => Err(format!("for_each {} is {}, not a list", path.text, show(other))),
            None => Err(format!("for_each {}: field absent", path.text)),
        }
    }

    /// The jobs of one element: all of them, or none where a template cannot be rendered.
    fn jobs(&self, order: &Order, element: &Value, cause: &str) -> Result<Vec<NewJob>, String> {
        let context = self.seen.context(self.fields(), Some(element));
        let item = self.own_or_kinds("item", order.item.as_ref(), &context)?;
        let item_type = self.own_or_kinds("item_type", order.item_type.as_ref(), &context)?;
        let mut arches = Vec::with_capacity(order.arches.len().max(1));
        for arch in &order.arches {
            arches.push(print("arch", arch, &context)?);
        }
        if arches.is_empty() {
            arches.push(NOARCH.to_owned());
        }
        let mut params = Map::new();
        for (name, template) in &self.rule.params {
            params.insert(name.clone(), print(&format!("params.{name}"), template, &context)?.into());
        }
        let supersede = self.supersede(&context)?;
        let mut jobs = Vec::with_capacity(order.tasks.len() * arches.len());
        for (task, _) in &order.tasks {
            jobs.extend(arches.iter().map(|arch| NewJob {
                key: JobId::of(cause, task, &item_type, &item, arch),
                task: task.clone(),
                item: item.clone(),
                item_type: item_type.clone(),
                arch: arch.clone(),
                rule: self.rule.name.clone(),
                priority: self.priority(task),
                params: params.clone(),
                expires_at: self.expires_at,
                supersede: supersede.clone(),
            }));
        }
        Ok(jobs)
    }

    fn supersede(&self, context: &Context) -> Result<Option<Supersede>, String> {
        let Some(supersede) = &self.rule.supersede else { return Ok(None) };
        let key = print("supersede.key", &supersede.key, context)?;
        match key.trim().is_empty() {
            true => Err("supersede.key prints nothing, which would be the key of too many".into()),
            false => Ok(Some(Supersede { key, policy: supersede.policy, quiet: supersede.quiet })),
        }
    }

    /// The rule's where it says one, else the task's.
    fn priority(&self, task: &str) -> i32 {
        let task = || self.configuration.task(task).map(|task| task.priority());
        self.rule.priority.or_else(task).unwrap_or(0)
    }

    fn own_or_kinds(&self, what: &str, own: Option<&Template>, context: &Context) -> Result<String, String> {
        if let Some(template) = own {
            return print(what, template, context);
        }
        let of_kind = self.fields().and_then(|fields| fields.get(what)).and_then(Value::as_str);
        of_kind.map(str::to_owned).ok_or_else(|| format!("no {what}: neither the rule nor its kind names one"))
    }
}

/// How many bytes of text a job was given.
fn length(job: &NewJob) -> usize {
    let params: usize = job.params.values().filter_map(Value::as_str).map(str::len).sum();
    let key = job.supersede.as_ref().map_or(0, |supersede| supersede.key.len());
    job.item.len() + job.item_type.len() + job.arch.len() + params + key
}

fn print(what: &str, template: &Template, context: &Context) -> Result<String, String> {
    template.render(context).map_err(|why| format!("cannot render {what}: {why}"))
}
