//! Two triggers on two queues: one job of each event, and no silence about where the two differ.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::broker::Publisher;
use crate::fleet::{Fleet, Plan, Role};
use crate::kit::count::{assert_same, keys, text};
use crate::kit::{Story, until};
use crate::ledger;
use crate::site::PATIENCE;

const RULES: &str = r#"
rules:
  - name: each
    topics: [story.each]
    do: [{ tasks: [quick], item: "{{ body.n }}", item_type: number }]
"#;

/// What one of the pair has besides.
const MORE: &str = r#"
  - name: odd
    topics: [story.each]
    when: { body.odd: true }
    do: [{ tasks: [other], item: "{{ body.n }}", item_type: number }]
"#;

/// Two triggers of a pair, each with its queue, and who publishes to both.
struct Bus {
    queues: [String; 2],
    publisher: Publisher,
}

impl Bus {
    fn of(fleet: &Fleet) -> Bus {
        let queues = [fleet.queue(0), fleet.queue(1)];
        let publisher = Publisher::connect(&fleet.plan.amqp);
        queues.iter().for_each(|queue| publisher.declare(queue));
        Bus { queues, publisher }
    }

    /// A message that reaches both queues.
    fn publish(&self, n: usize) {
        (0..2).for_each(|queue| self.publish_to(queue, n));
    }

    /// A message that the other queue has lost.
    fn publish_to(&self, queue: usize, n: usize) {
        let body = json!({ "n": n, "odd": n % 2 == 1 }).to_string();
        self.publisher.publish(&self.queues[queue], "story.each", &format!("m{n}"), &body);
    }
}

fn pair(master: &str) -> Fleet {
    let story = Story::new();
    story.write("config/rules.yml", RULES);
    Fleet::new(
        story,
        Plan {
            triggers: 2,
            proxied: false,
            trigger: "pair = \"fedora\"".into(),
            master: master.into(),
            ..Plan::default()
        },
    )
}

fn divergences(fleet: &Fleet) -> Vec<Value> {
    let listed = fleet.run(&["event", "divergences", "-o", "json"]).out;
    serde_json::from_str(&listed).expect("JSON")
}

/// The events about which the two differ.
fn differing(fleet: &Fleet) -> BTreeSet<String> {
    divergences(fleet).iter().map(|divergence| text(&divergence["event_id"])).collect()
}

/// Waits until each of the two has sent so many events.
#[track_caller]
fn sent(fleet: &Fleet, each: [u64; 2]) {
    until(PATIENCE, &format!("the two to have sent {each:?}"), || {
        let status = fleet.look("/api/v1/status")?;
        let intake = &status["intake"];
        let all = json!(each[0] + each[1]);
        if intake["recorded"] == all && intake["forwarded"] == all { Ok(()) } else { Err(status.to_string()) }
    });
}

#[test]
fn two_triggers_with_different_rules_make_each_job_once_and_are_told_apart() {
    let mut fleet = pair("");
    // The one has been given new rules, and the other has not.
    for (name, text) in [("rules.yml", format!("{RULES}{MORE}")), ("tasks.yml", String::new())] {
        let text =
            if text.is_empty() { std::fs::read_to_string(fleet.story.path("config/tasks.yml")).unwrap() } else { text };
        fleet.story.write(format!("config-new/{name}"), text);
    }
    let own = fleet.story.path("trigger1.toml");
    let settings = std::fs::read_to_string(&own).unwrap();
    let (old, new) = (fleet.story.path("config"), fleet.story.path("config-new"));
    assert!(settings.contains(&format!("{old:?}")), "{settings}");
    std::fs::write(&own, settings.replace(&format!("{old:?}"), &format!("{new:?}"))).unwrap();
    let bus = Bus::of(&fleet);
    fleet.start_all();
    (0..20).for_each(|n| bus.publish(n));
    sent(&fleet, [20, 20]);
    fleet.settled(PATIENCE);

    let wanted = (0..20).flat_map(|n: usize| {
        let job = move |task: &str| [format!("m{n}"), task.into(), "number".into(), n.to_string(), "noarch".into()];
        [Some(job("quick")), (n % 2 == 1).then(|| job("other"))].into_iter().flatten()
    });
    let wanted = keys(&fleet.story, &wanted.collect::<Vec<_>>());
    let (jobs, results) = (fleet.all("jobs"), fleet.results());
    assert_same("jobs", wanted, jobs.iter().map(|job| text(&job["key"])));
    ledger::assert_accounts(&fleet.story, &fleet, &jobs, &results);

    let odd: BTreeSet<String> = (0..20).filter(|n| n % 2 == 1).map(|n| format!("m{n}")).collect();
    assert_eq!(differing(&fleet), odd);
    let divergences = divergences(&fleet);
    let one = divergences.iter().find(|divergence| divergence["event_id"] == "m7").unwrap();
    let more = if one["first"] == "trigger1" { "only_first" } else { "only_second" };
    assert_eq!((&one["differs"], &one[more].as_array().unwrap().len()), (&json!("decided"), &1), "{one}");
    let why = fleet.run(&["event", "why", "m7"]).out;
    // Whichever of the two came first: the second is named without its generation.
    let told = ["for 1 job that trigger0 does", "for 1 job that trigger0 (generation 1) does"];
    assert!(told.iter().any(|told| why.contains(told)), "{why}");
    let status = fleet.run(&["status"]).out;
    assert!(status.contains("~ pair fedora: ") && status.contains("; see: taskotron event divergences"), "{status}");
    let check = fleet.ask(&["check", "intake"]);
    assert_eq!(check.code, Some(1), "{check:?}");
    assert!(check.out.starts_with("INTAKE WARNING - pair fedora: "), "{check:?}");
    fleet.stop_all();
    fleet.assert_sound();
}

#[test]
fn what_one_of_two_queues_has_lost_is_told_and_a_backlog_is_not() {
    let mut fleet = pair("pair_grace = \"200ms\"");
    let bus = Bus::of(&fleet);
    fleet.start_all();
    (0..10).for_each(|n| bus.publish(n));
    sent(&fleet, [10, 10]);
    assert!(differing(&fleet).is_empty());
    assert_eq!(fleet.ask(&["check", "intake"]).code, Some(0), "the two agree");

    // One queue loses a message. It counts when messages of a little later have come past it.
    bus.publish_to(0, 10);
    let mut n = 10;
    until(PATIENCE, "the lost message to be told", || {
        n += 1;
        bus.publish(n);
        differing(&fleet) == BTreeSet::from(["m10".to_owned()])
    });
    let lost = divergences(&fleet).remove(0);
    let names = ["differs", "first", "second", "pair"].map(|name| text(&lost[name]));
    assert_eq!(names, ["unseen", "trigger0", "trigger1", "fedora"]);
    let status = fleet.run(&["status"]).out;
    assert!(status.contains("~ pair fedora: trigger1 has not seen 1 event that trigger0 has sent"), "{status}");

    // One trigger is away while much goes on, and dies again in the middle of what waits for it.
    let first = n + 1;
    sent(&fleet, [first as u64, first as u64 - 1]);
    fleet.kill(Role::Trigger(1));
    (first..first + 200).for_each(|n| bus.publish(n));
    sent(&fleet, [first as u64 + 200, first as u64 - 1]);
    fleet.start(Role::Trigger(1));
    until(PATIENCE, "some of the backlog", || {
        let status = fleet.look("/api/v1/status")?;
        let so_far = status["intake"]["forwarded"].as_u64().unwrap_or(0);
        if so_far > 2 * first as u64 + 200 { Ok(()) } else { Err(status.to_string()) }
    });
    fleet.kill(Role::Trigger(1));
    fleet.kill(Role::Master(0));
    fleet.start_all();
    until(PATIENCE, "the backlog to be sent", || {
        assert_eq!(differing(&fleet), BTreeSet::from(["m10".to_owned()]), "a backlog is no divergence");
        let status = fleet.look("/api/v1/status")?;
        let all = json!(2 * (first as u64 + 200) - 1);
        if status["intake"]["forwarded"] == all { Ok(()) } else { Err(status.to_string()) }
    });

    // It was only late: that takes the report back.
    bus.publish_to(1, 10);
    until(PATIENCE, "the report to be taken back", || differing(&fleet).is_empty());
    fleet.settled(PATIENCE);
    assert_eq!(fleet.all("jobs").len(), first + 200, "each message made one job");
    fleet.stop_all();
    fleet.assert_sound();
}
