//! Splits a CSV file into records, line by line, so that one broken line costs one line.
//!
//! RFC 4180 with any line ending. A quoted field may hold line breaks; a record over several lines that turns out broken
//! (a quote that never ends, text after one that did, the wrong number of fields) is charged to its first line only, and
//! reading goes on with the next: a line that was torn by a crash does not take those after it along. Memory is bounded
//! by [`LONGEST`].

use std::collections::VecDeque;
use std::io::{self, BufRead, Read as _};

/// How many bytes a record may have.
const LONGEST: usize = 1 << 20;

/// One record, or one line that is none.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    /// The line that it begins on; the first is 1.
    pub line: u64,
    pub fields: Result<csv::StringRecord, String>,
}

/// The records of an input.
pub struct Records<R> {
    input: R,
    separator: u8,
    /// How many fields a record has; 0 while that is not known.
    width: usize,
    /// Lines that were read ahead of a record that was broken.
    ahead: VecDeque<Vec<u8>>,
    line: u64,
}

/// What the text read so far amounts to.
enum Parsed {
    Whole(Vec<Vec<u8>>),
    /// Inside quotes: the record goes on in the next line.
    Open,
    Broken(&'static str),
}

impl<R: BufRead> Records<R> {
    pub fn new(input: R, separator: u8) -> Records<R> {
        Records { input, separator, width: 0, ahead: VecDeque::new(), line: 0 }
    }

    pub fn into_input(self) -> R {
        self.input
    }

    /// From now on records have this many fields.
    pub fn set_width(&mut self, width: usize) {
        self.width = width;
    }

    /// The next record that is not an empty line; `None` at the end.
    pub fn read(&mut self) -> io::Result<Option<Record>> {
        loop {
            let Some(first) = self.next_line()? else { return Ok(None) };
            let line = self.line;
            if first.iter().all(|b| matches!(b, b'\r' | b'\n')) {
                continue;
            }
            let (fields, rest) = self.record(first)?;
            self.line = line + if fields.is_ok() { rest.len() as u64 } else { 0 };
            if fields.is_err() {
                for text in rest.into_iter().rev() {
                    self.ahead.push_front(text);
                }
            }
            return Ok(Some(Record { line, fields }));
        }
    }

    /// Reads as many lines as the record has, and gives back those after the first.
    #[expect(clippy::type_complexity, reason = "the two halves are taken apart where it is called")]
    fn record(&mut self, first: Vec<u8>) -> io::Result<(Result<csv::StringRecord, String>, Vec<Vec<u8>>)> {
        let (mut text, mut rest) = (first, Vec::new());
        loop {
            let broken = match parse(&text, self.separator) {
                _ if text.len() > LONGEST => "it is longer than 1 MiB, or a quote is not closed".to_owned(),
                Parsed::Whole(fields) => match self.checked(fields) {
                    Ok(fields) => return Ok((Ok(fields), rest)),
                    Err(reason) => reason,
                },
                Parsed::Broken(reason) => reason.to_owned(),
                Parsed::Open if self.read_to_quote(&mut text, &mut rest)? => continue,
                Parsed::Open => "a quote is not closed".to_owned(),
            };
            return Ok((Err(broken), rest));
        }
    }

    /// Appends lines up to one with a quote: no other can end a quoted field. `false` at the end of the input.
    fn read_to_quote(&mut self, text: &mut Vec<u8>, rest: &mut Vec<Vec<u8>>) -> io::Result<bool> {
        while let Some(next) = self.next_line()? {
            text.extend_from_slice(&next);
            let quote = next.contains(&b'"');
            rest.push(next);
            if quote || text.len() > LONGEST {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn checked(&self, fields: Vec<Vec<u8>>) -> Result<csv::StringRecord, String> {
        if self.width > 0 && fields.len() != self.width {
            return Err(format!("{} fields, and the file has {} columns", fields.len(), self.width));
        }
        let fields = csv::ByteRecord::from(fields);
        csv::StringRecord::from_byte_record(fields).map_err(|e| format!("is not UTF-8: {}", e.utf8_error()))
    }

    fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.line += 1;
        if let Some(text) = self.ahead.pop_front() {
            return Ok(Some(text));
        }
        let mut text = Vec::new();
        let n = self.input.by_ref().take(LONGEST as u64 + 1).read_until(b'\n', &mut text)?;
        if n > LONGEST && text.last() != Some(&b'\n') {
            // It stays longer than a record may be, and so is invalid; what is left of it is not kept.
            self.input.skip_until(b'\n')?;
        }
        if self.line == 1 && text.starts_with(b"\xef\xbb\xbf") {
            text.drain(..3);
        }
        Ok((n > 0).then_some(text))
    }
}

/// Takes one record apart.
fn parse(text: &[u8], separator: u8) -> Parsed {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        let mut field = Vec::new();
        if text.get(at) == Some(&b'"') {
            at += 1;
            loop {
                let Some(length) = text[at..].iter().position(|b| *b == b'"') else { return Parsed::Open };
                field.extend_from_slice(&text[at..at + length]);
                at += length + 1;
                if text.get(at) != Some(&b'"') {
                    break;
                }
                field.push(b'"');
                at += 1;
            }
            if text.get(at).is_some_and(|b| *b != separator) {
                return Parsed::Broken("text stands after a closing quote");
            }
        } else {
            let length = text[at..].iter().position(|b| *b == separator).unwrap_or(text.len() - at);
            field.extend_from_slice(&text[at..at + length]);
            at += length;
        }
        fields.push(field);
        if at >= text.len() {
            return Parsed::Whole(fields);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every record as its line and its fields joined with `|`, or the reason after a `!`.
    fn read(text: &[u8], width: usize) -> Vec<String> {
        let mut records = Records::new(text, b',');
        records.set_width(width);
        let mut all = Vec::new();
        while let Some(record) = records.read().unwrap() {
            all.push(match record.fields {
                Ok(fields) => format!("{} {}", record.line, fields.iter().collect::<Vec<_>>().join("|")),
                Err(reason) => format!("{} !{reason}", record.line),
            });
        }
        all
    }

    #[test]
    fn what_csv_files_look_like() {
        assert_eq!(read(b"a,b\r\n\r\n\"x,\"\"y\"\"\",\n,", 2), ["1 a|b", "3 x,\"y\"|", "4 |"]);
        assert_eq!(read(b"\xef\xbb\xbfa,b\n", 2), ["1 a|b"]);
        assert_eq!(read(b"\"a\nb\",c\nd,e", 2), ["1 a\nb|c", "3 d|e"]);
        assert_eq!(read(b"5\" disk,x\n", 2), ["1 5\" disk|x"]);
        assert_eq!(read(b"", 2), Vec::<String>::new());
    }

    #[test]
    fn a_broken_line_costs_one_line() {
        assert_eq!(read(b"a,b\nc", 2), ["1 a|b", "2 !1 fields, and the file has 2 columns"]);
        assert_eq!(read(b"a,\"b\nc,d\ne,f\n", 2), ["1 !a quote is not closed", "2 c|d", "3 e|f"]);
        let torn = read(b"a,\"{\"\"b\nc,\"{\"\"d\"\"}\"\ne,f\n", 2);
        assert_eq!(torn, ["1 !text stands after a closing quote", "2 c|{\"d\"}", "3 e|f"]);
        assert_eq!(read(b"a,\xff\nc,d\n", 2)[1], "2 c|d");
    }

    #[test]
    fn an_endless_line_is_invalid_in_bounded_memory() {
        let mut text = b"a,b\n".to_vec();
        text.resize(3 * LONGEST, b'x');
        text.extend_from_slice(b"\nc,d\n");
        let all = read(&text, 2);
        assert_eq!(all, ["1 a|b", "2 !it is longer than 1 MiB, or a quote is not closed", "3 c|d"]);
    }
}
