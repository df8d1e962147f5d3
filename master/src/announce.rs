//! What is published of a job beside its findings, where its task asks for it: QUEUED and RUNNING, so that a gate can
//! tell waiting from missing; and an ERROR for a job that had said so and then ended unjudged, so that no gate waits for
//! ever.

use std::sync::Arc;

use model::{Finding, Outcome};
use rules::{Stage, Subject, Task};
use serde_json::Value;

use crate::Settings;
use crate::publication::Publisher;
use crate::store::{Announce, Moved, Publication, Step};
use crate::tasks::Known;

/// Says it from inside the store's transactions.
pub struct Announcements {
    pub known: Arc<Known>,
    pub settings: Settings,
}

impl Announce for Announcements {
    fn announces(&self, version: i64) -> Option<bool> {
        Some(self.known.read(version)?.is_some_and(|task| task.publishes_any()))
    }

    fn learn(&self, version: i64, name: &str, definition: Option<&Value>) {
        self.known.learn(version, name, definition);
    }

    fn publication(&self, moved: &Moved<'_>) -> Option<Publication> {
        let task = self.known.read(moved.task_version)??;
        announcement(&task, moved, &self.settings)
    }
}

fn announcement(task: &Task, moved: &Moved<'_>, settings: &Settings) -> Option<Publication> {
    let (queued, running) = (task.publishes(Stage::Queued), task.publishes(Stage::Running));
    let (wanted, name, outcome, note) = match moved.step {
        Step::Queued => (queued, "queued", "QUEUED", None),
        Step::Running => (running, "running", "RUNNING", None),
        Step::Unjudged { reason, attempts } => {
            let said = queued || (running && attempts > 0);
            (said, "unjudged", Outcome::Error.name(), Some(format!("did not judge its item: {reason}")))
        }
    };
    let subject = Subject {
        job: moved.job,
        item: moved.item,
        item_type: moved.item_type,
        arch: moved.arch,
        params: moved.params,
    };
    let finding = Finding { note, ..Finding::of(Outcome::Error) };
    wanted.then(|| Publisher::new(subject, task.name(), Some(task), None, settings).result(name, outcome, &finding))
}

#[cfg(test)]
mod tests {
    use model::JobId;
    use serde_json::Map;

    use super::*;
    use crate::sample;

    #[test]
    fn only_what_was_asked_for_is_announced_and_only_what_was_announced_is_taken_back() {
        let steps = [
            Step::Queued,
            Step::Running,
            Step::Unjudged { reason: "cancelled", attempts: 0 },
            Step::Unjudged { reason: "cancelled", attempts: 1 },
        ];
        for (asked, told) in [
            ("[queued, running]", ["QUEUED", "RUNNING", "ERROR", "ERROR"]),
            ("[queued]", ["QUEUED", "-", "ERROR", "ERROR"]),
            ("[running]", ["-", "RUNNING", "-", "ERROR"]),
        ] {
            let task = sample::task("rpmlint", &format!("publish: {asked}"));
            let params = Map::new();
            let said = steps.map(|step| {
                let job = JobId::of("e", "rpmlint", "koji_build", "foo-1-1", "x86_64");
                let (item, item_type, arch) = ("foo-1-1", "koji_build", "x86_64");
                let moved = Moved { job, task_version: 1, item, item_type, arch, params: &params, step };
                let said = announcement(&task, &moved, &Settings::default());
                said.map_or("-".to_owned(), |said| said.body["outcome"].as_str().unwrap().to_owned())
            });
            assert_eq!(said, told, "{asked}");
        }
    }
}
