//! A recorder beside a live trigger, on a broker that dies: it takes nothing of the trigger's, it knows what it has not
//! seen, and what it leaves is whole.

use serde_json::json;

use crate::broker::Publisher;
use crate::installation::Installation;
use crate::kit::count::{assert_same, keys, text};
use crate::kit::process::Process;
use crate::kit::story::Ran;
use crate::kit::{Rabbit, Story, secs, until};
use crate::site::PATIENCE;

const CONFIG: &str = r#"
rules:
  - name: each
    topics: [story.each]
    do: [{ tasks: [check], item: "{{ body.n }}", item_type: number }]
tasks:
  check: { run: ["true"] }
"#;

const QUEUE: &str = "recorder-story";

struct Play {
    site: Installation,
    rabbit: Rabbit,
    published: usize,
}

impl Play {
    fn open() -> Play {
        let rabbit = Rabbit::start();
        Publisher::connect(rabbit.url()).declare(QUEUE);
        let story = Story::new();
        story.write("config/all.yml", CONFIG);
        story.write("recorder.toml", format!("[trigger.amqp]\nexchange = {QUEUE:?}\n"));
        let settings =
            format!("[trigger.amqp]\nurls = [{:?}]\nqueue = {QUEUE:?}\nexchange = {QUEUE:?}\n", rabbit.url());
        let mut site = Installation::new(story, &settings);
        site.start_ready();
        until(PATIENCE, "the trigger to listen", || {
            let trigger = site.look("/api/v1/triggers")?["items"][0].clone();
            if trigger["listening_since"].is_string() { Ok(()) } else { Err(trigger.to_string()) }
        });
        Play { site, rabbit, published: 0 }
    }

    fn publish(&mut self, count: usize) {
        let publisher = Publisher::connect(self.rabbit.url());
        for n in self.published..self.published + count {
            publisher.publish(QUEUE, "story.each", &format!("m{n}"), &json!({ "n": n }).to_string());
        }
        self.published += count;
    }

    fn record(&self, name: &str, more: &[&str]) -> Process {
        let mut command = self.site.story.taskotron();
        command.args(["record", "--config", "config", "--amqp", self.rabbit.url()]);
        if !more.contains(&"--settings") {
            command.args(["--settings", "recorder.toml"]);
        }
        command.args(["--out", &format!("{name}.csv")]).args(more);
        self.site.story.start(name, command)
    }

    /// Waits until a recorder has begun to listen so many times.
    fn listens(&self, recorder: &mut Process, times: usize) {
        until(PATIENCE, "the recorder to listen", || {
            assert_eq!(recorder.ended(), None, "{}", recorder.err());
            let said = recorder.err();
            if said.matches("consuming queue").count() >= times { Ok(()) } else { Err(said) }
        });
    }

    fn rows(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.site.story.path(format!("{name}.csv"))).unwrap_or_default();
        text.lines().skip(1).filter_map(|row| row.rsplit(',').next()).map(str::to_owned).collect()
    }

    /// Waits until all that was published is with the master and in these recorders' files.
    fn arrived(&self, recorders: &[&str]) {
        until(PATIENCE, "all events to arrive everywhere", || {
            let recorded = self.site.look("/api/v1/status")?["intake"]["forwarded"].clone();
            let rows: Vec<usize> = recorders.iter().map(|name| self.rows(name).len()).collect();
            let all = recorded == self.published && rows.iter().all(|rows| *rows == self.published);
            if all { Ok(()) } else { Err(format!("{recorded} of {}, {rows:?}", self.published)) }
        });
    }

    fn missed(&self, since: &str, name: &str) -> Ran {
        let file = format!("{name}.csv");
        let arguments = ["missed", "--since", since, "--against", &file, "-o", "csv", "--exit-code"];
        let mut command = self.site.as_operator(self.site.story.taskotron());
        command.args(arguments);
        self.site.story.run(secs(180), command)
    }
}

#[test]
fn a_recorder_beside_a_live_trigger_survives_the_broker_and_knows_what_it_lacks() {
    let mut play = Play::open();
    // The trigger's own queue would be shared, so it is refused, and nothing stands in the way of the next try.
    let mut refused = play.record("refused", &["--queue", QUEUE]);
    assert_eq!(refused.wait(PATIENCE).code(), Some(3), "{}", refused.err());
    assert!(refused.err().contains("has a consumer already"), "{}", refused.err());
    assert!(!play.site.story.path("refused.csv").exists());

    // The same where it is the queue of the settings, also while nobody consumes it.
    let mut named = play.record("named", &["--settings", "taskotron.toml", "--queue", QUEUE]);
    assert_eq!(named.wait(PATIENCE).code(), Some(3), "{}", named.err());
    assert!(named.err().contains("is the trigger's"), "{}", named.err());

    // One whose queue lives on without it, and one whose queue goes with its connection.
    let mut kept = play.record("kept", &["--queue", "recorder-story-of-its-own"]);
    let mut passing = play.record("passing", &[]);
    play.listens(&mut kept, 1);
    play.listens(&mut passing, 1);
    let since = net::clock::now().to_string();
    play.publish(20);
    play.arrived(&["kept", "passing"]);

    play.rabbit.settle();
    play.rabbit.kill();
    play.rabbit.start_again();
    play.listens(&mut kept, 2);
    play.listens(&mut passing, 2);
    let after = net::clock::now().to_string();
    play.publish(20);
    play.arrived(&["kept", "passing"]);
    for recorder in [&mut kept, &mut passing] {
        assert_eq!(recorder.stop(PATIENCE).code(), Some(0), "{}", recorder.err());
    }
    let jobs: Vec<_> = (0..play.published)
        .map(|n| [format!("m{n}"), "check".into(), "number".into(), n.to_string(), "noarch".into()])
        .collect();
    let wanted = keys(&play.site.story, &jobs);
    for name in ["kept", "passing"] {
        assert_same(&format!("rows of {name}.csv"), wanted.clone(), play.rows(name));
    }
    assert_same("jobs", wanted, play.site.all("jobs").iter().map(|job| text(&job["key"])));

    // Both have everything; but only one can know that.
    let missed = play.missed(&since, "kept");
    assert_eq!((missed.code, missed.out.lines().count()), (Some(0), 1), "{missed:?}");
    let missed = play.missed(&since, "passing");
    assert_eq!((missed.code, missed.out.as_str()), (Some(6), ""), "{missed:?}");
    assert!(missed.err.contains("passing.csv lacks what the bus sent from"), "{missed:?}");
    let missed = play.missed(&after, "passing");
    assert_eq!((missed.code, missed.out.lines().count()), (Some(0), 1), "{missed:?}");
    // What it was before anybody listened, and what comes after the end of the reference.
    let missed = play.missed("2020-01-01T00:00:00Z", "kept");
    assert!(missed.code == Some(6) && missed.err.contains("from 2020-01-01T00:00:00Z to"), "{missed:?}");

    assert_eq!(play.site.stop(PATIENCE).code(), Some(0));
    play.site.assert_nothing_left();
    play.site.assert_sound();
}

#[test]
fn a15_a_reference_that_is_not_whole_is_no_reference() {
    let mut play = Play::open();
    let mut recorder = play.record("whole", &[]);
    play.listens(&mut recorder, 1);
    let since = net::clock::now().to_string();
    play.publish(5);
    play.arrived(&["whole"]);
    assert_eq!(recorder.stop(PATIENCE).code(), Some(0), "{}", recorder.err());
    let log = play.site.story.path("whole.csv.events.jsonl");
    let whole = std::fs::read_to_string(&log).expect("the log is there");
    let cannot = |why: &str| {
        let missed = play.missed(&since, "whole");
        assert_eq!((missed.code, missed.out.as_str()), (Some(6), ""), "{missed:?}");
        assert!(missed.err.contains(why), "{why}: {missed:?}");
    };
    let lines: Vec<&str> = whole.lines().collect();
    let third = lines.iter().position(|line| line.contains("\"m2\"")).expect("it was recorded");
    let without = [&lines[..third], &lines[third + 1..]].concat().join("\n") + "\n";
    std::fs::write(&log, without).unwrap();
    cannot("is damaged or cut behind event 2");
    std::fs::write(&log, whole.replacen("\"m2\"", "\"mx\"", 1)).unwrap();
    cannot("is damaged or cut behind event 2");
    std::fs::remove_file(&log).unwrap();
    cannot("copy the event log with it");
    // A trigger that is silent may have anything.
    std::fs::write(&log, whole).unwrap();
    assert_eq!(play.missed(&since, "whole").code, Some(0));
    play.site.kill();
    let missed = play.missed(&since, "whole");
    assert_eq!((missed.code, missed.out.as_str()), (Some(6), ""), "{missed:?}");
}
