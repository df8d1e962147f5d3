//! Clocks that are wrong, and that are set while jobs run: nothing goes by them but what says so.

use model::Time;
use serde_json::{Value, json};

use crate::broker::Publisher;
use crate::fleet::{Fleet, Plan, Role};
use crate::gate;
use crate::installation::Installation;
use crate::kit::count::text;
use crate::kit::{Story, pass, secs, until};
use crate::ledger;
use crate::site::{PATIENCE, Site};

const RULES: &str = r#"
rules:
  - name: held
    topics: [story.held]
    do: [{ tasks: [held], item: "{{ body.n }}", item_type: number }]
"#;

const TWO_HOURS: i64 = 7200;

/// A fleet whose four slots are taken by jobs that wait for the gate.
fn busy(plan: Plan, early: impl FnOnce(&Fleet)) -> Fleet {
    let story = Story::new();
    story.write("config/rules.yml", RULES);
    gate::write_task(&story, "{}");
    let mut fleet = Fleet::new(story, Plan { clocks: true, proxied: false, ..plan });
    early(&fleet);
    let queue = fleet.queue(0);
    let publisher = Publisher::connect(&fleet.plan.amqp);
    publisher.declare(&queue);
    fleet.start_all();
    for n in 0..4 {
        publisher.publish(&queue, "story.held", &format!("m{n}"), &json!({ "n": n }).to_string());
    }
    running(&fleet, 4);
    fleet
}

#[track_caller]
fn running(site: &Site, jobs: u64) {
    until(PATIENCE, &format!("{jobs} jobs to run"), || {
        let status = site.look("/api/v1/status")?;
        if status["jobs"]["running"] == jobs { Ok(()) } else { Err(status.to_string()) }
    });
}

/// Waits until every lease was renewed for another two terms, by the database's clock.
#[track_caller]
fn two_terms(fleet: &Fleet) {
    let mut database = fleet.connect();
    let mut first = || -> Option<i64> {
        let row = database.query_one("SELECT min(expires_at) FROM leases", &[]).expect("the database answers");
        row.get(0)
    };
    let begun = first().expect("jobs run");
    until(PATIENCE, "two terms of renewals", || first().is_some_and(|now| now >= begun + 4_000_000));
}

/// The clock's check says this, and nothing worse than a warning.
#[track_caller]
fn warns(fleet: &Fleet, says: &str) {
    until(PATIENCE, says, || {
        let ran = fleet.ask(&["check", "clock"]);
        if ran.code == Some(1) && ran.out.contains(says) { Ok(()) } else { Err(format!("{ran:?}")) }
    });
}

#[track_caller]
fn time(value: &Value) -> Time {
    serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("{value}: {e}"))
}

/// Every job passed in its one attempt, and every time that is kept lies within what truly passed. What worker0 claims
/// is off by so many minutes.
#[track_caller]
fn undisturbed(fleet: &Fleet, begun: Time, claimed_off: i64) {
    gate::open(&fleet.story);
    fleet.settled(PATIENCE);
    let ended = Time(net::clock::now().0 + 5_000_000);
    let (jobs, results) = (fleet.all("jobs"), fleet.results());
    ledger::assert_accounts(&fleet.story, fleet, &jobs, &results);
    let within = |value: &Value| {
        let at = time(value);
        assert!(begun <= at && at <= ended, "{value} is not between {begun} and {ended}");
    };
    assert_eq!(jobs.len(), 4);
    for job in &jobs {
        assert_eq!(job["attempts"], 1, "{job}");
        ["queued_at", "started_at", "finished_at"].iter().for_each(|name| within(&job[*name]));
        // The worker's own time is another thing, and is kept as one.
        let attempt = fleet.get(&format!("/api/v1/jobs/{}", text(&job["id"])))["attempts_made"][0].clone();
        let [true_end, claimed] = ["finished_at", "claimed_end"].map(|name| time(&attempt[name]));
        let off = (claimed.0 - true_end.0 + 30_000_000).div_euclid(60_000_000);
        assert_eq!(off, if attempt["worker"] == "worker0" { claimed_off } else { 0 }, "{attempt}");
        let submitted = &results[&text(&job["id"])][0]["submit_time"];
        within(&json!(format!("{}Z", submitted.as_str().expect("a time").trim_end_matches('Z'))));
    }
}

#[test]
fn b10_a_workers_clock_two_hours_off_or_stepped_during_a_job_changes_nothing_but_warns() {
    let begun = Time(net::clock::now().0 - 5_000_000);
    let fleet = busy(Plan { masters: 1, ..Plan::default() }, |fleet| fleet.set_clock(Role::Worker(0), TWO_HOURS));
    warns(&fleet, "worker worker0 is 2h ahead of the database");
    two_terms(&fleet);
    fleet.set_clock(Role::Worker(0), -TWO_HOURS);
    warns(&fleet, "worker worker0 is 2h behind the database");
    two_terms(&fleet);
    // What it says of itself is shown beside what the database says of it.
    let workers: Value = serde_json::from_str(&fleet.run(&["worker", "list", "-o", "json"]).out).expect("JSON");
    let ahead = workers[0]["clock_ahead_ms"].as_i64().expect("it has told");
    assert!((-7_260_000..-7_190_000).contains(&ahead), "{workers}");
    undisturbed(&fleet, begun, -120);
}

#[test]
fn b11_a_masters_clock_that_is_stepped_changes_nothing_but_warns() {
    let begun = Time(net::clock::now().0 - 5_000_000);
    let fleet = busy(Plan::default(), |_| {});
    // By which clock its deadline is judged is the point: in truth it is an hour away.
    fleet.run(&["idle", "-m", "a story", "--deadline", "1h", "--on-deadline", "kill", "--detach"]);
    for ahead in [TWO_HOURS, -TWO_HOURS] {
        let (way, both) = (if ahead > 0 { "ahead of" } else { "behind" }, [Role::Master(0), Role::Master(1)]);
        both.iter().for_each(|master| fleet.set_clock(*master, ahead));
        warns(&fleet, &format!("the master is 2h {way} the database"));
        two_terms(&fleet);
    }
    running(&fleet, 4);
    fleet.run(&["resume", "-m", "a story"]);
    undisturbed(&fleet, begun, 0);
}

/// There the master's clock is the database's too.
#[test]
fn b11_on_sqlite_leases_outlive_every_step_and_still_run_out() {
    let story = Story::new();
    ledger::write_tasks(&story);
    gate::write_task(&story, r#"{ pool: out }"#);
    let mut site = Installation::new(story, "[master]\nlease_term = \"2s\"\n").with_clock();
    site.start_ready();
    let [token, own] = [site.data("worker.token"), site.story.path("out")];
    let environment = ledger::environment(&site.story, "out");
    site.story.write(
        "out.toml",
        format!(
            "[worker]\nname = \"out\"\ndir = {own:?}\nslots = 1\nlabels = [\"pool:out\"]\nmaster = {:?}\n\
             token_file = {token:?}\n{environment}",
            site.url()
        ),
    );
    let start = |site: &Installation| {
        let mut worker = site.story.taskotron();
        worker.args(["worker", "--settings", "out.toml"]);
        site.story.start("out", worker)
    };
    let mut worker = start(&site);
    let sheet = site.story.write("jobs.csv", "item,item_type,task,arch\nfoo,number,held,\n");
    let mut jobrunner = site.as_operator(site.story.jobrunner());
    jobrunner.arg(&sheet);
    let ran = site.story.run(PATIENCE, jobrunner);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    running(&site, 1);

    let job = || site.get("/api/v1/jobs")["items"][0].clone();
    for ahead in [TWO_HOURS, 0, -TWO_HOURS] {
        site.set_clock(ahead);
        // Two terms of true time, in which a lease that was misjudged is lost.
        pass(secs(4));
        assert_eq!((&job()["state"], &job()["attempts"]), (&json!("running"), &json!(1)));
    }
    // The last renewal was given before the clock was set back, and must not hold for two hours more.
    site.set_clock(0);
    pass(secs(2));
    worker.signal(nix::sys::signal::Signal::SIGSTOP);
    site.set_clock(-TWO_HOURS);
    until(PATIENCE, "the attempt to be lost", || {
        let job = job();
        if job["state"] == "queued" { Ok(()) } else { Err(job.to_string()) }
    });
    worker.kill();
    drop(worker);
    gate::open(&site.story);
    let _worker = start(&site);
    site.settled(secs(60));
    assert_eq!((&job()["outcome"], &job()["attempts"]), (&json!("PASSED"), &json!(2)));
}
