//! What was missed: kept in a file until all of it is known, then printed.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Seek as _, Write as _};

use anyhow::Context as _;
use model::missed::{Fate, Known, Seen};
use model::{JobId, Time, joblog};
use serde::{Deserialize, Serialize};

use crate::command::output::{Column, Format, Listed, Listing, column, maybe, wide};

/// One thing that was missed.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Missed {
    /// `no-event`, `no-job`, `refused`, `undelivered`, or how the job ended.
    why: String,
    event_id: String,
    topic: String,
    recorded_at: Time,
    rule: Option<String>,
    task: Option<String>,
    item: Option<String>,
    arch: Option<String>,
    job_key: Option<JobId>,
    note: Option<String>,
}

impl Listed for Missed {
    const COLUMNS: &'static [Column<Missed>] = &[
        column("why", |m| m.why.clone()),
        column("recorded_at", |m| m.recorded_at.to_seconds()),
        column("event_id", |m| m.event_id.clone()),
        column("task", |m| maybe(&m.task)),
        column("item", |m| maybe(&m.item)),
        column("arch", |m| maybe(&m.arch)),
        column("note", |m| maybe(&m.note)),
        wide("job_key", |m| maybe(&m.job_key)),
    ];
}

/// One line of the file: what to show, and the row of a job log where there is one.
#[derive(Serialize, Deserialize)]
struct Line {
    missed: Missed,
    row: Option<Vec<String>>,
}

/// The rows so far, in a file without a name.
pub struct Rows {
    file: BufWriter<File>,
    rows: u64,
}

impl Rows {
    pub fn new() -> anyhow::Result<Rows> {
        let file = tempfile::tempfile().context("cannot make a temporary file for what was missed")?;
        Ok(Rows { file: BufWriter::new(file), rows: 0 })
    }

    /// Adds what is missed of one event; says how many of its jobs are under way.
    pub fn judge(&mut self, seen: &Seen, known: &Known) -> anyhow::Result<u64> {
        let mut open = 0;
        if known.here && seen.refused > 0 {
            self.add(
                "refused",
                seen,
                None,
                Some(format!("{} jobs; why: the master's log of that time", seen.refused)),
            )?;
        }
        for (job, fate) in seen.jobs.iter().zip(&known.jobs) {
            let (why, note) = match fate {
                Fate::Missing if known.here => ("no-job", None),
                Fate::Missing => ("no-event", None),
                Fate::Open { .. } => {
                    open += 1;
                    continue;
                }
                Fate::Done => continue,
                Fate::Ended { state, reason } => (state.name(), Some(reason.clone())),
                Fate::Undelivered { error } => ("undelivered", Some(error.clone())),
            };
            self.add(why, seen, Some(job), note)?;
        }
        Ok(open)
    }

    fn add(&mut self, why: &str, seen: &Seen, job: Option<&model::NewJob>, note: Option<String>) -> anyhow::Result<()> {
        let missed = Missed {
            why: why.to_owned(),
            event_id: seen.id.clone(),
            topic: seen.topic.clone(),
            recorded_at: seen.recorded_at,
            rule: job.map(|job| job.rule.clone()),
            task: job.map(|job| job.task.clone()),
            item: job.map(|job| job.item.clone()),
            arch: job.map(|job| job.arch.clone()),
            job_key: job.map(|job| job.key),
            note,
        };
        let line = Line { missed, row: job.map(|job| seen.row(job).fields().to_vec()) };
        serde_json::to_writer(&mut self.file, &line).context("cannot keep what was missed")?;
        self.file.write_all(b"\n").context("cannot keep what was missed")?;
        self.rows += 1;
        Ok(())
    }

    /// Prints them, and says how many they are.
    pub fn print(self, format: Format) -> anyhow::Result<u64> {
        let mut file = self.file.into_inner().context("cannot keep what was missed")?;
        file.rewind()?;
        let lines = BufReader::new(file).lines().map(|line| Ok(serde_json::from_str::<Line>(&line?)?));
        match format {
            Format::Csv => {
                let mut csv = csv::Writer::from_writer(io::stdout());
                csv.write_record(joblog::COLUMNS).map_err(io::Error::from)?;
                for line in lines {
                    let line: anyhow::Result<Line> = line;
                    if let Some(row) = line?.row {
                        csv.write_record(row).map_err(io::Error::from)?;
                    }
                }
                csv.flush()?;
            }
            Format::Table | Format::Json | Format::Jsonl => {
                let mut listing = Listing::new(format);
                for line in lines {
                    let line: anyhow::Result<Line> = line;
                    listing.add(vec![line?.missed])?;
                }
                listing.finish()?;
            }
        }
        Ok(self.rows)
    }
}
