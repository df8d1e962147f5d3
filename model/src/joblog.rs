//! The job log: one CSV row a job, for people and for `jobrunner`.
//!
//! RFC 4180, UTF-8, one header line. The same columns are written by the trigger, read by `jobrunner`, and posted to
//! `/api/v1/jobs`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::intake::{JobAnswer, Record};
use crate::{JobId, NewJob, Policy, Supersede, Time};

pub const COLUMNS: [&str; 18] = [
    "seq",
    "recorder",
    "recorded_at",
    "event_id",
    "event_time",
    "topic",
    "rule",
    "generation",
    "task",
    "item",
    "item_type",
    "arch",
    "priority",
    "params",
    "expires_at",
    "supersede_key",
    "supersede_policy",
    "job_key",
];

/// One row. What a minimal row leaves out is `None` or empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub seq: Option<u64>,
    pub recorder: String,
    pub recorded_at: Option<Time>,
    pub event_id: String,
    pub event_time: Option<Time>,
    pub topic: String,
    pub generation: Option<u64>,
    pub job: NewJob,
    /// Whether the key was given; else it was made from the row itself, and the job cannot be recognised as one that
    /// also came over the bus.
    pub key_given: bool,
}

/// The rows of one record, as [`COLUMNS`] name them.
pub fn rows<'a>(recorder: &'a str, record: &'a Record) -> impl Iterator<Item = [String; 18]> + 'a {
    let head = Head {
        recorder,
        recorded_at: Some(record.recorded_at),
        event_id: &record.event.id,
        event_time: record.event.time(),
        topic: &record.event.topic,
        generation: Some(record.generation),
    };
    record.jobs.iter().zip(record.job_seq..).map(move |(job, seq)| fields(Some(seq), &head, job))
}

/// What the jobs of one record have in common.
struct Head<'a> {
    recorder: &'a str,
    recorded_at: Option<Time>,
    event_id: &'a str,
    event_time: Option<Time>,
    topic: &'a str,
    generation: Option<u64>,
}

impl Row {
    /// The row as [`COLUMNS`] name it: what [`Header::row`] reads.
    pub fn fields(&self) -> [String; 18] {
        let head = Head {
            recorder: &self.recorder,
            recorded_at: self.recorded_at,
            event_id: &self.event_id,
            event_time: self.event_time,
            topic: &self.topic,
            generation: self.generation,
        };
        fields(self.seq, &head, &self.job)
    }
}

fn fields(seq: Option<u64>, head: &Head<'_>, job: &NewJob) -> [String; 18] {
    let (key, policy) = match &job.supersede {
        Some(s) => (s.key.clone(), s.policy.name().to_owned()),
        None => (String::new(), String::new()),
    };
    let number = |n: Option<u64>| n.map(|n| n.to_string()).unwrap_or_default();
    [
        number(seq),
        head.recorder.to_owned(),
        text(head.recorded_at),
        head.event_id.to_owned(),
        text(head.event_time),
        head.topic.to_owned(),
        job.rule.clone(),
        number(head.generation),
        job.task.clone(),
        job.item.clone(),
        job.item_type.clone(),
        job.arch.clone(),
        job.priority.to_string(),
        Value::Object(job.params.clone()).to_string(),
        text(job.expires_at),
        key,
        policy,
        job.key.to_string(),
    ]
}

fn text(time: Option<Time>) -> String {
    time.map(|t| t.to_string()).unwrap_or_default()
}

/// Where each known column stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header([Option<usize>; 18]);

/// The columns of a minimal row, in the order that a file without a header has them.
const MINIMAL: [&str; 4] = ["item", "item_type", "task", "arch"];

impl Header {
    /// Reads a header line; `None` where it names none of the columns that a row cannot do without.
    pub fn parse<'a>(fields: impl IntoIterator<Item = &'a str>) -> Option<Header> {
        let mut at = [None; 18];
        for (i, name) in fields.into_iter().enumerate() {
            let name = name.trim().trim_start_matches('\u{feff}');
            if let Some(column) = COLUMNS.iter().position(|c| *c == name) {
                at[column].get_or_insert(i);
            }
        }
        let header = Header(at);
        ["item", "item_type", "task"].iter().all(|c| header.index(c).is_some()).then_some(header)
    }

    /// The header that a file without one is read with, from the number of fields of its first row.
    pub fn implied(fields: usize) -> Option<Header> {
        match fields {
            18 => Header::parse(COLUMNS),
            4 => Header::parse(MINIMAL),
            _ => None,
        }
    }

    fn index(&self, column: &str) -> Option<usize> {
        self.0[COLUMNS.iter().position(|c| *c == column)?]
    }

    /// Reads one row; the error says which column and why.
    pub fn row(&self, fields: &csv::StringRecord) -> Result<Row, String> {
        let get = |column: &str| self.index(column).and_then(|i| fields.get(i)).unwrap_or("");
        let needed = |column: &str| match get(column) {
            "" => Err(format!("{column} is empty")),
            text => Ok(text.to_owned()),
        };
        let (task, item, item_type) = (needed("task")?, needed("item")?, needed("item_type")?);
        let arch = match get("arch") {
            "" => crate::NOARCH.to_owned(),
            arch => arch.to_owned(),
        };
        let key = match get("job_key") {
            "" => None,
            text => Some(text.parse::<JobId>().map_err(|_| format!("job_key '{text}' is not a UUID"))?),
        };
        let supersede = match (get("supersede_key"), get("supersede_policy")) {
            (_, "" | "none") => None,
            (key, policy) => {
                let known = Policy::ALL.into_iter().find(|p| p.name() == policy);
                let policy = known.ok_or_else(|| format!("supersede_policy '{policy}' is unknown"))?;
                Some(Supersede { key: key.to_owned(), policy, quiet: None })
            }
        };
        let params = match get("params") {
            "" => Map::new(),
            text => serde_json::from_str(text).map_err(|_| "params is not a JSON object".to_owned())?,
        };
        let number = |column: &str| match get(column) {
            "" => Ok(None),
            text => text.parse::<u64>().map(Some).map_err(|_| format!("{column} '{text}' is not a number")),
        };
        let time = |column: &str| match get(column) {
            "" => Ok(None),
            text => text.parse::<Time>().map(Some).map_err(|e| format!("{column}: {e}")),
        };
        Ok(Row {
            seq: number("seq")?,
            recorder: get("recorder").to_owned(),
            recorded_at: time("recorded_at")?,
            event_id: get("event_id").to_owned(),
            event_time: time("event_time")?,
            topic: get("topic").to_owned(),
            generation: number("generation")?,
            key_given: key.is_some(),
            job: NewJob {
                key: key.unwrap_or_else(|| JobId::of("", &task, &item_type, &item, &arch)),
                task,
                item,
                item_type,
                arch,
                rule: get("rule").to_owned(),
                priority: match get("priority") {
                    "" => 0,
                    text => text.parse().map_err(|_| format!("priority '{text}' is not a whole number"))?,
                },
                params,
                expires_at: time("expires_at")?,
                supersede,
            },
        })
    }
}

/// The answer to `POST /api/v1/jobs`: one line a row, in the order of the rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Submitted {
    pub rows: Vec<RowAnswer>,
}

/// What became of one row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RowAnswer {
    /// The line of the posted body that the row began on; the first line is 1.
    pub line: u64,
    #[serde(flatten)]
    pub verdict: RowVerdict,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum RowVerdict {
    Job(JobAnswer),
    /// The row cannot be read.
    Invalid {
        invalid: String,
    },
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Event;

    fn record() -> Record {
        let body = json!({"a": "x,\"y\"\n"});
        Record {
            seq: 7,
            job_seq: 3,
            recorded_at: Time(1_700_000_000_000_000),
            generation: 2,
            event: Event {
                id: "e-1".into(),
                topic: "a.b".into(),
                sent_at: Some("2024-01-01T00:00:00+00:00".into()),
                headers: Map::new(),
                body: body.as_object().unwrap().clone(),
                source: "file".into(),
            },
            matched: vec!["r".into()],
            jobs: vec![NewJob {
                key: JobId::of("e-1", "t", "koji_build", "a,\"b\"\nc", "noarch"),
                task: "t".into(),
                item: "a,\"b\"\nc".into(),
                item_type: "koji_build".into(),
                arch: "noarch".into(),
                rule: "r".into(),
                priority: -5,
                params: json!({"k": "v;w"}).as_object().unwrap().clone(),
                expires_at: Some(Time(1_800_000_000_000_000)),
                supersede: Some(Supersede { key: "k".into(), policy: Policy::Serial, quiet: None }),
            }],
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let record = record();
        let mut out = csv::Writer::from_writer(Vec::new());
        out.write_record(COLUMNS).unwrap();
        for row in rows("rec", &record) {
            out.write_record(row).unwrap();
        }
        let bytes = out.into_inner().unwrap();
        let mut input = csv::Reader::from_reader(&bytes[..]);
        let header = Header::parse(input.headers().unwrap()).unwrap();
        let row = header.row(&input.records().next().unwrap().unwrap()).unwrap();
        assert_eq!(row.job, record.jobs[0]);
        assert_eq!((row.seq, row.recorder.as_str(), row.event_id.as_str()), (Some(3), "rec", "e-1"));
        assert_eq!(row.event_time, record.event.time());
        assert_eq!(row.fields(), rows("rec", &record).next().unwrap());
        assert!(row.key_given);
    }

    #[test]
    fn a_minimal_row_makes_its_own_key_and_a_foreign_header_is_no_job_log() {
        let header = Header::parse(["item", "item_type", "task", "arch", "colour"]).unwrap();
        let row = header.row(&csv::StringRecord::from(vec!["i", "koji_build", "t", "", "red"])).unwrap();
        assert!(!row.key_given);
        assert_eq!(row.job.arch, "noarch");
        assert_eq!(Header::parse(["a", "b"]), None);
        assert!(
            header
                .row(&csv::StringRecord::from(vec!["", "koji_build", "t", ""]))
                .unwrap_err()
                .contains("item is empty")
        );
    }
}
