//! Two masters over one database: whoever is away, the other goes on.

use serde_json::json;

use crate::broker::Publisher;
use crate::fleet::{Fleet, Peer, Plan, Role};
use crate::kit::count::{assert_same, keys, text};
use crate::kit::{Story, secs, until};
use crate::ledger;
use crate::site::PATIENCE;

const RULES: &str = r#"
rules:
  - name: each
    topics: [story.each]
    do: [{ tasks: [quick], item: "{{ body.n }}", item_type: number }]
"#;

#[test]
fn with_either_of_two_masters_away_events_become_results() {
    let story = Story::new();
    story.write("config/rules.yml", RULES);
    let mut fleet = Fleet::new(story, Plan::default());
    let queue = fleet.queue(0);
    let publisher = Publisher::connect(&fleet.plan.amqp);
    publisher.declare(&queue);
    let publish = |n: usize| publisher.publish(&queue, "story.each", &format!("m{n}"), &json!({ "n": n }).to_string());
    let finished = |fleet: &Fleet, count: usize| {
        until(PATIENCE, &format!("{count} jobs to finish"), || {
            let status = fleet.look("/api/v1/status")?;
            if status["jobs"]["finished"] == count { Ok(()) } else { Err(status.to_string()) }
        });
    };
    fleet.start_all();

    (0..5).for_each(publish);
    finished(&fleet, 5);
    for master in [0, 1] {
        fleet.kill(Role::Master(master));
        let first = 5 + master * 10;
        (first..first + 5).for_each(publish);
        finished(&fleet, first + 5);
        fleet.start_all();
        // One that nobody reaches is as good as away.
        for role in [Role::Trigger(0), Role::Worker(0), Role::Worker(1)] {
            fleet.proxy(role, Peer::Master(master)).refuse();
        }
        (first + 5..first + 10).for_each(publish);
        finished(&fleet, first + 10);
        fleet.heal();
    }

    let status = fleet.settled(secs(60));
    let wanted: Vec<_> = (0..25)
        .map(|n: usize| [format!("m{n}"), "quick".into(), "number".into(), n.to_string(), "noarch".into()])
        .collect();
    let wanted = keys(&fleet.story, &wanted);
    let (jobs, results) = (fleet.all("jobs"), fleet.results());
    assert_same("jobs", wanted.clone(), jobs.iter().map(|job| text(&job["key"])));
    assert_same("results", wanted, results.iter().flat_map(|(job, all)| all.iter().map(|_| job.clone())));
    assert_eq!(status["intake"], json!({"recorded": 25, "forwarded": 25, "quarantined": 0}));
    ledger::assert_accounts(&fleet.story, &fleet, &jobs, &results);
    fleet.stop_all();
    assert_eq!(publisher.waiting(&queue), 0);
    fleet.assert_nothing_left();
    fleet.assert_sound();
}

#[test]
fn a_connection_to_the_database_that_goes_silent_holds_up_nobody_for_ever() {
    let story = Story::new();
    story.write("config/rules.yml", RULES);
    let mut fleet = Fleet::new(story, Plan { masters: 1, workers: 1, ..Plan::default() });
    let queue = fleet.queue(0);
    let publisher = Publisher::connect(&fleet.plan.amqp);
    publisher.declare(&queue);
    let publish = |n: usize| publisher.publish(&queue, "story.each", &format!("m{n}"), &json!({ "n": n }).to_string());
    fleet.start_all();
    publish(0);
    fleet.settled(secs(60));

    let ways = [(Role::Master(0), Peer::Database), (Role::Results, Peer::Database)];
    for (from, to) in ways {
        fleet.proxy(from, to).half_open();
    }
    publish(1);
    until(PATIENCE, "the master to feel it", || fleet.look("/readyz").is_err());
    for (from, to) in ways {
        fleet.proxy(from, to).forget();
    }
    until(secs(180), "both events to be jobs, and their results to be there", || {
        let status = fleet.look("/api/v1/status")?;
        let over = status["jobs"]["finished"] == 2 && status["outbox"] == 0;
        if over { Ok(()) } else { Err(status.to_string()) }
    });
    fleet.stop_all();
    fleet.assert_nothing_left();
    fleet.assert_sound();
}
