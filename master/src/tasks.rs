//! The tasks that jobs run: the configuration's, and the stored versions that older jobs still run by.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, RwLock};

use rules::{Configuration, Task};

use crate::store::{Result, Store};

/// How many numbers beyond the last known one are looked at: an engine may leave some out.
const AHEAD: i64 = 4;

/// A task and the number under which this version of it is stored.
#[derive(Clone, Debug)]
pub struct Version {
    pub number: i64,
    pub task: Arc<Task>,
}

/// The tasks of one configuration.
pub struct Current {
    pub configuration: Arc<Configuration>,
    pub tasks: BTreeMap<String, Version>,
}

/// Every version that this master has seen so far.
pub struct Tasks {
    store: Store,
    known: RwLock<HashMap<i64, Arc<Task>>>,
    /// The first number that has not been seen stored; moved by [`Tasks::catch_up`].
    next: AtomicI64,
    current: tokio::sync::Mutex<Option<Arc<Current>>>,
}

impl Tasks {
    pub fn new(store: Store) -> Tasks {
        Tasks { store, known: RwLock::default(), next: AtomicI64::new(1), current: tokio::sync::Mutex::new(None) }
    }

    /// The tasks of `configuration`, each with its number; stored when they are new.
    pub async fn of(&self, configuration: &Arc<Configuration>) -> Result<Arc<Current>> {
        let mut current = self.current.lock().await;
        if let Some(current) = current.as_ref().filter(|c| Arc::ptr_eq(&c.configuration, configuration)) {
            return Ok(current.clone());
        }
        let mut tasks = BTreeMap::new();
        for (name, task) in configuration.tasks() {
            let number = self.store.task_version(name, &task.definition()).await?;
            let task = Arc::new(task.clone());
            self.keep(number, task.clone());
            tasks.insert(name.clone(), Version { number, task });
        }
        let fresh = Arc::new(Current { configuration: configuration.clone(), tasks });
        *current = Some(fresh.clone());
        Ok(fresh)
    }

    /// A version that was read before.
    pub fn known(&self, number: i64) -> Option<Arc<Task>> {
        self.known.read().expect("no one panics while holding it").get(&number).cloned()
    }

    /// A version, read from the store where it must be; `None` where there is none, or none that can be understood.
    pub async fn version(&self, number: i64) -> Result<Option<Arc<Task>>> {
        if let Some(task) = self.known(number) {
            return Ok(Some(task));
        }
        let Some((name, definition)) = self.store.task_definition(number).await? else { return Ok(None) };
        match Task::from_definition(&definition) {
            Ok(task) => {
                let task = Arc::new(task);
                self.keep(number, task.clone());
                Ok(Some(task))
            }
            Err(error) => {
                tracing::error!(task = %name, version = number, %error, "cannot read a stored task");
                Ok(None)
            }
        }
    }

    /// Reads the versions that were stored before this master began, or by others since: a decision may not wait for
    /// one.
    pub async fn catch_up(&self) -> Result<()> {
        let mut number = self.next.load(Ordering::Relaxed);
        let mut missing = 0;
        while missing < AHEAD {
            if self.version(number).await?.is_some() {
                self.next.store(number + 1, Ordering::Relaxed);
                missing = 0;
            } else {
                missing += 1;
            }
            number += 1;
        }
        Ok(())
    }

    fn keep(&self, number: i64, task: Arc<Task>) {
        self.known.write().expect("no one panics while holding it").insert(number, task);
    }
}
