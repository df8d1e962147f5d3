//! One line of a log: a checksum, and a JSON object.
//!
//! `{"crc":"8 hex","KIND":…}` and a newline. The checksum is CRC-32 (IEEE) over the bytes from the quote of KIND up to
//! but not including the newline, so a reader needs no JSON to tell a whole line from a torn one. JSON has no raw
//! newline, so a line begins behind each newline of the file, wherever reading starts.

/// `{"crc":"`, 8 digits, `",`.
const HEAD: usize = 18;

/// Appends one line; `members` is a JSON object as text.
pub fn write(members: &[u8], out: &mut Vec<u8>) {
    debug_assert!(members.len() > 2 && members[0] == b'{');
    let rest = &members[1..];
    out.extend_from_slice(format!("{{\"crc\":\"{:08x}\",", crc32fast::hash(rest)).as_bytes());
    out.extend_from_slice(rest);
    out.push(b'\n');
}

/// What stands behind the checksum of a whole line, without its newline; `None` if the line is damaged.
pub fn read(line: &[u8]) -> Option<&[u8]> {
    let crc = line.strip_prefix(br#"{"crc":""#)?.get(..8)?;
    let rest = line.get(HEAD..)?;
    let whole = line[HEAD - 2..].starts_with(b"\",") && format!("{:08x}", crc32fast::hash(rest)).as_bytes() == crc;
    whole.then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_damage_to_a_line_is_seen() {
        let mut line = Vec::new();
        write(br#"{"seq":1,"x":"y"}"#, &mut line);
        assert_eq!(line.pop(), Some(b'\n'));
        assert_eq!(read(&line), Some(&br#""seq":1,"x":"y"}"#[..]));
        for n in 0..line.len() {
            assert_eq!(read(&line[..n]), None, "cut at {n}");
            for bit in 0..8 {
                let mut bad = line.clone();
                bad[n] ^= 1 << bit;
                assert_eq!(read(&bad), None, "byte {n}, bit {bit}");
            }
        }
    }
}
