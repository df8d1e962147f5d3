//! What `jobrunner` can be told.

use std::path::PathBuf;

use clap::Parser;
use model::Time;

use crate::place;

use super::select::Rate;

const AFTER: &str = "\
A job log is what a trigger writes as jobs.csv, what 'taskotron record' writes, or a table made by hand with at least the
columns item, item_type, task and arch. Commas or semicolons, any line ending, with or without a
header; other columns are ignored.

Every file is read whole and checked before anything is submitted. A job is named by its key: running a file again, twice
at once, or while the same events come over the bus adds nothing. While the system is idle, rows are accepted and queued.

Exit codes: 0 every row was submitted, was there already or has expired; 1 some rows were refused or invalid; 2 a file is
no job log, nothing was submitted; 3 refused (no or a wrong token, a passive site); 4 stopped by --stop-on-error or a
signal; 6 the master could not be reached, and the receipt tells where it stopped.";

/// Submits job logs, row by row, each job once
#[derive(Parser, Clone, Debug)]
#[command(name = "jobrunner", version, after_long_help = AFTER)]
pub struct Arguments {
    /// Job logs; '-' is stdin
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<String>,
    /// Say what would become of every row, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Make every job anew, also where one of its key is there already
    #[arg(long)]
    pub rerun: bool,
    /// Only the rows of this task; may be given several times
    #[arg(long, value_name = "TASK")]
    pub only: Vec<String>,
    /// Only rows whose event (else whose recording) was at this time or later
    #[arg(long, value_name = "TIME")]
    pub since: Option<Time>,
    /// Only rows whose event (else whose recording) was before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<Time>,
    /// At most so many rows a time: 60/min, 5/s, 1000/h
    #[arg(long, value_name = "N/min")]
    pub rate: Option<Rate>,
    /// Stop at the first row that is refused or invalid
    #[arg(long)]
    pub stop_on_error: bool,
    /// Print one JSON object with the counts, instead of a line a row
    #[arg(long)]
    pub json: bool,
    /// Where the receipt goes, instead of FILE.receipt.json
    #[arg(long, value_name = "FILE")]
    pub receipt: Option<PathBuf>,
    /// The settings to use instead of /etc/taskotron/taskotron.toml
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    #[command(flatten)]
    pub place: place::Options,
}
