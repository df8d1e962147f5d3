//! A report on its way, with what is not yet sent of its log; on disk where the way is long.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::lease::{LogPart, Report};
use serde::{Deserialize, Serialize};

use crate::artifacts::{self, Artifact};
use crate::home::{AttemptId, Home};
use crate::log::Log;
use crate::spool::Spool;

/// Bytes of log that travel with a report; what is longer is sent before it.
pub const TRAVELS_ALONG: u64 = 64 * 1024;

#[derive(Debug)]
pub struct Parcel {
    pub id: AttemptId,
    /// Without its log.
    pub report: Report,
    pub log: Arc<Log>,
    /// How much of the log the master has.
    pub sent: u64,
    /// Files that go ahead of it.
    pub artifacts: Vec<Artifact>,
    /// Whether it lies on disk, so that the next worker sends it if this one does not.
    kept: bool,
}

/// A parcel as it lies in `reports/`; the log is beside it in `logs/`, where it has one, and files in `artifacts/`.
#[derive(Serialize, Deserialize)]
struct Kept {
    report: Report,
    sent: u64,
    #[serde(default)]
    artifacts: Vec<Artifact>,
}

impl Parcel {
    pub fn new(id: AttemptId, report: Report, log: Arc<Log>, sent: u64, artifacts: Vec<Artifact>) -> Parcel {
        Parcel { id, report, log, sent, artifacts, kept: false }
    }

    /// How much of the log was not yet sent.
    pub fn unsent(&self) -> u64 {
        self.log.len().saturating_sub(self.sent)
    }

    /// Roughly how many bytes it adds to a request.
    pub fn weight(&self) -> usize {
        let findings =
            self.report.findings.iter().map(|f| 200 + f.note.as_ref().map_or(0, String::len) + 60 * f.data.len());
        500 + findings.sum::<usize>() + usize::try_from(self.unsent().min(TRAVELS_ALONG)).unwrap_or(0) * 4 / 3
    }

    /// The report with the last of its log.
    pub fn sealed(&self) -> Report {
        let mut report = self.report.clone();
        let unsent = usize::try_from(self.unsent()).unwrap_or(0);
        if unsent > 0 {
            match self.log.read(self.sent, unsent) {
                Ok(bytes) => report.log = Some(LogPart { offset: self.sent, bytes: STANDARD.encode(bytes) }),
                Err(e) => add_note(&mut report.note, &format!("the end of the log cannot be read: {e}")),
            }
        }
        report
    }

    /// Writes it to disk, once. Without a sync: what a crash of the machine takes is an attempt that is tried again.
    pub fn keep(&mut self, home: &Home) {
        if self.kept {
            return;
        }
        match self.write(home) {
            Ok(()) => self.kept = true,
            Err(e) => tracing::warn!(job.id = %self.id.job, attempt = self.id.attempt, "cannot keep a report: {e:#}"),
        }
    }

    fn write(&self, home: &Home) -> anyhow::Result<()> {
        if self.log.len() > 0 {
            self.log.keep()?;
        }
        let json = serde_json::to_vec(&Kept {
            report: self.report.clone(),
            sent: self.sent,
            artifacts: self.artifacts.clone(),
        })?;
        let path = home.report(self.id);
        // Under another name first: a report is there whole or not at all.
        let draft = PathBuf::from(format!("{}.draft", path.display()));
        fs::write(&draft, json).with_context(|| format!("cannot write {}", draft.display()))?;
        fs::rename(&draft, &path).with_context(|| format!("cannot name {}", path.display()))
    }

    /// Reads back what an earlier worker could not send.
    pub fn left(home: &Home, id: AttemptId) -> anyhow::Result<Parcel> {
        let path = home.report(id);
        let json = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let kept: Kept = serde_json::from_slice(&json).with_context(|| format!("cannot read {}", path.display()))?;
        let spool = match Spool::left(home.log(id)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Spool::new(home.log(id)),
            other => other.with_context(|| format!("cannot read {}", home.log(id).display()))?,
        };
        let Kept { report, sent, artifacts } = kept;
        Ok(Parcel { id, report, log: Arc::new(Log::left(spool)), sent, artifacts, kept: true })
    }

    /// Removes what is on disk of it: the master has it.
    pub fn delivered(self, home: &Home) {
        self.log.remove();
        if !self.artifacts.is_empty()
            && let Err(e) = artifacts::remove(&home.artifacts(self.id))
        {
            tracing::warn!(job.id = %self.id.job, attempt = self.id.attempt, "cannot remove artifacts that were sent: {e}");
        }
        if self.kept
            && let Err(e) = fs::remove_file(home.report(self.id))
        {
            tracing::warn!(job.id = %self.id.job, attempt = self.id.attempt, "cannot remove a sent report: {e}");
        }
    }
}

/// Adds a sentence to what a report says for people.
pub fn add_note(note: &mut Option<String>, more: &str) {
    match note {
        Some(note) => {
            note.push_str("; ");
            note.push_str(more);
        }
        None => *note = Some(more.to_owned()),
    }
}
