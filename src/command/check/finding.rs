//! What one check found, and the line that says so.

use std::fmt::Write as _;

use serde::Serialize;

use super::super::terminal::harmless;
use super::range::Range;

/// In the order of what is worse. What cannot be told is worse than a warning, and must not hide what is critical.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Severity {
    Ok,
    Warning,
    Unknown,
    Critical,
}

impl Severity {
    /// As Nagios numbers them.
    pub fn code(self) -> u8 {
        match self {
            Severity::Ok => 0,
            Severity::Warning => 1,
            Severity::Critical => 2,
            Severity::Unknown => 3,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Severity::Ok => "OK",
            Severity::Warning => "WARNING",
            Severity::Critical => "CRITICAL",
            Severity::Unknown => "UNKNOWN",
        }
    }
}

/// One figure, and what is well for it.
#[derive(Clone, Debug, Serialize)]
pub struct Measure {
    pub label: &'static str,
    pub value: f64,
    /// `s`, `c` (it only grows), or nothing.
    pub unit: &'static str,
    pub warning: Option<Range>,
    pub critical: Option<Range>,
}

impl Measure {
    fn severity(&self) -> Severity {
        let alerts = |range: &Option<Range>| range.as_ref().is_some_and(|range| range.alerts(self.value));
        match (alerts(&self.critical), alerts(&self.warning)) {
            (true, _) => Severity::Critical,
            (false, true) => Severity::Warning,
            (false, false) => Severity::Ok,
        }
    }

    fn text(&self) -> String {
        let range = |range: &Option<Range>| range.as_ref().map(Range::to_string).unwrap_or_default();
        let text =
            format!("'{}'={}{};{};{}", self.label, self.value, self.unit, range(&self.warning), range(&self.critical));
        text.trim_end_matches(';').to_owned()
    }
}

/// What one check found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub severity: Severity,
    /// One sentence each; what is wrong comes first.
    pub says: Vec<String>,
    pub measures: Vec<Measure>,
}

impl Finding {
    pub fn new(check: &'static str) -> Finding {
        Finding { check, severity: Severity::Ok, says: Vec::new(), measures: Vec::new() }
    }

    pub fn unknown(check: &'static str, why: String) -> Finding {
        Finding { severity: Severity::Unknown, says: vec![why], ..Finding::new(check) }
    }

    /// Adds what was seen, which may be a reason for alarm.
    pub fn say(&mut self, severity: Severity, what: impl Into<String>) {
        if severity > Severity::Ok && self.severity == Severity::Ok {
            self.says.insert(0, what.into());
        } else {
            self.says.push(what.into());
        }
        self.severity = self.severity.max(severity);
    }

    /// Adds a figure and judges it.
    pub fn measure(&mut self, measure: Measure) {
        self.severity = self.severity.max(measure.severity());
        self.measures.push(measure);
    }

    /// `NAME SEVERITY - sentences | performance data`; what is said may come from anywhere, and stays one line.
    pub fn line(&self) -> String {
        let says = harmless(&self.says.join(", ")).replace('|', "/");
        let mut line = format!("{} {} - {says}", self.check, self.severity.word());
        for (n, measure) in self.measures.iter().enumerate() {
            let before = if n == 0 { " |" } else { "" };
            write!(line, "{before} {}", measure.text()).expect("writing to a String cannot fail");
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_that_nagios_can_read() {
        let mut finding = Finding::new("INTAKE");
        finding.say(Severity::Ok, "lag 0");
        let measure = |label, value, warning: &str| Measure {
            label,
            value,
            unit: "s",
            warning: Some(warning.parse().unwrap()),
            critical: None,
        };
        finding.measure(measure("age", 3.0, "600"));
        assert_eq!(finding.line(), "INTAKE OK - lag 0 | 'age'=3s;600");
        finding.say(Severity::Critical, "trigger x | says\n\x1b[2Jno");
        finding.measure(measure("lag", 700.5, "600"));
        assert_eq!(
            finding.line(),
            "INTAKE CRITICAL - trigger x / says \u{fffd}[2Jno, lag 0 | 'age'=3s;600 'lag'=700.5s;600"
        );
    }

    #[test]
    fn what_cannot_be_told_is_worse_than_a_warning_and_hides_nothing_critical() {
        assert!(Severity::Critical > Severity::Unknown && Severity::Unknown > Severity::Warning);
        assert_eq!(
            [Severity::Ok, Severity::Warning, Severity::Critical, Severity::Unknown].map(Severity::code),
            [0, 1, 2, 3]
        );
    }
}
