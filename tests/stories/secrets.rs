//! Secrets: given to the tasks that may have them and to no other, as files that are gone with the job; in no log, no
//! database, no environment; and each use on record.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::installation::Installation;
use crate::kit::count::text;
use crate::kit::{Database, Story, secs, until};
use crate::site::PATIENCE;

const OF_WORKER: &str = "worker-hunter2-4711";
const OF_MASTER: &str = "master-hunter2-0815";

const TASKS: &str = r#"
tasks:
  both:
    secrets: [koji, pulp]
    run: [sh, -c, 'cd "$TASKOTRON_SECRETS" && stat -c "%n %a" . koji pulp && cat koji pulp && base64 pulp && env &&
          printf "got:" && sha256sum <koji && grep -qx "master-.*-0815" pulp']
  none: { run: [sh, -c, 'echo "[$TASKOTRON_SECRETS]"'] }
  greedy: { secrets: [koji], run: [cat, "$TASKOTRON_SECRETS/koji"] }
  long: { secrets: [koji], run: [sh, -c, 'echo "at $TASKOTRON_SECRETS"; exec sleep 1000'] }
"#;

fn site() -> Installation {
    let story = Story::new();
    story.write("config/tasks.yml", TASKS);
    let secret = |name: &str, value: &str| {
        let path = story.write(name, format!("{value}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
        path
    };
    let (worker, master) = (secret("kept/koji", OF_WORKER), secret("kept/pulp", OF_MASTER));
    let settings = format!(
        "[worker.secrets]\nkoji = {{ file = {worker:?}, tasks = [\"both\", \"long\"] }}\n\
         [master.secrets]\npulp = {{ file = {master:?}, tasks = [\"both\"] }}\n"
    );
    Installation::new(story, &settings)
}

fn submit(site: &Installation, task: &str) -> String {
    site.story.write("one.csv", format!("item,item_type,task,arch\n{task}-item,thing,{task},\n"));
    let mut command = site.as_operator(site.story.jobrunner());
    command.arg("one.csv");
    let ran = site.story.run(PATIENCE, command);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let jobs = site.all("jobs");
    text(&jobs.iter().find(|job| job["task"] == task).expect("it was made")["id"])
}

fn ended(site: &Installation, job: &str) -> Value {
    until(PATIENCE, "the job to end", || {
        let job = site.look(&format!("/api/v1/jobs/{job}"))?;
        if job["finished_at"].is_null() { Err(job.to_string()) } else { Ok(job) }
    })
}

fn log(site: &Installation, job: &str) -> String {
    let ran = site.taskotron(&["job", "log", job]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.out
}

/// Every file below a folder that holds one of the values.
fn holding(folder: PathBuf) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if entry.is_symlink() {
                continue;
            }
            if entry.is_dir() {
                folders.push(entry);
            } else {
                let bytes = fs::read(&entry).unwrap_or_default();
                let holds = |value: &str| bytes.windows(value.len()).any(|window| window == value.as_bytes());
                found.extend((holds(OF_WORKER) || holds(OF_MASTER)).then_some(entry));
            }
        }
    }
    found
}

#[test]
fn a_secret_comes_to_the_task_that_may_have_it_and_nowhere_else() {
    only_to_its_task(site());
}

#[test]
fn a_secret_comes_to_its_task_alone_also_over_postgresql() {
    let database = Database::new();
    only_to_its_task(site().over(&database));
    let all = database.connect().query_one("SELECT database_to_xml(true, false, '')::text", &[]).expect("its content");
    let dump: String = all.get(0);
    assert!(dump.contains("secret.use") && !dump.contains(OF_WORKER) && !dump.contains(OF_MASTER));
}

fn only_to_its_task(mut site: Installation) {
    site.start_ready();
    let both = submit(&site, "both");
    let none = submit(&site, "none");
    assert_eq!(ended(&site, &both)["outcome"], "PASSED", "{}", log(&site, &both));
    let said = log(&site, &both);
    assert!(said.starts_with(". 700\nkoji 400\npulp 400\n[secret]\n[secret]\n[secret]"), "{said}");
    assert!(said.contains("\nTASKOTRON_SECRETS=/") && said.contains("\ngot:"), "{said}");
    assert!(!said.contains(OF_WORKER) && !said.contains(OF_MASTER), "{said}");
    ended(&site, &none);
    assert_eq!(log(&site, &none), "[]\n");

    // A task that no configuration gives it to waits, and says for what.
    let greedy = submit(&site, "greedy");
    let ran = site.taskotron(&["job", "why", &greedy]);
    assert!(ran.out.contains("secret:koji/greedy; no connected worker offers it"), "{ran:?}");

    let ran = site.taskotron(&["-o", "json", "secret", "list"]);
    let listed: Value = serde_json::from_str(&ran.out).expect("JSON");
    let of = |name: &str| {
        listed.as_array().and_then(|l| l.iter().find(|s| s["name"] == name)).expect("it is listed").clone()
    };
    assert_eq!((&of("pulp")["holder"], &of("pulp")["tasks"]), (&json!("master"), &json!(["both"])));
    assert!(text(&of("koji")["holder"]).starts_with("worker ") && of("koji")["last_used"].is_string(), "{listed}");
    let acts = site.get("/api/v1/audit?limit=100");
    let uses: Vec<&Value> =
        acts["items"].as_array().expect("acts").iter().filter(|act| act["action"] == "secret.use").collect();
    let mut of_both: Vec<_> = uses.iter().map(|act| (text(&act["object"]), text(&act["after"]["from"]))).collect();
    of_both.sort();
    assert_eq!(of_both, [("koji".into(), "worker".into()), ("pulp".into(), "master".to_owned())]);
    let after = &uses[0]["after"];
    assert_eq!((&after["job"], &after["task"], &after["attempt"]), (&json!(both), &json!("both"), &json!(1)));
    assert_eq!(site.stop(PATIENCE).code(), Some(0));

    let kept = [site.story.path("kept/koji"), site.story.path("kept/pulp")];
    let mut holding = holding(site.story.folder().to_owned());
    holding.sort();
    assert_eq!(holding, kept, "no database, log or file of ours holds a value");
    site.assert_nothing_left();
}

#[test]
fn nothing_of_a_secret_is_left_by_a_worker_that_is_killed() {
    let mut site = site();
    site.start_ready();
    let job = submit(&site, "long");
    let folder = until(PATIENCE, "the job to run", || {
        let said = site.taskotron(&["job", "log", &job]).out;
        said.strip_prefix("at ").and_then(|rest| rest.strip_suffix('\n')).map(PathBuf::from).ok_or(said)
    });
    assert!(folder.join("koji").exists());
    site.kill();
    until(secs(20), "the guardian to take it away", || !folder.exists());
    site.assert_nothing_left();
}
