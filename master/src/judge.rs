//! Whether a job that is asked for can be made. Pure: what the store knows (that it exists already) comes after.

use model::intake::JobAnswer;
use model::{DEPTH, NewJob, Span, Time, is_too_deep};
use rules::Subject;

use crate::mirrors::Pins;
use crate::secrets;
use crate::store::{Admitted, Candidate, Fresh};
use crate::tasks::{Current, Version};

/// Where a job comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    pub recorder: String,
    pub recorded_at: Time,
    /// When the event was sent, by its publisher's clock.
    pub event_time: Option<Time>,
    pub generation: u64,
    pub event: Option<String>,
}

/// Judges one job against the tasks of the configuration.
pub fn judge(job: NewJob, origin: Origin, current: &Current, pins: &Pins, now: Time, horizon: Span) -> Candidate {
    if origin.recorded_at < now.minus(horizon) {
        return Candidate::Answered(JobAnswer::Expired);
    }
    match admit(&job, current, pins) {
        Err(reason) => Candidate::Answered(JobAnswer::Refused { reason }),
        Ok(Fresh { task_version, needs, source, limit, searches }) => Candidate::Admitted(Box::new(Admitted {
            search: searches.then_some(job.key),
            job,
            task_version,
            needs,
            source,
            limit,
            recorder: origin.recorder,
            recorded_at: origin.recorded_at,
            // Nothing is sent after it was recorded: a publisher whose clock is ahead must not outdo what comes later.
            ordered_at: origin.event_time.map_or(origin.recorded_at, |sent| sent.min(origin.recorded_at)),
            generation: origin.generation,
            event: origin.event,
            rerun_of: None,
        })),
    }
}

/// Its task as it is now, or what to change.
fn admit(job: &NewJob, current: &Current, pins: &Pins) -> Result<Fresh, String> {
    let (none, supersede) = (String::new(), job.supersede.as_ref());
    let key = supersede.map_or(&none, |supersede| &supersede.key);
    for (name, text) in [
        ("item", &job.item),
        ("item_type", &job.item_type),
        ("arch", &job.arch),
        ("rule", &job.rule),
        ("supersede_key", key),
    ] {
        if text.contains('\0') {
            return Err(format!("{name} has a NUL character in it, which no database takes"));
        }
    }
    if job.params.iter().any(|(name, value)| name.contains('\0') || value.as_str().is_some_and(|v| v.contains('\0'))) {
        return Err("params has a NUL character in it, which no database takes".into());
    }
    if is_too_deep(&job.params) {
        return Err(format!("params is nested more than {DEPTH} levels deep, and no worker could read it"));
    }
    let Some(version) = current.tasks.get(&job.task) else {
        let near = current.configuration.nearest_task(&job.task);
        let hint = near.map_or_else(String::new, |near| format!("; did you mean '{near}'?"));
        return Err(format!("unknown task '{}'{hint}", job.task));
    };
    fresh(version, job.into(), current, pins)
}

/// What a job asks for by its task as it is now; the error says what does not fit.
pub fn fresh(version: &Version, job: Subject<'_>, current: &Current, pins: &Pins) -> Result<Fresh, String> {
    let task = &version.task;
    let source = pins.of(task, job)?;
    if task.searches(job.params).is_some() {
        // What it will find has templates of its own, and they render in any folder or in none.
        let params = task.found(job.params, "tests");
        let found = Subject { params: &params, ..job };
        task.needs(found)?;
        task.check(found)?;
        task.limit(found)?;
        return Ok(Fresh { task_version: version.number, needs: Vec::new(), source, limit: None, searches: true });
    }
    let needs = secrets::left(task.needs(job)?, &current.secrets);
    task.check(job)?;
    Ok(Fresh { task_version: version.number, needs, source, limit: task.limit(job)?, searches: false })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::JobId;
    use serde_json::Map;

    use super::*;
    use crate::sample;

    fn current() -> Current {
        let text = "tasks:\n  rpmlint:\n    run: [lint, '{{ params.level }}']\n    needs: { arch: '{{ arch }}' }\n";
        let configuration = Arc::new(sample::configuration(text));
        let task = Arc::new(configuration.task("rpmlint").unwrap().clone());
        Current {
            configuration,
            tasks: [("rpmlint".to_owned(), Version { number: 7, task })].into(),
            secrets: Default::default(),
        }
    }

    fn job(task: &str, level: Option<&str>) -> NewJob {
        let mut params = Map::new();
        if let Some(level) = level {
            params.insert("level".into(), level.into());
        }
        NewJob {
            key: JobId::of("e", task, "koji_build", "foo", "x86_64"),
            task: task.into(),
            item: "foo".into(),
            item_type: "koji_build".into(),
            arch: "x86_64".into(),
            rule: "r".into(),
            priority: 0,
            params,
            expires_at: None,
            supersede: None,
        }
    }

    fn answer(job: NewJob, recorded_at: Time) -> Candidate {
        let origin = Origin { recorder: "r".into(), recorded_at, event_time: None, generation: 1, event: None };
        let now = Time(0).plus(Span::days(500));
        judge(job, origin, &current(), &Pins::default(), now, Span::days(400))
    }

    #[test]
    fn a_job_is_admitted_with_its_version_and_needs() {
        let Candidate::Admitted(admitted) = answer(job("rpmlint", Some("2")), Time(0).plus(Span::days(101))) else {
            panic!("it is admitted")
        };
        assert_eq!((admitted.task_version, admitted.needs), (7, vec!["arch:x86_64".to_owned()]));
    }

    #[test]
    fn what_cannot_run_is_refused_with_what_to_change() {
        let recorded = Time(0).plus(Span::days(101));
        let reason = |job| match answer(job, recorded) {
            Candidate::Answered(JobAnswer::Refused { reason }) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(job("rpmlnt", Some("2"))), "unknown task 'rpmlnt'; did you mean 'rpmlint'?");
        assert!(reason(job("rpmlint", None)).contains("params.level"));
        let nul = NewJob { item: "a\0b".into(), ..job("rpmlint", Some("2")) };
        assert!(reason(nul).contains("NUL"));
        let old = answer(job("nonsense", None), Time(0).plus(Span::days(99)));
        assert!(matches!(old, Candidate::Answered(JobAnswer::Expired)));
    }
}
