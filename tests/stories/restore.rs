//! A database is put back from an older copy: the triggers send again what it has lost, and the results store is told
//! nothing twice.

use std::fs;

use postgres::{Client, NoTls};
use serde_json::{Value, json};

use crate::broker::Publisher;
use crate::fleet::{Fleet, Plan, Role};
use crate::installation::Installation;
use crate::kit::count::{assert_same, keys, text};
use crate::kit::{Story, secs, servers, until};
use crate::ledger;
use crate::site::{PATIENCE, Site};

const RULES: &str = r#"
rules:
  - name: quick
    topics: [story.quick]
    do: [{ tasks: [quick], item: "{{ body.n }}", item_type: number }]
  - name: slow
    topics: [story.slow]
    do: [{ tasks: [slow], item: "{{ body.n }}", item_type: number }]
"#;

/// Before the copy, and after it.
const BEFORE: usize = 8;
const AFTER: usize = 12;

fn publish(publisher: &Publisher, queue: &str, task: &'static str, numbers: std::ops::Range<usize>) {
    let topic = if task == "slow" { "story.slow" } else { "story.quick" };
    for n in numbers {
        publisher.publish(queue, topic, &format!("m{n}"), &json!({ "n": n }).to_string());
    }
}

fn wanted(story: &Story, quick: std::ops::Range<usize>, slow: std::ops::Range<usize>) -> Vec<String> {
    let job = |task: &'static str| {
        move |n: usize| [format!("m{n}"), task.into(), "number".into(), n.to_string(), "noarch".into()]
    };
    keys(story, &quick.map(job("quick")).chain(slow.map(job("slow"))).collect::<Vec<_>>())
}

/// Each job is there once, has finished, and has one result.
fn assert_once(site: &Site, wanted: Vec<String>) -> Vec<Value> {
    let jobs = site.all("jobs");
    assert_same("jobs", wanted.clone(), jobs.iter().map(|job| text(&job["key"])));
    assert!(jobs.iter().all(|job| job["state"] == "finished" && job["outcome"] == "PASSED"), "{jobs:#?}");
    let results = site.results();
    assert_same("results", wanted, results.iter().flat_map(|(job, all)| all.iter().map(|_| job.clone())));
    jobs
}

fn finished(site: &Site, count: usize) {
    until(PATIENCE, &format!("{count} jobs to finish"), || {
        let status = site.look("/api/v1/status")?;
        if status["jobs"]["finished"] == count && status["outbox"] == 0 { Ok(()) } else { Err(status.to_string()) }
    });
}

fn database(url: &str) -> &str {
    url.rsplit('/').next().expect("a URL with a path")
}

#[test]
fn masters_over_an_older_postgresql_database_get_again_what_it_has_lost() {
    let story = Story::new();
    story.write("config/rules.yml", RULES);
    let mut fleet = Fleet::new(story, Plan { proxied: false, ..Plan::default() });
    let queue = fleet.queue(0);
    let publisher = Publisher::connect(&fleet.plan.amqp);
    publisher.declare(&queue);
    let mut server = Client::connect(&fleet.plan.postgres, NoTls).expect("PostgreSQL is up");
    let (mine, copy) = (database(&fleet.database).to_owned(), format!("{}_copy", database(&fleet.database)));
    let masters = [Role::Master(0), Role::Master(1)];
    fleet.start_all();

    publish(&publisher, &queue, "quick", 0..BEFORE);
    finished(&fleet, BEFORE);
    for master in masters {
        assert!(fleet.stop(master).success());
    }
    server.batch_execute(&format!("CREATE DATABASE {copy} TEMPLATE {mine}")).expect("it is copied");
    fleet.start_all();

    // A future that will be lost: some jobs end, and some run when it does.
    let all = BEFORE + AFTER;
    publish(&publisher, &queue, "quick", BEFORE..all);
    finished(&fleet, all);
    publish(&publisher, &queue, "slow", all..all + 2);
    let running = until(PATIENCE, "slow jobs to run", || {
        let running = fleet.look("/api/v1/jobs?state=running&task=slow")?["items"].clone();
        if running.as_array().is_some_and(|jobs| jobs.len() == 2) { Ok(running) } else { Err(running.to_string()) }
    });
    for master in masters {
        fleet.kill(master);
    }
    server.batch_execute(&format!("DROP DATABASE {mine} WITH (FORCE)")).expect("it is dropped");
    server.batch_execute(&format!("CREATE DATABASE {mine} TEMPLATE {copy}")).expect("it is put back");
    server.batch_execute(&format!("DROP DATABASE {copy}")).expect("it is dropped");
    // What ran has ended meanwhile, and its report waits for a master.
    let ledger = fleet.story.path("ledger");
    until(PATIENCE, "the slow jobs to have begun", || {
        let begun = fs::read_to_string(&ledger).unwrap_or_default();
        let both = running.as_array().expect("jobs").iter().all(|job| begun.contains(&text(&job["id"])));
        if both { Ok(()) } else { Err(begun) }
    });
    crate::kit::pass(secs(2));
    fleet.start_all();
    publish(&publisher, &queue, "quick", all + 2..all + 4);

    finished(&fleet, all + 4);
    fleet.settled(secs(120));
    let quick = wanted(&fleet.story, 0..all, all..all + 2);
    let wanted = [quick, wanted(&fleet.story, all + 2..all + 4, 0..0)].concat();
    assert_once(&fleet, wanted);
    fleet.stop_all();
    fleet.assert_nothing_left();
    fleet.assert_sound();
    let ids: Vec<String> = running.as_array().expect("jobs").iter().map(|job| text(&job["id"])).collect();
    let late = fleet.with_store(async |store| {
        let mut late = Vec::new();
        for id in &ids {
            late.push(store.stale_reports(id.parse().expect("an id")).await.expect("the store answers").len());
        }
        late
    });
    println!("late reports of the lost future: {late:?}");
    assert_eq!(late, [1, 1], "each report of an attempt that nobody knows any more is refused and kept");
}

#[test]
fn a_master_over_an_older_sqlite_file_gets_again_what_it_has_lost() {
    let story = Story::new();
    story.write("config/rules.yml", RULES);
    ledger::write_tasks(&story);
    let queue = format!("restore-{}", story.folder().file_name().expect("a name").to_string_lossy());
    let publisher = Publisher::connect(&servers::shared_amqp());
    publisher.declare(&queue);
    let settings = format!(
        "[trigger.amqp]\nurls = [{:?}]\nqueue = {queue:?}\nexchange = {queue:?}\n[worker]\nslots = 2\n{}",
        servers::shared_amqp(),
        ledger::environment(&story, "inside")
    );
    let mut site = Installation::new(story, &settings);
    site.start_ready();
    publish(&publisher, &queue, "quick", 0..BEFORE);
    finished(&site, BEFORE);
    assert_eq!(site.stop(PATIENCE).code(), Some(0));
    let (file, copy) = (site.data("master/master.sqlite"), site.data("copy.sqlite"));
    fs::copy(&file, &copy).expect("it is copied");

    site.start_ready();
    publish(&publisher, &queue, "quick", BEFORE..BEFORE + AFTER);
    finished(&site, BEFORE + AFTER);
    assert_eq!(site.stop(PATIENCE).code(), Some(0));
    fs::copy(&copy, &file).expect("it is put back");
    for beside in ["master/master.sqlite-wal", "master/master.sqlite-shm"] {
        let _ = fs::remove_file(site.data(beside));
    }

    site.start_ready();
    publish(&publisher, &queue, "quick", BEFORE + AFTER..BEFORE + AFTER + 2);
    finished(&site, BEFORE + AFTER + 2);
    site.settled(secs(120));
    let wanted = wanted(&site.story, 0..BEFORE + AFTER + 2, 0..0);
    assert_once(&site, wanted);
    // The jobs of the lost future ran again: who ran them knows, and nobody else can.
    let ledger = fs::read_to_string(site.story.path("ledger")).expect("a ledger");
    assert_eq!(ledger.lines().count(), BEFORE + 2 * AFTER + 2);
    assert_eq!(site.stop(PATIENCE).code(), Some(0));
    site.assert_nothing_left();
    site.assert_sound();
}
