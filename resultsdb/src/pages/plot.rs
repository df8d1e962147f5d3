//! Plots of a testcase's record, as shapes that `plot.html` prints as SVG.

use model::Time;

use super::record::{Record, Step, percent};
use super::verdict::Verdict;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 150.0;
/// The plot's own part of the picture: left, right, top, bottom.
const LEFT: f64 = 66.0;
const RIGHT: f64 = WIDTH - 8.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = HEIGHT - 20.0;

/// Into how many stretches of time a record is cut at most.
const BUCKETS: usize = 60;

pub struct Plot {
    /// What it shows, for those who do not see it.
    pub title: String,
    pub legend: Vec<Key>,
    pub bars: Vec<Bar>,
    pub paths: Vec<Path>,
    pub marks: Vec<Mark>,
}

/// What a colour means.
pub struct Key {
    pub class: &'static str,
    pub name: &'static str,
}

pub struct Bar {
    pub class: &'static str,
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
    pub title: String,
}

pub struct Path {
    pub class: String,
    /// SVG's path data.
    pub shape: String,
}

pub struct Mark {
    pub x: f64,
    pub y: f64,
    pub anchor: &'static str,
    pub text: String,
}

/// A stretch of time and what happened in it.
#[derive(Clone, Default)]
struct Bucket {
    good: usize,
    bad: usize,
    neither: usize,
    repeats: usize,
    flips: usize,
}

/// From the oldest to the newest.
#[derive(Clone, Copy)]
struct Axis {
    from: i64,
    until: i64,
}

/// The plots that a record gives; none where there is too little to see.
pub fn plots(record: &Record) -> Vec<Plot> {
    let (Some(first), Some(last)) = (record.course.first(), record.course.last()) else { return Vec::new() };
    let axis = Axis { from: first.time, until: last.time };
    let buckets = axis.cut(&record.course);
    let mut plots = vec![outcomes(axis, &buckets), rates(axis, &buckets)];
    if !record.durations.is_empty() {
        plots.push(durations(axis, record));
    }
    plots
}

impl Axis {
    fn x(self, time: i64) -> f64 {
        let whole = (self.until - self.from).max(1) as f64;
        round(LEFT + (RIGHT - LEFT) * (time - self.from) as f64 / whole)
    }

    fn cut(self, course: &[Step]) -> Vec<Bucket> {
        let count = if self.until > self.from { BUCKETS } else { 1 };
        let mut buckets = vec![Bucket::default(); count];
        let whole = (self.until - self.from).max(1) as f64;
        for step in course {
            let place = ((step.time - self.from) as f64 / whole * count as f64) as usize;
            let bucket = &mut buckets[place.min(count - 1)];
            match step.verdict {
                Verdict::Good => bucket.good += 1,
                Verdict::Bad => bucket.bad += 1,
                Verdict::Neither => bucket.neither += 1,
                Verdict::Pending => {}
            }
            bucket.repeats += usize::from(step.repeat);
            bucket.flips += usize::from(step.flip);
        }
        buckets
    }

    /// The time in which a bucket begins.
    fn begin(self, place: usize, count: usize) -> String {
        let part = (self.until - self.from) as f64 * place as f64 / count as f64;
        day(self.from + part as i64)
    }

    /// The numbers at the edges of a plot.
    fn marks(self, most: String) -> Vec<Mark> {
        let mark = |x: f64, y: f64, anchor, text| Mark { x, y, anchor, text };
        vec![
            mark(LEFT - 6.0, TOP + 4.0, "end", most),
            mark(LEFT - 6.0, BOTTOM, "end", "0".into()),
            mark(LEFT, HEIGHT - 6.0, "start", day(self.from)),
            mark(RIGHT, HEIGHT - 6.0, "end", day(self.until)),
        ]
    }
}

/// Stacked bars: how many of each verdict.
fn outcomes(axis: Axis, buckets: &[Bucket]) -> Plot {
    let most = buckets.iter().map(|b| b.good + b.bad + b.neither).max().unwrap_or(0).max(1);
    let wide = (RIGHT - LEFT) / buckets.len() as f64;
    let mut bars = Vec::new();
    for (place, bucket) in buckets.iter().enumerate() {
        let mut base = BOTTOM;
        let begin = axis.begin(place, buckets.len());
        let title =
            format!("{begin}: {} passed, {} failed, {} without a verdict", bucket.good, bucket.bad, bucket.neither);
        let parts = [(Verdict::Bad, bucket.bad), (Verdict::Neither, bucket.neither), (Verdict::Good, bucket.good)];
        for (verdict, count) in parts.into_iter().filter(|(_, count)| *count > 0) {
            let height = (BOTTOM - TOP) * count as f64 / most as f64;
            base -= height;
            bars.push(Bar {
                class: verdict.class(),
                x: round(LEFT + wide * place as f64),
                y: round(base),
                width: round((wide - 1.0).min(40.0)),
                height: round(height),
                title: title.clone(),
            });
        }
    }
    Plot {
        title: "Results over time".into(),
        legend: vec![
            Key { class: "passed", name: "passed" },
            Key { class: "error", name: "without a verdict" },
            Key { class: "failed", name: "failed" },
        ],
        bars,
        paths: vec![base_line()],
        marks: axis.marks(most.to_string()),
    }
}

/// Two lines: the share of verdicts that are good, and of repeats that flipped.
fn rates(axis: Axis, buckets: &[Bucket]) -> Plot {
    let wide = (RIGHT - LEFT) / buckets.len() as f64;
    let line = |rate: fn(&Bucket) -> Option<f64>| {
        let points = buckets.iter().enumerate().filter_map(|(place, bucket)| {
            let y = BOTTOM - (BOTTOM - TOP) * rate(bucket)? / 100.0;
            Some((round(LEFT + wide * (place as f64 + 0.5)), round(y)))
        });
        let mut shape = String::new();
        for (x, y) in points {
            // A lone point is seen, too: its line ends round.
            let command = if shape.is_empty() { format!("M{x} {y}h0") } else { format!("L{x} {y}") };
            shape.push_str(&command);
        }
        shape
    };
    let passed = line(|b| percent(b.good, b.good + b.bad));
    let flips = line(|b| percent(b.flips, b.repeats));
    Plot {
        title: "Pass rate and flake rate over time".into(),
        legend: vec![Key { class: "passed", name: "pass rate" }, Key { class: "flaky", name: "flake rate" }],
        bars: Vec::new(),
        paths: vec![
            base_line(),
            Path { class: "line passed".into(), shape: passed },
            Path { class: "line flaky".into(), shape: flips },
        ],
        marks: axis.marks("100 %".into()),
    }
}

/// A dot for each run whose duration is known.
fn durations(axis: Axis, record: &Record) -> Plot {
    let most = record.durations.iter().map(|d| d.seconds).fold(0.0, f64::max).max(1.0);
    let dots = |wanted: Verdict| {
        let mut shape = String::new();
        for duration in record.durations.iter().filter(|d| d.verdict == wanted) {
            let y = round(BOTTOM - (BOTTOM - TOP) * duration.seconds / most);
            shape.push_str(&format!("M{} {y}h0", axis.x(duration.ended)));
        }
        Path { class: format!("dots {}", wanted.class()), shape }
    };
    Plot {
        title: "Duration of each run".into(),
        legend: vec![
            Key { class: "passed", name: "passed" },
            Key { class: "error", name: "without a verdict" },
            Key { class: "failed", name: "failed" },
        ],
        bars: Vec::new(),
        paths: vec![base_line(), dots(Verdict::Good), dots(Verdict::Neither), dots(Verdict::Bad)],
        marks: axis.marks(span(most)),
    }
}

fn base_line() -> Path {
    Path { class: "base".into(), shape: format!("M{LEFT} {BOTTOM}H{RIGHT}") }
}

/// A duration in seconds for people: `45 s`, `3 min 5 s`, `2 h 7 min`.
pub fn span(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{} s", round(seconds));
    }
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

fn day(time: i64) -> String {
    Time(time).to_seconds().chars().take(10).collect()
}

/// A tenth is all that can be seen.
fn round(x: f64) -> f64 {
    (x * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::super::record::Duration;
    use super::*;

    fn step(time: i64, verdict: Verdict) -> Step {
        Step { time, verdict, repeat: false, flip: false }
    }

    #[test]
    fn bars_stand_on_each_other_within_the_plot() {
        let mut record = Record::default();
        assert!(plots(&record).is_empty());
        record.course = vec![step(0, Verdict::Good), step(0, Verdict::Bad), step(1000, Verdict::Good)];
        record.durations = vec![Duration { ended: 1000, seconds: 5.0, verdict: Verdict::Good }];
        let plots = plots(&record);
        let bars = &plots[0].bars;
        assert_eq!(bars.len(), 3);
        assert_eq!((bars[0].class, bars[0].y, bars[0].height), ("failed", 70.0, 60.0));
        assert_eq!((bars[1].class, bars[1].y, bars[1].height), ("passed", TOP, 60.0));
        assert!(bars.iter().all(|b| b.x >= LEFT && b.x + b.width <= RIGHT));
        assert_eq!(plots[1].paths[1].shape, "M71.4 70h0L706.6 10");
        assert_eq!(plots[2].paths[1].shape, format!("M{RIGHT} {TOP}h0"));
    }

    #[test]
    fn one_moment_is_one_bar() {
        let record = Record { course: vec![step(7, Verdict::Neither)], ..Record::default() };
        let plots = plots(&record);
        assert_eq!((plots.len(), plots[0].bars.len()), (2, 1));
        assert_eq!(
            ["45 s", "3 min 5 s", "2 h 7 min", "1.5 s"],
            [span(45.2), span(185.0), span(7620.0), span(1.5)].each_ref().map(String::as_str)
        );
    }
}
