//! A moment, as the databases and the wire hold it.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use crate::Span;

/// A moment in microseconds since 1970 UTC; RFC 3339 in UTC where people and JSON see it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, ToSchema)]
#[schema(value_type = String, format = DateTime)]
pub struct Time(pub i64);

impl Time {
    /// The moment `span` later, saturating at the end of time.
    pub fn plus(self, span: Span) -> Time {
        Time(self.0.saturating_add(span.micros()))
    }

    /// The moment `span` earlier, saturating at the beginning of time.
    pub fn minus(self, span: Span) -> Time {
        Time(self.0.saturating_sub(span.micros()))
    }

    /// How long it is from `earlier` to this moment; zero when it is not later.
    pub fn since(self, earlier: Time) -> Span {
        Span::from_micros(self.0.saturating_sub(earlier.0).max(0))
    }

    /// Reads what publishers write: RFC 3339, or the same without a zone (taken as UTC), or only a date.
    pub fn parse_loose(text: &str) -> Option<Time> {
        let text = text.trim();
        if let Ok(t) = DateTime::parse_from_rfc3339(text) {
            return Some(Time(t.timestamp_micros()));
        }
        if let Ok(t) = DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z") {
            return Some(Time(t.timestamp_micros()));
        }
        for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"] {
            if let Ok(t) = NaiveDateTime::parse_from_str(text, format) {
                return Some(Time(t.and_utc().timestamp_micros()));
            }
        }
        let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
        Some(Time(day.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros()))
    }

    /// The moment to the second, for pages and tables: `2026-11-21 04:33:10`.
    pub fn to_seconds(self) -> String {
        DateTime::from_timestamp_micros(self.0).map_or_else(String::new, |t| t.format("%Y-%m-%d %H:%M:%S").to_string())
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_timestamp_micros(self.0) {
            Some(t) => f.write_str(&t.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            None => write!(f, "{} µs", self.0),
        }
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("'{0}' is not a time; write it as 2026-11-21T04:33:00Z")]
pub struct NotATime(String);

impl FromStr for Time {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Time, NotATime> {
        Time::parse_loose(text).ok_or_else(|| NotATime(text.to_owned()))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Time, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_it_is_read() {
        for text in ["2026-11-21T04:33:00Z", "2026-11-21T04:33:00.123Z", "2026-11-21T04:33:00.123456Z"] {
            assert_eq!(text.parse::<Time>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn publishers_write_times_in_many_ways() {
        let want = "2024-01-02T03:04:05Z".parse::<Time>().unwrap();
        for text in
            ["2024-01-02T03:04:05+00:00", "2024-01-02T05:04:05+0200", "2024-01-02 03:04:05", "2024-01-02T03:04:05.0"]
        {
            assert_eq!(text.parse::<Time>().unwrap(), want, "{text}");
        }
        assert!("yesterday".parse::<Time>().is_err());
    }
}
