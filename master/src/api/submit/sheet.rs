//! A job log as it comes: pieces of a body become rows, in chunks, each row with the line that it began on.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, Read};
use std::rc::Rc;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use futures_util::StreamExt as _;
use model::joblog::{Header, Row};
use net::Problem;
use tokio::sync::mpsc;

use crate::api::ApiError;

/// Rows that share one transaction, and about how many bytes they may have together.
const CHUNK: (usize, u64) = (1000, 4 << 20);

/// How many rows one request takes: the answers to all of them are kept until the last.
const MOST: u64 = 100_000;

/// Bytes of one record: what is longer lacks the quote that ends it.
const LONGEST: u64 = 8 << 20;

/// Bytes of one request.
const LARGEST: u64 = 256 << 20;

/// Chunks and pieces of the body that may wait for each other.
pub const WAITING: usize = 4;

/// One row of the body, read or not.
pub struct Line {
    /// The line that it begins on; the first is 1.
    pub line: u64,
    pub row: Result<Row, String>,
}

/// The body as a blocking reader: the parser pulls, so a slow database slows the sender and nothing piles up.
pub struct Pieces {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    left: Bytes,
}

pub fn pieces() -> (mpsc::Sender<io::Result<Bytes>>, Pieces) {
    let (sender, pieces) = mpsc::channel(WAITING);
    (sender, Pieces { pieces, left: Bytes::new() })
}

/// Hands the pieces of a body on, no faster than they are read.
pub async fn feed(body: Body, pieces: mpsc::Sender<io::Result<Bytes>>) {
    let mut stream = body.into_data_stream();
    while let Some(piece) = stream.next().await {
        if pieces.send(piece.map_err(io::Error::other)).await.is_err() {
            return;
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.left.is_empty() {
            match self.pieces.blocking_recv() {
                None => return Ok(0),
                Some(piece) => self.left = piece?,
            }
        }
        let piece = self.left.split_to(self.left.len().min(buffer.len()));
        buffer[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }
}

/// Reads the rows and hands them on in chunks. An error says that the whole body is no job log, or was cut off.
pub fn parse(mut reader: Pieces, chunks: &mpsc::Sender<Vec<Line>>) -> Result<(), ApiError> {
    let cut = |e: io::Error| Problem::bad_request(format!("the body ended early: {e}"));
    let (first, separator) = first_line(&mut reader).map_err(cut)?;
    let mut csv = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(separator)
        .from_reader(Starts::new(io::Cursor::new(first).chain(reader)));
    let (starts, began) = (csv.get_ref().starts.clone(), csv.get_ref().began.clone());
    let mut header = None;
    let (mut chunk, mut chunk_at, mut rows) = (Vec::new(), 0, 0);
    let mut record = csv::StringRecord::new();
    loop {
        let begin_at = csv.position().byte();
        began.set(begin_at);
        let row = match csv.read_record(&mut record) {
            Ok(false) => break,
            Ok(true) => match &header {
                Some(header) => Header::row(header, &record),
                None => {
                    let (known, row) = begin(&record)?;
                    header = Some(known);
                    let Some(row) = row else { continue };
                    row
                }
            },
            Err(e) => match e.into_kind() {
                csv::ErrorKind::Utf8 { .. } => Err("the row is not UTF-8".into()),
                csv::ErrorKind::Io(e) if e.kind() == io::ErrorKind::FileTooLarge => {
                    return Err(too_much(format!("line {}: {e}", line_of(&starts, begin_at))).into());
                }
                csv::ErrorKind::Io(e) => return Err(cut(e).into()),
                other => Err(format!("{other:?}")),
            },
        };
        let line = line_of(&starts, begin_at);
        rows += 1;
        if rows > MOST {
            return Err(too_much(format!("line {line}: one request takes {MOST} rows")).into());
        }
        chunk.push(Line { line, row });
        if chunk.len() < CHUNK.0 && csv.position().byte() - chunk_at < CHUNK.1 {
            continue;
        }
        chunk_at = csv.position().byte();
        // Nobody listens any more: the request has failed, and said why.
        if chunks.blocking_send(std::mem::take(&mut chunk)).is_err() {
            return Ok(());
        }
    }
    if header.is_none() {
        return Err(Problem::bad_request("the body is empty: a job log has at least a header line").into());
    }
    if !chunk.is_empty() {
        // As above.
        let _ = chunks.blocking_send(chunk);
    }
    Ok(())
}

fn too_much(what: String) -> Problem {
    let detail = format!("{what}; send the rest in other requests: rows that were taken already are not taken twice");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
}

/// Where lines begin that are not empty: the place of their first byte, and their number.
type LineStarts = Rc<RefCell<VecDeque<(u64, u64)>>>;

/// Notes where lines begin while they are read, and reads no more than one record, and one request, may have. The parser's
/// own count of lines is one behind after CRLF and empty lines.
struct Starts<R> {
    inner: R,
    at: u64,
    line: u64,
    /// Whether the line so far is empty.
    empty: bool,
    starts: LineStarts,
    /// Where the record begins that is being read. The parser sets it.
    began: Rc<Cell<u64>>,
}

impl<R: Read> Starts<R> {
    fn new(inner: R) -> Starts<R> {
        Starts { inner, at: 0, line: 1, empty: true, starts: LineStarts::default(), began: Rc::default() }
    }
}

impl<R: Read> Read for Starts<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at - self.began.get() > LONGEST {
            let says = format!("the row that begins here has more than {} MiB: is a quote missing?", LONGEST >> 20);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, says));
        }
        if self.at > LARGEST {
            let says = format!("one request takes {} MiB", LARGEST >> 20);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, says));
        }
        let n = self.inner.read(buffer)?;
        let mut starts = self.starts.borrow_mut();
        for (at, byte) in (self.at..).zip(&buffer[..n]) {
            match byte {
                b'\n' => {
                    self.line += 1;
                    self.empty = true;
                }
                b'\r' => {}
                _ if self.empty => {
                    self.empty = false;
                    starts.push_back((at, self.line));
                }
                _ => {}
            }
        }
        self.at += n as u64;
        Ok(n)
    }
}

/// The line of the record that the parser found from `byte` on.
fn line_of(starts: &LineStarts, byte: u64) -> u64 {
    let mut starts = starts.borrow_mut();
    while starts.front().is_some_and(|(at, _)| *at < byte) {
        starts.pop_front();
    }
    starts.front().map_or(0, |(_, line)| *line)
}

/// What the first record is: a header, or a row of a file without one.
fn begin(record: &csv::StringRecord) -> Result<(Header, Option<Result<Row, String>>), Problem> {
    if let Some(header) = Header::parse(record) {
        return Ok((header, None));
    }
    let header = Header::implied(record.len()).ok_or_else(|| {
        Problem::bad_request("this is not a job log: its first line names no columns item, item_type and task")
    })?;
    let row = header.row(record);
    Ok((header, Some(row)))
}

/// The bytes up to the first line's end and what came with them, and the separator that the line uses.
fn first_line(reader: &mut Pieces) -> io::Result<(Vec<u8>, u8)> {
    const LONGEST: usize = 64 * 1024;
    let mut first = Vec::new();
    let mut piece = [0; 4096];
    while !first.contains(&b'\n') && first.len() < LONGEST {
        match reader.read(&mut piece)? {
            0 => break,
            n => first.extend_from_slice(&piece[..n]),
        }
    }
    let line = first.split(|b| *b == b'\n').next().unwrap_or_default();
    let separator = if line.contains(&b';') && !line.contains(&b',') { b';' } else { b',' };
    Ok((first, separator))
}
