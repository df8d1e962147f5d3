//! Times as ResultsDB's clients write and read them: naive, and meant as UTC.

use chrono::{DateTime, NaiveDate, Timelike as _};
use model::Time;

/// `2021-02-03T04:05:06.789000`; the fraction is left out when it is 0.
pub fn text(time: Time) -> String {
    match DateTime::from_timestamp_micros(time.0) {
        Some(t) if t.nanosecond() == 0 => t.format("%Y-%m-%dT%H:%M:%S").to_string(),
        Some(t) => t.format("%Y-%m-%dT%H:%M:%S%.6f").to_string(),
        None => String::new(),
    }
}

/// A submit time as text: `YYYY-MM-DDTHH:MM:SS.f`, with or without an offset, or digits that count milliseconds.
pub fn submitted(text: &str) -> Option<Time> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok().and_then(of_millis);
    }
    let (date, rest) = text.split_once('T')?;
    let date = NaiveDate::parse_from_str(date, "%Y-%m-%d").ok()?;
    let (clock, offset) = clock(rest)?;
    let digits = clock.fraction?.len();
    let time = clock.on(date).filter(|_| (1..=6).contains(&digits) && clock.second.is_some())?;
    sane(time.checked_sub(offset.unwrap_or(0).checked_mul(60_000_000)?)?)
}

/// A submit time as an answer or a dump has it: as [`submitted`], with or without a fraction, parted by `T` or a space.
pub fn stored(text: &str) -> Option<Time> {
    let (date, rest) = text.split_once(['T', ' '])?;
    let date = NaiveDate::parse_from_str(date, "%Y-%m-%d").ok()?;
    let (clock, offset) = clock(rest)?;
    clock.second?;
    sane(clock.on(date)?.checked_sub(offset.unwrap_or(0).checked_mul(60_000_000)?)?)
}

/// Milliseconds since 1970.
pub fn of_millis(millis: i64) -> Option<Time> {
    sane(millis.checked_mul(1000)?)
}

/// One end of `since`: a year, month, day or moment of ISO 8601. A zone is read over, not converted.
pub fn since(text: &str) -> Option<Time> {
    let (date, rest) = match text.find(['T', ' ']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let number = |range: std::ops::Range<usize>| {
        date.get(range).filter(|t| t.bytes().all(|b| b.is_ascii_digit())).and_then(|t| t.parse::<u32>().ok())
    };
    let dash = |at: usize| date.as_bytes().get(at) == Some(&b'-');
    let (year, month, day) = match date.len() {
        4 => (number(0..4)?, 1, 1),
        7 if dash(4) => (number(0..4)?, number(5..7)?, 1),
        8 => (number(0..4)?, number(4..6)?, number(6..8)?),
        10 if dash(4) && dash(7) => (number(0..4)?, number(5..7)?, number(8..10)?),
        _ => return None,
    };
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok().filter(|y| *y > 0)?, month, day)?;
    let time = match rest {
        None => Clock { hour: 0, minute: 0, second: None, fraction: None }.on(date)?,
        Some(rest) => clock(rest)?.0.on(date)?,
    };
    sane(time)
}

/// Years that both Python and its clients can hold.
fn sane(micros: i64) -> Option<Time> {
    const FIRST: i64 = -62_135_596_800_000_000;
    const LAST: i64 = 253_402_300_799_999_999;
    (FIRST..=LAST).contains(&micros).then_some(Time(micros))
}

struct Clock<'t> {
    hour: u32,
    minute: u32,
    second: Option<u32>,
    fraction: Option<&'t str>,
}

impl Clock<'_> {
    /// Microseconds since 1970; digits beyond the sixth are cut off.
    fn on(&self, date: NaiveDate) -> Option<i64> {
        let micros = match self.fraction {
            None => 0,
            Some(digits) => format!("{:0<6}", digits.get(..6).unwrap_or(digits)).parse().ok()?,
        };
        let time = date.and_hms_micro_opt(self.hour, self.minute, self.second.unwrap_or(0), micros)?;
        Some(time.and_utc().timestamp_micros())
    }
}

/// Reads `HH:MM[:SS[.f]]` and what may follow it: `Z`, `+HHMM`, `+HH:MM`, `+HH`. The offset is in minutes.
fn clock(text: &str) -> Option<(Clock<'_>, Option<i64>)> {
    let (text, offset) = match text.find(['Z', '+', '-']) {
        None => (text, None),
        Some(at) if &text[at..] == "Z" => (&text[..at], Some(0)),
        Some(at) => (&text[..at], Some(zone(&text[at..])?)),
    };
    let (text, fraction) = match text.split_once(['.', ',']) {
        Some((text, digits)) => (text, Some(digits)),
        None => (text, None),
    };
    if fraction.is_some_and(|f| f.is_empty() || !f.bytes().all(|b| b.is_ascii_digit())) {
        return None;
    }
    let mut parts = text.split(':').map(two_digits);
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = match parts.next() {
        Some(second) => Some(second?),
        None if fraction.is_some() => return None,
        None => None,
    };
    parts.next().is_none().then_some((Clock { hour, minute, second, fraction }, offset))
}

fn zone(text: &str) -> Option<i64> {
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let digits = text[1..].replacen(':', "", 1);
    let hours = two_digits(digits.get(..2)?)?;
    let minutes = match digits.len() {
        2 => 0,
        4 => two_digits(&digits[2..])?,
        _ => return None,
    };
    (hours < 24 && minutes < 60).then_some(sign * i64::from(hours * 60 + minutes))
}

fn two_digits(text: &str) -> Option<u32> {
    ((1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn submit_times_are_read_as_the_clients_write_them() {
        let want = "2021-02-03T04:05:06.789000";
        for given in [
            "2021-02-03T04:05:06.789000",
            "2021-02-03T04:05:06.789",
            "2021-02-03T04:05:06.789Z",
            "2021-02-03T06:05:06.789+0200",
            "2021-02-03T06:05:06.789+02:00",
            "2021-02-03T03:05:06.789-01",
            "1612325106789",
        ] {
            assert_eq!(submitted(given).map(text).as_deref(), Some(want), "{given}");
        }
        for wrong in [
            "2021-02-03T04:05:06",
            "2021-02-03 04:05:06.0",
            "yesterday",
            "",
            "2021-02-03T04:05:06.1234567",
            "2021-02-30T04:05:06.0",
            "99999999999999999999",
            "2021-02-03T04:05:06.0+99",
            "2021-02-03",
        ] {
            assert_eq!(submitted(wrong), None, "{wrong}");
        }
        assert_eq!(text(Time(1_612_325_106_000_000)), "2021-02-03T04:05:06");
        for given in ["2021-02-03T04:05:06", "2021-02-03 04:05:06.0", "2021-02-03T06:05:06+02:00"] {
            assert_eq!(stored(given), Some(Time(1_612_325_106_000_000)), "{given}");
        }
        assert_eq!([stored("2021-02-03T04:05"), stored("infinity"), stored("2021-02-03 04:05:06 BC")], [None; 3]);
    }

    #[test]
    fn since_takes_dates_of_any_precision_and_drops_the_zone() {
        for (given, want) in [
            ("2020", "2020-01-01T00:00:00"),
            ("2020-03", "2020-03-01T00:00:00"),
            ("2020-03-04", "2020-03-04T00:00:00"),
            ("20200304", "2020-03-04T00:00:00"),
            ("2020-03-04T05:06", "2020-03-04T05:06:00"),
            ("2020-03-04 05:06:07", "2020-03-04T05:06:07"),
            ("2020-03-04T05:06:07.5Z", "2020-03-04T05:06:07.500000"),
            ("2020-03-04T05:06:07+05:00", "2020-03-04T05:06:07"),
            ("1900-01-01T00:00:00.000000", "1900-01-01T00:00:00"),
        ] {
            assert_eq!(since(given).map(text).as_deref(), Some(want), "{given}");
        }
        for wrong in ["", "yesterday", "2020-13", "2020-1-1", "2020-01-01T", "12", "2020-01-01T25:00", "+123"] {
            assert_eq!(since(wrong), None, "{wrong}");
        }
    }
}
