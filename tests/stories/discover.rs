//! Tests that lie in the repositories of packages: found in the folders of a commit when an event tells of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::fleet::{Fleet, Plan, Role};
use crate::installation::{Installation, PATIENCE};
use crate::kit::count::text;
use crate::kit::{Story, http, secs, until};
use crate::site::Site;
use crate::upstream::Upstream;

/// Says which folder of which version it is; it is there beside its own files and no others.
const RUN: &str = "echo \"$TASKOTRON_ITEM $1 $(cat version)\" >>\"$LEDGER\"\n[ ! -e tests ]\n";

fn configuration(folder: &Path) -> String {
    format!(
        r#"
tasks:
  dist-git:
    source:
      git: "file://{}/{{{{ item }}}}.git"
      ref: "{{{{ params.rev | default('main') }}}}"
      discover: tests/*/run.sh
    run: [sh, run.sh, "{{{{ params.folder }}}}"]
    results: [exit_code]
    publish: [queued, running]
rules:
  - name: push
    topics: [org.example.push]
    params: {{ rev: "{{{{ body.rev }}}}" }}
    do: [{{ tasks: [dist-git], item: "{{{{ body.repo }}}}", item_type: package }}]
"#,
        folder.display()
    )
}

/// A package's repository with tests in these folders; its commit.
fn package<'s>(home: &'s Story, name: &'static str, folders: &[&str]) -> (Upstream<'s>, String) {
    let package = Upstream::empty(home, name);
    let commit = with_tests(&package, "v1", folders);
    (package, commit)
}

fn with_tests(package: &Upstream<'_>, version: &str, folders: &[&str]) -> String {
    let tests = package.work().join("tests");
    if tests.exists() {
        fs::remove_dir_all(&tests).expect("it is ours");
    }
    package.write("tests/README", version);
    for folder in folders {
        package.write(&format!("tests/{folder}/run.sh"), RUN);
        package.write(&format!("tests/{folder}/version"), version);
    }
    package.push(version, "main")
}

const MIRRORS: &str = "[master.mirrors]\nprotocols = [\"file\"]\ninterval = \"1h\"\n";

fn settings(story: &Story) -> String {
    let (ledger, folder) = (story.path("ledger"), story.folder());
    let worker = format!("environment = {{ LEDGER = {ledger:?} }}\nwritable = [{folder:?}]\n");
    format!("{MIRRORS}[worker]\nslots = 2\n{worker}")
}

fn ledger(story: &Story) -> Vec<String> {
    let text = fs::read_to_string(story.path("ledger")).unwrap_or_default();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

/// The search that an event made, and the jobs that it found, once it has ended.
#[track_caller]
fn searched(site: &Site, event: &str) -> (String, Vec<Value>) {
    until(PATIENCE, "the search to end", || {
        let listed = site.look(&format!("/api/v1/jobs?event={event}"))?;
        let jobs = listed["items"].as_array().ok_or("no list")?;
        let search = jobs.iter().find(|job| job["search"] == job["id"]).ok_or("no search yet")?;
        let (id, state) = (text(&search["id"]), text(&search["state"]));
        let found = jobs.iter().filter(|job| job["id"] != *id).cloned().collect();
        if state == "finished" { Ok((id, found)) } else { Err(format!("it is {state}")) }
    })
}

#[test]
fn each_folder_of_the_commit_that_an_event_tells_of_is_a_job_and_none_is_made_twice() {
    let home = Story::new();
    let (bash, v1) = package(&home, "bash", &["smoke", "deep"]);
    let story = Story::new();
    story.write("config/all.yml", configuration(home.folder()));
    let settings = settings(&story);
    let mut it = Installation::new(story, &settings);
    it.start_ready();
    let push = |event: &str, rev: &str| json!({"id": event, "topic": "org.example.push", "body": {"repo": "bash", "rev": rev}});
    it.tell(&push("e1", &v1));
    let (search, found) = searched(&it, "e1");
    it.settled(secs(60));
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(ledger(&it.story), ["bash tests/deep v1", "bash tests/smoke v1"]);
    let results = it.results();
    let mut told: Vec<String> = results.values().flatten().map(|r| text(&r["testcase"]["name"])).collect();
    told.sort_unstable();
    told.dedup();
    assert_eq!(told, ["dist-git.tests/deep", "dist-git.tests/smoke"]);
    assert!(!results.contains_key(&search), "a search has no results, nor is it announced");
    let shown = it.taskotron(&["job", "show", &search]);
    let why = format!("found tests/deep, tests/smoke in {} at {} ({v1})", bash.url(), &v1[..10]);
    assert!(shown.out.contains(&why) && shown.out.contains("found job "), "{shown:?}");
    assert_eq!(it.taskotron(&["job", "watch", &search]).code, Some(0));
    let page = http::get(&format!("{}/jobs/{search}", it.url())).send().unwrap().text();
    let (_, below) = page.split_once("What it found").expect("its page says so");
    assert!(found.iter().all(|job| below.contains(&text(&job["id"]))), "{page}");

    // A commit without any: no job, and whoever asks is told.
    let v2 = with_tests(&bash, "v2", &[]);
    it.tell(&push("e2", &v2));
    let (empty, found) = searched(&it, "e2");
    assert_eq!(found, Vec::<Value>::new());
    let why = format!("found nothing: {} at {} ({v2}) has no tests/*/run.sh", bash.url(), &v2[..10]);
    for command in [&["rules", "explain", "e2"][..], &["event", "show", "e2"], &["job", "why", &empty]] {
        let said = it.taskotron(command);
        assert!(said.out.contains(&why), "{command:?}: {said:?}");
    }
    let said = it.taskotron(&["event", "why", "e2"]);
    assert!(said.out.starts_with("made no job; 1 search has found nothing"), "{said:?}");
    assert_eq!(it.taskotron(&["job", "watch", &empty]).code, Some(1), "nothing was judged");

    // It is killed while a search waits for a repository that is away.
    let v3 = with_tests(&bash, "v3", &["smoke", "more"]);
    let away = home.path("away.git");
    fs::rename(bash.bare(), &away).unwrap();
    it.tell(&push("e3", &v3));
    until(PATIENCE, "the search to wait for its source", || {
        let jobs = it.look("/api/v1/jobs?event=e3")?;
        let id = jobs["items"][0]["id"].as_str().ok_or("no job yet")?.to_owned();
        let why = text(&it.look(&format!("/api/v1/jobs/{id}"))?["why"]);
        if why.starts_with("waits for its source: ") { Ok(()) } else { Err(why) }
    });
    it.kill();
    fs::rename(&away, bash.bare()).unwrap();
    it.start_ready();
    assert_eq!(searched(&it, "e3").1.len(), 2);
    it.settled(secs(60));
    let all = ["bash tests/deep v1", "bash tests/more v3", "bash tests/smoke v1", "bash tests/smoke v3"];
    assert_eq!(ledger(&it.story), all);

    // What was recorded comes again, though main has other folders by now.
    let count = it.all("jobs").len();
    let mut replay = it.as_operator(it.story.jobrunner());
    replay.args(["data/trigger/jobs.csv", "--json"]);
    let replayed = it.story.run(PATIENCE, replay);
    let answers: Value = serde_json::from_str(&replayed.out).expect("one document");
    assert_eq!((&answers["exists"], &answers["submitted"]), (&json!(3), &json!(0)), "{replayed:?}");
    it.tell(&json!([push("e1", &v1), push("e2", &v2), push("e3", &v3)]));
    it.settled(secs(60));
    assert_eq!((it.all("jobs").len(), ledger(&it.story).len()), (count, 4));

    // A person who asks for the search again has all of it again.
    let rerun = it.taskotron(&["job", "rerun", &search, "-m", "to be sure", "-o", "json"]);
    assert_eq!(rerun.code, Some(0), "{rerun:?}");
    until(PATIENCE, "it to run again", || {
        let lines = ledger(&it.story);
        if lines.len() == 6 { Ok(()) } else { Err(lines) }
    });

    // At home its author says which of them is meant.
    let run = |more: &[&str]| {
        let all = [&["run", "dist-git", "--item", "bash", "--config", "config", "--settings", "taskotron.toml"], more];
        it.taskotron(&all.concat())
    };
    let which = run(&[]);
    assert_eq!(which.code, Some(2), "{which:?}");
    assert!(which.err.contains("--param folder=tests/more\n  --param folder=tests/smoke"), "{which:?}");
    let one = run(&["--param", "folder=tests/more"]);
    assert!(one.code == Some(0) && one.out.contains("dist-git.tests/more"), "{one:?}");
    let none = run(&["--param", &format!("rev={v2}")]);
    assert!(none.code == Some(2) && none.err.contains("has no tests/*/run.sh"), "{none:?}");
    it.settled(secs(60));
    it.stop(secs(30));
    it.assert_sound();
    it.assert_nothing_left();
}

/// One of them is killed in the midst of it; the same is asked for again meanwhile.
#[test]
fn two_masters_that_look_at_once_make_each_job_once() {
    const PACKAGES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    let home = Story::new();
    for name in PACKAGES {
        package(&home, name, &["one", "two"]);
    }
    let story = Story::new();
    story.write("config/all.yml", configuration(home.folder()));
    let plan = Plan { triggers: 0, proxied: false, master: MIRRORS.into(), ..Plan::default() };
    let mut fleet = Fleet::new(story, plan);
    for n in 0..fleet.plan.workers {
        let worker = fs::read_to_string(fleet.story.path(format!("worker{n}.toml"))).unwrap();
        let own = worker.lines().find(|line| line.starts_with("environment")).unwrap().to_owned();
        let ours = format!("environment = {{ LEDGER = {:?} }}", fleet.story.path("ledger"));
        fleet.story.write(format!("worker{n}.toml"), worker.replace(&own, &ours));
    }
    fleet.start_all();
    let rows: String = PACKAGES.iter().map(|name| format!("{name},package,dist-git,noarch\n")).collect();
    fleet.story.write("jobs.csv", format!("item,item_type,task,arch\n{rows}"));
    let submit = |fleet: &Fleet, master: usize| {
        let mut command = fleet.as_operator(fleet.story.jobrunner(), master);
        command.arg("jobs.csv");
        assert_eq!(fleet.story.run(PATIENCE, command).code, Some(0));
    };
    submit(&fleet, 0);
    submit(&fleet, 1);
    until(PATIENCE, "the first to be found", || {
        let jobs = fleet.look("/api/v1/jobs")?;
        let found = jobs["items"].as_array().ok_or("no list")?.iter().any(|job| job["search"] != job["id"]);
        if found { Ok(()) } else { Err(jobs.to_string()) }
    });
    fleet.kill(Role::Master(0));
    submit(&fleet, 1);
    fleet.settled(secs(120));
    fleet.start(Role::Master(0));
    fleet.settled(secs(60));
    let folders = |name: &&str| ["one", "two"].map(|folder| format!("{name} tests/{folder} v1"));
    let wanted: Vec<String> = PACKAGES.iter().flat_map(folders).collect();
    assert_eq!(ledger(&fleet.story), wanted);
    let mut by_state: BTreeMap<String, usize> = BTreeMap::new();
    for job in fleet.all("jobs") {
        *by_state.entry(format!("{} {}", job["state"], job["outcome"])).or_default() += 1;
    }
    assert_eq!(by_state, [("\"finished\" \"PASSED\"".to_owned(), 24), ("\"finished\" null".to_owned(), 12)].into());
    fleet.stop_all();
    fleet.assert_nothing_left();
    fleet.assert_sound();
}
