//! Builders for tests, with defaults for everything.

use rules::{Configuration, Task};

/// A configuration of the given files' text.
pub fn configuration(text: &str) -> Configuration {
    Configuration::parse(&[("test.yml".into(), text.into())]).unwrap()
}

/// A task with these further lines, which are YAML of one level.
pub fn task(name: &str, more: &str) -> Task {
    let text = format!("tasks:\n  {name}:\n    run: ['true']\n    {more}\n");
    configuration(&text).task(name).unwrap().clone()
}
