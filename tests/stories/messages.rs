//! The bus is told of every job, while masters, broker and worker are killed: Fedora's own library, with the class that
//! the messages name, reads for each job that it was queued, ran, and was complete; in that order and without a gap.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::broker::Publisher;
use crate::fleet::{Fleet, Plan, Role};
use crate::kit::chance::seed;
use crate::kit::count::text;
use crate::kit::{Chance, Rabbit, Story, secs, until};
use crate::site::PATIENCE;

const JOBS: usize = 60;
const QUEUE: &str = "everything";

const RULES: &str = r#"
rules:
  - name: each
    topics: [story.build]
    do: [{ tasks: [other], item: "{{ body.name }}-{{ body.version }}-{{ body.release }}", item_type: koji_build }]
"#;

/// As Koji tells its bus of a build.
fn build(n: usize) -> Value {
    json!({
        "name": format!("foo{n}"), "version": "1.0", "release": "1.fc41", "owner": "kath", "build_id": 1000 + n,
        "task_id": 7000 + n, "attribute": "state", "old": 0, "new": 1, "instance": "primary",
    })
}

fn messages(rabbit: &Rabbit) -> String {
    format!(
        "[master.messages]\nurls = [{:?}]\ntopic_prefix = \"org.example.prod\"\ncategories = {{ other = \"validation\" }}\n\
         [master.messages.contact]\nname = \"Taskotron\"\nteam = \"QA\"\ndocs = \"https://example.org/docs\"\n\
         email = \"qa@example.org\"\n",
        rabbit.url()
    )
}

#[test]
fn the_bus_hears_of_every_job_in_order_whatever_is_killed() {
    let story = Story::new();
    story.write("config/rules.yml", RULES);
    let rabbit = Rabbit::start();
    Publisher::connect(rabbit.url()).declare_queue("amq.topic", QUEUE);
    rabbit.settle();
    let plan = Plan { proxied: false, master: messages(&rabbit), ..Plan::default() };
    let mut fleet = Fleet::new(story, plan);
    let queue = fleet.queue(0);
    let publisher = Publisher::connect(&fleet.plan.amqp);
    publisher.declare(&queue);
    fleet.start_all();
    let mut chance = Chance::new(seed());
    let publish = |from: usize, to: usize| {
        (from..to).for_each(|n| publisher.publish(&queue, "story.build", &format!("m{n}"), &build(n).to_string()));
    };
    let untold = |fleet: &Fleet| {
        until(PATIENCE, "messages to wait for the bus", || {
            let status = fleet.look("/api/v1/status")?;
            if status["messages"].as_u64() > Some(0) { Ok(()) } else { Err(status.to_string()) }
        });
    };

    publish(0, JOBS / 3);
    rabbit.kill();
    publish(JOBS / 3, 2 * JOBS / 3);
    untold(&fleet);
    // Whichever of them has the duty: it is killed with messages in hand, as they begin to go.
    let first = chance.below(2);
    fleet.kill(Role::Master(first));
    fleet.kill(Role::Worker(0));
    rabbit.start_again();
    fleet.start(Role::Worker(0));
    fleet.start(Role::Master(first));
    fleet.ready();
    publish(2 * JOBS / 3, JOBS);
    fleet.kill(Role::Master(1 - first));
    fleet.start(Role::Master(1 - first));
    let status = fleet.settled(secs(120));
    assert_eq!((&status["jobs"]["finished"], &status["messages"]), (&json!(JOBS), &json!(0)));

    Publisher::connect(rabbit.url()).publish("amq.topic", "story.last", "last", "{}");
    let mut consume = fleet.story.python();
    consume.arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients/hear.py"));
    consume.args([rabbit.url(), QUEUE]).env("HOME", fleet.story.folder());
    let ran = fleet.story.run(PATIENCE, consume);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let heard: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert_told(&fleet, &heard);
    let repeated = heard.len() - heard.iter().map(|m| text(&m["id"])).collect::<std::collections::BTreeSet<_>>().len();
    println!("{} messages on the bus, {repeated} of them again", heard.len());
    fleet.stop_all();
    fleet.assert_nothing_left();
    fleet.assert_sound();
}

/// Proves that each job was told of from its queue to its end, and each thing said once but for repetitions with one id.
#[track_caller]
fn assert_told(fleet: &Fleet, heard: &[Value]) {
    let mut by_id: HashMap<String, &Value> = HashMap::new();
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for message in heard {
        match by_id.insert(text(&message["id"]), message) {
            Some(before) => {
                assert_eq!((&before["topic"], &before["body"]), (&message["topic"], &message["body"]), "one id, twice");
            }
            None => {
                let job = text(&message["body"]["pipeline"]["id"]);
                let stage = message["topic"].as_str().unwrap_or_default().rsplit('.').next().unwrap_or_default();
                let of = match stage {
                    "running" => format!("running {}", text(&message["body"]["pipeline"]["build"])),
                    other => other.to_owned(),
                };
                told.entry(job).or_default().push(of);
            }
        }
    }
    let jobs = fleet.all("jobs");
    assert_eq!(told.len(), jobs.len());
    for job in &jobs {
        let runs = (1..=job["attempts"].as_u64().expect("a number")).map(|attempt| format!("running {attempt}"));
        let wanted: Vec<_> = ["queued".to_owned()].into_iter().chain(runs).chain(["complete".to_owned()]).collect();
        assert_eq!(told[&text(&job["id"])], wanted, "{job}");
    }

    // The class that the message names took it, and reads from it what its consumers show.
    let last = heard.iter().rfind(|message| message["topic"] == "org.example.prod.ci.koji-build.test.complete");
    let last = last.expect("a job is complete");
    assert_eq!((&last["class"], &last["severity"]), (&json!("CIMessageV1"), &json!(20)));
    let nvr = text(&last["body"]["artifact"]["nvr"]);
    assert_eq!(last["summary"], format!("CI: other test of koji-build {nvr} finished"));
    assert_eq!(last["url"], last["body"]["run"]["url"]);
    let name = nvr.split('-').next().expect("a name");
    assert_eq!(last["headers"][format!("fedora_messaging_rpm_{name}")], json!(true));
    assert_eq!(last["headers"]["fedora_messaging_user_kath"], json!(true));
    assert_eq!(last["body"]["test"]["result"], "passed");
    assert_eq!(last["body"]["test"]["category"], "validation");
    assert!(heard.iter().all(|message| message["class"] == "CIMessageV1"), "each was checked by its class");
}
