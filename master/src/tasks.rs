//! The tasks that jobs run: the configuration's, and the stored versions that older jobs still run by.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, RwLock};

use net::vault::Vault;
use rules::{Configuration, Task};

use crate::store::{Result, Store};

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
    /// What this master gives by itself.
    pub secrets: Vault,
}

/// Every version that this master has seen so far; `None` for one that is stored and cannot be understood.
#[derive(Default)]
pub struct Known(RwLock<HashMap<i64, Option<Arc<Task>>>>);

impl Known {
    pub fn read(&self, number: i64) -> Option<Option<Arc<Task>>> {
        self.0.read().expect("no one panics while holding it").get(&number).cloned()
    }

    /// Takes in a version as it is stored; no definition where what is stored is no JSON.
    pub fn learn(&self, number: i64, name: &str, definition: Option<&serde_json::Value>) {
        if self.read(number).is_some() {
            return;
        }
        let task = match definition {
            Some(definition) => Task::from_definition(definition),
            None => Err("what is stored is no JSON".to_owned()),
        };
        if let Err(error) = &task {
            tracing::error!(task = %name, version = number, %error, "cannot read a stored task: its jobs end as ERROR");
        }
        self.keep(number, task.ok().map(Arc::new));
    }

    fn keep(&self, number: i64, task: Option<Arc<Task>>) {
        self.0.write().expect("no one panics while holding it").insert(number, task);
    }

    fn len(&self) -> usize {
        self.0.read().expect("no one panics while holding it").len()
    }
}

/// The tasks that a master knows, and the store that has them all.
pub struct Tasks {
    store: Store,
    secrets: Vault,
    pub known: Arc<Known>,
    current: tokio::sync::Mutex<Option<Arc<Current>>>,
}

impl Tasks {
    pub fn new(store: Store, secrets: Vault) -> Tasks {
        Tasks { store, secrets, known: Arc::default(), current: tokio::sync::Mutex::new(None) }
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
            self.known.keep(number, Some(task.clone()));
            tasks.insert(name.clone(), Version { number, task });
        }
        let fresh = Arc::new(Current { configuration: configuration.clone(), tasks, secrets: self.secrets.clone() });
        *current = Some(fresh.clone());
        Ok(fresh)
    }

    /// A version that was read before and can be understood.
    pub fn known(&self, number: i64) -> Option<Arc<Task>> {
        self.known.read(number).flatten()
    }

    /// A version, read from the store where it must be; `None` where there is none, or none that can be understood.
    pub async fn version(&self, number: i64) -> Result<Option<Arc<Task>>> {
        if let Some(task) = self.known(number) {
            return Ok(Some(task));
        }
        self.catch_up().await?;
        Ok(self.known(number))
    }

    /// Reads the versions that were stored before this master began, or by others since: a decision may not wait for
    /// one. (Whether there are any their number says, not the greatest of them: numbers are left out, and a lesser one
    /// may be committed later.)
    pub async fn catch_up(&self) -> Result<()> {
        if u64::try_from(self.known.len()) == Ok(self.store.task_versions().await?) {
            return Ok(());
        }
        for (number, name, definition) in self.store.task_definitions().await? {
            self.known.learn(number, &name, definition.as_ref());
        }
        Ok(())
    }
}
