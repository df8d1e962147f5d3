//! Jobs that run until their story lets them go, attempt by attempt. While one runs it says so in a file outside of
//! Taskotron, tick by tick and by a clock that nobody sets: so it can be told when it ran, also of one that was killed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::fleet::{Fleet, Plan, Role};
use crate::kit::count::text;
use crate::kit::{Story, secs, sweep, until};
use crate::site::PATIENCE;

/// `held` may overlap with itself, `alone` never; `stubborn` is given long to stop, `again` may be interrupted,
/// and `wordy` prints a line with each tick.
const TASKS: &str = r#"
tasks:
  held: { run: [sh, -c, "exec ${LEDGER%/*}/hold"], grace: 1s }
  alone: { run: [sh, -c, "exec ${LEDGER%/*}/hold"], grace: 1s, exclusive: true }
  stubborn: { run: [sh, -c, "exec ${LEDGER%/*}/hold"], grace: 10m }
  again: { run: [sh, -c, "exec ${LEDGER%/*}/hold"], grace: 1s, interruptible: true }
  wordy: { run: [sh, -c, "exec ${LEDGER%/*}/hold wordy"], grace: 1s }
"#;

/// What it starts hears no TERM either. It leaves one process outside of its group, which ticks too.
const HOLD: &str = r#"#!/bin/sh
trap '' TERM
folder=${LEDGER%/*}
gate=$folder/gates/$TASKOTRON_ITEM.$TASKOTRON_ATTEMPT
tick() {
    while [ ! -e "$gate" ]; do
        read -r now rest </proc/uptime
        echo "$TASKOTRON_JOB_ID $TASKOTRON_ATTEMPT $now" >>"$folder/ticks"
        n=$((n + 1))
        if [ "$1" = wordy ]; then echo "line $n" | tee -a "$folder/said"; fi
        sleep 0.05
    done
}
if [ "$1" = tick ]; then tick; exit; fi
echo "$TASKOTRON_JOB_ID $TASKOTRON_ATTEMPT $WHO" >>"$LEDGER"
echo "attempt $TASKOTRON_ATTEMPT begins"
(setsid "$0" tick &)
tick "$1"
echo "attempt $TASKOTRON_ATTEMPT ends"
exec "$REPORT"
"#;

/// When an attempt ticked first and last, in hundredths of a second since the machine started.
pub type Span = (u64, u64);

/// A fleet without triggers whose workers know these tasks.
#[track_caller]
pub fn fleet(plan: Plan) -> Fleet {
    let story = Story::new();
    fs::create_dir(story.path("gates")).expect("the story has a folder");
    story.write("config/held.yml", TASKS);
    let hold = story.write("hold", HOLD);
    fs::set_permissions(&hold, fs::Permissions::from_mode(0o755)).expect("it is ours");
    Fleet::new(story, Plan { triggers: 0, ..plan })
}

/// Orders one job of a task for each item, by way of one of the masters.
#[track_caller]
pub fn submit(fleet: &Fleet, master: usize, task: &str, items: &[&str]) {
    let rows: String = items.iter().map(|item| format!("{item},number,{task},\n")).collect();
    let file = format!("{}.csv", items.join("-"));
    fleet.story.write(&file, format!("item,item_type,task,arch\n{rows}"));
    let mut command = fleet.as_operator(fleet.story.jobrunner(), master);
    command.arg(&file);
    let ran = fleet.story.run(PATIENCE, command);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

/// Lets one attempt at an item end well.
pub fn let_go(story: &Story, item: &str, attempt: u32) {
    story.write(format!("gates/{item}.{attempt}"), "");
}

/// The id of the one job of an item.
#[track_caller]
pub fn job_of(fleet: &Fleet, item: &str) -> String {
    text(&fleet.get(&format!("/api/v1/jobs?item={item}"))["items"][0]["id"])
}

/// Waits until an attempt at an item is seen to run; the job's id, and whose attempt it is.
#[track_caller]
pub fn runs(fleet: &Fleet, item: &str, attempt: usize) -> (String, String) {
    until(PATIENCE * 2, &format!("attempt {attempt} at {item} to run"), || {
        let jobs = fleet.look(&format!("/api/v1/jobs?item={item}"))?;
        let id = jobs["items"][0]["id"].as_str().ok_or("no such job")?.to_owned();
        let job = fleet.look(&format!("/api/v1/jobs/{id}"))?;
        let made = &job["attempts_made"][attempt - 1];
        match made["worker"].as_str() {
            Some(worker) if ticks(&fleet.story).contains_key(&(id.clone(), attempt)) => Ok((id, worker.to_owned())),
            _ => Err(job.to_string()),
        }
    })
}

/// Waits until a job is in a state.
#[track_caller]
pub fn in_state(fleet: &Fleet, job: &str, state: &str) {
    until(PATIENCE, &format!("{job} to be {state}"), || {
        let job = fleet.look(&format!("/api/v1/jobs/{job}"))?;
        if job["state"] == state { Ok(()) } else { Err(job.to_string()) }
    });
}

/// When each attempt of each job ran.
pub fn ticks(story: &Story) -> BTreeMap<(String, usize), Span> {
    let lines = fs::read_to_string(story.path("ticks")).unwrap_or_default();
    let mut ticks: BTreeMap<(String, usize), Span> = BTreeMap::new();
    // The last line may be half written.
    for line in lines.rsplit_once('\n').map_or("", |(whole, _)| whole).lines() {
        let [job, attempt, now] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("no tick: {line}") };
        let now = now.replace('.', "").parse().expect("hundredths of a second");
        let span = ticks.entry((job.into(), attempt.parse().expect("a number"))).or_insert((now, now));
        *span = (span.0.min(now), span.1.max(now));
    }
    ticks
}

/// Proves that no two attempts of a job ran at the same time; how many ran.
#[track_caller]
pub fn assert_never_at_once(story: &Story, job: &str) -> usize {
    let spans: Vec<Span> = ticks(story).into_iter().filter(|((id, _), _)| id == job).map(|(_, span)| span).collect();
    for two in spans.windows(2) {
        assert!(two[0].1 <= two[1].0, "two attempts of {job} ran at once: {spans:?}");
    }
    spans.len()
}

/// Waits until nothing of an attempt is left on its worker.
#[track_caller]
pub fn gone(fleet: &Fleet, role: Role, job: &str, attempt: usize) {
    let mark = fleet.story.path(format!("{role}/work/{job}.{attempt}")).display().to_string();
    until(PATIENCE, &format!("attempt {attempt} of {job} to be gone from {role}"), || {
        let left = sweep::marked(&mark);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

/// Settles, and proves that each job has passed and has one result, of the attempt that it is given with; then stops
/// everybody, and proves that nothing is left and all adds up.
#[track_caller]
pub fn settle(fleet: &mut Fleet, jobs: &[(&str, &str)]) {
    fleet.settled(secs(120));
    let (all, results) = (fleet.all("jobs"), fleet.results());
    crate::ledger::assert_accounts(&fleet.story, fleet, &all, &results);
    assert_eq!((all.len(), results.len()), (jobs.len(), jobs.len()));
    for (job, of) in jobs {
        let notes: Vec<&Value> = results[*job].iter().map(|result| &result["note"]).collect();
        assert_eq!(notes, [of], "the one result of {job}");
    }
    fleet.stop_all();
    fleet.assert_nothing_left();
    fleet.assert_sound();
}

/// How many reports of a job came too late and were kept; of a fleet that is stopped.
pub fn late_reports(fleet: &Fleet, job: &str) -> usize {
    fleet.with_store(async |store| {
        store.stale_reports(job.parse().expect("a job's id")).await.expect("the store answers").len()
    })
}
