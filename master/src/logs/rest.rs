//! Logs at rest: what has ended is kept compressed, in frames that can be read one by one.
//!
//! The file is zstd's seekable format (contrib/seekable_format in its sources): independent frames, and behind them in a
//! frame that decoders skip a table of their sizes. `zstd -d` reads it as it reads any other.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::CParameter;

/// Bytes of a log in one frame.
pub const FRAME: usize = 256 * 1024;

const LEVEL: i32 = 3;

/// Marks a frame that is skipped, and the end of a file that has a table.
const SKIPPED: u32 = 0x184D_2A5E;
const SEEKABLE: u32 = 0x8F92_EAB1;

/// Bytes behind the entries of the table, and of one entry.
const FOOTER: u64 = 9;
const ENTRY: u64 = 8;

/// A log at rest.
#[derive(Debug)]
pub struct Resting {
    file: File,
    /// Where each frame begins, in the file and in the log; behind the last, where it ends.
    frames: Vec<(u64, u64)>,
}

impl Resting {
    pub fn open(path: &Path) -> io::Result<Resting> {
        let file = File::open(path)?;
        let torn = || io::Error::new(io::ErrorKind::InvalidData, format!("{} is no log at rest", path.display()));
        let size = file.metadata()?.len();
        let mut footer = [0; FOOTER as usize];
        file.read_exact_at(&mut footer, size.checked_sub(FOOTER).ok_or_else(torn)?)?;
        let [a, b, c, d, flags, magic @ ..] = footer;
        let count = u64::from(u32::from_le_bytes([a, b, c, d]));
        let table = (count * ENTRY + FOOTER + 8 <= size).then_some(count * ENTRY).ok_or_else(torn)?;
        if u32::from_le_bytes(magic) != SEEKABLE || flags != 0 {
            return Err(torn());
        }
        let mut entries = vec![0; usize::try_from(table).map_err(io::Error::other)?];
        file.read_exact_at(&mut entries, size - FOOTER - table)?;
        let (mut at, mut place) = (0, 0);
        let mut frames = vec![(0, 0)];
        for entry in entries.chunks_exact(ENTRY as usize) {
            let number =
                |from| u64::from(u32::from_le_bytes([entry[from], entry[from + 1], entry[from + 2], entry[from + 3]]));
            at += number(0);
            place += number(4);
            frames.push((at, place));
        }
        if at + 8 + table + FOOTER == size { Ok(Resting { file, frames }) } else { Err(torn()) }
    }

    /// How long the log is.
    pub fn len(&self) -> u64 {
        self.frames.last().map_or(0, |(_, place)| *place)
    }

    /// Some bytes from `offset` on, at most `most` and at most to the end of a frame; none at the end.
    pub fn read(&self, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        if offset >= self.len() {
            return Ok(Vec::new());
        }
        let frame = self.frames.partition_point(|(_, place)| *place <= offset) - 1;
        let ((from, begin), (to, end)) = (self.frames[frame], self.frames[frame + 1]);
        let length = |n: u64| usize::try_from(n).map_err(io::Error::other);
        let mut packed = vec![0; length(to - from)?];
        self.file.read_exact_at(&mut packed, from)?;
        let mut bytes = Decompressor::new()?.decompress(&packed, length(end - begin)?)?;
        bytes.drain(..length(offset - begin)?);
        bytes.truncate(most);
        Ok(bytes)
    }
}

/// Puts a log to rest: the compressed one takes the place of the other when it is whole, on disk, and says the same. A
/// crash at any moment leaves at least one of them, and the same again goes on from there.
pub fn put(log: &Path, rest: &Path) -> io::Result<()> {
    let draft = PathBuf::from(format!("{}.{}.draft", rest.display(), net::clock::uuid().simple()));
    let done = write(log, &draft).and_then(|()| same(log, &draft)).and_then(|()| fs::rename(&draft, rest));
    if let Err(e) = done {
        // It is cleared away later if it cannot be now.
        let _ = fs::remove_file(&draft);
        // Another master that shares the folder may have done the same meanwhile.
        return if e.kind() == io::ErrorKind::NotFound && rest.exists() { Ok(()) } else { Err(e) };
    }
    if let Some(folder) = rest.parent() {
        File::open(folder)?.sync_all()?;
    }
    match fs::remove_file(log) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn write(log: &Path, draft: &Path) -> io::Result<()> {
    let mut from = File::open(log)?;
    let mut to = File::create(draft)?;
    let mut compressor = Compressor::new(LEVEL)?;
    compressor.set_parameter(CParameter::ChecksumFlag(true))?;
    let (mut piece, mut packed, mut table) = (vec![0; FRAME], Vec::new(), Vec::new());
    loop {
        let length = fill(&mut from, &mut piece)?;
        if length == 0 {
            break;
        }
        packed.clear();
        packed.reserve(zstd::zstd_safe::compress_bound(length));
        compressor.compress_to_buffer(&piece[..length], &mut packed)?;
        to.write_all(&packed)?;
        for size in [packed.len(), length] {
            table.extend(u32::try_from(size).map_err(io::Error::other)?.to_le_bytes());
        }
    }
    let count = u32::try_from(table.len() as u64 / ENTRY).map_err(io::Error::other)?;
    let size = u32::try_from(table.len() as u64 + FOOTER).map_err(io::Error::other)?;
    to.write_all(&[SKIPPED.to_le_bytes(), size.to_le_bytes()].concat())?;
    to.write_all(&table)?;
    to.write_all(&count.to_le_bytes())?;
    to.write_all(&[0])?;
    to.write_all(&SEEKABLE.to_le_bytes())?;
    // Its age is what the log's was.
    to.set_modified(from.metadata()?.modified()?)?;
    to.sync_all()
}

/// Checks that both say the same.
fn same(log: &Path, draft: &Path) -> io::Result<()> {
    let (mut log, draft) = (File::open(log)?, Resting::open(draft)?);
    let (mut piece, mut at) = (vec![0; FRAME], 0);
    loop {
        let length = fill(&mut log, &mut piece)?;
        if draft.read(at, FRAME)? != piece[..length] {
            return Err(io::Error::other("a log has changed while it was compressed"));
        }
        if length == 0 {
            return Ok(());
        }
        at += length as u64;
    }
}

/// Fills a piece, unless the file ends before.
fn fill(file: &mut File, piece: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < piece.len() {
        match file.read(&mut piece[length..]) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of which some repeat and some do not.
    fn log(length: usize) -> Vec<u8> {
        let mut seed = 1_u32;
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed
        };
        (0..length / 4 + 1)
            .flat_map(|n| if n % 3 == 0 { next() } else { 0x0a0d_1b41 }.to_le_bytes())
            .take(length)
            .collect()
    }

    #[test]
    fn a_log_at_rest_is_read_from_anywhere_and_is_smaller() {
        let dir = tempfile::tempdir().unwrap();
        let (plain, rest) = (dir.path().join("log"), dir.path().join("log.zst"));
        for length in [0, 1, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME + 77] {
            let all = log(length);
            fs::write(&plain, &all).unwrap();
            put(&plain, &rest).unwrap();
            assert!(!plain.exists());
            let resting = Resting::open(&rest).unwrap();
            assert_eq!(resting.len(), length as u64);
            for offset in [0, 1, length / 2, FRAME - 1, FRAME, length.saturating_sub(1), length, length + 9] {
                let want = all.get(offset..).unwrap_or_default();
                let mut seen = Vec::new();
                loop {
                    match resting.read((offset + seen.len()) as u64, 99_999).unwrap() {
                        piece if piece.is_empty() => break,
                        piece => seen.extend(piece),
                    }
                }
                assert!(seen == want, "from {offset} of {length}");
            }
            let whole = zstd::stream::decode_all(File::open(&rest).unwrap()).unwrap();
            assert!(whole == all, "any decoder reads it");
            assert!(length < FRAME || fs::metadata(&rest).unwrap().len() < length as u64 * 2 / 3);
        }
        // Two masters at once, while somebody reads.
        let all = log(2 * FRAME);
        for _ in 0..20 {
            fs::write(&plain, &all).unwrap();
            std::thread::scope(|scope| {
                let both = [(); 2].map(|()| scope.spawn(|| put(&plain, &rest).unwrap()));
                while !both.iter().all(|one| one.is_finished()) {
                    let seen = crate::logs::LogFile::open(&plain).unwrap().expect("one of them is there");
                    assert_eq!(seen.read(9, 12).unwrap(), all[9..12]);
                }
            });
            assert!(!plain.exists());
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
        for text in ["", "short", "as long as a footer is"] {
            fs::write(&rest, text).unwrap();
            assert!(Resting::open(&rest).is_err());
        }
    }
}
