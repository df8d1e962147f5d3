//! Ranges as Nagios' plugins read them.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// Values that are well, or with `@` those that are not.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(into = "String")]
pub struct Range {
    least: f64,
    most: f64,
    inside: bool,
    text: String,
}

impl Range {
    /// Whether a value is worth an alarm.
    pub fn alerts(&self, value: f64) -> bool {
        let within = (self.least..=self.most).contains(&value);
        within == self.inside
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Range, String> {
        let wrong = || format!("'{text}' is no range: 10, 10:, ~:10, 10:20 and @10:20 are some");
        let (inside, bounds) = text.strip_prefix('@').map_or((false, text), |bounds| (true, bounds));
        let (least, most) = bounds.split_once(':').unwrap_or(("0", bounds));
        let number = |text: &str| text.parse::<f64>().ok().filter(|n| n.is_finite()).ok_or_else(wrong);
        let least = match least {
            "~" => f64::NEG_INFINITY,
            "" if bounds.starts_with(':') => 0.0,
            text => number(text)?,
        };
        let most = match most {
            "" if bounds.contains(':') => f64::INFINITY,
            text => number(text)?,
        };
        if least > most {
            return Err(format!("'{text}' is no range: it ends before it begins"));
        }
        Ok(Range { least, most, inside, text: text.to_owned() })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Range> for String {
    fn from(range: Range) -> String {
        range.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_alerts_as_the_guidelines_of_nagios_say() {
        let alerts = |range: &str, values: [f64; 5]| values.map(|value| range.parse::<Range>().unwrap().alerts(value));
        let values = [-1.0, 0.0, 10.0, 15.0, 21.0];
        assert_eq!(alerts("10", values), [true, false, false, true, true]);
        assert_eq!(alerts("10:", values), [true, true, false, false, false]);
        assert_eq!(alerts("~:10", values), [false, false, false, true, true]);
        assert_eq!(alerts("10:20", values), [true, true, false, false, true]);
        assert_eq!(alerts("@10:20", values), [false, false, true, true, false]);
        assert_eq!(alerts("-5:5", values), [false, false, true, true, true]);
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in ["", "x", "@", ":x", "20:10", "1:2:3", "nan", "5:~"] {
            assert!(text.parse::<Range>().is_err(), "{text}");
        }
    }
}
