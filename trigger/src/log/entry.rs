//! What a line of the event log says, behind its checksum.
//!
//! - `"segment":{…}`: the first line of each file, a [`Header`].
//! - `"mark":"32 hex","seq":…,"job_seq":…,…`: a [`Record`] with its [`Mark`] before it.
//! - `"duplicate":{"id":…,"at":…}`: a delivery of an event that the log already had.
//! - `"quarantined":{"reason":…,"at":…,"end":…}`: a delivery that could not be read; `end` is the length that
//!   `quarantine.jsonl` has with it.
//! - `"listening":{"word":…,"at":…,"to":…}`: what a source says of its own listening, see [`Word`].

use model::intake::Record;
use model::{Content, Time};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::frame;
use super::listening::{Listening, Word};
use crate::decode::Reason;

/// What a recorder knew when it began a file; so its counts outlive the files before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// 1; a reader refuses what it does not know.
    pub format: u32,
    pub recorder: String,
    pub at: Time,
    /// The first record of this file will have this number.
    pub seq: u64,
    pub job_seq: u64,
    pub duplicates: u64,
    pub quarantined: u64,
    pub quarantine_end: u64,
    /// A length of `jobs.csv` that was on disk at that moment, and the number of the row that comes behind it.
    pub jobs_end: u64,
    pub jobs_next: u64,
    /// What the log covered then.
    #[serde(default)]
    pub listening: Listening,
}

/// Eight bytes of the bus id's SHA-256 and eight of the content's: enough to know an event again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    pub id: u64,
    pub content: u64,
}

impl Mark {
    /// `id` is the id that came with the delivery, before any `~`.
    pub fn of(id: &str, content: Content) -> Mark {
        let first = |bytes: &[u8]| u64::from_be_bytes(std::array::from_fn(|i| bytes[i]));
        Mark { id: first(&Sha256::digest(id)), content: first(&content.0) }
    }

    fn parse(hex: &[u8]) -> Option<Mark> {
        let part = |range| u64::from_str_radix(std::str::from_utf8(hex.get(range)?).ok()?, 16).ok();
        Some(Mark { id: part(0..16)?, content: part(16..32)? })
    }
}

/// One line, read as far as reading is cheap.
#[derive(Debug, PartialEq)]
pub enum Entry<'a> {
    Segment(Header),
    Record(Place<'a>),
    Duplicate,
    Quarantined { end: u64 },
    Listening { word: Word, at: Time, to: String },
}

/// Where a record stands.
#[derive(Debug, PartialEq)]
pub struct Place<'a> {
    pub mark: Mark,
    pub seq: u64,
    pub job_seq: u64,
    /// The record's JSON, but for its first brace.
    pub members: &'a [u8],
}

impl Place<'_> {
    /// The record as a JSON text.
    pub fn json(&self) -> String {
        format!("{{{}", String::from_utf8_lossy(self.members))
    }

    pub fn record(&self) -> serde_json::Result<Record> {
        serde_json::from_str(&self.json())
    }

    pub fn has_jobs(&self) -> bool {
        !self.members.ends_with(br#""jobs":[]}"#)
    }
}

/// Reads one line without its newline; `None` if it is damaged.
pub fn read(line: &[u8]) -> Option<Entry<'_>> {
    let rest = frame::read(line)?;
    if let Some(marked) = rest.strip_prefix(br#""mark":""#) {
        let mark = Mark::parse(marked.get(..32)?)?;
        let members = marked[32..].strip_prefix(b"\",")?;
        let (seq, tail) = number(members.strip_prefix(br#""seq":"#)?)?;
        let (job_seq, _) = number(tail.strip_prefix(br#","job_seq":"#)?)?;
        return Some(Entry::Record(Place { mark, seq, job_seq, members }));
    }
    match serde_json::from_slice(&[b"{", rest].concat()).ok()? {
        Note::Segment(header) => (header.format == 1).then_some(Entry::Segment(header)),
        Note::Duplicate { .. } => Some(Entry::Duplicate),
        Note::Quarantined { end, .. } => Some(Entry::Quarantined { end }),
        Note::Listening { word, at, to } => Some(Entry::Listening { word, at, to }),
    }
}

fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    Some((std::str::from_utf8(&text[..digits]).ok()?.parse().ok()?, &text[digits..]))
}

/// Every line that is no record.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Note {
    Segment(Header),
    Duplicate { id: String, at: Time },
    Quarantined { reason: Reason, at: Time, end: u64 },
    Listening { word: Word, at: Time, to: String },
}

/// Appends a record's line.
pub fn write(mark: Mark, record: &Record, out: &mut Vec<u8>) {
    let json = serde_json::to_string(record).expect("a record is made of texts, numbers and JSON");
    let head = format!("{{\"mark\":\"{:016x}{:016x}\",", mark.id, mark.content);
    frame::write(&[head.as_bytes(), &json.as_bytes()[1..]].concat(), out);
}

/// Appends a note's line.
pub fn note(note: &Note, out: &mut Vec<u8>) {
    let json = serde_json::to_vec(note).expect("a note is made of texts and numbers");
    frame::write(&json, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::tests::event;

    #[test]
    fn what_is_written_is_read_back() {
        let record = Record {
            seq: 17,
            job_seq: 4,
            recorded_at: Time(1),
            generation: 2,
            event: event(1),
            matched: vec!["r".into()],
            jobs: vec![],
        };
        let mark = Mark::of("e", record.event.content());
        let mut out = Vec::new();
        write(mark, &record, &mut out);
        let Some(Entry::Record(place)) = read(out.strip_suffix(b"\n").unwrap()) else { panic!("no record") };
        assert_eq!((place.mark, place.seq, place.job_seq, place.has_jobs()), (mark, 17, 4, false));
        assert_eq!(place.record().unwrap(), record);

        out.clear();
        note(&Note::Quarantined { reason: Reason::Deep, at: Time(1), end: 9 }, &mut out);
        assert_eq!(read(out.strip_suffix(b"\n").unwrap()), Some(Entry::Quarantined { end: 9 }));
    }
}
