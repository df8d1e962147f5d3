//! One `taskotron up` of a story: its configuration, settings and data folder, which stay the same however often the
//! process itself is killed, and ways to ask it what it knows.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use serde_json::Value;

use crate::kit::process::Process;
use crate::kit::story::Ran;
use crate::kit::unsynced::Unsynced;
use crate::kit::{Story, http, ports, secs, until};

/// How long a debug build may take to start on a busy machine, or to answer.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Milliseconds that a sync of the event log takes where power is cut: what is done before it is over shows.
const SLOW_DISK: &str = "30";

/// The most rows that a listing gives at once.
const ROWS: usize = 1000;

pub struct Installation {
    // Before the story, whose folder holds what it said.
    up: Option<Process>,
    shim: Option<Unsynced>,
    port: u16,
    pub story: Story,
}

impl Installation {
    /// Writes the settings; rules and tasks are `config/*.yml` in the story's folder.
    pub fn new(story: Story, settings: &str) -> Installation {
        story.write("taskotron.toml", settings);
        std::fs::create_dir_all(story.path("run")).expect("the story has a folder");
        Installation { up: None, shim: None, port: ports::free(), story }
    }

    /// From now on a kill takes along what the trigger has not synced.
    pub fn with_power_cuts(mut self) -> Installation {
        self.shim = Some(Unsynced::build(self.story.folder()));
        self
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
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
        up.args(["--listen", &format!("127.0.0.1:{}", self.port)]);
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

    /// What a GET of the API answers; an error while it cannot be told.
    pub fn look(&self, path: &str) -> Result<Value, String> {
        let token = std::fs::read_to_string(self.data("operator.token")).map_err(|e| e.to_string())?;
        let reply = http::get(&format!("{}{path}", self.url())).bearer(&token).send().map_err(|e| e.to_string())?;
        if reply.status == 200 { Ok(reply.json()) } else { Err(format!("{}: {}", reply.status, reply.text())) }
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        until(PATIENCE, path, || self.look(path))
    }

    /// All rows of `/api/v1/jobs` or `/api/v1/events`.
    #[track_caller]
    pub fn all(&self, listing: &str) -> Vec<Value> {
        let (mut rows, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("/api/v1/{listing}?limit={ROWS}&cursor={cursor}"));
            rows.extend(page["items"].as_array().expect("items").iter().cloned());
            match page["next"].as_str() {
                Some(next) => cursor = next.into(),
                None => return rows,
            }
        }
    }

    /// All results of the results store, by the job that its data names.
    #[track_caller]
    pub fn results(&self) -> BTreeMap<String, Vec<Value>> {
        let mut results: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for page in 0.. {
            let rows = self.get(&format!("/api/v2.0/results?limit={ROWS}&page={page}"));
            let rows = rows["data"].as_array().expect("data");
            for row in rows {
                let job = row["data"]["job_id"][0].as_str().expect("a result names its job");
                results.entry(job.into()).or_default().push(row.clone());
            }
            if rows.len() < ROWS {
                break;
            }
        }
        results
    }

    /// Waits until all that was recorded is with the master, nothing is open and nothing is undelivered.
    #[track_caller]
    pub fn settled(&self, within: Duration) -> Value {
        until(within, "every job to end and every result to be delivered", || {
            let status = self.look("/api/v1/status")?;
            let (jobs, intake) = (&status["jobs"], &status["intake"]);
            let open = ["waiting", "queued", "running"].iter().any(|state| jobs[state] != 0);
            let under_way = status["outbox"] != 0 || intake["recorded"] != intake["forwarded"];
            if open || under_way { Err(status.to_string()) } else { Ok(status) }
        })
    }

    /// Asks the store of a stopped master what does not add up in it.
    #[track_caller]
    pub fn assert_sound(&self) {
        let wrong = self.with_store(async |store| store.invariants().await.expect("the store answers"));
        assert_eq!(wrong, Vec::<String>::new());
    }

    /// Opens the store of a master that was stopped.
    pub fn with_store<T>(&self, ask: impl AsyncFnOnce(&master::store::Store) -> T) -> T {
        let url = format!("sqlite:{}", self.data("master/master.sqlite").display());
        let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
        runtime.block_on(async {
            let store = master::store::Store::open(&url, "main").await.expect("the store can be opened");
            let answer = ask(&store).await;
            store.close().await;
            answer
        })
    }

    /// Proves that no process of a job, nor any other of this story, outlives a stopped installation.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        self.story.assert_nothing_left(secs(20));
    }
}
