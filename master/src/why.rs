//! Why something waits or did not happen: one sentence, made here and shown alike by the API, the CLI and the pages.

use std::collections::BTreeMap;

use model::operator::{EventDetail, JobSummary, Mode, Why, WorkerState, WorkerView};
use model::{JobId, JobState, Outcome};

use crate::app::App;
use crate::store::{Behind, JobParts, JobPin, ModeRow, Place, Result, Site, at_most, serial_on};
use crate::unserved::lacking;

/// Why a job is where it is.
pub async fn job(app: &App, parts: &JobParts) -> Result<Why> {
    let why = match &parts.place {
        Place::Queued => {
            let surroundings = Surroundings {
                mode: app.store.mode().await?,
                site: app.store.active_site().await?,
                here: app.store.site().to_owned(),
                workers: app.store.workers(app.settings.lease_term).await?,
                queued: app.store.counts().await?.queued,
            };
            queued(parts, &surroundings)
        }
        Place::Waiting { .. } if matches!(parts.source, Some(JobPin::Open(_))) => {
            let task = app.tasks.version(parts.task_version).await?;
            let now = app.store.now().await?;
            let why = task.and_then(|task| app.mirrors.why(&task, parts.subject(), now));
            format!("waits for its source: {}", why.unwrap_or_else(|| "its commit was just found".into()))
        }
        Place::Waiting { until: None, key: Some(_), reason } => {
            in_line(app.store.behind(parts.summary.id).await?, reason, &app.store.mode().await?)
        }
        place @ (Place::Waiting { .. }
        | Place::Quiet { .. }
        | Place::Unsettled { .. }
        | Place::Running { .. }
        | Place::Ended { .. }) => settled(place, parts.summary.outcome),
    };
    let mut facts = BTreeMap::from([("state".to_owned(), parts.summary.state.to_string())]);
    if !parts.needs.is_empty() {
        facts.insert("needs".into(), parts.needs.join(", "));
    }
    if let Some(end) = &parts.summary.end {
        facts.insert("last_end".into(), end.to_string());
    }
    if let Some(supersede) = &parts.supersede {
        facts.insert("supersede".into(), serial_on(supersede));
    }
    if let Some(limit) = &parts.limit {
        facts.insert("concurrency".into(), at_most(&parts.summary.task, limit));
    }
    if let Some(at) = parts.expires_at {
        facts.insert("expires_at".into(), at.to_string());
    }
    if let Some(of) = parts.rerun_of {
        facts.insert("rerun_of".into(), of.to_string());
    }
    if let Some(search) = parts.summary.search.filter(|search| *search != parts.summary.id) {
        facts.insert("found_by".into(), search.to_string());
    }
    if let Place::Ended { successor: Some(job), .. } = &parts.place {
        facts.insert("successor".into(), job.to_string());
    }
    Ok(Why { why, facts })
}

/// What a queued job may be waiting for.
struct Surroundings {
    mode: ModeRow,
    site: Site,
    /// The site of this master.
    here: String,
    workers: Vec<WorkerView>,
    queued: u64,
}

fn queued(parts: &JobParts, around: &Surroundings) -> String {
    if around.site.active != around.here {
        return format!("paused: site {} is passive, and {} is the active one", around.here, around.site.active);
    }
    let mode = &around.mode;
    let still_runs = mode.mode == Mode::Draining && mode.finish_through.is_some_and(|last| parts.seq <= last);
    if mode.mode != Mode::Active && !still_runs {
        return stopped(mode);
    }
    let connected: Vec<&WorkerView> = around.workers.iter().filter(|w| w.state != WorkerState::Lost).collect();
    if connected.is_empty() {
        return "no worker is connected".into();
    }
    if let Some(lacking) = lacking(&parts.needs, &around.workers) {
        return lacking;
    }
    let fits = |worker: &&&WorkerView| parts.needs.iter().all(|label| worker.labels.contains(label));
    let fitting: Vec<_> = connected.iter().filter(fits).collect();
    let slots: u32 = fitting.iter().map(|w| w.slots).sum();
    let running: u32 = fitting.iter().map(|w| w.running).sum();
    let others = around.queued.saturating_sub(1);
    let queue = match others {
        0 => "next in the queue".to_owned(),
        1 => "in the queue with 1 other job".to_owned(),
        n => format!("in the queue with {n} other jobs"),
    };
    format!("{queue}; {running} of the {slots} slots that fit it are busy")
}

/// For a job that stands in line for a key: "behind job … (serial on foo)".
fn in_line(behind: Option<Behind>, reason: &str, mode: &ModeRow) -> String {
    match behind {
        Some(Behind { first: Some(job), others: 0 }) => format!("behind job {job} ({reason})"),
        Some(Behind { first: Some(job), others: 1 }) => format!("behind job {job} and 1 other ({reason})"),
        Some(Behind { first: Some(job), others }) => format!("behind job {job} and {others} others ({reason})"),
        Some(Behind { first: None, .. }) if mode.mode != Mode::Active => format!("{} ({reason})", stopped(mode)),
        // It was let on since it was looked at.
        Some(Behind { first: None, .. }) | None => format!("is next ({reason})"),
    }
}

/// "the system is idle since … by …: …"
pub fn stopped(mode: &ModeRow) -> String {
    format!("the system is {} since {} by {}: {}", mode.mode, mode.since.to_seconds(), mode.by, mode.reason)
}

/// For a job that is not in the queue.
fn settled(place: &Place, outcome: Option<Outcome>) -> String {
    match place {
        Place::Queued => "in the queue".into(),
        Place::Waiting { until: Some(until), reason, .. } => format!("waits until {} ({reason})", until.to_seconds()),
        Place::Waiting { until: None, key: Some(key), reason } => format!("waits for {key} ({reason})"),
        Place::Waiting { until: None, key: None, reason } => format!("waits ({reason})"),
        Place::Unsettled { reason } => format!("waits for a person: {reason}"),
        Place::Quiet { until, reason } => format!("quiet until {} ({reason})", until.to_seconds()),
        Place::Running { worker, cancel: Some(reason), .. } => format!("is being stopped on {worker}: {reason}"),
        Place::Running { worker, started_at, cancel: None, .. } => {
            format!("runs on {worker} since {}", started_at.to_seconds())
        }
        Place::Ended { state, reason, ended_at, successor } => {
            let outcome = match (state, outcome) {
                (JobState::Finished, Some(outcome)) if !reason.contains(outcome.name()) => format!(" ({outcome})"),
                _ => String::new(),
            };
            let next = successor.map(|job| format!("; {job} takes its place")).unwrap_or_default();
            format!("{state} at {}{outcome}: {reason}{next}", ended_at.to_seconds())
        }
    }
}

/// Why an event made the jobs it made, or none.
pub fn event(detail: &EventDetail) -> Why {
    let (searches, jobs): (Vec<_>, Vec<_>) = detail.jobs.iter().partition(|job| job.is_search());
    let (jobs, matched) = (jobs.len(), detail.matched.len());
    let plural = |n: usize, one: &str, many: &str| if n == 1 { format!("1 {one}") } else { format!("{n} {many}") };
    let why = match (jobs, matched) {
        (0, _) if !searches.is_empty() => "made no job".to_owned(),
        (0, 0) if detail.verdicts.is_empty() => "made no job: the configuration has no rules".to_owned(),
        (0, 0) => format!("made no job: none of {} matched", plural(detail.verdicts.len(), "rule", "rules")),
        (0, n) => {
            format!("made no job: {} matched, but what it asks for could not be made", plural(n, "rule", "rules"))
        }
        (jobs, 0) => format!("made {}", plural(jobs, "job", "jobs")),
        (jobs, _) => format!("made {}, asked for by {}", plural(jobs, "job", "jobs"), detail.matched.join(", ")),
    };
    let made = |search: JobId| detail.jobs.iter().any(|job| job.search == Some(search) && job.id != search);
    let (ended, open): (Vec<&JobSummary>, Vec<_>) = searches.into_iter().partition(|search| search.state.is_end());
    let empty = ended.iter().filter(|search| !made(search.id)).count();
    let told = [(open.len(), "not looked yet"), (empty, "found nothing")];
    let told = told.into_iter().filter(|(n, _)| *n > 0);
    let told = told.map(|(n, what)| format!("; {} {what}", plural(n, "search has", "searches have")));
    let why = why + &told.collect::<String>();
    let rules = detail.verdicts.iter().map(|verdict| (format!("rule {}", verdict.rule), verdict.why.clone()));
    let pairs =
        detail.divergences.iter().map(|divergence| (format!("pair {}", divergence.pair), divergence.to_string()));
    Why { why, facts: rules.chain(pairs).collect() }
}

#[cfg(test)]
mod tests {
    use model::operator::OnDeadline;
    use model::{Span, Time};
    use serde_json::Map;

    use super::*;

    fn parts(needs: &[&str]) -> JobParts {
        let id = model::JobId::of("e", "t", "koji_build", "i", "s390x");
        JobParts {
            summary: JobSummary {
                id,
                key: id,
                state: JobState::Queued,
                end: None,
                outcome: None,
                task: "t".into(),
                item: "i".into(),
                item_type: "koji_build".into(),
                arch: "s390x".into(),
                event_id: None,
                rule: String::new(),
                search: None,
                attempts: 0,
                queued_at: Time(0),
                started_at: None,
                finished_at: None,
            },
            place: Place::Queued,
            seq: 5,
            priority: 0,
            params: Map::new(),
            generation: 1,
            recorder: "r".into(),
            recorded_at: Time(0),
            expires_at: None,
            task_version: 1,
            needs: needs.iter().map(|n| (*n).to_owned()).collect(),
            source: None,
            supersede: None,
            limit: None,
            rerun_of: None,
        }
    }

    fn worker(state: WorkerState, labels: &[&str]) -> WorkerView {
        WorkerView {
            name: "w".into(),
            state,
            slots: 4,
            running: 3,
            labels: labels.iter().map(|l| (*l).to_owned()).collect(),
            version: String::new(),
            host: String::new(),
            clock_ahead_ms: None,
            figures: None,
            last_seen: Time(0),
            first_seen: Time(0),
        }
    }

    fn around(mode: Mode, workers: Vec<WorkerView>) -> Surroundings {
        Surroundings {
            mode: ModeRow {
                mode,
                by: "kath".into(),
                reason: "kernel update".into(),
                since: Time(0).plus(Span::minutes(1)),
                deadline: None,
                on_deadline: OnDeadline::Wait,
                finish_through: Some(4),
            },
            site: Site { active: "main".into(), epoch: 1 },
            here: "main".into(),
            workers,
            queued: 3,
        }
    }

    #[test]
    fn a_queued_job_says_what_keeps_it() {
        let (ready, lost) = (WorkerState::Ready, WorkerState::Lost);
        let job = parts(&["arch:s390x", "pool:big"]);
        let say = |mode, workers| queued(&job, &around(mode, workers));
        assert_eq!(say(Mode::Active, vec![worker(lost, &["arch:s390x", "pool:big"])]), "no worker is connected");
        assert_eq!(
            say(Mode::Active, vec![worker(ready, &["arch:x86_64", "pool:big"])]),
            "needs arch:s390x; no connected worker offers it"
        );
        assert_eq!(
            say(Mode::Active, vec![worker(ready, &["arch:s390x"]), worker(ready, &["pool:big"])]),
            "needs arch:s390x, pool:big; no connected worker offers all of them"
        );
        assert_eq!(
            say(Mode::Active, vec![worker(ready, &["arch:s390x", "pool:big"])]),
            "in the queue with 2 other jobs; 3 of the 4 slots that fit it are busy"
        );
        let idle = "the system is idle since 1970-01-01 00:01:00 by kath: kernel update";
        assert_eq!(say(Mode::Idle, vec![]), idle);
        let mut elsewhere = around(Mode::Active, vec![]);
        elsewhere.site.active = "rdu".into();
        assert_eq!(queued(&job, &elsewhere), "paused: site main is passive, and rdu is the active one");
    }

    #[test]
    fn what_is_finished_first_is_not_stopped_by_a_drain() {
        let fits = vec![worker(WorkerState::Ready, &[])];
        let mut job = parts(&[]);
        assert!(queued(&job, &around(Mode::Draining, fits.clone())).starts_with("the system is draining"));
        job.seq = 4;
        assert!(queued(&job, &around(Mode::Draining, fits)).starts_with("in the queue"));
    }

    #[test]
    fn a_wait_says_until_when_and_why() {
        let place = Place::Waiting { until: Some(Time(0)), key: None, reason: "retry 2 of 3 after exit:75".into() };
        assert_eq!(settled(&place, None), "waits until 1970-01-01 00:00:00 (retry 2 of 3 after exit:75)");
    }
}
