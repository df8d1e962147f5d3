//! What a storm consists of: drawn from its seed alone.

use std::fmt;
use std::time::Duration;

use crate::fleet::{Peer, Role};
use crate::kit::Chance;

/// The topics of the storm, each with its share of a hundred.
const TOPICS: [(&str, usize); 4] = [("storm.none", 86), ("storm.one", 7), ("storm.two", 4), ("storm.slow", 3)];

/// How long messages come, and how long faults begin, in milliseconds: the jobs of the last messages too shall meet some.
const FLOW: usize = 4000;
const FAULTS: usize = 8000;

const PORTIONS: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL, and started again.
    Kill(Role),
    /// SIGTERM, and started again; whoever has not ended by then is killed.
    Stop(Role),
    /// SIGSTOP, and SIGCONT.
    Pause(Role),
    Cut(Role, Peer),
    Refuse(Role, Peer),
    HalfOpen(Role, Peer),
    Delay(Role, Peer, Duration),
    KillPostgres,
    RestartPostgres,
    KillRabbit,
}

/// Who cannot meet with two faults at once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    Process(Role),
    Way(Role, Peer),
    Postgres,
    Rabbit,
}

impl Fault {
    fn victim(self) -> Victim {
        match self {
            Fault::Kill(role) | Fault::Stop(role) | Fault::Pause(role) => Victim::Process(role),
            Fault::Cut(from, to) | Fault::Refuse(from, to) | Fault::HalfOpen(from, to) | Fault::Delay(from, to, _) => {
                Victim::Way(from, to)
            }
            Fault::KillPostgres | Fault::RestartPostgres => Victim::Postgres,
            Fault::KillRabbit => Victim::Rabbit,
        }
    }
}

/// A fault, from its begin to its end, counted from the storm's.
#[derive(Clone, Copy, Debug)]
pub struct Spell {
    pub fault: Fault,
    pub begin: Duration,
    pub end: Duration,
}

impl Spell {
    /// Begins at any moment, and lasts up to so many milliseconds.
    fn draw(chance: &mut Chance, fault: Fault, most: usize) -> Spell {
        let begin = chance.millis(FAULTS);
        Spell { fault, begin, end: begin + chance.millis(most) }
    }
}

/// Messages that are published at once: numbers of `Storm::topics`.
pub struct Portion {
    pub at: Duration,
    pub numbers: Vec<usize>,
}

pub struct Storm {
    pub workers: usize,
    /// The topic of message n.
    pub topics: Vec<&'static str>,
    pub portions: Vec<Portion>,
    pub spells: Vec<Spell>,
    /// Whether connections that lost something are never told, and stay deaf for ever.
    pub forgetful: bool,
}

impl Storm {
    /// Draws a storm of so many messages over these ways.
    pub fn draw(chance: &mut Chance, messages: usize, workers: usize, ways: &[(Role, Peer)]) -> Storm {
        let topics: Vec<_> = (0..messages).map(|_| topic(chance.below(100))).collect();
        let portions = portions(chance, messages);
        let forgetful = chance.below(8) == 0;
        let mut storm = Storm { workers, topics, portions, spells: Vec::new(), forgetful };
        for n in 0..12 + chance.below(14) {
            let spell = match n {
                // None is without these.
                0..2 => storm.when_messages_come(chance, Fault::Kill(Role::Trigger(0))),
                2 | 3 => storm.when_messages_come(chance, Fault::Refuse(Role::Trigger(0), Peer::Master(n - 2))),
                4 => storm.long_pause(chance),
                _ => storm.spell(chance, ways),
            };
            // A server takes its time to come back, so it goes down once.
            let is_server = matches!(spell.fault.victim(), Victim::Postgres | Victim::Rabbit);
            let meets = |other: &Spell| is_server || spell.begin < other.end && other.begin < spell.end;
            let taken = |other: &Spell| other.fault.victim() == spell.fault.victim() && meets(other);
            if !storm.spells.iter().any(taken) {
                storm.spells.push(spell);
            }
        }
        storm.spells.sort_by_key(|spell| spell.begin);
        storm
    }

    fn spell(&self, chance: &mut Chance, ways: &[(Role, Peer)]) -> Spell {
        let roles = [Role::Results, Role::Master(0), Role::Master(1), Role::Trigger(0)];
        let workers = (0..self.workers).map(Role::Worker);
        let roles: Vec<_> = roles.into_iter().chain(workers).collect();
        let (role, (from, to)) = (*chance.one_of(&roles), *chance.one_of(ways));
        let (fault, most) = match chance.below(48) {
            0..12 => (Fault::Kill(role), 2000),
            12..16 => (Fault::Stop(role), 3000),
            16..20 => (Fault::Pause(role), 4000),
            20..26 => return self.long_pause(chance),
            26..31 => (Fault::Cut(from, to), 1),
            31..33 => (Fault::Refuse(from, to), 3000),
            33..39 => (Fault::HalfOpen(from, to), 4000),
            39..43 => (Fault::Delay(from, to, chance.millis(400)), 3000),
            43 | 44 => (Fault::KillPostgres, 800),
            45 | 46 => (Fault::RestartPostgres, 1),
            _ => (Fault::KillRabbit, 1),
        };
        Spell::draw(chance, fault, most)
    }

    /// Of the trigger, while there is something in its hands.
    fn when_messages_come(&self, chance: &mut Chance, fault: Fault) -> Spell {
        let mut spell = Spell::draw(chance, fault, 1000);
        let moment = chance.one_of(&self.portions).at + chance.millis(80);
        (spell.begin, spell.end) = (moment, moment + (spell.end - spell.begin));
        spell
    }

    /// Of a worker, for longer than its leases hold.
    fn long_pause(&self, chance: &mut Chance) -> Spell {
        let worker = Role::Worker(chance.below(self.workers));
        let mut spell = Spell::draw(chance, Fault::Pause(worker), 4000);
        spell.end += Duration::from_millis(4000);
        spell
    }

    /// [event, task, item type, item, arch] of every job that must be.
    pub fn jobs(&self) -> Vec<[String; 5]> {
        let job = |n: usize, task: &str| {
            [format!("m{n}"), task.to_owned(), "number".into(), n.to_string(), "noarch".to_owned()]
        };
        let of = |(n, topic): (usize, &&str)| match *topic {
            "storm.one" => vec![job(n, "quick")],
            "storm.two" => vec![job(n, "quick"), job(n, "other")],
            "storm.slow" => vec![job(n, "slow")],
            _ => Vec::new(),
        };
        self.topics.iter().enumerate().flat_map(of).collect()
    }
}

impl fmt::Display for Storm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Spell { fault, begin, end } in &self.spells {
            writeln!(f, "{:5} to {:5} ms: {fault:?}", begin.as_millis(), end.as_millis())?;
        }
        if self.forgetful {
            writeln!(f, "connections that lost something stay deaf")?;
        }
        Ok(())
    }
}

fn topic(mut share: usize) -> &'static str {
    for (topic, of_all) in TOPICS {
        if share < of_all {
            return topic;
        }
        share -= of_all;
    }
    unreachable!("the shares add up to a hundred")
}

/// All messages, a few of them twice, in portions.
fn portions(chance: &mut Chance, messages: usize) -> Vec<Portion> {
    let mut times: Vec<_> = (0..PORTIONS).map(|_| chance.millis(FLOW)).collect();
    times.sort();
    let mut portions: Vec<_> = times.into_iter().map(|at| Portion { at, numbers: Vec::new() }).collect();
    for n in 0..messages {
        portions[n * PORTIONS / messages].numbers.push(n);
    }
    for _ in 0..messages / 50 {
        let n = chance.below(messages);
        let first = n * PORTIONS / messages;
        portions[first + chance.below(PORTIONS - first)].numbers.push(n);
    }
    portions
}
