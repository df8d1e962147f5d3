//! The power fails, for everybody at once, while work flows; then the machines come back in any order.

use std::thread;

use serde_json::{Value, json};

use crate::broker::{self, Message, Publisher};
use crate::fleet::{Fleet, Plan, Role};
use crate::kit::{Chance, Postgres, Rabbit, Story, chance, pass, secs, until};
use crate::tally;

const ROUNDS: usize = 3;

/// Of each round.
const MESSAGES: usize = 150;

const RULES: &str = r#"
rules:
  - name: each
    topics: [power.each]
    do: [{ tasks: [quick], item: "{{ body.n }}", item_type: number }]
  - name: slow
    topics: [power.each]
    when: { body.n: { $mod: [10, 0] } }
    do: [{ tasks: [slow], item: "{{ body.n }}", item_type: number }]
"#;

/// Whatever stands on a machine of its own.
#[derive(Clone, Copy, Debug)]
enum Machine {
    Postgres,
    Rabbit,
    Of(Role),
}

struct Hall {
    postgres: Postgres,
    rabbit: Rabbit,
    fleet: Fleet,
    queue: String,
}

impl Hall {
    fn open() -> Hall {
        let (postgres, rabbit, story) = (Postgres::start(), Rabbit::start(), Story::new());
        story.write("config/rules.yml", RULES);
        let plan = Plan {
            amqp: rabbit.url().into(),
            postgres: postgres.url().into(),
            proxied: false,
            power_cuts: true,
            ..Plan::default()
        };
        let fleet = Fleet::new(story, plan);
        let queue = fleet.queue(0);
        Publisher::connect(rabbit.url()).declare(&queue);
        rabbit.settle();
        Hall { postgres, rabbit, fleet, queue }
    }

    /// Kills everybody while messages come; they go on coming while nobody is there.
    fn lose_power(&mut self, chance: &mut Chance, order: &[Machine], messages: Vec<Message>) {
        let begun = self.fleet.look("/api/v1/status").expect("it is up")["intake"]["recorded"].clone();
        let Hall { postgres, rabbit, fleet, queue } = self;
        thread::scope(|scope| {
            let url = rabbit.url();
            scope.spawn(|| broker::publish_surely(url, queue, messages));
            until(secs(60), "some messages to have come", || {
                let recorded = fleet.look("/api/v1/status")?["intake"]["recorded"].clone();
                if recorded == begun { Err(recorded.to_string()) } else { Ok(()) }
            });
            pass(chance.millis(800));
            thread::scope(|scope| {
                scope.spawn(|| postgres.kill());
                scope.spawn(|| rabbit.kill());
                fleet.roles().into_iter().for_each(|role| fleet.kill(role));
            });
            for machine in order {
                pass(chance.millis(300));
                match machine {
                    Machine::Postgres => postgres.start_again(),
                    Machine::Rabbit => rabbit.start_again(),
                    Machine::Of(role) => fleet.start(*role),
                }
            }
        });
    }

    /// What must be the same after every order, once everybody is at rest and has been heard from.
    fn steady(&mut self, events: usize) -> Value {
        let status = tally::rest(&mut self.fleet, events);
        let fleet = &self.fleet;
        let workers = json!({"ready": 2, "busy": 0, "draining": 0, "drained": 0, "masked": 0, "quarantined": 0,
            "lost": 0});
        let steady = until(secs(60), "both workers to be ready, and nothing in their way", || {
            let status = fleet.look("/api/v1/status")?;
            let rest = status["workers"] == workers && status["stopped_by"] == json!([]);
            if rest { Ok(status) } else { Err(status.to_string()) }
        });
        assert_eq!(steady["jobs"], status["jobs"], "at rest");
        json!({"mode": steady["mode"], "site": steady["site"], "outbox": steady["outbox"], "workers": workers})
    }
}

fn jobs(events: usize) -> Vec<[String; 5]> {
    let job =
        |n: usize, task: &str| [format!("m{n}"), task.to_owned(), "number".into(), n.to_string(), "noarch".to_owned()];
    (0..events).flat_map(|n| [Some(job(n, "quick")), (n % 10 == 0).then(|| job(n, "slow"))]).flatten().collect()
}

#[test]
fn power_loss_comes_to_the_same_state_whoever_starts_first() {
    let seed = chance::seed();
    println!("TASKOTRON_SEED={seed}");
    let mut chance = Chance::new(seed);
    let mut hall = Hall::open();
    hall.fleet.start_all();
    let before = hall.steady(0);
    for round in 1..=ROUNDS {
        let events = (round - 1) * MESSAGES..round * MESSAGES;
        let roles = hall.fleet.roles();
        let mut order: Vec<_> =
            roles.into_iter().map(Machine::Of).chain([Machine::Postgres, Machine::Rabbit]).collect();
        chance.shuffle(&mut order);
        println!("round {round}: {order:?}");
        let message = |n| Message { topic: "power.each", id: format!("m{n}"), body: json!({ "n": n }).to_string() };
        let end = events.end;
        hall.lose_power(&mut chance, &order, events.map(message).collect());
        assert_eq!(hall.steady(end), before, "after {order:?}");
        let status = hall.fleet.get("/api/v1/status");
        println!("{}", tally::assert_each_once(&hall.fleet, &jobs(end), end, &status));
    }
    hall.fleet.stop_all();
    assert_eq!(Publisher::connect(hall.rabbit.url()).waiting(&hall.queue), 0);
    hall.fleet.assert_nothing_left();
    hall.fleet.assert_sound();
}
