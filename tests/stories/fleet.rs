//! An installation as production runs it: every role a process of its own at an address of its own, over PostgreSQL,
//! each way from one to another behind a proxy that can fail.

#![allow(dead_code, reason = "it is whole, as the kit is; each story takes what it needs")]

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use nix::sys::signal::Signal;

use crate::installation::SLOW_DISK;
use crate::kit::process::Process;
use crate::kit::story::Ran;
use crate::kit::unsynced::Unsynced;
use crate::kit::{Database, Proxy, Story, Wallclock, http, ports, servers, until};
use crate::ledger;
use crate::site::{GONE, PATIENCE, Site};

/// One process of a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Results,
    Master(usize),
    Trigger(usize),
    Worker(usize),
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Role::Results => f.write_str("results"),
            Role::Master(n) => write!(f, "master{n}"),
            Role::Trigger(n) => write!(f, "trigger{n}"),
            Role::Worker(n) => write!(f, "worker{n}"),
        }
    }
}

/// Whom a process of a fleet talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    Bus,
    Database,
    Results,
    Master(usize),
}

/// What a fleet is made of; the default is what most stories want.
#[derive(Clone)]
pub struct Plan {
    pub triggers: usize,
    pub masters: usize,
    pub workers: usize,
    /// Of each worker.
    pub slots: usize,
    pub lease_term: &'static str,
    /// The broker's URL.
    pub amqp: String,
    /// The superuser's URL of the cluster that the databases are made in.
    pub postgres: String,
    /// Whether each way from one to another leads through a proxy.
    pub proxied: bool,
    /// Whether a kill takes along what a trigger has not synced.
    pub power_cuts: bool,
    /// Whether each process has a wall clock of its own, to be set with `set_clock`. With power cuts the triggers have
    /// none.
    pub clocks: bool,
    /// Further lines for the section of each trigger, master and worker.
    pub trigger: String,
    pub master: String,
    pub worker: String,
}

impl Default for Plan {
    /// One trigger, two masters and two workers over the servers that `./test` has started.
    fn default() -> Plan {
        Plan {
            triggers: 1,
            masters: 2,
            workers: 2,
            slots: 2,
            lease_term: "2s",
            amqp: servers::shared_amqp(),
            postgres: servers::shared_postgres(),
            proxied: true,
            power_cuts: false,
            clocks: false,
            trigger: String::new(),
            master: String::new(),
            worker: String::new(),
        }
    }
}

pub struct Fleet {
    // Before the story, whose folder holds what they said.
    running: BTreeMap<Role, Process>,
    shim: Option<Unsynced>,
    clocks: Option<Wallclock>,
    proxies: BTreeMap<(Role, Peer), Proxy>,
    site: Site,
    pub plan: Plan,
    /// Of the masters, and of the results store.
    databases: [Database; 2],
    pub story: Story,
}

impl Deref for Fleet {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Fleet {
    /// Makes databases, tokens and settings, and starts nothing. Rules are `config/*.yml` in the story's folder; the
    /// tasks of `ledger` are added. Trigger `n` consumes the queue `queue(n)`, which is also its exchange's name.
    #[track_caller]
    pub fn new(story: Story, plan: Plan) -> Fleet {
        ledger::write_tasks(&story);
        for folder in ["run", "shared"] {
            fs::create_dir_all(story.path(folder)).expect("the story has a folder");
        }
        let databases = [Database::within(&plan.postgres), Database::within(&plan.postgres)];
        let url = || format!("http://127.0.0.1:{}", ports::free());
        let site = Site {
            masters: (0..plan.masters).map(|_| url()).collect(),
            results: url(),
            token_file: story.path("operator.token"),
            database: databases[0].url().to_owned(),
        };
        let shim = plan.power_cuts.then(|| Unsynced::build(story.folder()));
        let clocks = plan.clocks.then(|| Wallclock::build(story.folder()));
        let (running, proxies) = (BTreeMap::new(), BTreeMap::new());
        let mut fleet = Fleet { running, shim, clocks, proxies, site, plan, databases, story };
        for role in ["operator", "submitter", "trigger", "worker", "reader"] {
            let out = format!("{role}.token");
            fleet.run(&[
                "token", "create", "--role", role, "--name", role, "--file", "tokens", "--out", &out, "-m", "a story",
            ]);
        }
        for role in fleet.roles() {
            let settings = fleet.settings(role);
            fleet.story.write(format!("{role}.toml"), settings);
        }
        fleet
    }

    /// Everybody, in the order in which they are best started.
    pub fn roles(&self) -> Vec<Role> {
        let masters = (0..self.plan.masters).map(Role::Master);
        let triggers = (0..self.plan.triggers).map(Role::Trigger);
        let workers = (0..self.plan.workers).map(Role::Worker);
        [Role::Results].into_iter().chain(masters).chain(triggers).chain(workers).collect()
    }

    pub fn queue(&self, trigger: usize) -> String {
        format!("{}-{trigger}", self.story.folder().file_name().expect("a name").to_string_lossy())
    }

    /// A trigger's folder.
    pub fn trigger(&self, n: usize) -> PathBuf {
        self.story.path(format!("trigger{n}"))
    }

    /// The proxy on the way from one to another.
    #[track_caller]
    pub fn proxy(&self, from: Role, to: Peer) -> &Proxy {
        self.proxies.get(&(from, to)).unwrap_or_else(|| panic!("{from} has no proxy on its way to {to:?}"))
    }

    /// All ways that lead through a proxy.
    pub fn ways(&self) -> Vec<(Role, Peer)> {
        self.proxies.keys().copied().collect()
    }

    /// Good weather everywhere.
    #[track_caller]
    pub fn heal(&self) {
        self.proxies.values().for_each(Proxy::heal);
    }

    /// Starts a process; it may not answer yet.
    #[track_caller]
    pub fn start(&mut self, role: Role) {
        let mut command = self.at_home(self.story.taskotron());
        let name = match role {
            Role::Results => "resultsdb",
            Role::Master(_) => "master",
            Role::Trigger(_) => "trigger",
            Role::Worker(_) => "worker",
        };
        command.args([name, "--settings", &format!("{role}.toml")]);
        if let Some(clocks) = &self.clocks {
            clocks.wear(&mut command, &role.to_string());
        }
        if let (Role::Trigger(_), Some(shim)) = (role, &self.shim) {
            shim.hold(&mut command, "events.jsonl");
            command.env("UNSYNCED_DELAY_MS", SLOW_DISK);
        }
        let process = self.story.start(&role.to_string(), command);
        assert!(self.running.insert(role, process).is_none(), "{role} is running");
    }

    /// Starts everybody who is not running, and waits until those serve who serve.
    #[track_caller]
    pub fn start_all(&mut self) {
        for role in self.roles() {
            if !self.running.contains_key(&role) {
                self.start(role);
            }
        }
        self.ready();
    }

    /// Starts those again that have ended by themselves, as a service manager would.
    #[track_caller]
    pub fn revive(&mut self) -> Vec<Role> {
        let mut ended: Vec<_> = self.running.iter_mut().filter_map(|(role, p)| p.ended().map(|_| *role)).collect();
        for role in &mut ended {
            self.running.remove(role);
            self.start(*role);
        }
        ended
    }

    /// Waits until the results store and every master that was started serve.
    #[track_caller]
    pub fn ready(&mut self) {
        for role in self.roles() {
            if self.running.contains_key(&role) {
                self.ready_as(role);
            }
        }
    }

    /// Waits until one of them serves, if it is one that does.
    #[track_caller]
    pub fn ready_as(&mut self, role: Role) {
        let url = match role {
            Role::Results => format!("{}/api/v2.0/healthcheck", self.site.results),
            Role::Master(n) => format!("{}/readyz", self.site.masters[n]),
            Role::Trigger(_) | Role::Worker(_) => return,
        };
        until(PATIENCE, &format!("{role} to be ready"), || match http::get(&url).send() {
            Ok(reply) if reply.status == 200 => Ok(()),
            other => {
                let process = self.process(role);
                let said = process.ended().map(|end| format!("{end}: {}", process.err()));
                assert!(said.is_none(), "{role} has ended: {}", said.unwrap_or_default());
                Err(other)
            }
        });
    }

    #[track_caller]
    pub fn process(&mut self, role: Role) -> &mut Process {
        self.running.get_mut(&role).unwrap_or_else(|| panic!("{role} was not started"))
    }

    pub fn is_running(&self, role: Role) -> bool {
        self.running.contains_key(&role)
    }

    /// SIGKILL.
    #[track_caller]
    pub fn kill(&mut self, role: Role) {
        self.process(role).kill();
        self.running.remove(&role);
    }

    /// SIGTERM, and how it ended.
    #[track_caller]
    pub fn stop(&mut self, role: Role) -> ExitStatus {
        let status = self.process(role).stop(PATIENCE);
        self.running.remove(&role);
        status
    }

    /// SIGSTOP: it is there, and does nothing, until `resume`.
    #[track_caller]
    pub fn pause(&mut self, role: Role) {
        self.process(role).signal(Signal::SIGSTOP);
    }

    #[track_caller]
    pub fn resume(&mut self, role: Role) {
        self.process(role).signal(Signal::SIGCONT);
    }

    /// Stops everybody in the order in which they hand things on; each must end well.
    #[track_caller]
    pub fn stop_all(&mut self) {
        let rank = |role: &Role| match role {
            Role::Trigger(_) | Role::Worker(_) => 0,
            Role::Master(_) => 1,
            Role::Results => 2,
        };
        let mut roles: Vec<_> = self.running.keys().copied().collect();
        roles.sort_by_key(rank);
        for role in roles {
            let status = self.stop(role);
            assert!(status.success(), "{role}: {status}");
        }
    }

    /// Sets the wall clock of one of them so many seconds ahead of the true time, whether or not it runs.
    #[track_caller]
    pub fn set_clock(&self, role: Role, ahead: i64) {
        self.clocks.as_ref().expect("the plan has clocks").set(&role.to_string(), ahead);
    }

    /// Runs a command of `taskotron` as the operator, against the first master; it must succeed.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Ran {
        let ran = self.ask(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
        ran
    }

    /// The same, however it ends.
    #[track_caller]
    pub fn ask(&self, arguments: &[&str]) -> Ran {
        let mut command = self.as_operator(self.story.taskotron(), 0);
        command.args(arguments);
        self.story.run(PATIENCE, command)
    }

    /// A command that finds one of the masters, and no other.
    pub fn as_operator(&self, command: Command, master: usize) -> Command {
        let mut command = self.at_home(command);
        command.env("TASKOTRON_URL", &self.site.masters[master]).env("TASKOTRON_TOKEN_FILE", &self.site.token_file);
        command
    }

    /// A connection to the masters' database, to look at it from outside.
    #[track_caller]
    pub fn connect(&self) -> postgres::Client {
        self.databases[0].connect()
    }

    /// Proves that no process of a job, nor any other of this story, outlives a stopped fleet.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        self.story.assert_nothing_left(GONE);
    }

    /// What has been said so far by one of them, for looking into after a failure.
    pub fn said(&self, role: Role) -> String {
        fs::read_to_string(self.story.path(format!("{role}.err"))).unwrap_or_default()
    }

    /// Where others of this user leave notes for each other is shared; a story has such a folder of its own.
    fn at_home(&self, mut command: Command) -> Command {
        command.env("XDG_RUNTIME_DIR", self.story.path("run"));
        command
    }

    fn settings(&mut self, role: Role) -> String {
        let Plan { lease_term, slots, trigger, master, worker, .. } = self.plan.clone();
        let path = |name: &str| self.story.path(name);
        let (config, tokens, own) = (path("config"), path("tokens"), path(&role.to_string()));
        let [trigger_token, worker_token, submitter_token] =
            ["trigger", "worker", "submitter"].map(|role| path(&format!("{role}.token")));
        let common = format!("[configuration]\ndir = {config:?}\n[tokens]\nfile = {tokens:?}\n");
        let shared = path("shared");
        let specific = match role {
            Role::Results => {
                let listen = listen(&self.site.results).to_owned();
                let database = self.way(role, Peer::Database, self.databases[1].url().to_owned());
                format!("[resultsdb]\nlisten = {listen:?}\ndatabase = {database:?}\n")
            }
            Role::Master(n) => {
                let url = self.site.masters[n].clone();
                let listen = listen(&url);
                let database = self.way(role, Peer::Database, self.databases[0].url().to_owned());
                let results = self.way(role, Peer::Results, self.site.results.clone());
                format!(
                    "[master]\nlisten = {listen:?}\npublic_url = {url:?}\ndatabase = {database:?}\ndata = {shared:?}\n\
                     lease_term = {lease_term:?}\n{master}\n\
                     [master.results]\nurl = {results:?}\ntoken_file = {submitter_token:?}\n"
                )
            }
            Role::Trigger(n) => {
                let (masters, queue) = (self.ways_to_masters(role), self.queue(n));
                let bus = self.way(role, Peer::Bus, self.plan.amqp.clone());
                format!(
                    "[trigger]\nname = \"{role}\"\ndir = {own:?}\nmaster = {masters:?}\ntoken_file = {trigger_token:?}\n\
                     {trigger}\n[trigger.amqp]\nurls = [{bus:?}]\nqueue = {queue:?}\nexchange = {queue:?}\n"
                )
            }
            Role::Worker(_) => {
                let masters = self.ways_to_masters(role);
                let environment = ledger::environment(&self.story, &role.to_string());
                format!(
                    "[worker]\nname = \"{role}\"\ndir = {own:?}\nslots = {slots}\nmaster = {masters:?}\n\
                     token_file = {worker_token:?}\n{environment}{worker}\n"
                )
            }
        };
        common + &specific
    }

    /// Each begins with another one, as a person would set it.
    fn ways_to_masters(&mut self, role: Role) -> Vec<String> {
        let mut ways: Vec<_> =
            (0..self.plan.masters).map(|n| self.way(role, Peer::Master(n), self.site.masters[n].clone())).collect();
        if let (Role::Worker(n), false) = (role, ways.is_empty()) {
            ways.rotate_left(n % self.plan.masters);
        }
        ways
    }

    fn way(&mut self, from: Role, to: Peer, url: String) -> String {
        if !self.plan.proxied {
            return url;
        }
        let proxy = self.proxies.entry((from, to)).or_insert_with(|| Proxy::before(&url));
        proxy.url().to_owned()
    }
}

fn listen(url: &str) -> &str {
    url.trim_start_matches("http://")
}
