//! Which rows of a file are meant, and how fast they may go.

use std::str::FromStr;
use std::time::Duration;

use model::Time;
use model::joblog::Row;

/// The rows that are submitted; the others are left.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Empty: every task.
    pub only: Vec<String>,
    pub since: Option<Time>,
    /// Exclusive.
    pub until: Option<Time>,
}

impl Selection {
    /// Why a row is left; `None` for one that is meant.
    pub fn leaves(&self, row: &Row) -> Option<String> {
        if !self.only.is_empty() && !self.only.contains(&row.job.task) {
            return Some(format!("task {} is not asked for", row.job.task));
        }
        if self.since.is_none() && self.until.is_none() {
            return None;
        }
        let Some(time) = row.event_time.or(row.recorded_at) else {
            return Some("it has no time to compare".to_owned());
        };
        if self.since.is_some_and(|since| time < since) {
            return Some(format!("{time} is before --since"));
        }
        self.until.is_some_and(|until| time >= until).then(|| format!("{time} is not before --until"))
    }
}

/// How many rows a time: `60/min`, `5/s`, `1000/h`; a bare number is a minute's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    pub each: Duration,
}

impl Rate {
    /// The same in rows a minute, at least one.
    pub fn per_minute(self) -> u32 {
        let each = self.each.as_secs_f64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of a float saturates")]
        let rows = (60.0 / each).round() as u32;
        rows.max(1)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        let (number, unit) = text.split_once('/').unwrap_or((text, "min"));
        let seconds = match unit.trim() {
            "s" | "sec" | "second" => 1.0,
            "m" | "min" | "minute" => 60.0,
            "h" | "hour" => 3600.0,
            other => return Err(format!("'{other}' is no unit; write 60/min, 5/s or 1000/h")),
        };
        match number.trim().parse::<u32>() {
            Ok(n) if n > 0 => Ok(Rate { each: Duration::from_secs_f64(seconds / f64::from(n)) }),
            _ => Err(format!("'{number}' is no number of rows; write 60/min, 5/s or 1000/h")),
        }
    }
}

impl Rate {
    /// How many rows are sent together: a second's worth, so that the rate is even and no slower than asked.
    pub fn chunk(self, most: usize) -> usize {
        let a_second = Duration::from_secs(1).as_secs_f64() / self.each.as_secs_f64();
        // A float to an integer saturates; at least one row goes.
        (a_second as usize).clamp(1, most)
    }
}

#[cfg(test)]
mod tests {
    use model::joblog::Header;

    use super::*;

    #[test]
    fn rows_are_chosen_by_task_and_by_time() {
        let header = Header::parse(["item", "item_type", "task", "recorded_at", "event_time"]).unwrap();
        let row = |recorded: &str, event: &str| {
            header.row(&csv::StringRecord::from(vec!["i", "k", "t", recorded, event])).unwrap()
        };
        let time = |text: &str| Some(text.parse::<Time>().unwrap());
        let window = Selection { only: vec![], since: time("2024-01-02"), until: time("2024-01-03") };
        assert_eq!(window.leaves(&row("2030-01-01", "2024-01-02")), None);
        assert_eq!(window.leaves(&row("2024-01-02T05:00:00Z", "")), None);
        assert!(window.leaves(&row("2024-01-02", "2024-01-03")).is_some());
        assert!(window.leaves(&row("", "")).is_some());
        let only = |task: &str| Selection { only: vec![task.into()], ..Selection::default() };
        assert_eq!(only("t").leaves(&row("", "")), None);
        assert!(only("other").leaves(&row("", "")).is_some());
    }

    #[test]
    fn a_rate_is_rows_a_time() {
        let rate = |text: &str| text.parse::<Rate>();
        assert_eq!(rate("60/min").unwrap().each, Duration::from_secs(1));
        assert_eq!(rate("5/s").unwrap().chunk(2000), 5);
        assert_eq!(rate("30").unwrap().chunk(2000), 1);
        assert!(rate("0/min").is_err() && rate("5/fortnight").is_err() && rate("fast").is_err());
    }
}
