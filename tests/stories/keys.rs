//! Keys, through real processes that are killed: what is serial never overlaps, and of what only the newest is wanted
//! only that has a result.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::broker::Publisher;
use crate::fleet::{Fleet, Plan, Role};
use crate::kit::count::text;
use crate::kit::{Story, secs, until};
use crate::site::PATIENCE;

/// A task that notices when another runs under its key: the lock is let go when the last of its processes has ended.
const CONFIGURATION: &str = r#"
tasks:
  locked:
    run:
      - sh
      - -c
      - |
        exec 9>>"$LEDGER-$0"
        flock -n 9 || echo "$TASKOTRON_JOB_ID" >>"$LEDGER-overlaps"
        echo "$TASKOTRON_JOB_ID $TASKOTRON_ATTEMPT $WHO" >>"$LEDGER"
        sleep 0.1
        . "$REPORT"
      - "{{ params.key }}"
rules:
  - name: serial
    topics: [story.serial]
    supersede: { key: "{{ body.key }}", policy: serial }
    params: { key: "{{ body.key }}" }
    do: [{ tasks: [locked], item: "{{ body.n }}", item_type: number }]
  - name: push
    topics: [story.push]
    supersede: { key: "{{ body.repo }}", policy: cancel-previous }
    quiet: 1s
    do: [{ tasks: [slow], item: "{{ body.n }}", item_type: push }]
"#;

#[test]
fn keys_hold_while_masters_workers_and_the_trigger_are_killed() {
    let story = Story::new();
    story.write("config/keys.yml", CONFIGURATION);
    let mut fleet = Fleet::new(story, Plan { slots: 4, ..Plan::default() });
    let queue = fleet.queue(0);
    let publisher = Publisher::connect(&fleet.plan.amqp);
    publisher.declare(&queue);
    let serial = |n: usize| {
        let body = json!({"key": format!("k{}", n % 3), "n": n}).to_string();
        publisher.publish(&queue, "story.serial", &format!("s{n}"), &body);
    };
    let push = |n: usize| {
        publisher.publish(&queue, "story.push", &format!("p{n}"), &json!({"repo": "foo", "n": n}).to_string());
    };
    fleet.start_all();
    (0..12).for_each(serial);
    push(0);
    until(PATIENCE, "the first push to run", || {
        let jobs = fleet.look("/api/v1/jobs?task=slow&state=running")?;
        if jobs["items"] == json!([]) { Err(jobs.to_string()) } else { Ok(()) }
    });
    fleet.kill(Role::Master(0));
    push(1);
    (12..24).for_each(serial);
    fleet.kill(Role::Worker(0));
    fleet.kill(Role::Trigger(0));
    push(2);
    fleet.start_all();
    fleet.kill(Role::Master(1));
    push(3);
    fleet.start_all();
    fleet.settled(secs(60));
    // All of it comes again.
    (0..24).for_each(serial);
    (0..4).for_each(push);
    until(PATIENCE, "the trigger to know what comes again", || {
        if publisher.waiting(&queue) == 0 { Ok(()) } else { Err("some are not taken".to_owned()) }
    });
    let status = fleet.settled(secs(60));

    let jobs = fleet.all("jobs");
    let by_task = |task: &str| jobs.iter().filter(|job| job["task"] == task).collect::<Vec<&Value>>();
    assert_eq!((by_task("locked").len(), by_task("slow").len()), (24, 4), "{status}");
    for job in by_task("locked") {
        assert_eq!((&job["state"], &job["outcome"]), (&json!("finished"), &json!("PASSED")), "{job}");
    }
    let overlaps = std::fs::read_to_string(fleet.story.path("ledger-overlaps")).unwrap_or_default();
    assert_eq!(overlaps, "", "jobs of one key ran at once");
    // The last push has a result; the others name who took their place, and were published as nothing.
    let results = fleet.results();
    let pushes: BTreeMap<String, &Value> = by_task("slow").into_iter().map(|job| (text(&job["item"]), job)).collect();
    for (item, job) in &pushes {
        let id = text(&job["id"]);
        let why = fleet.ask(&["job", "why", &id]).out;
        if item == "3" {
            assert_eq!((&job["state"], &job["outcome"]), (&json!("finished"), &json!("PASSED")), "{job}");
            assert_eq!(results[&id].len(), 1);
        } else {
            assert_eq!((&job["state"], &job["outcome"]), (&json!("superseded"), &Value::Null), "{job}");
            assert!(!results.contains_key(&id), "{job}");
            assert!(why.contains("takes its place"), "{why}");
        }
    }
    fleet.stop_all();
    fleet.assert_nothing_left();
    fleet.assert_sound();
}
