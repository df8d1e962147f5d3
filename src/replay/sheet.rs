//! One input as a job log: which separator, which columns, and its rows, twice over.
//!
//! A file is read once to be checked and once to be submitted, both times from the same open file and up to the same
//! byte, so that a log that grows meanwhile is no trouble. What cannot be read twice (a pipe) is spooled first.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use model::joblog::{COLUMNS, Header, Row};
use sha2::{Digest as _, Sha256};

use crate::exit::{Exit, Failure, OrExit as _};

use super::record::Records;

/// The columns that a file of four columns without a header has.
const MINIMAL: [&str; 4] = ["item", "item_type", "task", "arch"];

/// A file that was opened, and spooled where it had to be.
pub struct Sheet {
    /// As it was named on the command line.
    pub name: String,
    /// Where it lies; `None` for what was spooled.
    pub path: Option<PathBuf>,
    file: File,
    layout: Layout,
}

/// How to read a sheet.
#[derive(Clone, Debug)]
struct Layout {
    separator: u8,
    header: Header,
    /// The names of its columns, also where it does not give them.
    names: Vec<String>,
    has_header: bool,
}

/// One row, or why it is none.
pub struct Line {
    pub line: u64,
    pub row: Result<(csv::StringRecord, Row), String>,
}

impl Sheet {
    /// Opens a file, or stdin for `-`. The error is a usage error where it is no job log.
    pub fn open(name: &str) -> anyhow::Result<Sheet> {
        let (mut file, path) = if name == "-" {
            (spool(&mut io::stdin().lock())?, None)
        } else {
            let mut file = File::open(name).with_context(|| format!("cannot open {name}")).or_exit(Exit::Usage)?;
            let kind = file.metadata().with_context(|| format!("cannot read {name}")).or_exit(Exit::Usage)?;
            if kind.is_file() { (file, Some(Path::new(name).to_owned())) } else { (spool(&mut file)?, None) }
        };
        let layout = Layout::guess(&mut BufReader::new(&file))
            .with_context(|| format!("cannot read {name}"))
            .or_exit(Exit::Usage)?;
        let Some(layout) = layout else {
            let message = format!(
                "{name} is no job log: its first line names no columns item, item_type and task, and has neither 4 nor \
                 18 of them; nothing was submitted"
            );
            return Err(Failure::error(Exit::Usage, message));
        };
        file.rewind()?;
        Ok(Sheet { name: name.to_owned(), path, file, layout })
    }

    /// The header line to send, RFC 4180.
    pub fn header(&self) -> &[String] {
        &self.layout.names
    }

    /// The rows of the first `bytes` bytes, from the beginning.
    pub fn rows(&mut self, bytes: u64) -> io::Result<Rows<BufReader<Hashing<io::Take<&File>>>>> {
        self.file.rewind()?;
        let input = Hashing { input: (&self.file).take(bytes), hash: Sha256::new(), bytes: 0 };
        let mut records = Records::new(BufReader::with_capacity(1 << 17, input), self.layout.separator);
        if self.layout.has_header {
            records.read()?;
        }
        records.set_width(self.layout.names.len());
        Ok(Rows { records, header: self.layout.header.clone() })
    }
}

/// Copies what cannot be read twice to a file without a name.
fn spool(input: &mut impl Read) -> anyhow::Result<File> {
    let mut file = tempfile::tempfile().context("cannot spool the input")?;
    io::copy(input, &mut file).context("cannot spool the input")?;
    file.rewind()?;
    Ok(file)
}

impl Layout {
    /// Looks at the first record; `None` where it is neither a header nor a row of a job log.
    fn guess(input: &mut impl BufRead) -> io::Result<Option<Layout>> {
        // Both separators have to see the same text, which is at most one record.
        let mut text = Vec::new();
        input.take(1 << 20).read_to_end(&mut text)?;
        for separator in *b",;" {
            let Some(record) = Records::new(&text[..], separator).read()? else { return Ok(None) };
            let Ok(fields) = record.fields else { continue };
            if let Some(header) = Header::parse(&fields) {
                let names = fields.iter().map(|name| name.trim().to_owned()).collect();
                return Ok(Some(Layout { separator, header, names, has_header: true }));
            }
            let names: &[&str] = if fields.len() == COLUMNS.len() { &COLUMNS } else { &MINIMAL };
            // Without a header, only a first row that is good tells a job log from anything else.
            if let Some(header) = Header::implied(fields.len())
                && header.row(&fields).is_ok()
            {
                let names = names.iter().map(|name| (*name).to_owned()).collect();
                return Ok(Some(Layout { separator, header, names, has_header: false }));
            }
        }
        Ok(None)
    }
}

/// The rows of a sheet.
pub struct Rows<R> {
    records: Records<R>,
    header: Header,
}

impl<R: BufRead> Rows<R> {
    pub fn read(&mut self) -> io::Result<Option<Line>> {
        let Some(record) = self.records.read()? else { return Ok(None) };
        let row = record.fields.and_then(|fields| {
            let row = self.header.row(&fields)?;
            Ok((fields, row))
        });
        Ok(Some(Line { line: record.line, row }))
    }
}

impl<R: Read> Rows<BufReader<Hashing<R>>> {
    /// The SHA-256, in hex, and the number of the bytes read; of the whole input once [`Rows::read`] said `None`.
    pub fn fingerprint(self) -> (String, u64) {
        let input = self.records.into_input().into_inner();
        (hex::encode(input.hash.finalize()), input.bytes)
    }
}

/// Passes bytes through, and remembers their hash.
pub struct Hashing<R> {
    input: R,
    hash: Sha256,
    bytes: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buffer)?;
        self.hash.update(&buffer[..n]);
        self.bytes += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(text: &str) -> Option<(char, bool, usize)> {
        let layout = Layout::guess(&mut text.as_bytes()).unwrap()?;
        Some((layout.separator as char, layout.has_header, layout.names.len()))
    }

    #[test]
    fn what_is_a_job_log() {
        let full = COLUMNS.join(",");
        assert_eq!(layout(&format!("{full}\n")), Some((',', true, 18)));
        assert_eq!(layout(&format!("\u{feff}{full}\r\n").replace(',', ";")), Some((';', true, 18)));
        assert_eq!(layout("item,item_type,task,arch\n"), Some((',', true, 4)));
        assert_eq!(layout("colour;task;item_type;\"item\"\nred;t;k;i\n"), Some((';', true, 4)));
        assert_eq!(layout("foo-1-1,koji_build,rpmlint,noarch\n"), Some((',', false, 4)));
        assert_eq!(layout("foo-1-1;koji_build;rpmlint;noarch"), Some((';', false, 4)));
        for none in ["", "\n", "a,b\n1,2\n", "item,task\n", "{\"id\": 1}\n", &full[..40]] {
            assert_eq!(layout(none), None, "{none}");
        }
    }

    #[test]
    fn a_sheet_is_read_twice_up_to_the_same_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jobs.csv");
        std::fs::write(&path, "item,item_type,task,arch\na,k,t,noarch\nb,k,,noarch\nc,k").unwrap();
        let mut sheet = Sheet::open(path.to_str().unwrap()).unwrap();
        let read = |sheet: &mut Sheet, bytes| {
            let mut rows = sheet.rows(bytes).unwrap();
            let mut seen = Vec::new();
            while let Some(line) = rows.read().unwrap() {
                seen.push((line.line, line.row.map(|(_, row)| row.job.item)));
            }
            (seen, rows.fingerprint())
        };
        let (seen, (hash, bytes)) = read(&mut sheet, u64::MAX);
        assert_eq!(seen[0], (2, Ok("a".into())));
        assert_eq!(seen[1], (3, Err("task is empty".into())));
        assert_eq!(seen[2], (4, Err("2 fields, and the file has 4 columns".into())));
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut f| io::Write::write_all(&mut f, b"x"))
            .unwrap();
        assert_eq!(read(&mut sheet, bytes), (seen, (hash, bytes)));
    }
}
