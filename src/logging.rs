//! Where log lines go: lines for people on a terminal, JSON otherwise, always to stderr.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

/// The variable with the filter: `info`, `debug`, `warn,trigger=debug` …
const FILTER: &str = "TASKOTRON_LOG";

/// Begins logging, with `default` where the environment says nothing. To be called once.
pub fn begin(default: &str) {
    let filter = match std::env::var(FILTER) {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(&text).unwrap_or_else(|e| {
            eprintln!("{FILTER}={text} is no filter ({e}); '{default}' is used");
            EnvFilter::new(default)
        }),
        // Whatever lapin calls an error is told by the trigger, where it is one: a queue that is not there yet is none.
        _ => EnvFilter::new(format!("{default},lapin=off")),
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    if io::stderr().is_terminal() {
        let colour = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        lines.with_ansi(colour).with_target(false).compact().init();
    } else {
        lines.json().flatten_event(true).with_current_span(true).with_span_list(false).init();
    }
}
