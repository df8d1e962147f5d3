//! What several pages print in the same way: moments, tags, rows.
//!
//! [`Moment`] and [`Tag`] print HTML of their own making and are never made from foreign text; everything else is text
//! that the templates escape.

use std::fmt;
use std::sync::LazyLock;

use askama::filters::HtmlSafe;
use model::lease::Figures;
use model::operator::{EventSummary, JobSummary, WorkerView};
use model::{Artifact, JobId, JobState, Outcome, Time};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use regex::Regex;

/// What stands in a path or a query as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Text as a part of an address.
pub fn encoded(text: &str) -> String {
    // A segment of dots alone would be taken for a step in the path.
    if !text.is_empty() && text.bytes().all(|b| b == b'.') {
        return "%2E".repeat(text.len());
    }
    utf8_percent_encode(text, PLAIN).to_string()
}

pub fn job_path(job: JobId) -> String {
    format!("/jobs/{job}")
}

pub fn event_path(event: &str) -> String {
    format!("/events/{}", encoded(event))
}

/// Where the pages of the results store list what was found about an item; `base` is empty for our own.
pub fn results_path(base: &str, item: &str, item_type: &str) -> String {
    format!("{base}/items?item={}&type={}", encoded(item), encoded(item_type))
}

/// A moment in UTC and how long ago it is.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub at: Time,
    pub now: Time,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, text) = (self.at, self.at.to_seconds());
        let age = age(at, self.now);
        write!(f, "<time datetime=\"{at}\" title=\"{text} UTC\"><span class=\"roomy\">{text} · </span>{age}</time>")
    }
}

impl HtmlSafe for Moment {}

/// How far `at` lies from `now`, in the words that people use.
pub fn age(at: Time, now: Time) -> String {
    let seconds = now.since(at).0.as_secs().max(at.since(now).0.as_secs());
    let text = match seconds {
        0..=1 => return "just now".into(),
        2..=89 => format!("{seconds} s"),
        90..=5_399 => format!("{} min", (seconds + 30) / 60),
        5_400..=129_599 => format!("{} h", (seconds + 1_800) / 3_600),
        _ => format!("{} days", (seconds + 43_200) / 86_400),
    };
    if at > now { format!("in {text}") } else { format!("{text} ago") }
}

/// A word with a colour of its own.
#[derive(Clone, Copy, Debug)]
pub struct Tag(&'static str);

impl Tag {
    pub fn word(word: &'static str) -> Tag {
        Tag(word)
    }

    pub fn state(state: JobState) -> Tag {
        Tag(state.name())
    }

    pub fn outcome(outcome: Outcome) -> Tag {
        Tag(outcome.name())
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<span class=\"tag {}\">{}</span>", self.0.to_ascii_lowercase(), self.0)
    }
}

impl HtmlSafe for Tag {}

/// One job in a table.
#[derive(Debug)]
pub struct JobRow {
    pub path: String,
    pub item: String,
    pub task: String,
    pub arch: String,
    pub tag: Tag,
    /// How its last attempt ended, in words.
    pub end: String,
    pub attempts: u32,
    /// When it came to be what it is now.
    pub at: Moment,
}

impl JobRow {
    pub fn new(job: &JobSummary, now: Time) -> JobRow {
        let at = job.finished_at.or(job.started_at).unwrap_or(job.queued_at);
        JobRow {
            path: job_path(job.id),
            item: job.item.clone(),
            task: job.task.clone(),
            arch: job.arch.clone(),
            // A finished job is told by what it found.
            tag: job.outcome.map_or(Tag::state(job.state), Tag::outcome),
            end: job.end.as_ref().map(ToString::to_string).unwrap_or_default(),
            attempts: job.attempts,
            at: Moment { at, now },
        }
    }

    pub fn all(jobs: &[JobSummary], now: Time) -> Vec<JobRow> {
        jobs.iter().map(|job| JobRow::new(job, now)).collect()
    }
}

/// One event in a table, with its jobs where the page shows them.
#[derive(Debug)]
pub struct EventRow {
    pub path: String,
    pub id: String,
    pub topic: String,
    pub source: String,
    pub recorder: String,
    pub jobs: u64,
    pub first_jobs: Vec<JobRow>,
    pub at: Moment,
}

impl EventRow {
    pub fn new(event: &EventSummary, jobs: &[JobSummary], now: Time) -> EventRow {
        EventRow {
            path: event_path(&event.id),
            id: event.id.clone(),
            topic: event.topic.clone(),
            source: event.source.clone(),
            recorder: event.recorder.clone(),
            jobs: event.jobs,
            first_jobs: JobRow::all(jobs, now),
            at: Moment { at: event.recorded_at, now },
        }
    }
}

/// One worker in a table.
#[derive(Debug)]
pub struct WorkerRow {
    pub name: String,
    pub path: String,
    pub tag: Tag,
    pub running: u32,
    pub slots: u32,
    pub labels: Vec<String>,
    pub version: String,
    pub machine: String,
    /// Why it takes no job at present; empty where it does.
    pub takes_none: String,
    pub seen: Moment,
    pub first: Moment,
}

impl WorkerRow {
    pub fn new(worker: &WorkerView, now: Time) -> WorkerRow {
        WorkerRow {
            name: worker.name.clone(),
            path: format!("/jobs?worker={}", encoded(&worker.name)),
            tag: Tag::word(worker.state.name()),
            running: worker.running,
            slots: worker.slots,
            labels: worker.labels.clone(),
            version: worker.version.clone(),
            machine: worker.figures.as_ref().map(machine).unwrap_or_default(),
            takes_none: worker.figures.as_ref().and_then(|f| f.takes_none.clone()).unwrap_or_default(),
            seen: Moment { at: worker.last_seen, now },
            first: Moment { at: worker.first_seen, now },
        }
    }
}

/// How a worker's machine stands, in a few words.
fn machine(figures: &Figures) -> String {
    let gib = |bytes: u64| format!("{}.{} GiB", bytes >> 30, ((bytes >> 20) % 1024) * 10 / 1024);
    format!(
        "load {}.{:02}; free: {} memory, {} disk",
        figures.load_percent / 100,
        figures.load_percent % 100,
        gib(figures.memory_free),
        gib(figures.disk_free)
    )
}

/// The address of a file that a job left.
pub fn artifact_path(job: JobId, artifact: &Artifact) -> String {
    let name: Vec<_> = artifact.name.split('/').map(encoded).collect();
    format!("{}/artifacts/{}?attempt={}", job_path(job), name.join("/"), artifact.attempt)
}

/// A colour or another escape sequence, up to its end or as much as there is of it (ECMA-48 5.4 and 8.3.89).
static SEQUENCE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\x1b(\[[0-?]*[ -/]*[@-~]?|\][^\x07\x1b]*(\x07|\x1b\\)?|[^\[\]])?").expect("a constant expression")
});

/// Bytes that a job printed, as text for a page: without what would steer a terminal, and of a line that was printed
/// over itself, as progress is, the last. What is no UTF-8 is replaced, and so are control characters.
pub fn readable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = SEQUENCE.replace_all(&text, "");
    let last = |line: &str| {
        let line = line.trim_end_matches('\r');
        line.rsplit('\r').next().unwrap_or(line).to_owned()
    };
    let text: Vec<_> = text.split('\n').map(last).collect();
    let plain = |c: char| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c };
    text.join("\n").chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use model::Span;

    use super::*;

    #[test]
    fn ages_are_told_as_people_tell_them() {
        let now = Time(1_700_000_000_000_000);
        let table = [
            (Span::seconds(0), "just now"),
            (Span::seconds(45), "45 s ago"),
            (Span::seconds(200), "3 min ago"),
            (Span::minutes(200), "3 h ago"),
            (Span::days(3), "3 days ago"),
        ];
        for (span, want) in table {
            assert_eq!(age(now.minus(span), now), want);
        }
        assert_eq!(age(now.plus(Span::seconds(30)), now), "in 30 s");
    }

    #[test]
    fn an_id_with_slashes_and_dots_is_one_segment() {
        assert_eq!(event_path("a/b c?d#e"), "/events/a%2Fb%20c%3Fd%23e");
        assert_eq!(event_path(".."), "/events/%2E%2E");
    }

    #[test]
    fn what_a_job_prints_cannot_steer_a_terminal_or_a_page() {
        assert_eq!(
            readable(b"a\x1b[31mb\x1b[2J\x1b]0;title\x07\r\n1%\r99%\n\xff\tc\x07\x1b["),
            "ab\n99%\n\u{fffd}\tc\u{fffd}"
        );
    }
}
