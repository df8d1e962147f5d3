//! A task that runs until a gate is opened, so that a story decides for how long.

use std::fs;

use crate::kit::Story;

/// Writes the task `held` into the story's `config`: it leaves its line in the ledger, waits for the gate, and reports
/// like the tasks of `ledger`. `needs` is YAML: `{}`, `{ arch: "{{ arch }}" }`.
pub fn write_task(story: &Story, needs: &str) {
    let gate = story.path("gate");
    let run = format!(
        "echo $TASKOTRON_JOB_ID $TASKOTRON_ATTEMPT $WHO >>$LEDGER; \
         while [ ! -e {} ]; do sleep 0.05; done; $REPORT",
        gate.display()
    );
    story.write("config/gate.yml", format!("tasks:\n  held: {{ run: [sh, -c, {run:?}], needs: {needs} }}\n"));
}

/// Lets all of them go, also those that are still to come.
pub fn open(story: &Story) {
    fs::write(story.path("gate"), "").expect("the story has a folder");
}
