//! `taskotron run`: what an author has at home of a task that comes from a repository, and of a job that ran elsewhere.

use std::fs;

use serde_json::{Value, json};

use crate::installation::{Installation, PATIENCE};
use crate::kit::count::text;
use crate::kit::story::Ran;
use crate::kit::{Story, secs, until};
use crate::upstream::Upstream;

/// Says what it was given, and passes.
const SAY: &str = "echo \"version $(cat version) level $1\"\ncat \"${TASKOTRON_EVENT:-/dev/null}\"\n";

fn configuration(git: &str) -> String {
    format!(
        r#"
tasks:
  say:
    source: {{ git: "{git}", ref: ["{{{{ params.branch | default('none') }}}}", main], path: checks }}
    run: [sh, say.sh, "{{{{ params.level }}}}"]
    limits: {{ files: 256 }}
  strict: {{ source: {{ git: "{git}", ref: "{{{{ params.branch }}}}" }}, run: ["true"] }}
rules:
  - name: say
    topics: [story.say]
    params: {{ level: "{{{{ body.level }}}}" }}
    do: [{{ tasks: [say], item: "{{{{ body.item }}}}", item_type: number }}]
"#
    )
}

#[test]
fn a_real_job_runs_again_at_home_exactly_and_a_task_at_what_its_ref_stands_for() {
    let home = Story::new();
    let task = Upstream::empty(&home, "task");
    task.write("checks/say.sh", SAY);
    let first = task.push("v1", "main");
    let story = Story::new();
    story.write("config/all.yml", configuration(&task.url()));
    let mut it = Installation::new(story, "[master.mirrors]\nprotocols = [\"file\"]\ninterval = \"1h\"\n");
    it.start_ready();
    it.tell(&json!({"id": "e1", "topic": "story.say", "body": {"item": "one", "level": 7}}));
    let job = until(PATIENCE, "the event to have its job", || {
        let jobs = it.look("/api/v1/jobs")?;
        jobs["items"][0]["id"].as_str().map(str::to_owned).ok_or("none yet".to_owned())
    });
    it.settled(secs(60));
    let second = task.push("v2", "main");
    task.git(&["checkout", "--quiet", "-B", "f41"]);
    let branch = task.push("branch", "f41");
    let run = |arguments: &[&str]| -> (Ran, Value) {
        let mut all = vec!["run", "-o", "json", "--settings", "taskotron.toml"];
        all.extend(arguments);
        let ran = it.taskotron(&all);
        let found = serde_json::from_str(&ran.out).unwrap_or_default();
        (ran, found)
    };

    // Its commit, its parameters and its event, whatever was pushed since.
    let again = |arguments: &[&str]| {
        let (ran, found) = run(&[&["--job", &job], arguments].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!((&found["source"]["commit"], &found["source"]["path"]), (&json!(first), &json!("checks")));
        assert!(ran.err.contains("version v1 level 7") && ran.err.contains("\"id\":\"e1\""), "{ran:?}");
    };
    again(&[]);

    // A task that is named runs what its ref stands for now.
    for (arguments, commit, said) in [
        (&["--param", "level=3"][..], &second, "version v2 level 3"),
        (&["--param", "level=3", "--param", "branch=f41"], &branch, "version branch level 3"),
        (&["--param", "level=4", "--param", &format!("branch={first}")], &first, "version v1 level 4"),
    ] {
        let (ran, found) = run(&[&["say", "--item", "x", "--config", "config"], arguments].concat());
        assert_eq!((ran.code, &found["source"]["commit"]), (Some(0), &json!(commit)), "{ran:?}");
        assert!(ran.err.contains(said) && !ran.err.contains("does not offer"), "{ran:?}");
    }
    let (ran, _) = run(&["strict", "--item", "x", "--config", "config", "--param", "branch=f99"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains(&format!("{} has no branch or tag f99", task.url())), "{ran:?}");

    // Where the repository cannot be had, the master has what its job ran, for those who may order jobs.
    fs::rename(task.bare(), home.path("gone.git")).unwrap();
    let (ran, _) = run(&["say", "--item", "x", "--config", "config", "--param", "level=3"]);
    assert_eq!(ran.code, Some(6), "{ran:?}");
    assert!(ran.err.contains(&format!("cannot ask {} for none, else main: ", task.url())), "{ran:?}");
    again(&[]);
    again(&["--token-file", "data/submitter.token"]);
    let (ran, found) = run(&["--job", &job, "--token-file", "data/reader.token"]);
    assert_eq!((ran.code, &found["outcome"]), (Some(1), &json!("ERROR")), "{ran:?}");
    let why = text(&found["results"][0]["note"]);
    let told = [format!("cannot fetch {} at {first}: ", task.url()), "operators and submitters: ".to_owned()];
    assert!(told.iter().all(|part| why.contains(part)), "{why}");
    it.stop(secs(30));
    it.assert_sound();
    it.assert_nothing_left();
}
