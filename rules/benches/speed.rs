//! How fast events are decided. Run it with `cargo bench -p rules`.

use std::time::Instant;

use model::{Event, Time};
use rules::Configuration;
use serde_json::json;

/// 200 rules of which half look at a kind, and half at topics of their own.
fn configuration() -> Configuration {
    let mut text = String::from("tasks: { noop: { run: ['true'] } }\nrules:\n");
    for n in 0..100 {
        text += &format!(
            "  - {{ name: kind-{n}, kind: KojiBuildCompleted, when: {{ name: package-{n} }}, do: [{{ tasks: [noop] }}] }}\n"
        );
        text += &format!(
            "  - {{ name: topic-{n}, topics: ['org.fedoraproject.*.service-{n}.#'], do: [{{ tasks: [noop], item: '{{{{ id }}}}', item_type: x }}] }}\n"
        );
    }
    Configuration::parse(&[("rules.yml".into(), text)]).expect("the rules are ours")
}

fn event(topic: &str, name: &str) -> Event {
    let filler: Vec<_> = (0..20).map(|n| json!({"n": n, "text": "some text of a usual length"})).collect();
    let body = json!({"attribute": "state", "new": 1, "name": name, "version": "1", "release": "2", "build_id": 1,
        "instance": "primary", "filler": filler});
    let body = body.as_object().cloned().expect("it is an object");
    Event {
        id: "1".into(),
        topic: topic.into(),
        sent_at: None,
        headers: Default::default(),
        body,
        source: String::new(),
    }
}

fn main() {
    let start = Instant::now();
    let configuration = configuration();
    println!("200 rules are read in {:?}", start.elapsed());
    let build = "org.fedoraproject.prod.buildsys.build.state.change";
    for (what, event, jobs) in [
        ("no topic fits", event("org.fedoraproject.prod.bodhi.update.comment", "vim"), 0),
        ("100 conditions fail", event(build, "vim"), 0),
        ("one job", event(build, "package-7"), 1),
    ] {
        let (start, rounds) = (Instant::now(), 20_000_u32);
        for _ in 0..rounds {
            assert_eq!(configuration.decide(&event, Time::default()).jobs.len(), jobs);
        }
        println!("{what}: {:.0} events/s", f64::from(rounds) / start.elapsed().as_secs_f64());
    }
}
