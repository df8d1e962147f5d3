//! A length of time, written as people do.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

/// A length of time; `"30s"`, `"5m"`, `"1h 30m"` or `"400d"` in configuration and JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, ToSchema)]
#[schema(value_type = String)]
pub struct Span(pub Duration);

impl Span {
    pub const fn seconds(n: u64) -> Span {
        Span(Duration::from_secs(n))
    }

    pub const fn millis(n: u64) -> Span {
        Span(Duration::from_millis(n))
    }

    pub const fn minutes(n: u64) -> Span {
        Span::seconds(n * 60)
    }

    pub const fn days(n: u64) -> Span {
        Span::seconds(n * 86_400)
    }

    /// From microseconds; a negative length is none.
    pub fn from_micros(n: i64) -> Span {
        Span(Duration::from_micros(n.max(0).unsigned_abs()))
    }

    pub fn micros(self) -> i64 {
        i64::try_from(self.0.as_micros()).unwrap_or(i64::MAX)
    }
}

/// Units in microseconds, and how they are written.
const UNITS: [(i64, &str); 6] =
    [(86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"), (1_000, "ms"), (1, "us")];

/// In the largest unit that measures it exactly: what was written as `400d` is shown as that.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.micros(), UNITS.iter().find(|(unit, _)| self.micros() % unit == 0)) {
            (0, _) | (_, None) => f.write_str("0s"),
            (n, Some((unit, name))) => write!(f, "{}{name}", n / unit),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("'{0}' is not a length of time; write it as 30s, 5m, 2h or 7d")]
pub struct NotASpan(String);

impl FromStr for Span {
    type Err = NotASpan;

    fn from_str(text: &str) -> Result<Span, NotASpan> {
        humantime::parse_duration(text.trim()).map(Span).map_err(|_| NotASpan(text.to_owned()))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Span, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_shown_as_it_was_written() {
        for text in ["0s", "400d", "15m", "90s", "250ms", "7us", "25h"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert_eq!("1h 30m".parse::<Span>().unwrap().to_string(), "90m");
        assert!("soon".parse::<Span>().is_err());
    }
}
