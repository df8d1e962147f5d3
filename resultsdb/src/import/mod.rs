//! Bringing in what another ResultsDB has: from lines that were exported, from a dump of its PostgreSQL, or over its API.
//!
//! Ids, uuids and times stay what they were. Whatever is here already is compared and left alone, so an import that was
//! killed is run again.

mod dump;
mod line;
mod origin;
mod scratch;
mod seen;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

use crate::result::{NewGroup, NewResult, NewTestcase};
use crate::store::{ImportError, Store};
use line::Line;
use seen::Seen;

pub use origin::{Origin, Reading};

/// How many results are stored in one transaction, and how many characters of text.
const BATCH: usize = 500;
const TEXT: usize = 4 * 1024 * 1024;

/// The longest line that is read, in bytes.
const LINE: usize = 256 * 1024 * 1024;

/// What an import has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    pub testcases: u64,
    pub groups: u64,
    /// Different results that the origin has named.
    pub results: u64,
    /// How many of them have been stored now, and were not here already.
    pub stored: u64,
    /// Every outcome that they have.
    pub outcomes: BTreeSet<String>,
    /// What was left out, and why.
    pub left_out: Vec<String>,
}

/// Takes in what a source names, in batches.
pub struct Importer<'r> {
    store: Store,
    testcases: Vec<NewTestcase>,
    groups: Vec<NewGroup>,
    /// With where each stood.
    results: Vec<(String, NewResult)>,
    text: usize,
    seen: Seen,
    done: Done,
    report: &'r mut (dyn FnMut(&Done) + Send),
}

impl<'r> Importer<'r> {
    /// `report` is called after each batch.
    pub fn new(store: Store, report: &'r mut (dyn FnMut(&Done) + Send)) -> Importer<'r> {
        Importer {
            store,
            testcases: Vec::new(),
            groups: Vec::new(),
            results: Vec::new(),
            text: 0,
            seen: Seen::default(),
            done: Done::default(),
            report,
        }
    }

    /// Reads exported lines, or a plain dump of PostgreSQL, whichever it is. A dump is sorted in a file in `scratch`.
    pub async fn read(&mut self, input: impl AsyncBufRead + Unpin, scratch: &Path) -> anyhow::Result<()> {
        let mut lines = Lines { input, number: 0, bytes: Vec::new() };
        let first = loop {
            match lines.next().await? {
                None => bail!("there is nothing in it"),
                Some(line) if line.trim_ascii().is_empty() => {}
                Some(line) => break line.to_vec(),
            }
        };
        match first.as_slice() {
            [b'{', ..] => self.read_lines(&first, lines).await,
            [b'P', b'G', b'D', b'M', b'P', ..] => {
                bail!(
                    "it is a dump in PostgreSQL's custom format: make it plain by 'pg_restore -f - FILE' and import that"
                )
            }
            [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] | [0xfd, b'7', b'z', ..] | [b'B', b'Z', b'h', ..] => {
                bail!("it is compressed: unpack it, as in 'zcat FILE | taskotron results import -'")
            }
            _ => dump::read(self, &first, lines, scratch).await,
        }
    }

    async fn read_lines(&mut self, first: &[u8], mut lines: Lines<impl AsyncBufRead + Unpin>) -> anyhow::Result<()> {
        let at = lines.number;
        self.take(at, first).await?;
        while let Some(line) = lines.next().await? {
            let line = line.to_vec();
            if !line.trim_ascii().is_empty() {
                self.take(lines.number, &line).await?;
            }
        }
        Ok(())
    }

    async fn take(&mut self, number: u64, line: &[u8]) -> anyhow::Result<()> {
        let at = || format!("line {number}");
        match line::read(line).with_context(at)? {
            Line::Testcase(testcase) => self.testcase(testcase).await,
            Line::Group(group) => self.group(group).await,
            Line::Result(result) => self.result(at(), *result).await,
        }
    }

    async fn testcase(&mut self, testcase: NewTestcase) -> anyhow::Result<()> {
        self.done.testcases += 1;
        self.testcases.push(testcase);
        if self.testcases.len() >= BATCH { self.flush().await } else { Ok(()) }
    }

    async fn group(&mut self, group: NewGroup) -> anyhow::Result<()> {
        self.done.groups += 1;
        self.groups.push(group);
        if self.groups.len() >= BATCH { self.flush().await } else { Ok(()) }
    }

    async fn result(&mut self, at: String, result: NewResult) -> anyhow::Result<()> {
        let id = result.id.with_context(|| format!("{at}: a result without an id"))?;
        self.done.results += u64::from(self.seen.add(id));
        self.done.outcomes.insert(result.outcome.clone());
        self.text += result.note.as_deref().map_or(0, str::len);
        self.text += result.data.values().flatten().map(String::len).sum::<usize>();
        self.results.push((at, result));
        if self.results.len() >= BATCH || self.text > TEXT { self.flush().await } else { Ok(()) }
    }

    /// Stores what is in hand.
    async fn flush(&mut self) -> anyhow::Result<()> {
        self.store.import_testcases(&std::mem::take(&mut self.testcases)).await.context("failed to store testcases")?;
        self.store.import_groups(std::mem::take(&mut self.groups)).await.context("failed to store groups")?;
        let (places, batch): (Vec<String>, Vec<NewResult>) = std::mem::take(&mut self.results).into_iter().unzip();
        self.text = 0;
        let ids: Vec<Option<i64>> = batch.iter().map(|result| result.id).collect();
        match self.store.import(batch).await {
            Ok(imported) => self.done.stored += imported.stored as u64,
            Err(ImportError::Store(e)) => return Err(anyhow::Error::from(e).context("failed to store results")),
            Err(e @ ImportError::Taken { id: taken, .. }) => {
                let place = ids.iter().position(|id| *id == Some(taken)).and_then(|i| places.get(i));
                let place = place.map(String::as_str).unwrap_or_default();
                bail!("{place}: {e}: this store has had results of its own; import into one that has none of those ids")
            }
        }
        (self.report)(&self.done);
        Ok(())
    }

    /// Stores the rest, and looks whether every result that was named is here.
    pub async fn finish(mut self) -> anyhow::Result<Done> {
        self.flush().await?;
        let mut here = 0u64;
        if let Some((least, greatest)) = self.seen.ends() {
            let seen = &self.seen;
            self.store.ids(least, greatest, |id| here += u64::from(seen.has(id))).await?;
        }
        ensure!(
            here == self.done.results,
            "of {} results {} are not here after all; run it again",
            self.done.results,
            self.done.results - here.min(self.done.results)
        );
        Ok(self.done)
    }
}

/// Lines and their numbers, from 1.
struct Lines<R> {
    input: R,
    number: u64,
    bytes: Vec<u8>,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// The next, without its end; none where there is no more.
    async fn next(&mut self) -> anyhow::Result<Option<&[u8]>> {
        self.bytes.clear();
        let read = self.input.read_until(b'\n', &mut self.bytes).await.context("cannot read on")?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        ensure!(self.bytes.len() <= LINE, "line {} is longer than {} MiB", self.number, LINE / 1024 / 1024);
        if self.bytes.ends_with(b"\n") {
            self.bytes.pop();
        }
        if self.bytes.ends_with(b"\r") {
            self.bytes.pop();
        }
        Ok(Some(&self.bytes))
    }
}
