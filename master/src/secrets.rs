//! Which secrets jobs may have, from whom; and the record of each use.
//!
//! A value never comes into the store, and leaves this master only in the lease of a job whose task may have it.

use std::collections::BTreeMap;

use model::lease::{Sealed, Worker};
use model::operator::SecretView;
use net::vault::Vault;
use serde_json::{Value, json};

use crate::app::App;
use crate::settings::Settings;
use crate::store::{self, Act, Granted};

/// The action of a secret's use in the audit table.
pub const USE: &str = "secret.use";

/// What begins a label that says who may give which secret to which task.
const LABEL: &str = "secret:";

/// What is wrong with the secrets of these settings, if anything is.
pub fn check(settings: &Settings) -> Result<(), String> {
    let Settings { secrets, secrets_in_the_clear, listen, .. } = settings;
    if !secrets.is_empty() && !listen.ip().is_loopback() && !secrets_in_the_clear {
        return Err(format!(
            "[master.secrets] would go to workers over {listen} in the clear: keep them on the workers \
             ([worker.secrets]), listen on loopback behind a proxy that speaks TLS, or say secrets_in_the_clear = true \
             in [master] where that network is trusted"
        ));
    }
    secrets.check("master.secrets")
}

/// The labels that a worker must still offer where this master gives what it has.
pub fn left(mut needs: Vec<String>, vault: &Vault) -> Vec<String> {
    needs.retain(|label| named(label).is_none_or(|(secret, task)| !vault.serves(secret, task)));
    needs
}

fn named(label: &str) -> Option<(&str, &str)> {
    label.strip_prefix(LABEL)?.split_once('/')
}

/// What goes with a lease of a task that asks for these, noted before it goes. The inner error is a reason for people.
pub async fn give(
    app: &App,
    worker: &Worker,
    grant: &Granted,
    task: &str,
    asked: &[String],
) -> store::Result<Result<BTreeMap<String, Sealed>, String>> {
    let vault = &app.settings.secrets;
    let mut sealed = BTreeMap::new();
    for name in asked {
        let ours = vault.serves(name, task);
        if ours {
            match vault.read(name) {
                Ok(value) => drop(sealed.insert(name.clone(), Sealed::new(value.expose()))),
                Err(why) => return Ok(Err(format!("the master cannot give secret '{name}': {why}"))),
            }
        }
        let act = Act {
            actor: worker.name.clone(),
            action: USE,
            object: name.clone(),
            reason: format!("attempt {} of job {} of task {task}", grant.attempt, grant.job),
            before: Value::Null,
            after: json!({
                "task": task, "job": grant.job, "attempt": grant.attempt, "worker": worker.name,
                "from": if ours { "master" } else { "worker" },
            }),
        };
        app.store.note(&act).await?;
    }
    Ok(Ok(sealed))
}

/// Every secret that this master, or a worker that was seen, may give; by name and holder.
pub async fn list(app: &App) -> store::Result<Vec<SecretView>> {
    let mut tasks: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for (name, kept) in app.settings.secrets.iter() {
        tasks.entry((name.clone(), "master".into())).or_default().extend(kept.tasks.iter().cloned());
    }
    for worker in app.store.workers(app.settings.lease_term).await? {
        for (name, task) in worker.labels.iter().filter_map(|label| named(label)) {
            tasks.entry((name.to_owned(), format!("worker {}", worker.name))).or_default().push(task.to_owned());
        }
    }
    let used = app.store.secret_uses().await?;
    let view = |((name, holder), tasks): ((String, String), Vec<String>)| SecretView {
        last_used: used.get(&name).copied(),
        name,
        holder,
        tasks,
    };
    Ok(tasks.into_iter().map(view).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn vault() -> Vault {
        serde_json::from_value(json!({"koji": {"file": "/x", "tasks": ["rpmlint"]}})).unwrap()
    }

    #[test]
    fn a_worker_need_not_offer_what_the_master_gives() {
        let needs = ["arch:x86_64", "secret:koji/rpmlint", "secret:koji/other", "secret:pulp/rpmlint"];
        let needs = needs.map(str::to_owned).to_vec();
        assert_eq!(left(needs, &vault()), ["arch:x86_64", "secret:koji/other", "secret:pulp/rpmlint"]);
    }

    #[test]
    fn secrets_do_not_go_over_a_network_in_the_clear_unless_somebody_says_so() {
        let mut settings = Settings { secrets: vault(), listen: ([0, 0, 0, 0], 80).into(), ..Settings::default() };
        assert!(check(&settings).unwrap_err().contains("in the clear"));
        settings.secrets_in_the_clear = true;
        assert!(check(&settings).unwrap_err().contains("cannot read /x"));
        settings.secrets = Vault::default();
        assert_eq!(check(&settings), Ok(()));
    }
}
