//! What stories ask a Taskotron, however many processes it is made of: over its API as the operator, and, when it is
//! stopped, from its store.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::kit::count::text;
use crate::kit::{http, secs, until};

/// How long a debug build may take to start on a busy machine, or to answer.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long what was told to go may take to be gone.
pub const GONE: Duration = secs(20);

/// The most rows that a listing gives at once.
const ROWS: usize = 1000;

pub struct Site {
    /// Where its masters are, asked in turn.
    pub masters: Vec<String>,
    /// Where its results store is.
    pub results: String,
    /// Holds the operator's token; it may not be there yet.
    pub token_file: PathBuf,
    /// The masters' database.
    pub database: String,
}

impl Site {
    /// What a GET of the API answers; an error while it cannot be told.
    pub fn look(&self, path: &str) -> Result<Value, String> {
        let mut why = Vec::new();
        for master in &self.masters {
            match self.look_at(master, path) {
                Ok(answer) => return Ok(answer),
                Err(error) => why.push(error),
            }
        }
        Err(why.join("; "))
    }

    /// The same of one master, or of the results store, by its URL.
    pub fn look_at(&self, url: &str, path: &str) -> Result<Value, String> {
        let token = std::fs::read_to_string(&self.token_file).map_err(|e| e.to_string())?;
        let reply = http::get(&format!("{url}{path}")).bearer(&token).send().map_err(|e| e.to_string())?;
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
            let path = format!("/api/v2.0/results?limit={ROWS}&page={page}");
            let rows = until(PATIENCE, &path, || self.look_at(&self.results, &path));
            let rows = rows["data"].as_array().expect("data");
            for row in rows {
                results.entry(text(&row["data"]["job_id"][0])).or_default().push(row.clone());
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

    /// Asks the store of stopped masters what does not add up in it.
    #[track_caller]
    pub fn assert_sound(&self) {
        let wrong = self.with_store(async |store| store.invariants().await.expect("the store answers"));
        assert_eq!(wrong, Vec::<String>::new());
    }

    /// Opens the store of masters that were stopped.
    pub fn with_store<T>(&self, ask: impl AsyncFnOnce(&master::store::Store) -> T) -> T {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
        runtime.block_on(async {
            let store = master::store::Store::open(&self.database, "main").await.expect("the store can be opened");
            let answer = ask(&store).await;
            store.close().await;
            answer
        })
    }
}
