//! Events over HTTP: whoever was answered 200 can forget them, whatever happens to the trigger.

use net::{Grant, Secret, Tokens};
use serde_json::{Value, json};

use crate::installation::{Installation, PATIENCE};
use crate::kit::http::{self, Reply};
use crate::kit::process::Process;
use crate::kit::{Story, ports, until};

const RULES: &str = r#"
rules:
  - name: all
    topics: ["story.#"]
    do: [{ tasks: [quick], item: "{{ body.n }}", item_type: number }]
tasks:
  quick: { run: ["true"] }
"#;

fn event(n: usize) -> Value {
    json!({"id": format!("e{n}"), "topic": "story.n", "body": {"n": n}})
}

fn installation() -> Installation {
    let story = Story::new();
    story.write("config/all.yml", RULES);
    let mut site = Installation::new(story, "");
    site.start_ready();
    site
}

fn token(site: &Installation, role: &str) -> String {
    std::fs::read_to_string(site.data(&format!("{role}.token"))).unwrap()
}

#[test]
fn what_is_posted_is_recorded_once_and_each_event_is_answered() {
    let mut site = installation();
    let submitter = token(&site, "submitter");
    let url = format!("{}/events", site.url());
    let post = |body: String| http::post(&url, "application/json", body).bearer(&submitter).send().unwrap();

    // It listens a little before its trigger has opened the event log.
    let one = until(PATIENCE, "an event to be taken", || match post(event(0).to_string()) {
        reply if reply.status == 503 => Err(reply),
        reply => Ok(reply),
    });
    assert_eq!(one.status, 200, "{one:?}");
    let answer = json!({"recorded": 1, "duplicates": 0, "quarantined": 0,
        "events": [{"answer": "recorded", "id": "e0", "seq": 1}]});
    assert_eq!(one.json(), answer);

    let array = post(json!([event(0), event(1), {"id": "x", "body": {}}, 7]).to_string()).json();
    let answers = json!([
        {"answer": "duplicate", "id": "e0"},
        {"answer": "recorded", "id": "e1", "seq": 2},
        {"answer": "quarantined", "reason": "no-topic"},
        {"answer": "quarantined", "reason": "json-number"},
    ]);
    assert_eq!(array["events"], answers);
    let lines = (2..1500).map(|n| event(n).to_string() + "\n").collect::<String>();
    assert_eq!(post(lines).json()["recorded"], 1498);

    // With curl, as people do it.
    let mut curl = site.story.command("curl");
    curl.args(["--silent", "--show-error", "--fail-with-body", "-H"]);
    curl.arg(format!("Authorization: Bearer {}", submitter.trim())).arg(&url);
    curl.args(["--data-binary", &event(1500).to_string()]);
    let ran = site.story.run(PATIENCE, curl);
    assert!(ran.out.contains(r#""recorded":1"#), "{ran:?}");

    for (status, body, named) in [
        (400, event(7).to_string()[..20].to_owned(), "is not JSON, and nothing of it is taken"),
        (400, String::new(), "is empty"),
        (400, "{}".repeat(10_001), "more than 10000 events"),
        (413, " ".repeat((16 << 20) + 1), "over 16777216 bytes"),
    ] {
        let reply = post(body);
        assert_eq!((reply.status, reply.text().contains(named)), (status, true), "{named}: {}", reply.text());
    }
    let as_role = |role: &str| {
        let request = http::post(&url, "application/json", event(8).to_string());
        let request = if role.is_empty() { request } else { request.bearer(&token(&site, role)) };
        request.send().unwrap().status
    };
    assert_eq!(["", "reader", "worker", "trigger", "operator"].map(as_role), [401, 403, 403, 403, 200]);

    let status = site.settled(PATIENCE);
    assert_eq!(status["intake"], json!({"recorded": 1501, "forwarded": 1501, "quarantined": 2}));
    assert_eq!(status["jobs"]["finished"], 1501);
    assert_eq!(site.get("/api/v1/events/e1")["event"]["source"], "webhook:submitter");
    assert_eq!(site.stop(PATIENCE).code(), Some(0));
    site.assert_nothing_left();
    site.assert_sound();
}

/// A trigger of its own beside the installation, that takes events in at a port.
struct Hook {
    port: u16,
}

impl Hook {
    fn new(site: &Installation) -> Hook {
        let grant = Grant { name: "forge".into(), role: model::Role::Submitter, expires: None };
        site.story.write("tokens", Tokens::line(&Secret::new("of-the-forge"), &grant).unwrap());
        let settings = format!(
            "[tokens]\nfile = {:?}\n[trigger]\nname = \"hook\"\ndir = {:?}\ntoken_file = {:?}\n",
            site.story.path("tokens"),
            site.story.path("hook"),
            site.data("trigger.token")
        );
        site.story.write("hook.toml", settings);
        Hook { port: ports::free() }
    }

    fn start(&self, site: &Installation, master: &str) -> Process {
        let mut command = site.story.taskotron();
        command.args(["trigger", "--settings", "hook.toml", "--config", "config", "--master", master]);
        command.args(["--listen", &format!("127.0.0.1:{}", self.port)]);
        let started = site.story.start("hook", command);
        until(PATIENCE, "the trigger to be ready", || match self.get("/readyz") {
            Ok(reply) if reply.status == 200 => Ok(()),
            other => Err(other),
        });
        started
    }

    fn get(&self, path: &str) -> std::io::Result<Reply> {
        http::get(&format!("http://127.0.0.1:{}{path}", self.port)).bearer("of-the-forge").send()
    }

    fn post(&self, body: String) -> std::io::Result<Reply> {
        let url = format!("http://127.0.0.1:{}/events", self.port);
        http::post(&url, "application/json", body).bearer("of-the-forge").send()
    }
}

#[test]
fn a_trigger_that_is_killed_between_its_answer_and_forwarding_loses_nothing() {
    let mut site = installation();
    let hook = Hook::new(&site);
    let nobody = format!("http://127.0.0.1:{}", ports::free());
    for round in 0..5 {
        let mut trigger = hook.start(&site, &nobody);
        for n in [2 * round, 2 * round + 1] {
            let reply = hook.post(event(n).to_string()).unwrap();
            assert_eq!((reply.status, reply.json()["recorded"].clone()), (200, json!(1)), "{reply:?}");
        }
        trigger.kill();
    }
    assert_eq!(site.get("/api/v1/status")["intake"]["recorded"], 0, "the master knows of nothing yet");

    let mut trigger = hook.start(&site, site.url());
    let metrics = hook.get("/metrics").unwrap().text();
    assert!(metrics.contains("taskotron_trigger_events_recorded_total 10\n"), "{metrics}");
    let again = hook.post((0..10).map(event).collect::<Value>().to_string()).unwrap().json();
    assert_eq!((&again["recorded"], &again["duplicates"]), (&json!(0), &json!(10)));
    until(PATIENCE, "every job to finish, and the trigger to have told so", || {
        let status = site.look("/api/v1/status")?;
        let all = status["jobs"]["finished"] == 10 && status["intake"]["forwarded"] == 10;
        if all { Ok(()) } else { Err(status.to_string()) }
    });
    let mut ids: Vec<_> = site.all("events").iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    assert_eq!(ids, (0..10).map(|n| format!("e{n}")).collect::<Vec<_>>());
    assert_eq!(trigger.stop(PATIENCE).code(), Some(0));
    assert_eq!(site.stop(PATIENCE).code(), Some(0));
    site.assert_nothing_left();
    site.assert_sound();
}
