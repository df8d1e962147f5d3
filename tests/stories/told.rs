//! Store, database and broker are killed at random moments while results are posted: every one that was answered is
//! there once, and the bus was told of it by exactly one message, however often that came.
//!
//! `TASKOTRON_POSTS=10000` says how many results, `TASKOTRON_SEED` when what is killed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::broker::Publisher;
use crate::installation::Installation;
use crate::kit::chance::{number, seed};
use crate::kit::count::assert_same;
use crate::kit::process::Process;
use crate::kit::servers::shared_amqp;
use crate::kit::{Chance, Database, Postgres, Rabbit, Story, http, ports, secs, until};
use crate::site::PATIENCE;

const POSTS: u64 = 1200;
const POSTERS: usize = 4;
const STORES: usize = 2;
const QUEUE: &str = "told";
const TOPIC: &str = "org.example.prod.resultsdb.result.new";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Victim {
    Store(usize),
    Postgres,
    Rabbit,
}

/// The two stores over one database, and what they stand on.
struct Site {
    story: Story,
    postgres: Postgres,
    rabbit: Rabbit,
    ports: Vec<u16>,
    stores: Mutex<Vec<Option<Process>>>,
}

impl Site {
    fn open(database: &Database, postgres: Postgres, rabbit: Rabbit) -> Site {
        let (story, ports) = (Story::new(), (0..STORES).map(|_| ports::free()).collect::<Vec<_>>());
        story.write("tokens", "");
        for (n, port) in ports.iter().enumerate() {
            let settings = format!(
                "[tokens]\nfile = {:?}\n[resultsdb]\nlisten = \"127.0.0.1:{port}\"\ndatabase = {:?}\n\
                 write_access = \"open\"\n[resultsdb.messages]\nurls = [{:?}]\ntopic_prefix = \"org.example.prod\"\n",
                story.path("tokens"),
                database.url(),
                rabbit.url(),
            );
            story.write(format!("store{n}.toml"), settings);
        }
        let site = Site { story, postgres, rabbit, ports, stores: Mutex::new((0..STORES).map(|_| None).collect()) };
        (0..STORES).for_each(|n| site.start(n));
        site
    }

    fn start(&self, n: usize) {
        let mut command = self.story.taskotron();
        command.arg("--settings").arg(self.story.path(format!("store{n}.toml"))).arg("resultsdb");
        let process = self.story.start(&format!("store{n}"), command);
        self.stores.lock().expect("nobody panics with it")[n] = Some(process);
    }

    fn url(&self, n: usize) -> String {
        format!("http://127.0.0.1:{}/api/v2.0/results", self.ports[n])
    }

    /// Kills it and starts it again. A store whose database is away at its start ends: then it is started once more.
    fn strike(&self, victim: Victim) {
        match victim {
            Victim::Store(n) => {
                let mut process = self.stores.lock().expect("nobody panics with it")[n].take();
                if let Some(process) = &mut process {
                    process.kill();
                }
                self.start(n);
            }
            Victim::Postgres => {
                self.postgres.kill();
                self.postgres.start_again();
            }
            Victim::Rabbit => {
                self.rabbit.kill();
                self.rabbit.start_again();
            }
        }
    }

    /// Starts what has ended by itself.
    fn keep_up(&self) {
        let ended: Vec<usize> = {
            let mut stores = self.stores.lock().expect("nobody panics with it");
            let ended = stores.iter_mut().enumerate().filter_map(|(n, process)| {
                let ended = process.as_mut().is_some_and(|process| process.ended().is_some());
                ended.then_some(n)
            });
            ended.collect()
        };
        ended.into_iter().for_each(|n| self.start(n));
    }
}

#[test]
fn every_answered_result_is_there_once_and_told_by_one_message_whatever_is_killed() {
    let (seed, posts) = (seed(), number("TASKOTRON_POSTS").unwrap_or(POSTS) as usize);
    println!("TASKOTRON_SEED={seed} TASKOTRON_POSTS={posts}");
    let (postgres, rabbit) = (Postgres::start(), Rabbit::start());
    Publisher::connect(rabbit.url()).declare_queue("amq.topic", QUEUE);
    rabbit.settle();
    let database = Database::within(postgres.url());
    let site = Site::open(&database, postgres, rabbit);
    let mut chance = Chance::new(seed);
    let strikes = strikes(&mut chance, posts);

    let (next, answered) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let unsure = AtomicUsize::new(0);
    thread::scope(|scope| {
        for poster in 0..POSTERS {
            let (site, next, answered, unsure) = (&site, &next, &answered, &unsure);
            scope.spawn(move || {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= posts {
                        return;
                    }
                    let id = post(site, n, poster, unsure);
                    answered.lock().expect("nobody panics with it").insert(n, id);
                }
            });
        }
        for (at, victim) in &strikes {
            until(secs(300), "results to be answered", || {
                site.keep_up();
                let so_far = answered.lock().expect("nobody panics with it").len();
                if so_far >= *at { Ok(()) } else { Err(so_far) }
            });
            site.strike(*victim);
        }
        until(secs(300), "every result to be answered", || {
            site.keep_up();
            let so_far = answered.lock().expect("nobody panics with it").len();
            if so_far == posts { Ok(()) } else { Err(so_far) }
        });
    });
    let answered = answered.into_inner().expect("nobody panics with it");

    let untold = until(secs(120), "the bus to be told of everything", || {
        site.keep_up();
        let mut client = postgres::Client::connect(database.url(), postgres::NoTls).map_err(|e| e.to_string())?;
        let left: i64 = client.query_one("SELECT count(*) FROM messages", &[]).map_err(|e| e.to_string())?.get(0);
        if left == 0 { Ok(left) } else { Err(format!("{left} are left")) }
    });
    assert_eq!(untold, 0);
    assert_stored(&database, &answered);
    let repeated = assert_told(&site, &answered);
    println!(
        "{posts} results, {} posted again for want of an answer, {repeated} messages came again; killed: {strikes:?}",
        unsure.load(Ordering::Relaxed),
    );
    for store in site.stores.lock().expect("nobody panics with it").iter_mut().flatten() {
        assert!(store.stop(PATIENCE).success());
    }
    site.story.assert_nothing_left(secs(10));
}

/// After how many answers what is killed: each of the three kinds as often.
fn strikes(chance: &mut Chance, posts: usize) -> Vec<(usize, Victim)> {
    let kills = 9 + 3 * (posts / 2000);
    let kinds = [Victim::Store(0), Victim::Postgres, Victim::Rabbit];
    let mut victims: Vec<Victim> = (0..kills).map(|n| kinds[n % kinds.len()]).collect();
    for victim in &mut victims {
        if let Victim::Store(n) = victim {
            *n = chance.below(STORES);
        }
    }
    chance.shuffle(&mut victims);
    let mut at: Vec<usize> = (0..kills).map(|_| chance.below(posts)).collect();
    at.sort_unstable();
    at.into_iter().zip(victims).collect()
}

/// Posts one result under its key until it is answered with 201, for its id.
fn post(site: &Site, n: usize, poster: usize, unsure: &AtomicUsize) -> i64 {
    let body = json!({
        "outcome": if n.is_multiple_of(3) { "FAILED" } else { "PASSED" }, "testcase": format!("told.{}", n % 7),
        "groups": [format!("group-{}", n % 50)],
        "data": {"item": format!("item-{n}"), "type": "koji_build", "arch": "x86_64"},
    })
    .to_string();
    let mut tries = poster;
    until(secs(120), "an answer", || {
        tries += 1;
        let request = http::post(&site.url(tries % STORES), "application/json", body.as_str());
        let answer = request.header("idempotency-key", &format!("key-{n}")).send();
        match answer {
            Ok(reply) if reply.status == 201 => Ok(reply.json()["id"].as_i64().expect("a number")),
            Ok(reply) => {
                assert_eq!(reply.status, 503, "{}", reply.text());
                unsure.fetch_add(1, Ordering::Relaxed);
                Err(format!("{} {}", reply.status, reply.text()))
            }
            Err(error) => {
                unsure.fetch_add(1, Ordering::Relaxed);
                Err(error.to_string())
            }
        }
    })
}

/// Each answered id is stored, under the item that was posted, and nothing else is.
#[track_caller]
fn assert_stored(database: &Database, answered: &BTreeMap<usize, i64>) {
    let rows = database.connect().query("SELECT id, data::jsonb -> 'item' ->> 0 FROM results", &[]);
    let rows = rows.expect("the database answers");
    let stored = rows.iter().map(|row| format!("{} {}", row.get::<_, i64>(0), row.get::<_, String>(1)));
    assert_same("results", answered.iter().map(|(n, id)| format!("{id} item-{n}")), stored);
}

/// The bus was told of each answered id, by one message id each; how many came again.
#[track_caller]
fn assert_told(site: &Site, answered: &BTreeMap<usize, i64>) -> usize {
    Publisher::connect(site.rabbit.url()).publish("amq.topic", "story.last", "last", "{}");
    let mut consume = site.story.python();
    consume.arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients/hear.py"));
    consume.args([site.rabbit.url(), QUEUE]).env("HOME", site.story.folder());
    let ran = site.story.run(secs(300), consume);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let mut by_id: BTreeMap<String, (i64, Value)> = BTreeMap::new();
    let mut told = Vec::new();
    let mut repeated = 0;
    for line in ran.out.lines() {
        let message: Value = serde_json::from_str(line).expect("a line of JSON");
        assert_eq!(message["topic"], TOPIC);
        let body = message["body"].clone();
        let (id, result) = (message["id"].as_str().expect("an id").to_owned(), body["id"].as_i64().expect("an id"));
        match by_id.insert(id, (result, body.clone())) {
            Some(before) => {
                assert_eq!(before, (result, body), "one id says one thing");
                repeated += 1;
            }
            None => told.push(format!("{result} {}", body["data"]["item"][0].as_str().unwrap_or_default())),
        }
    }
    assert_same("messages", answered.iter().map(|(n, id)| format!("{id} item-{n}")), told);
    repeated
}

#[test]
fn up_tells_the_bus_of_what_its_store_takes_also_of_the_last_before_it_stops() {
    let amqp = shared_amqp();
    let publisher = Publisher::connect(&amqp);
    let name = format!("told-{}", std::process::id());
    publisher.declare(&name);
    let story = Story::new();
    story.write("config/rules.yml", "rules: []\n");
    let settings = format!("[resultsdb.messages]\nurls = [{amqp:?}]\nexchange = {name:?}\n");
    let mut up = Installation::new(story, &settings);
    up.start_ready();
    let token = std::fs::read_to_string(up.data("submitter.token")).expect("up has made it");
    let post = |testcase: &str| {
        let body = json!({"outcome": "PASSED", "testcase": testcase}).to_string();
        let url = format!("{}/api/v2.0/results", up.url());
        let reply = http::post(&url, "application/json", body).bearer(&token).send().expect("it answers");
        assert_eq!(reply.status, 201, "{}", reply.text());
    };
    let waiting = |count: u32| match publisher.waiting(&name) {
        seen if seen == count => Ok(()),
        seen => Err(seen),
    };
    post("first");
    until(PATIENCE, "the message", || waiting(1));
    post("second");
    assert!(up.stop(PATIENCE).success());
    until(PATIENCE, "the message of what came last", || waiting(2));
    publisher.delete(&name);
}
