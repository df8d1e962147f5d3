//! `taskotron results export`: everything that a filter finds, as lines.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use net::{Backoff, Client, ClientError};
use serde_json::Value;
use url::form_urlencoded;

use crate::exit::{Exit, OrExit as _};

use super::super::Session;

const AFTER: &str = "\
A FILTER is a parameter of the API's listing of results: 'testcases:like=dist.*', 'item=foo-1-1', 'since=2026-01-01'. Without
any, all testcases and groups are written before the results, also those that have none. A result's line holds all that
'taskotron results import' needs. The results of a store that runs alone are asked for with --url.

A connection that breaks off is made again behind the last line. With --out, a run that was killed is gone on with by
--resume: behind the last whole line, with results only; so what came since the last export is added, too.";

/// How often in a row the store may not answer.
const TRIES: u32 = 10;

#[derive(Args, Debug)]
#[command(after_long_help = AFTER)]
pub struct Export {
    /// Only results that this parameter of the API finds; may be given several times
    #[arg(value_name = "FILTER", value_parser = filter)]
    filters: Vec<(String, String)>,
    /// The file to write; else stdout
    #[arg(long, short = 'O', value_name = "FILE")]
    out: Option<PathBuf>,
    /// Go on behind the last line of FILE
    #[arg(long, requires = "out")]
    resume: bool,
}

fn filter(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.ok_or_else(|| "it is NAME=VALUE, as in 'item=foo-1-1'".to_owned())?;
    if matches!(name, "_after" | "limit" | "page") {
        return Err(format!("{name} is no filter"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// What is exported, and by which member of a line it is gone on with.
#[derive(Clone, Copy)]
enum What {
    Testcases,
    Groups,
    Results,
}

impl What {
    fn path(self) -> &'static str {
        match self {
            What::Testcases => "testcases",
            What::Groups => "groups",
            What::Results => "results",
        }
    }

    fn mark(self, line: &Value) -> Option<String> {
        match self {
            What::Testcases => line.get("name")?.as_str().map(String::from),
            What::Groups => line.get("uuid")?.as_str().map(String::from),
            What::Results => line.get("id")?.as_i64().map(|id| id.to_string()),
        }
    }
}

/// Where lines go; whole ones only.
struct Output {
    to: Box<dyn Write + Send>,
    lines: u64,
}

impl Export {
    pub async fn run(self, session: &Session) -> anyhow::Result<Exit> {
        let client = session.client()?;
        let (to, mark): (Box<dyn Write + Send>, _) = match &self.out {
            None => (Box::new(io::stdout()), None),
            Some(file) if self.resume => {
                let (file, mark) = reopened(file)?;
                (Box::new(file), mark)
            }
            Some(file) => {
                let made = File::create_new(file);
                let made = made.with_context(|| format!("cannot make {} (--resume goes on with one)", file.display()));
                (Box::new(made.or_exit(Exit::Usage)?), None)
            }
        };
        let mut output = Output { to, lines: 0 };
        if self.filters.is_empty() && mark.is_none() {
            for what in [What::Testcases, What::Groups] {
                self.export(&client, what, None, &mut output).await?;
            }
        }
        self.export(&client, What::Results, mark, &mut output).await?;
        output.to.flush()?;
        if let Some(file) = &self.out {
            eprintln!("{}: {} lines written", file.display(), output.lines);
        }
        Ok(Exit::Reached)
    }

    async fn export(
        &self,
        client: &Client,
        what: What,
        mut mark: Option<String>,
        output: &mut Output,
    ) -> anyhow::Result<()> {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(20));
        let mut failures = 0;
        loop {
            let before = output.lines;
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.extend_pairs(&self.filters);
            if let Some(mark) = &mark {
                query.append_pair("_after", mark);
            }
            let path = format!("api/v2.0/export/{}?{}", what.path(), query.finish());
            let why = match self.lines(client, &path, what, &mut mark, output).await? {
                Ok(()) => return Ok(()),
                Err(ClientError::Unavailable(why)) => why,
                Err(e) => return Err(e).with_context(|| format!("failed to export the {}", what.path())),
            };
            if output.lines > before {
                failures = 0;
                backoff.reset();
            }
            failures += 1;
            if failures >= TRIES {
                return Err(ClientError::Unavailable(why)).context("the export broke off (--resume goes on with it)");
            }
            eprintln!("{why}; going on after {} lines", output.lines);
            backoff.wait().await;
        }
    }

    /// Writes whole lines as they come. The inner error is the store's, the outer one of where they are written.
    async fn lines(
        &self,
        client: &Client,
        path: &str,
        what: What,
        mark: &mut Option<String>,
        output: &mut Output,
    ) -> anyhow::Result<Result<(), ClientError>> {
        let broken = |e: &dyn std::fmt::Display| ClientError::Unavailable(format!("the export broke off: {e}"));
        let mut response = match client.get_part(path, 0).await {
            Ok(Some(response)) => response,
            Ok(None) => return Ok(Ok(())),
            Err(e) => return Ok(Err(e)),
        };
        let mut rest: Vec<u8> = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(bytes)) => rest.extend_from_slice(&bytes),
                Ok(None) if rest.is_empty() => return Ok(Ok(())),
                Ok(None) => return Ok(Err(broken(&"in the middle of a line"))),
                Err(e) => return Ok(Err(broken(&e))),
            }
            let Some(end) = rest.iter().rposition(|b| *b == b'\n') else { continue };
            let whole: Vec<u8> = rest.drain(..=end).collect();
            output.to.write_all(&whole).context("cannot write what is exported")?;
            output.lines += whole.iter().filter(|b| **b == b'\n').count() as u64;
            let last = whole[..end].rsplit(|b| *b == b'\n').next().unwrap_or_default();
            let line: Value = serde_json::from_slice(last).context("the store sent a line that is no JSON")?;
            *mark = Some(what.mark(&line).context("the store sent a line that names nothing to go on behind")?);
        }
    }
}

/// A file that an export has begun, cut behind its last whole line, and the id of that where it is a result.
fn reopened(path: &PathBuf) -> anyhow::Result<(File, Option<String>)> {
    let open = || -> anyhow::Result<(File, Option<String>)> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let (mut end, mut mark) = (0u64, None);
        let mut reader = BufReader::new(&mut file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line)?;
            let whole = if line.ends_with(b"\n") { serde_json::from_slice::<Value>(&line).ok() } else { None };
            let Some(value) = whole else { break };
            end += read as u64;
            mark = if value.get("outcome").is_some() { What::Results.mark(&value) } else { None };
        }
        drop(reader);
        // Testcases and groups come first and cost little: they are written anew.
        let end = if mark.is_some() { end } else { 0 };
        file.set_len(end)?;
        file.seek(SeekFrom::Start(end))?;
        Ok((file, mark))
    };
    open().with_context(|| format!("cannot go on with {}", path.display())).or_exit(Exit::Usage)
}
