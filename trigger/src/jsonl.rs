//! Events from a JSON-lines file or from standard input, one object a line, until the input ends.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::delivery::Delivery;
use crate::intake::{Intake, MOST, MOST_BYTES, Receipt};

/// What is kept of a line that is longer than the limit.
const GLIMPSE: usize = 64 << 10;

/// How many batches may be under way.
const UNDER_WAY: usize = 8;

/// An input that is open and not yet read.
pub struct Source {
    input: BufReader<Box<dyn Read + Send>>,
    name: Arc<str>,
}

/// Opens a file; `-` is standard input.
pub fn open(from: &str) -> io::Result<Source> {
    let input: Box<dyn Read + Send> = match from {
        "-" => Box::new(io::stdin()),
        path => Box::new(File::open(path).map_err(|e| io::Error::new(e.kind(), format!("cannot open {path}: {e}")))?),
    };
    let name = Path::new(from).file_name().map_or_else(|| from.into(), |name| name.to_string_lossy());
    Ok(Source { input: BufReader::with_capacity(1 << 18, input), name: format!("file:{name}").into() })
}

/// Hands every line over and returns when all of them are on disk, or at `stop` those that were read. `size` is the
/// length up to which a line is kept whole.
pub async fn consume(source: Source, size: usize, intake: &Intake, stop: &CancellationToken) -> io::Result<()> {
    let (sender, mut batches) = mpsc::channel(2);
    // A thread of its own: a read that waits for a terminal or a pipe cannot be taken back, and must hold up nobody.
    std::thread::Builder::new().name("jsonl".into()).spawn(move || {
        let failed = read(source, size, &sender).err();
        if let Some(error) = failed {
            let _ = sender.blocking_send(Err(error));
        }
    })?;
    let mut under_way = VecDeque::new();
    loop {
        let batch = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            batch = batches.recv() => match batch {
                Some(batch) => batch?,
                None => break,
            },
        };
        let Some(receipt) = intake.hand(batch).await else { return Ok(()) };
        under_way.push_back(receipt);
        if under_way.len() >= UNDER_WAY && !oldest(&mut under_way).await {
            return Ok(());
        }
    }
    while !under_way.is_empty() && oldest(&mut under_way).await {}
    Ok(())
}

/// Waits for one receipt; false when none will come, and then the intake says why.
async fn oldest(under_way: &mut VecDeque<Receipt>) -> bool {
    match under_way.pop_front() {
        Some(receipt) => receipt.await.is_ok(),
        None => true,
    }
}

/// Reads lines and sends what is at hand together, so that a slow pipe is not waited for.
fn read(mut source: Source, size: usize, sender: &mpsc::Sender<io::Result<Vec<Delivery>>>) -> io::Result<()> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    loop {
        let mut line = Vec::new();
        let taken = line_of(&mut source.input, size, &mut line)?;
        if !line.trim_ascii().is_empty() {
            bytes += line.len();
            // Of a line that was kept whole the length is its own, of another what it took.
            let length = if taken > size as u64 + 1 { taken } else { line.len() as u64 };
            batch.push(Delivery { length, ..Delivery::line(line, source.name.clone()) });
        }
        let full = batch.len() >= MOST || bytes >= MOST_BYTES;
        if (full || taken == 0 || source.input.buffer().is_empty()) && !batch.is_empty() {
            bytes = 0;
            if sender.blocking_send(Ok(std::mem::take(&mut batch))).is_err() {
                return Ok(());
            }
        }
        if taken == 0 {
            return Ok(());
        }
    }
}

/// Reads one line into `line`, without its newline; of one longer than `size` only the beginning. Says how many bytes
/// it took from the input, 0 at its end.
fn line_of(input: &mut impl BufRead, size: usize, line: &mut Vec<u8>) -> io::Result<u64> {
    let mut length = 0u64;
    loop {
        let buffer = match input.fill_buf() {
            Ok(buffer) => buffer,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        if buffer.is_empty() {
            return Ok(length);
        }
        let newline = buffer.iter().position(|byte| *byte == b'\n');
        let taken = newline.map_or(buffer.len(), |n| n + 1);
        let part = &buffer[..newline.unwrap_or(taken)];
        length += taken as u64;
        if line.len() + part.len() <= size {
            line.extend_from_slice(part);
        } else if line.len() < GLIMPSE {
            line.extend_from_slice(&part[..part.len().min(GLIMPSE - line.len())]);
        } else {
            line.truncate(GLIMPSE);
        }
        input.consume(taken);
        if newline.is_some() {
            return Ok(length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8], size: usize) -> Vec<(u64, Vec<u8>)> {
        // A tiny buffer, so that lines lie across its edges.
        let mut input = BufReader::with_capacity(3, text);
        let mut out = Vec::new();
        loop {
            let mut line = Vec::new();
            match line_of(&mut input, size, &mut line).unwrap() {
                0 => return out,
                taken => out.push((taken, line)),
            }
        }
    }

    #[test]
    fn lines_are_cut_at_newlines_and_the_last_needs_none() {
        let got = lines(b"one\n\ntwo is longer\nthree", 100);
        let want: [(u64, &[u8]); 4] = [(4, b"one"), (1, b""), (14, b"two is longer"), (5, b"three")];
        assert_eq!(got, want.map(|(taken, line)| (taken, line.to_vec())));
    }

    #[test]
    fn a_line_over_the_limit_is_seen_and_not_kept_whole() {
        let long = vec![b'x'; GLIMPSE * 3];
        let got = lines(&[&long[..], b"\nnext\n"].concat(), GLIMPSE * 2);
        assert_eq!(got[0].0, GLIMPSE as u64 * 3 + 1);
        assert!(got[0].1.len() <= GLIMPSE * 2);
        assert_eq!(got[1], (5, b"next".to_vec()));
    }
}
