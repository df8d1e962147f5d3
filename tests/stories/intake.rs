//! The trigger's surroundings fail: its disk is full, the broker is down, the network swallows everything. Nothing is
//! acknowledged that is not on disk, everybody who asks is told, and it goes on by itself when they are well again.

use serde_json::{Value, json};

use crate::broker::Publisher;
use crate::installation::{Installation, PATIENCE};
use crate::kit::proxy::Proxy;
use crate::kit::tmpfs::Tmpfs;
use crate::kit::{Rabbit, Story, secs, servers, until};

const RULES: &str = r#"
rules:
  - name: all
    topics: ["story.#"]
    do: [{ tasks: [quick], item: "{{ body.n }}", item_type: number }]
tasks:
  quick: { run: ["true"] }
"#;

/// An installation that consumes the queue of this name at `url`, with more settings for its trigger.
fn installation(story: Story, url: &str, queue: &str, trigger: &str) -> Installation {
    story.write("config/all.yml", RULES);
    let settings = format!(
        "[trigger]\n{trigger}\n[trigger.amqp]\nurls = [{url:?}]\nqueue = {queue:?}\npassive = true\nbindings = []\n"
    );
    Installation::new(story, &settings)
}

fn publish(publisher: &Publisher, exchange: &str, numbers: std::ops::Range<usize>) {
    for n in numbers {
        publisher.publish(exchange, "story.n", &format!("m{n}"), &format!(r#"{{"n": {n}}}"#));
    }
}

/// Waits until whoever asks for the status is told that something with these words stops work; the check is critical.
#[track_caller]
fn is_stopped_by(site: &Installation, words: &str) {
    until(PATIENCE, words, || {
        let stops = site.look("/api/v1/status")?["stopped_by"].clone();
        if stops.to_string().contains(words) { Ok(()) } else { Err(stops.to_string()) }
    });
    until(PATIENCE, "the check to be critical", || match site.taskotron(&["check", "intake"]) {
        ran if ran.code == Some(2) && ran.out.contains(words) => Ok(()),
        ran => Err(ran),
    });
}

/// Waits until all of so many messages have come, each of them once and with one job that passed, and nothing is said to
/// stop work any more.
#[track_caller]
fn has_all(site: &Installation, messages: usize) {
    until(secs(120), "every message", || {
        let status = site.look("/api/v1/status")?;
        let done =
            [&status["intake"]["forwarded"], &status["jobs"]["finished"]].iter().all(|count| **count == messages);
        if done && status["stopped_by"] == json!([]) { Ok(()) } else { Err(status.to_string()) }
    });
    assert_eq!(
        site.settled(PATIENCE)["intake"],
        json!({"recorded": messages, "forwarded": messages, "quarantined": 0})
    );
    let mut items: Vec<usize> =
        site.all("jobs").iter().map(|job| job["item"].as_str().unwrap().parse().unwrap()).collect();
    items.sort_unstable();
    assert_eq!(items, (0..messages).collect::<Vec<_>>());
    let check = site.taskotron(&["check", "intake"]);
    assert_eq!(check.code, Some(0), "{check:?}");
}

#[test]
fn a9_a_full_disk_acknowledges_nothing_and_goes_on_alone_when_there_is_room() {
    let (story, queue) = (Story::new(), "story-a9");
    let disk = Tmpfs::mount(&story, "disk", 4096);
    let log = disk.folder().join("trigger");
    let url = servers::shared_amqp();
    let publisher = Publisher::connect(&url);
    publisher.declare(queue);
    let mut site = installation(story, &url, queue, &format!("dir = {log:?}"));
    site.start_ready();
    publish(&publisher, queue, 0..20);
    has_all(&site, 20);

    disk.fill();
    publish(&publisher, queue, 20..60);
    is_stopped_by(&site, "cannot write its event log, and takes nothing until it can: No space left on device");
    // What still fits into the last page of the file is on disk.
    let recorded = site.get("/api/v1/status")["intake"]["recorded"].as_u64().unwrap();
    assert!((20..60).contains(&recorded), "{recorded}");
    disk.free();
    has_all(&site, 60);

    disk.fill();
    publish(&publisher, queue, 60..100);
    is_stopped_by(&site, "No space left on device");
    let recorded = site.get("/api/v1/status")["intake"]["recorded"].as_u64().unwrap();
    site.kill();
    let unrecorded = 100 - u32::try_from(recorded).unwrap();
    assert!(unrecorded > 0);
    until(PATIENCE, "the broker to have back what is not on disk", || match publisher.waiting(queue) {
        waiting if waiting >= unrecorded => Ok(()),
        waiting => Err((waiting, unrecorded)),
    });
    disk.free();
    site.start_ready();
    has_all(&site, 100);

    assert_eq!(site.stop(PATIENCE).code(), Some(0));
    assert_eq!(publisher.waiting(queue), 0);
    let text = std::fs::read_to_string(log.join("events.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("no line is torn")).collect();
    assert_eq!(lines.iter().filter(|line| line["event"]["id"].is_string()).count(), 100);
    site.assert_nothing_left();
    site.assert_sound();
}

#[test]
fn a10_a_broker_that_is_down_is_told_of_and_leaves_no_gap() {
    let (rabbit, queue) = (Rabbit::start(), "story-a10");
    Publisher::connect(rabbit.url()).declare(queue);
    rabbit.settle();
    let mut site = installation(Story::new(), rabbit.url(), queue, "");
    site.start_ready();
    publish(&Publisher::connect(rabbit.url()), queue, 0..50);
    has_all(&site, 50);

    rabbit.kill();
    is_stopped_by(&site, "takes nothing from queue 'story-a10'");
    let said = site.taskotron(&["status"]);
    assert!(said.out.contains("takes nothing from queue 'story-a10' of the bus at 127.0.0.1"), "{said:?}");
    rabbit.start_again();
    publish(&Publisher::connect(rabbit.url()), queue, 50..100);
    has_all(&site, 100);

    // Down while we are: what waits there is taken when both are back.
    assert_eq!(site.stop(PATIENCE).code(), Some(0));
    publish(&Publisher::connect(rabbit.url()), queue, 100..120);
    rabbit.kill();
    site.start();
    is_stopped_by(&site, "takes nothing from queue 'story-a10'");
    rabbit.start_again();
    has_all(&site, 120);
    assert_eq!(site.stop(PATIENCE).code(), Some(0));
    site.assert_sound();
}

#[test]
fn a10_a_network_that_swallows_everything_is_noticed_and_another_connection_made() {
    let (url, queue) = (servers::shared_amqp(), "story-a10-silence");
    let publisher = Publisher::connect(&url);
    publisher.declare(queue);
    let proxy = Proxy::before(&url);
    let mut site = installation(Story::new(), &format!("{}?heartbeat=1", proxy.url()), queue, "");
    site.start_ready();
    publish(&publisher, queue, 0..20);
    has_all(&site, 20);

    // Old connections stay deaf for ever, which only missing signs of life can tell.
    proxy.half_open();
    publish(&publisher, queue, 20..40);
    is_stopped_by(&site, "the broker gives no sign of life any more");
    proxy.forget();
    has_all(&site, 40);

    for _ in 0..5 {
        proxy.cut();
    }
    proxy.refuse();
    publish(&publisher, queue, 40..60);
    is_stopped_by(&site, "takes nothing from queue");
    proxy.let_through();
    has_all(&site, 60);
    assert_eq!(site.stop(PATIENCE).code(), Some(0));
    // The broker may not have noticed yet that the deaf connection is gone, but what it holds back for it is all known.
    site.assert_sound();
}

#[test]
fn a_recorder_takes_the_file_of_a_fedora_messaging_consumer_and_nothing_from_its_queue() {
    let (story, queue) = (Story::new(), "story-fedora");
    story.write("config/all.yml", RULES);
    let url = servers::shared_amqp();
    let publisher = Publisher::connect(&url);
    publisher.declare(queue);
    let file = format!(
        "amqp_url = {url:?}\npassive_declares = true\ncallback = \"theirs:consume\"\n\
         [queues.{queue}]\ndurable = true\nauto_delete = false\nexclusive = false\narguments = {{}}\n\
         [[bindings]]\nqueue = {queue:?}\nexchange = {queue:?}\nrouting_keys = [\"story.#\"]\n"
    );
    story.write("fedora.toml", file);
    let mut record = story.taskotron();
    record.args(["record", "--fedora-messaging", "fedora.toml", "--config", "config", "--out", "jobs.csv"]);
    let mut recording = story.start("record", record);
    until(PATIENCE, "the recorder to consume", || {
        if recording.err().contains("consuming queue amq.gen") { Ok(()) } else { Err(recording.err()) }
    });
    publish(&publisher, queue, 0..5);
    until(PATIENCE, "all of it to be recorded", || {
        let log = std::fs::read_to_string(story.path("jobs.csv.events.jsonl")).unwrap_or_default();
        (0..5).all(|n| log.contains(&format!(r#""id":"m{n}""#)))
    });
    assert_eq!(recording.stop(PATIENCE).code(), Some(0));
    let rows = csv::Reader::from_path(story.path("jobs.csv")).unwrap().into_records().count();
    assert_eq!((rows, publisher.waiting(queue)), (5, 5));
}
