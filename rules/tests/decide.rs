//! From an event to jobs and verdicts.

use model::{Event, JobId, Time};
use rules::{Configuration, Verdict};
use serde_json::{Value, json};

const TASKS: &str = "tasks:\n  a: { run: [\"true\"], priority: 3 }\n  b: { run: [\"true\"] }\n";

fn configuration(text: &str) -> Configuration {
    let files = [("rules.yml".to_owned(), text.to_owned()), ("tasks.yml".to_owned(), TASKS.to_owned())];
    Configuration::parse(&files).unwrap_or_else(|faults| panic!("{faults}"))
}

fn event(topic: &str, body: Value) -> Event {
    let Value::Object(body) = body else { panic!("a body is an object") };
    Event {
        id: "e1".into(),
        topic: topic.into(),
        sent_at: None,
        headers: Default::default(),
        body,
        source: "test".into(),
    }
}

fn verdicts(configuration: &Configuration, event: &Event) -> String {
    let said = configuration.verdicts(event, Time::default());
    let line = |v: &Verdict| format!("{} {}: {}", if v.matched { "+" } else { "-" }, v.rule, v.why);
    said.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn an_element_that_cannot_be_rendered_makes_no_job_and_all_else_stands() {
    let configuration = configuration(
        r#"
rules:
  - name: each
    topics: [update]
    do:
      - { tasks: [a], for_each: body.builds, item: "{{ each.nvr }}", item_type: build, arches: ["{{ each.arch | default('noarch') }}"] }
      - { tasks: [b], item: "{{ body.repo }}", item_type: repo }
      - { tasks: [b], for_each: body.nothing, item: x, item_type: y }
      - { tasks: [b], item: "{{ body.title }}", item_type: 7 }
"#,
    );
    let body = json!({"builds": [{"nvr": "x-1"}, {"nvr": null}, {}, {"nvr": "y-2", "arch": "s390x"}], "repo": {"name": "r"}, "title": true});
    let event = event("update", body);
    insta::assert_snapshot!(verdicts(&configuration, &event), @r"
    + each: asks for a on x-1, a on y-2 (s390x), b on true; cannot render item: each.nvr is null; cannot render item: each.nvr: field absent; cannot render item: body.repo is a mapping; for_each body.nothing: field absent
    ");
    let decision = configuration.decide(&event, Time::default());
    let jobs: Vec<_> =
        decision.jobs.iter().map(|j| format!("{} {} {} {}", j.task, j.item_type, j.item, j.arch)).collect();
    assert_eq!(jobs, ["a build x-1 noarch", "a build y-2 s390x", "b 7 true noarch"]);
    assert_eq!(decision.unrendered.len(), 4);
    assert_eq!(decision.jobs[0].key, JobId::of("e1", "a", "build", "x-1", "noarch"));
}

#[test]
fn what_two_rules_ask_for_is_asked_for_once() {
    let configuration = configuration(
        r#"
kinds: [{ name: K, topics: [k], fields: { item: "{{ body.x }}", item_type: t }, dedup: "build {{ body.x }}" }]
rules:
  - { name: first, kind: K, priority: 9, expires: 1h, params: { n: "{{ body.x }}" }, do: [{ tasks: [a] }] }
  - { name: second, topics: [k], do: [{ tasks: [a, b], item: "{{ body.x }}", item_type: t }] }
"#,
    );
    let event = event("k", json!({"x": 5}));
    insta::assert_snapshot!(verdicts(&configuration, &event), @r"
    + first: asks for a on 5
    + second: asks for b on 5; a on 5 is already asked for by rule first
    ");
    let now = Time(1_000_000);
    let jobs = configuration.decide(&event, now).jobs;
    assert_eq!(jobs.len(), 2);
    assert_eq!((jobs[0].rule.as_str(), jobs[0].priority), ("first", 9));
    assert_eq!(jobs[0].key, JobId::of("build 5", "a", "t", "5", "noarch"));
    assert_eq!(jobs[0].expires_at, Some(Time(3_601_000_000)));
    assert_eq!(jobs[0].params["n"], "5");
    assert_eq!(jobs[1].key, JobId::of("e1", "b", "t", "5", "noarch"));
}

#[test]
fn an_event_that_made_no_job_can_say_why() {
    let configuration = configuration(
        r#"
kinds: [{ name: Broken, topics: ['#'], fields: { item: "{{ body.gone }}", item_type: t } }]
rules:
  - { name: other-topic, topics: [a.*, 'b.#'], do: [{ tasks: [a], item: x, item_type: y }] }
  - { name: build, kind: KojiBuildCompleted, do: [{ tasks: [a] }] }
  - { name: broken, kind: Broken, do: [{ tasks: [a] }] }
  - { name: clause, topics: ['#'], when: { body.new: { $lt: 2 }, body.owner: me }, do: [{ tasks: [a], item: x, item_type: y }] }
"#,
    );
    let event = event("org.fedoraproject.prod.buildsys.build.state.change", json!({"attribute": "state", "new": 3}));
    insta::assert_snapshot!(verdicts(&configuration, &event), @r"
    - other-topic: topic is org.fedoraproject.prod.buildsys.build.state.change, wants a.* or b.#
    - build: not of kind KojiBuildCompleted: body.new is 3, wants 1
    - broken: not of kind Broken: cannot render item: body.gone: field absent
    - clause: body.new is 3, wants less than 2
    ");
    assert!(configuration.decide(&event, Time::default()).matched.is_empty());
}

#[test]
fn an_own_kind_replaces_the_shipped_one_whole() {
    let configuration = configuration(
        "kinds: [{ name: CiMessage, topics: [mine], fields: { item: \"{{ id }}\", item_type: t } }]\nrules: [{ name: r, kind: CiMessage, do: [{ tasks: [a] }] }]\n",
    );
    assert_eq!(configuration.topics(), ["mine"]);
    assert_eq!(configuration.decide(&event("mine", json!({})), Time::default()).jobs[0].priority, 3);
}

#[test]
fn dedup_that_cannot_be_rendered_leaves_the_events_id() {
    let configuration = configuration(
        "kinds: [{ name: K, topics: [k], fields: { item: i, item_type: t }, dedup: \"{{ body.build_id }}\" }]\nrules: [{ name: r, kind: K, do: [{ tasks: [a] }] }]\n",
    );
    let decision = configuration.decide(&event("k", json!({})), Time::default());
    assert_eq!(decision.jobs[0].key, JobId::of("e1", "a", "t", "i", "noarch"));
    insta::assert_snapshot!(decision.unrendered.join("\n"), @r"
    rule r: cannot render dedup: body.build_id: field absent; the event's id stands in for it
    ");
}

#[test]
fn an_endless_template_ends_in_a_verdict() {
    let text = r#"
rules:
  - name: r
    topics: [k]
    do:
      - { tasks: [a], item: "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}", item_type: t }
      - { tasks: [b], item: "{{ id }}", item_type: t }
"#;
    insta::assert_snapshot!(verdicts(&configuration(text), &event("k", json!({}))), @r"
    + r: asks for b on e1; cannot render item: it takes more than 20000 steps
    ");
}

#[test]
fn a_rules_own_tests_say_what_is_wrong() {
    let text = r#"
rules:
  - name: r
    topics: [k]
    when: { body.new: 1 }
    do: [{ tasks: [a], item: "{{ body.x }}", item_type: t, arches: [x86_64] }]
    tests:
      - { event: { topic: k, body: { new: 1, x: 5 } }, jobs: [{ task: a, item: 5, arch: x86_64 }] }
      - { event: { topic: k, body: { new: 1, x: 5 } }, jobs: [{ task: a, item: 6 }] }
      - { event: { topic: k, body: { new: 2, x: 5 } }, jobs: [{ task: a, item: 5, item_type: t }] }
      - { event: { topic: k, body: { new: 1 } }, jobs: [] }
      - { event: { topic: k, body: { new: 1, x: 5 } }, jobs: [] }
"#;
    let failures: Vec<String> = configuration(text).check().iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(failures.join("\n"), @r"
    rules.yml:9: rule r, test 2: wants a on 6, which was not made; made a on 5 (x86_64), which it does not want
    rules.yml:10: rule r, test 3: wants a on 5 (t), which was not made; body.new is 2, wants 1
    rules.yml:12: rule r, test 5: made a on 5 (x86_64), which it does not want
    ");
}

#[test]
fn a_configuration_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Configuration>();
}

#[test]
fn a_list_or_a_text_beyond_all_measure_makes_no_job_of_that_do_and_says_so() {
    let configuration = configuration(
        r#"
rules:
  - name: many
    topics: [update]
    do:
      - { tasks: [a, b], for_each: body.builds, item: "{{ each }}", item_type: build }
      - { tasks: [b], for_each: body.few, item: "{{ each }}{{ body.long }}", item_type: build }
      - { tasks: [b], item: "{{ id }}", item_type: update }
"#,
    );
    let builds: Vec<_> = (0..5_001).collect();
    let few: Vec<_> = (0..100).collect();
    let event = event("update", json!({"builds": builds, "few": few, "long": "x".repeat(60_000)}));
    let decision = configuration.decide(&event, Time::default());
    assert_eq!(decision.jobs.iter().map(|j| j.item.as_str()).collect::<Vec<_>>(), ["e1"]);
    assert_eq!(
        decision.unrendered,
        [
            "rule many: for_each body.builds asks for 10002 jobs, more than 10000",
            "rule many: asks for jobs with more than 4194304 bytes of text in all"
        ]
    );
}

#[test]
fn a_job_carries_its_policy_and_the_verdict_tells_it() {
    let configuration = configuration(
        r#"
rules:
  - name: push
    topics: [push]
    supersede: { key: "{{ body.repo }}#{{ body.branch | default('') }}", policy: cancel-previous }
    quiet: 30s
    do: [{ tasks: [a], item: "{{ body.repo }}", item_type: repo }]
  - name: deploy
    topics: [push]
    supersede: { key: "{{ body.stage }}", policy: serial }
    do: [{ tasks: [b], item: "{{ body.repo }}", item_type: repo }]
  - name: none
    topics: [push]
    supersede: { policy: none }
    do: [{ tasks: [b], item: other, item_type: repo }]
"#,
    );
    let push = event("push", json!({"repo": "foo", "branch": "main", "stage": "lab"}));
    insta::assert_snapshot!(verdicts(&configuration, &push), @r"
    + push: asks for a on foo, cancel-previous on foo#main after 30s of quiet
    + deploy: asks for b on foo, serial on lab
    + none: asks for b on other
    ");
    let jobs = configuration.decide(&push, Time::default()).jobs;
    let supersede = json!({"key": "foo#main", "policy": "cancel-previous", "quiet": "30s"});
    assert_eq!(json!(jobs[0])["supersede"], supersede);
    assert_eq!(jobs[2].supersede, None);
    // A key that cannot be told is no key: such jobs would wait for each other, or end each other, without a reason.
    let nowhere = event("push", json!({"repo": "foo", "stage": " "}));
    insta::assert_snapshot!(verdicts(&configuration, &nowhere), @r"
    + push: asks for a on foo, cancel-previous on foo# after 30s of quiet
    + deploy: matches and makes no job; supersede.key prints nothing, which would be the key of too many
    + none: asks for b on other
    ");
}

#[test]
fn a_verdict_says_what_is_looked_for() {
    let text = r#"
tasks:
  dist-git: { run: ["true"], source: { git: "https://h/x.git", discover: tests/*/run.sh } }
rules:
  - name: push
    topics: [a.b]
    do: [{ tasks: [dist-git], item: "{{ id }}", item_type: x, arches: [a, b] }]
"#;
    let configuration =
        Configuration::parse(&[("t.yml".into(), text.into())]).unwrap_or_else(|faults| panic!("{faults}"));
    let verdicts = configuration.verdicts(&event("a.b", json!({})), Time(0));
    assert_eq!(verdicts[0].jobs.len(), 2);
    let why = &verdicts[0].why;
    assert!(why.ends_with("; dist-git is looked for: one job a folder with tests/*/run.sh"), "{why}");
}
