//! Tasks from repositories that are pushed to, force-pushed, cut off and taken away, while their jobs wait and run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::fleet::{Fleet, Plan, Role};
use crate::installation::Installation;
use crate::kit::count::text;
use crate::kit::story::Ran;
use crate::kit::{Story, http, secs, until};
use crate::site::{PATIENCE, Site};
use crate::upstream::Upstream;

/// The arch of a job is the branch that it wants, where there is one.
fn tasks(task: &str, away: &str, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"
tasks:
  pinned: {{ run: [./run.sh], source: {{ git: "{task}", ref: ["{{{{ arch }}}}", main], path: checks }} }}
  only: {{ run: [./run.sh], source: {{ git: "{task}", ref: "{{{{ arch }}}}", path: checks }} }}
  away: {{ run: [checks/run.sh], source: {{ git: "{away}" }} }}
  own: {{ run: [checks/run.sh], source: {{ git: "file://{folder}/{{{{ item }}}}.git" }} }}
  gate: {{ run: [sh, -c, "while [ ! -e $GATE ]; do sleep 0.02; done"] }}
rules: []
"#
    )
}

const MIRRORS: &str = "[master.mirrors]\nprotocols = [\"file\"]\ninterval = \"1h\"\n";

fn environment(story: &Story) -> String {
    let (ledger, gate) = (story.path("ledger"), story.path("gate"));
    let environment = format!("environment = {{ LEDGER = {ledger:?}, GATE = {gate:?} }}");
    format!("{environment}\nwritable = [{:?}]\n", story.folder())
}

/// Rows for jobs of a task that want a branch.
fn rows(task: &str, branch: &str, items: std::ops::Range<usize>) -> String {
    items.map(|n| format!("{task}-{branch}-{n},number,{task},{branch}\n")).collect()
}

/// What jobs there are, by item, each with the commit that it names.
#[track_caller]
fn commits(site: &Site) -> BTreeMap<String, (String, Value)> {
    let jobs = site.all("jobs").into_iter();
    jobs.map(|job| {
        let id = text(&job["id"]);
        (text(&job["item"]), (id.clone(), site.get(&format!("/api/v1/jobs/{id}"))["source"].clone()))
    })
    .collect()
}

/// Proves that every job of a repository that ran has run the commit that it names.
#[track_caller]
fn assert_ran_what_they_name(story: &Story, site: &Site, versions: &BTreeMap<String, &str>) {
    let ledger = fs::read_to_string(story.path("ledger")).unwrap();
    let ran: BTreeMap<&str, &str> = ledger.lines().filter_map(|line| line.split_once(' ')).collect();
    let mut seen = 0;
    for (item, (id, source)) in commits(site) {
        if source.is_null() {
            continue;
        }
        seen += 1;
        let commit = text(&source["commit"]);
        assert_eq!(ran.get(&*id), versions.get(&commit), "{item} names {commit}");
    }
    assert_eq!((seen, ran.len()), (ran.len(), ledger.lines().count()), "each ran once");
}

fn waits_why(site: &Site, item: &str) -> Result<String, String> {
    let jobs = site.look(&format!("/api/v1/jobs?item={item}"))?;
    let id = jobs["items"][0]["id"].as_str().ok_or("no such job")?.to_owned();
    let job = site.look(&format!("/api/v1/jobs/{id}"))?;
    if job["state"] == "waiting" { Ok(text(&job["why"])) } else { Err(job.to_string()) }
}

#[test]
fn each_job_runs_the_commit_it_was_queued_with_whatever_happens_to_its_branch() {
    let story = Story::new();
    let (task, away) = (Upstream::new(&story, "task"), Upstream::new(&story, "away"));
    story.write("config/all.yml", tasks(&task.url(), &away.url(), story.folder()));
    let (v1, away1) = (task.git(&["rev-parse", "HEAD"]), away.git(&["rev-parse", "HEAD"]));
    task.git(&["checkout", "--quiet", "-B", "f41"]);
    let branch = task.push("branch", "f41");
    task.git(&["checkout", "--quiet", "main"]);
    let settings = format!("{MIRRORS}[worker]\nslots = 2\n{}", environment(&story));
    let (task_bare, away_bare) = (task.bare(), away.bare());
    // An installation has a story of its own, and the repositories outlive it.
    let mut site = Installation::new(Story::new(), &settings);
    fs::create_dir_all(site.story.path("config")).unwrap();
    fs::copy(story.path("config/all.yml"), site.story.path("config/all.yml")).unwrap();
    site.start_ready();
    let submit = |name: &str, text: String| -> Ran {
        site.story.write(name, format!("item,item_type,task,arch\n{text}"));
        let mut command = site.as_operator(site.story.jobrunner());
        command.arg(name);
        let ran = site.story.run(PATIENCE, command);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran
    };
    let update = |code: i32| {
        let ran = site.taskotron(&["mirrors", "update", "-o", "json"]);
        assert_eq!(ran.code, Some(code), "{ran:?}");
        ran
    };

    // Both slots are held up, so that what is queued stays queued until the gate opens.
    submit("gates.csv", rows("gate", "noarch", 0..2));
    until(PATIENCE, "both slots to be busy", || {
        let status = site.look("/api/v1/status")?;
        if status["jobs"]["running"] == 2 { Ok(()) } else { Err(status.to_string()) }
    });
    update(0);
    submit("first.csv", rows("pinned", "none", 0..40) + &rows("pinned", "f41", 0..10) + &rows("away", "noarch", 0..1));
    assert_eq!(site.get("/api/v1/status")["jobs"]["queued"], 51);

    // A push while they are queued.
    let v2 = task.push("v2", "main");
    update(0);
    submit("second.csv", rows("pinned", "none", 40..50));

    // History is written anew and a branch is deleted, and nothing is left of either where it came from.
    task.git(&["checkout", "--quiet", "--orphan", "anew"]);
    let v3 = task.push("v3", "main");
    task.git(&["push", "--quiet", "origin", ":f41"]);
    let mut gc = story.command("git");
    gc.arg("--git-dir").arg(&task_bare).args(["gc", "--quiet", "--prune=now"]);
    assert_eq!(story.run(PATIENCE, gc).code, Some(0));
    fs::rename(&away_bare, story.path("gone.git")).unwrap();
    let said = update(1);
    let warned = format!("{} could not be fetched", away.url());
    assert!(said.err.contains(&warned), "{said:?}");
    submit(
        "third.csv",
        rows("pinned", "none", 50..55) + &rows("pinned", "f41", 50..55) + &rows("away", "noarch", 1..3),
    );

    // All three are told by name, wherever somebody looks.
    let listed = site.taskotron(&["mirrors", "list"]);
    let told = [
        format!("branch main was force-pushed from {} to {}", &v2[..10], &v3[..10]),
        format!("branch f41 was deleted; it stood at {}", &branch[..10]),
        "does not appear to be a git repository".to_owned(),
    ];
    let (status, check) = (site.taskotron(&["status"]), site.taskotron(&["check", "mirrors"]));
    assert_eq!(check.code, Some(1), "{check:?}");
    for what in &told {
        assert!(listed.out.contains(what), "{what}: {listed:?}");
        assert!(status.out.contains(what), "{what}: {status:?}");
        assert!(check.out.contains(what), "{what}: {check:?}");
    }

    // It is there again, and an event tells of a push to it: no job waits for that, and it is an hour until the next look.
    fs::rename(story.path("gone.git"), &away_bare).unwrap();
    let away2 = away.push("v2", "main");
    site.tell(&json!({"id": "e1", "topic": "org.example.git.receive", "body": {"repo": {"fullname": "away"}}}));
    until(PATIENCE, "the repository to be fetched", || {
        let mirrors = site.look("/api/v1/mirrors")?;
        let whole = mirrors["items"].as_array().unwrap().iter().all(|mirror| mirror["failed"].is_null());
        if whole { Ok(()) } else { Err(mirrors.to_string()) }
    });
    submit("away.csv", rows("away", "noarch", 3..4));

    // What no branch stands for waits and says so, and goes on once there is one. A whole commit stands for itself.
    submit("fourth.csv", rows("only", "later", 0..1) + &rows("only", &v1, 0..1));
    let why = until(PATIENCE, "the job to say why it waits", || waits_why(&site, "only-later-0"));
    assert!(why.starts_with(&format!("waits for its source: {} has no branch or tag 'later'", task.url())), "{why}");
    let later = task.push("later", "later");
    update(0);
    until(PATIENCE, "the job to have its commit", || match commits(&site)["only-later-0"].1["commit"].as_str() {
        Some(commit) => {
            assert_eq!(commit, later);
            Ok(())
        }
        None => Err("none yet"),
    });

    // An item with a repository of its own, which is fetched when it is wanted.
    let own = Upstream::new(&story, "package").push("v2", "main");
    submit("own.csv", "package,number,own,\n".into());
    until(PATIENCE, "the package's own tests to be fetched", || match commits(&site)["package"].1["commit"].as_str() {
        Some(commit) => {
            assert_eq!(commit, own);
            Ok(())
        }
        None => Err("none yet"),
    });

    let named = commits(&site);
    let count = |commit: &str| named.values().filter(|(_, source)| source["commit"] == commit).count();
    assert_eq!([&v1, &branch, &v2, &v3, &away1, &away2].map(|commit| count(commit)), [41, 10, 10, 10, 3, 1]);
    assert_eq!(named["pinned-f41-50"].1["ref"], "main", "of a deleted branch the next one is taken");
    let shown = site.taskotron(&["job", "show", &named["pinned-none-0"].0]);
    assert!(shown.out.contains(&format!("{} main at {v1}, folder checks", task.url())), "{shown:?}");
    let page = http::get(&format!("{}/jobs/{}", site.url(), named["pinned-none-0"].0)).send().unwrap().text();
    assert!(page.contains(&v1) && page.contains(&task.url()), "{page}");

    fs::write(story.path("gate"), "").unwrap();
    site.settled(secs(120));
    let versions: BTreeMap<String, &str> = [
        (v1, "v1"),
        (v2, "v2"),
        (v3, "v3"),
        (branch, "branch"),
        (later, "later"),
        (away1, "v1"),
        (away2, "v2"),
        (own, "v2"),
    ]
    .into();
    assert_ran_what_they_name(&story, &site, &versions);
    assert!(site.all("jobs").iter().all(|job| job["outcome"] == "PASSED"));
    assert!(site.stop(PATIENCE).success());
    site.assert_nothing_left();
    site.assert_sound();
}

/// The worker is killed while it fetches, and one of two masters is away: the job runs at its commit all the same.
#[test]
fn a_fetch_that_is_killed_in_the_middle_leaves_nothing_and_either_master_has_the_commit() {
    let story = Story::new();
    let task = Upstream::new(&story, "task");
    story.write("config/all.yml", tasks(&task.url(), &task.url(), story.folder()));
    let noise = (0..48 << 20).scan(1_u32, |x, _| {
        *x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some((*x >> 24) as u8)
    });
    task.write("noise", noise.collect::<Vec<u8>>());
    let commit = task.push("large", "main");
    let plan = Plan { triggers: 0, workers: 1, proxied: false, master: MIRRORS.into(), ..Plan::default() };
    fs::write(story.path("gate"), "").unwrap();
    let mut fleet = Fleet::new(story, plan);
    // The fleet's own tasks are not asked for; its workers know the ledger of its story.
    let mut worker = fs::read_to_string(fleet.story.path("worker0.toml")).unwrap();
    let own = worker.lines().find(|line| line.starts_with("environment")).unwrap().to_owned();
    worker = worker.replace(&own, environment(&fleet.story).lines().next().unwrap());
    fleet.story.write("worker0.toml", worker);
    fleet.start_all();
    fleet.run(&["mirrors", "update"]);
    fleet.story.write("job.csv", "item,item_type,task,arch\nx,number,pinned,none\n");
    let mut command = fleet.as_operator(fleet.story.jobrunner(), 0);
    command.arg("job.csv");
    assert_eq!(fleet.story.run(PATIENCE, command).code, Some(0));
    let sources = fleet.story.path("worker0/sources");
    let names = || -> Vec<String> {
        let entries = fs::read_dir(&sources).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(|name| name != "boot").collect()
    };
    until(PATIENCE, "the fetch to begin", || {
        if names().iter().any(|name| name.ends_with(".git")) { Ok(()) } else { Err(names()) }
    });
    fleet.kill(Role::Worker(0));
    assert!(names().iter().all(|name| !name.contains('@')), "it was killed in the middle: {:?}", names());
    fleet.kill(Role::Master(0));
    fleet.start(Role::Worker(0));
    fleet.settled(secs(120));
    let left = names();
    assert!(left.len() == 1 && left[0].contains(&commit), "{left:?}");
    let versions = [(commit, "large")].into();
    assert_ran_what_they_name(&fleet.story, &fleet, &versions);
    fleet.stop_all();
    fleet.assert_nothing_left();
    fleet.assert_sound();
}
