//! Two workers of one name: the second is kept out in words, and a restarted one is not.

use serde_json::json;

use crate::broker::Publisher;
use crate::fleet::{Fleet, Plan, Role};
use crate::gate;
use crate::kit::{Story, until};
use crate::ledger;
use crate::site::PATIENCE;

const RULES: &str = r#"
rules:
  - name: held
    topics: [story.held]
    do: [{ tasks: [held], item: "{{ body.n }}", item_type: number }]
"#;

#[test]
fn a_second_worker_of_a_name_waits_until_the_first_is_gone() {
    let story = Story::new();
    story.write("config/rules.yml", RULES);
    gate::write_task(&story, "{}");
    let mut fleet = Fleet::new(story, Plan { workers: 1, proxied: false, ..Plan::default() });
    let queue = fleet.queue(0);
    let publisher = Publisher::connect(&fleet.plan.amqp);
    publisher.declare(&queue);
    fleet.start_all();
    for n in 0..2 {
        publisher.publish(&queue, "story.held", &format!("m{n}"), &json!({ "n": n }).to_string());
    }
    let attempts = |fleet: &Fleet, wanted: u64| {
        until(PATIENCE, &format!("two jobs in attempt {wanted}"), || {
            let jobs = fleet.all("jobs");
            let held = jobs.iter().filter(|job| job["state"] == "running" && job["attempts"] == wanted).count();
            if held == 2 { Ok(()) } else { Err(format!("{jobs:?}")) }
        });
    };
    attempts(&fleet, 1);

    // A machine that was set up with the name of another.
    let settings = std::fs::read_to_string(fleet.story.path("worker0.toml")).unwrap();
    let [own, other] = ["worker0", "elsewhere"].map(|name| format!("dir = {:?}", fleet.story.path(name)));
    assert!(settings.contains(&own), "{settings}");
    fleet.story.write("elsewhere.toml", settings.replace(&own, &other));
    let mut command = fleet.story.taskotron();
    command.args(["worker", "--settings", "elsewhere.toml"]);
    let second = fleet.story.start("elsewhere", command);
    until(PATIENCE, "the second to be told", || {
        let said = second.err();
        if said.contains("another worker is called worker0: incarnation") { Ok(()) } else { Err(said) }
    });
    assert!(second.err().contains("Give this one another `name` in [worker], or stop the other"), "{}", second.err());
    attempts(&fleet, 1);

    // The same machine's next worker is no other worker.
    fleet.kill(Role::Worker(0));
    fleet.start(Role::Worker(0));
    attempts(&fleet, 2);
    assert!(!fleet.said(Role::Worker(0)).contains("another worker is called"), "{}", fleet.said(Role::Worker(0)));

    // When the first is gone for good, its name is free.
    fleet.kill(Role::Worker(0));
    gate::open(&fleet.story);
    fleet.settled(PATIENCE);
    let (jobs, results) = (fleet.all("jobs"), fleet.results());
    assert_eq!(jobs.iter().map(|job| job["attempts"].as_u64().unwrap()).sum::<u64>(), 6, "{jobs:?}");
    ledger::assert_accounts(&fleet.story, &fleet, &jobs, &results);
    drop(second);
    fleet.stop_all();
    fleet.assert_sound();
}
