//! One `taskotron up` of a story: its configuration, settings and data folder, which stay the same however often the
//! process itself is killed, and ways to ask it what it knows.

use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use serde_json::Value;

use crate::kit::process::Process;
use crate::kit::story::Ran;
use crate::kit::unsynced::Unsynced;
use crate::kit::{Database, Story, Wallclock, http, ports, until};
use crate::site::{GONE, Site};

pub use crate::site::PATIENCE;

/// Milliseconds that a sync of the event log takes where power is cut: what is done before it is over shows.
pub const SLOW_DISK: &str = "30";

pub struct Installation {
    // Before the story, whose folder holds what it said.
    up: Option<Process>,
    shim: Option<Unsynced>,
    clock: Option<Wallclock>,
    site: Site,
    pub story: Story,
}

impl Deref for Installation {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Installation {
    /// Writes the settings; rules and tasks are `config/*.yml` in the story's folder.
    pub fn new(story: Story, settings: &str) -> Installation {
        story.write("taskotron.toml", settings);
        std::fs::create_dir_all(story.path("run")).expect("the story has a folder");
        let url = format!("http://127.0.0.1:{}", ports::free());
        let data = story.path("data");
        let site = Site {
            masters: vec![url.clone()],
            results: url,
            token_file: data.join("operator.token"),
            database: format!("sqlite:{}", data.join("master/master.sqlite").display()),
        };
        Installation { up: None, shim: None, clock: None, site, story }
    }

    /// With its jobs in this PostgreSQL database.
    pub fn over(mut self, database: &Database) -> Installation {
        let path = self.story.path("taskotron.toml");
        let settings = std::fs::read_to_string(&path).expect("they were written");
        self.story.write("taskotron.toml", format!("{settings}\n[master]\ndatabase = {:?}\n", database.url()));
        self.site.database = database.url().to_owned();
        self
    }

    /// From now on a kill takes along what the trigger has not synced.
    pub fn with_power_cuts(mut self) -> Installation {
        self.shim = Some(Unsynced::build(self.story.folder()));
        self
    }

    /// With a wall clock of its own, to be set with `set_clock`.
    pub fn with_clock(mut self) -> Installation {
        self.clock = Some(Wallclock::build(self.story.folder()));
        self
    }

    /// Sets its wall clock so many seconds ahead of the true time.
    #[track_caller]
    pub fn set_clock(&self, ahead: i64) {
        self.clock.as_ref().expect("it has a clock").set("up", ahead);
    }

    pub fn url(&self) -> &str {
        &self.site.results
    }

    /// A path in its data folder.
    pub fn data(&self, name: &str) -> PathBuf {
        self.story.path("data").join(name)
    }

    /// Starts the process; it may not answer yet.
    #[track_caller]
    pub fn start(&mut self) {
        let mut up = self.at_home(self.story.taskotron());
        up.args(["up", "--data", "data", "--config", "config", "--settings", "taskotron.toml"]);
        up.args(["--listen", self.url().trim_start_matches("http://")]);
        if let Some(clock) = &self.clock {
            clock.wear(&mut up, "up");
        }
        if let Some(shim) = &self.shim {
            shim.hold(&mut up, "events.jsonl");
            up.env("UNSYNCED_DELAY_MS", SLOW_DISK);
        }
        self.up = Some(self.story.start("up", up));
    }

    /// Starts it and waits until it serves.
    #[track_caller]
    pub fn start_ready(&mut self) {
        self.start();
        self.ready();
    }

    #[track_caller]
    pub fn ready(&mut self) {
        until(PATIENCE, "up to be ready", || match http::get(&format!("{}/readyz", self.url())).send() {
            Ok(reply) if reply.status == 200 => Ok(()),
            other => {
                let said = self.up().ended().map(|end| format!("{end}: {}", self.up().err()));
                assert!(said.is_none(), "up has ended: {}", said.unwrap_or_default());
                Err(other)
            }
        });
    }

    pub fn up(&mut self) -> &mut Process {
        self.up.as_mut().expect("it was started")
    }

    /// SIGKILL.
    #[track_caller]
    pub fn kill(&mut self) {
        self.up().kill();
        self.up = None;
    }

    /// SIGTERM, and how it ended.
    #[track_caller]
    pub fn stop(&mut self, within: Duration) -> ExitStatus {
        let mut up = self.up.take().expect("it was started");
        up.stop(within)
    }

    /// Runs a command of `taskotron` as the operator.
    #[track_caller]
    pub fn taskotron(&self, arguments: &[&str]) -> Ran {
        let mut command = self.as_operator(self.story.taskotron());
        command.args(arguments);
        self.story.run(PATIENCE, command)
    }

    /// Posts events until they are taken.
    #[track_caller]
    pub fn tell(&self, events: &Value) {
        let token = std::fs::read_to_string(self.data("submitter.token")).expect("up has made it");
        let url = format!("{}/events", self.url());
        until(PATIENCE, "the events to be taken", || {
            match http::post(&url, "application/json", events.to_string()).bearer(&token).send() {
                Ok(reply) if reply.status == 200 => Ok(()),
                other => Err(other),
            }
        });
    }

    /// A command that finds this installation and no other.
    pub fn as_operator(&self, command: Command) -> Command {
        let mut command = self.at_home(command);
        command.env("TASKOTRON_URL", self.url()).env("TASKOTRON_TOKEN_FILE", self.data("operator.token"));
        command
    }

    /// Where others of this user leave notes for each other is shared; a story has such a folder of its own.
    fn at_home(&self, mut command: Command) -> Command {
        command.env("XDG_RUNTIME_DIR", self.story.path("run"));
        command
    }

    /// Proves that no process of a job, nor any other of this story, outlives a stopped installation.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        self.story.assert_nothing_left(GONE);
    }
}
