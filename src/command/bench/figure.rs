//! A measured figure: beside its budget, and beside the machine's own limit of the same run.

use serde::Serialize;

use crate::command::output::{Column, Listed, column};

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    pub what: String,
    /// The database's engine.
    pub engine: &'static str,
    pub value: f64,
    pub unit: Unit,
    pub budget: Option<Budget>,
    pub limit: Option<Limit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Unit {
    #[serde(rename = "/s")]
    PerSecond,
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "s")]
    Seconds,
    #[serde(rename = "MB")]
    Megabytes,
    #[serde(rename = "MB/h")]
    MegabytesPerHour,
    #[serde(rename = "%")]
    Percent,
}

/// What the design asks for: at first, and in the end.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Budget {
    pub first: f64,
    pub goal: f64,
}

/// What this machine can do at most, where nothing of ours is in the way.
#[derive(Clone, Debug, Serialize)]
pub struct Limit {
    pub what: &'static str,
    pub value: f64,
    pub unit: Unit,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::PerSecond => "/s",
            Unit::Milliseconds => "ms",
            Unit::Seconds => "s",
            Unit::Megabytes => "MB",
            Unit::MegabytesPerHour => "MB/h",
            Unit::Percent => "%",
        }
    }

    fn show(self, value: f64) -> String {
        let digits = match value.abs() {
            size if size >= 100.0 => 0,
            size if size >= 10.0 => 1,
            _ => 2,
        };
        format!("{value:.digits$} {}", self.name())
    }

    /// Whether `value` is as good as `wanted`: of rates and changes more is better, of time and memory less.
    fn reaches(self, value: f64, wanted: f64) -> bool {
        match self {
            Unit::PerSecond | Unit::Percent => value >= wanted,
            Unit::Milliseconds | Unit::Seconds | Unit::Megabytes | Unit::MegabytesPerHour => value <= wanted,
        }
    }
}

impl Figure {
    pub fn new(what: impl Into<String>, engine: &'static str, value: f64, unit: Unit) -> Figure {
        Figure { what: what.into(), engine, value, unit, budget: None, limit: None }
    }

    pub fn budget(mut self, first: f64, goal: f64) -> Figure {
        self.budget = Some(Budget { first, goal });
        self
    }

    pub fn limit(mut self, what: &'static str, value: f64, unit: Unit) -> Figure {
        self.limit = Some(Limit { what, value, unit });
        self
    }

    fn budget_text(&self) -> String {
        self.budget.map(|b| format!("{} / {}", b.first, self.unit.show(b.goal))).unwrap_or_default()
    }

    fn reached(&self) -> String {
        let Some(Budget { first, goal }) = self.budget else { return String::new() };
        match (self.unit.reaches(self.value, goal), self.unit.reaches(self.value, first)) {
            (true, _) => "goal",
            (false, true) => "first",
            (false, false) => "missed",
        }
        .to_owned()
    }

    fn limit_text(&self) -> String {
        self.limit.as_ref().map(|l| format!("{} {}", l.unit.show(l.value), l.what)).unwrap_or_default()
    }

    /// How much of the limit was reached, where both are counted in the same unit.
    fn share(&self) -> String {
        match &self.limit {
            Some(limit) if limit.unit == self.unit && limit.value > 0.0 => {
                format!("{:.0} %", 100.0 * self.value / limit.value)
            }
            Some(_) | None => String::new(),
        }
    }
}

impl Listed for Figure {
    const COLUMNS: &'static [Column<Figure>] = &[
        column("what", |f| f.what.clone()),
        column("engine", |f| f.engine.to_owned()),
        column("figure", |f| f.unit.show(f.value)),
        column("budget", Figure::budget_text),
        column("reached", Figure::reached),
        column("machine's_own_limit", Figure::limit_text),
        column("share", Figure::share),
    ];
}

/// The value below which `share` of the samples lie; they are sorted here.
pub fn percentile(samples: &mut [f64], share: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let last = samples.len().saturating_sub(1);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the last index")]
    let at = (last as f64 * share).round() as usize;
    samples.get(at).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_reached_from_the_right_side() {
        let rate = |value| Figure::new("x", "SQLite", value, Unit::PerSecond).budget(600.0, 1500.0).reached();
        assert_eq!([599.0, 600.0, 1500.0].map(rate), ["missed", "first", "goal"]);
        let time = |value| Figure::new("x", "SQLite", value, Unit::Milliseconds).budget(10.0, 4.0).reached();
        assert_eq!([10.1, 10.0, 4.0].map(time), ["missed", "first", "goal"]);
        let change = |value| Figure::new("x", "SQLite", value, Unit::Percent).budget(-40.0, -20.0).reached();
        assert_eq!([-41.0, -40.0, 3.0].map(change), ["missed", "first", "goal"]);
    }

    #[test]
    fn the_share_is_one_of_the_same_unit() {
        let figure = Figure::new("x", "SQLite", 500.0, Unit::PerSecond);
        assert_eq!(figure.clone().limit("spawns", 2000.0, Unit::PerSecond).share(), "25 %");
        assert_eq!(figure.limit("to sync", 2.0, Unit::Milliseconds).share(), "");
    }

    #[test]
    fn percentiles_are_samples() {
        let mut samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut samples, 0.5), 51.0);
        assert_eq!(percentile(&mut samples, 0.99), 99.0);
        assert_eq!(percentile(&mut samples, 1.0), 100.0);
    }
}
