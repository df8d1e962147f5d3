//! What a task asks to be kept within, from its configuration to what people are told of it.

use serde_json::json;

use crate::installation::{Installation, PATIENCE};
use crate::kit::{Story, until};

const TASKS: &str = r#"
tasks:
  hog:
    run: [sh, -c, 'echo begun >$TASKOTRON_ARTIFACTS/begun; exec python3 -c "x = bytes(1) * (1 << 30)"']
    limits: { memory: 64MiB, processes: 64 }
  trusted: { run: ["true"], sandbox: none }
"#;

#[test]
fn a_job_over_its_limit_is_an_error_and_one_that_nobody_can_bound_waits_and_says_for_what() {
    let story = Story::new();
    story.write("config/tasks.yml", TASKS);
    story.write("jobs.csv", "item,item_type,task,arch\nbig,x,hog,noarch\nfree,x,trusted,noarch\n");
    let mut site = Installation::new(story, "");
    site.start_ready();
    let mut submit = site.as_operator(site.story.jobrunner());
    submit.arg("jobs.csv");
    assert_eq!(site.story.run(PATIENCE, submit).code, Some(0));

    let job = |task: &str| {
        let found = site.all("jobs").into_iter().find(|job| job["task"] == task);
        found.expect("it was submitted")
    };
    until(PATIENCE, "the hog to end", || if job("hog")["state"] == "finished" { Ok(()) } else { Err(job("hog")) });
    let hog = job("hog");
    assert_eq!((&hog["end"]["how"], &hog["outcome"]), (&json!("over_limit"), &json!("ERROR")), "{hog}");
    let id = hog["id"].as_str().expect("an id");
    let shown = site.taskotron(&["job", "show", id]).out;
    assert!(shown.contains("went over its limit of memory") && shown.contains("memory: 64MiB, by cgroup v"), "{shown}");
    assert!(site.taskotron(&["job", "artifacts", id]).out.contains("artifacts/begun"), "what it left is kept");
    let detail = site.get(&format!("/api/v1/jobs/{id}"));
    let enforced = &detail["attempts_made"][0]["enforced"];
    assert!(enforced["sandbox"].as_str().is_some_and(|how| how != "none"), "{enforced}");
    assert_eq!(detail["needs"], json!(["limit:memory", "limit:processes"]));

    let why = site.taskotron(&["job", "why", job("trusted")["id"].as_str().expect("an id")]).out;
    assert!(why.contains("needs sandbox:none; no connected worker offers it"), "{why}");
    assert_eq!(job("trusted")["state"], "queued");
    assert_eq!(site.stop(PATIENCE).code(), Some(0));
    site.assert_nothing_left();
    site.assert_sound();
}
