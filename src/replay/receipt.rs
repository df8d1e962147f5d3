//! `FILE.csv.receipt.json`: what was asked of the master and what it said, row by row, for later.
//!
//! Written beside its final name while the rows go by, and renamed at the end, so that a receipt is whole or absent.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use model::Time;
use serde::Serialize;
use serde_json::json;

use super::tally::{Answer, Tally};

/// A receipt that is being written.
pub struct Receipt {
    out: BufWriter<File>,
    new: PathBuf,
    path: PathBuf,
    rows: u64,
}

/// What is known of a run before it begins.
pub struct Opening<'a> {
    pub file: &'a str,
    pub sha256: &'a str,
    pub bytes: u64,
    pub master: &'a str,
    pub began: Time,
}

/// How a run ended.
#[derive(Clone, Debug, Serialize)]
pub struct Closing {
    pub ended: Time,
    pub exit: u8,
    /// Why it ended before the last row, and where to look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
}

/// Where and why a run stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stopped {
    /// The line of the row at which it stopped: rows without an answer may begin there.
    pub line: u64,
    pub reason: String,
}

impl Receipt {
    /// Where the receipt of a file is.
    pub fn path_of(file: &Path) -> PathBuf {
        let mut name = file.as_os_str().to_owned();
        name.push(".receipt.json");
        PathBuf::from(name)
    }

    pub fn begin(path: PathBuf, opening: &Opening<'_>) -> io::Result<Receipt> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let new = path.with_file_name(format!(".{name}.{}", std::process::id()));
        let mut out = BufWriter::new(File::create(&new)?);
        let Opening { file, sha256, bytes, master, began } = opening;
        let text = |value: &str| json!(value).to_string();
        write!(
            out,
            "{{\"file\":{},\"sha256\":\"{sha256}\",\"bytes\":{bytes},\"master\":{},\"began\":\"{began}\",\"rows\":[",
            text(file),
            text(master)
        )?;
        Ok(Receipt { out, new, path, rows: 0 })
    }

    pub fn row(&mut self, line: u64, answer: &Answer) -> io::Result<()> {
        #[derive(Serialize)]
        struct Row<'a> {
            line: u64,
            #[serde(flatten)]
            answer: &'a Answer,
        }
        self.out.write_all(if self.rows == 0 { b"\n" } else { b",\n" })?;
        self.rows += 1;
        serde_json::to_writer(&mut self.out, &Row { line, answer })?;
        Ok(())
    }

    /// Completes the receipt and gives it its name.
    pub fn finish(mut self, tally: &Tally, closing: &Closing) -> io::Result<PathBuf> {
        let counts = serde_json::to_string(&tally.counts())?;
        let closing = serde_json::to_string(closing)?;
        writeln!(self.out, "\n],\"counts\":{counts},{}", closing.trim_start_matches('{'))?;
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        std::fs::rename(&self.new, &self.path)?;
        Ok(self.path.clone())
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        // After a rename there is nothing left by this name; before it, what is left is not whole.
        let _ = std::fs::remove_file(&self.new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_one_json_document_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = Receipt::path_of(&dir.path().join("jobs.csv"));
        let opening = Opening { file: "jobs.csv", sha256: "ab", bytes: 3, master: "http://m/", began: Time(0) };
        let mut receipt = Receipt::begin(path.clone(), &opening).unwrap();
        let mut tally = Tally::of_rows(3);
        for (line, answer) in [(2, Answer::Expired), (3, Answer::Invalid { reason: "task is \"empty\"".into() })] {
            tally.count(&answer);
            receipt.row(line, &answer).unwrap();
        }
        let stopped = Some(Stopped { line: 4, reason: "cannot reach the master".into() });
        let path = receipt.finish(&tally, &Closing { ended: Time(1), exit: 6, stopped }).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(value["counts"]["left"], 1);
        assert_eq!(value["rows"][1], json!({"line": 3, "answer": "invalid", "reason": "task is \"empty\""}));
        assert_eq!(value["stopped"]["line"], 4);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
