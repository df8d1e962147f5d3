//! `jobrunner`: submits job logs to a master, and says of every row what became of it.
//!
//! Every file is read whole and checked before anything is submitted. A row is named by its key, so that running a file
//! again, twice at once, or beside the live bus adds nothing.

mod arguments;
mod receipt;
mod record;
mod select;
mod sheet;
mod submit;
mod tally;

use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _};
use net::clock;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use arguments::Arguments;
pub use select::Rate;

use crate::exit::{self, Exit, Failure, OrExit as _};
use crate::logging;
use crate::settings::Layers;
use receipt::{Closing, Opening, Receipt, Stopped};
use sheet::Sheet;
use submit::{Manner, Stop};
use tally::{Answer, Tally};

/// A progress line comes at least this often.
const SILENCE: Duration = Duration::from_secs(30);
/// How many rows in error are named where the answers are not printed.
const NAMED: u64 = 20;

/// A sheet that was read whole.
struct Checked {
    sheet: Sheet,
    rows: u64,
    /// Rows whose key comes from the row itself.
    minimal: u64,
    sha256: String,
    bytes: u64,
}

/// The program.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    logging::begin("warn");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(&arguments)),
        Err(e) => Err(e.into()),
    };
    exit::finish("jobrunner", result)
}

async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    one_receipt(arguments)?;
    let layers = Layers::load(arguments.settings.as_deref(), Vec::new())?;
    let client = arguments.place.client(&layers.settings()?.client)?;
    let mut sheets = Vec::new();
    for name in &arguments.files {
        sheets.push(check(Sheet::open(name)?).with_context(|| format!("cannot read {name}")).or_exit(Exit::Usage)?);
    }
    let manner = arguments.manner(client, on_interrupt()?);
    let (mut total, mut worst) = (Tally::default(), Exit::Reached);
    let several = sheets.len() > 1;
    let mut sheets = sheets.into_iter();
    for checked in sheets.by_ref() {
        let (tally, stop) = replay(checked, &manner, arguments).await?;
        worst = stop.as_ref().map_or(worst.max(tally.exit()), |stop| stop.exit);
        total.add(&tally);
        if stop.is_some() {
            break;
        }
    }
    for unread in sheets {
        total.rows += unread.rows;
        eprintln!("{}: {} rows: left {}; it was not begun", unread.sheet.name, unread.rows, unread.rows);
    }
    let mut out = io::stdout().lock();
    if arguments.json {
        serde_json::to_writer(&mut out, &total.counts())?;
        writeln!(out)?;
    } else if several {
        writeln!(out, "all: {total}")?;
    }
    Ok(worst)
}

/// Reads a sheet to its end.
fn check(mut sheet: Sheet) -> anyhow::Result<Checked> {
    let mut rows = sheet.rows(u64::MAX)?;
    let (mut n, mut minimal) = (0, 0);
    while let Some(line) = rows.read()? {
        n += 1;
        minimal += u64::from(line.row.is_ok_and(|(_, row)| !row.key_given));
    }
    let (sha256, bytes) = rows.fingerprint();
    Ok(Checked { sheet, rows: n, minimal, sha256, bytes })
}

/// Submits one sheet and writes its receipt.
async fn replay(checked: Checked, manner: &Manner, arguments: &Arguments) -> anyhow::Result<(Tally, Option<Stop>)> {
    let Checked { mut sheet, rows, minimal, sha256, bytes } = checked;
    let name = sheet.name.clone();
    if minimal > 0 {
        eprintln!(
            "{name}: {minimal} rows have no job_key: their keys come from the rows themselves, so they cannot be \
             recognised as jobs that also came over the bus"
        );
    }
    let opening =
        Opening { file: &name, sha256: &sha256, bytes, master: manner.client.base().as_str(), began: clock::now() };
    let mut receipt = receipt_path(&sheet, arguments).and_then(|path| begin_receipt(path, &opening));
    let mut tally = Tally::of_rows(rows);
    let mut out = BufWriter::new(io::stdout());
    // Somebody waits for the next line; a file does not.
    let watched = io::stdout().is_terminal() || manner.rate.is_some();
    let (mut named, mut spoken) = (0, Instant::now());
    let header = sheet.header().to_vec();
    let tell = |line: u64, answer: Answer| {
        tally.count(&answer);
        if let Some(receipt) = &mut receipt {
            receipt.row(line, &answer).context("failed to write the receipt")?;
        }
        if !arguments.json {
            writeln!(out, "{name}:{line}: {answer}")?;
            if watched {
                out.flush()?;
            }
        } else if answer.is_error() {
            named += 1;
            if named <= NAMED {
                eprintln!("{name}:{line}: {answer}");
            }
        }
        if spoken.elapsed() >= SILENCE {
            spoken = Instant::now();
            eprintln!("{name}: at line {line}, of {tally}");
        }
        Ok(())
    };
    let stop = manner.submit(&header, sheet.rows(bytes)?, tell).await?;
    if named > NAMED {
        eprintln!("{name}: and {} more", named - NAMED);
    }
    let exit = stop.as_ref().map_or(tally.exit(), |stop| stop.exit);
    let written = match receipt {
        Some(receipt) => {
            let stopped = stop.as_ref().map(|s| Stopped { line: s.line, reason: s.reason.clone() });
            let closing = Closing { ended: clock::now(), exit: exit.code(), stopped };
            Some(receipt.finish(&tally, &closing).context("failed to write the receipt")?)
        }
        None => None,
    };
    if let Some(stop) = &stop {
        eprintln!("{name}: stopped at line {}: {}", stop.line, stop.reason);
        eprintln!("{name}: run it again to go on; what was submitted is recognised and adds nothing");
    }
    if !arguments.json {
        writeln!(out, "{name}: {}{tally}", if manner.dry_run { "dry run, nothing was submitted: " } else { "" })?;
    }
    out.flush()?;
    if let Some(path) = written {
        eprintln!("receipt: {}", path.display());
    }
    Ok((tally, stop))
}

/// Where the receipt goes; a dry run leaves none, and stdin has no place for one.
fn receipt_path(sheet: &Sheet, arguments: &Arguments) -> Option<PathBuf> {
    if arguments.dry_run {
        return None;
    }
    arguments.receipt.clone().or_else(|| sheet.path.as_deref().map(Receipt::path_of))
}

fn begin_receipt(path: PathBuf, opening: &Opening<'_>) -> Option<Receipt> {
    let shown = path.display().to_string();
    match Receipt::begin(path, opening) {
        Ok(receipt) => Some(receipt),
        Err(e) => {
            eprintln!("no receipt: {shown} cannot be written ({e}); --receipt FILE puts it elsewhere");
            None
        }
    }
}

/// Cancelled by the first SIGINT or SIGTERM: what was sent is heard to its end, and the receipt is written.
fn on_interrupt() -> anyhow::Result<CancellationToken> {
    let interrupted = CancellationToken::new();
    let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let token = interrupted.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
        }
        token.cancel();
    });
    Ok(interrupted)
}

impl Arguments {
    fn manner(&self, client: net::Client, interrupted: CancellationToken) -> Manner {
        Manner {
            client,
            dry_run: self.dry_run,
            rerun: self.rerun,
            selection: select::Selection { only: self.only.clone(), since: self.since, until: self.until },
            rate: self.rate,
            stop_on_error: self.stop_on_error,
            interrupted,
        }
    }
}

/// The program's arguments, for its manual page and its completions.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// A receipt has one file to speak of.
fn one_receipt(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.receipt.is_some() && arguments.files.len() > 1 {
        return Err(Failure::error(Exit::Usage, "--receipt names one file, and several job logs were given"));
    }
    Ok(())
}
