//! The event log on a real folder.

use std::path::Path;
use std::sync::Arc;

use model::intake::Record;
use model::{Event, JobId, NewJob, Span, Time};
use serde_json::{Map, json};

use super::crash::{self, Drowned};
use super::entry::{self, Entry};
use super::listening::{Coverage, Gap, Word};
use super::segment::Lines;
use super::{Decided, Heard, Layout, Log, OpenError, Options, Past, PastError, Place, Ready, Survey};
use crate::decode::Reason;
use crate::delivery::{Delivery, Properties};

const PLAIN: Options = Options { rotate_at: None, window: Some(200_000), keep: Span::days(30) };

/// An event like others, with its own id and content.
pub fn event(n: u64) -> Event {
    Event {
        id: format!("e-{n}"),
        topic: "a.b".into(),
        sent_at: Some("2024-01-01T00:00:00Z".into()),
        headers: Map::new(),
        body: json!({"n": n}).as_object().unwrap().clone(),
        source: "test".into(),
    }
}

pub fn ready(event: Event, decided: Decided) -> Ready {
    Ready::Event { content: event.content(), event, decided }
}

pub fn no_jobs() -> Decided {
    Decided { generation: 1, ..Decided::default() }
}

pub fn one_job(event: &Event) -> Decided {
    let job = NewJob {
        key: JobId::of(&event.id, "t", "koji_build", "a,\"b\"\nc", "noarch"),
        task: "t".into(),
        item: "a,\"b\"\nc".into(),
        item_type: "koji_build".into(),
        arch: "noarch".into(),
        rule: "r".into(),
        priority: 0,
        params: Map::new(),
        expires_at: None,
        supersede: None,
    };
    Decided { generation: 1, matched: vec!["r".into()], jobs: vec![job] }
}

pub fn unreadable() -> Ready {
    let delivery = Delivery::message(b"\xff{".to_vec(), "a.b".into(), Properties::default(), "amqp:q".into());
    Ready::Unreadable { delivery, reason: Reason::BadUtf8 }
}

/// Everything that a reader finds.
pub fn records(log: &Log) -> Vec<Record> {
    let mut reader = log.reader();
    let (mut next, mut out) = (log.shared().extent().first(), Vec::new());
    loop {
        let batch = reader.read(next, 3, 1 << 20).unwrap();
        if batch.records.is_empty() {
            return out;
        }
        next = batch.next;
        out.extend(batch.records.iter().map(|raw| serde_json::from_str::<Record>(raw.get()).unwrap()));
    }
}

fn open(dir: &Path, options: Options) -> Log {
    Log::open(Layout::folder(dir), options, "r-1", Time(1)).unwrap()
}

fn append(log: &mut Log, batch: Vec<Ready>) {
    let staged = log.stage(batch, Time(5), one_job);
    log.commit(&staged, Time(5)).unwrap();
    log.project(&staged);
}

fn ids(log: &Log) -> Vec<String> {
    records(log).into_iter().map(|record| record.event.id).collect()
}

fn rows(dir: &Path) -> Vec<(String, String)> {
    let mut input = csv::Reader::from_path(dir.join("jobs.csv")).unwrap();
    input.records().map(|row| row.unwrap()).map(|row| (row[0].to_owned(), row[3].to_owned())).collect()
}

#[test]
fn a_log_goes_on_where_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), PLAIN);
    append(&mut log, vec![ready(event(1), one_job(&event(1))), unreadable()]);
    drop(log);
    let mut log = open(dir.path(), PLAIN);
    append(&mut log, vec![ready(event(1), no_jobs()), ready(event(2), one_job(&event(2)))]);
    let got = records(&log);
    assert_eq!(got.iter().map(|r| (r.seq, r.job_seq)).collect::<Vec<_>>(), [(1, 1), (2, 2)]);
    let counts = log.shared().counts(2);
    assert_eq!((counts.recorded, counts.forwarded, counts.duplicates, counts.quarantined), (2, 1, 1, 1));
    assert_eq!(rows(dir.path()), [("1".into(), "e-1".into()), ("2".into(), "e-2".into())]);
    let quarantine = std::fs::read_to_string(dir.path().join("quarantine.jsonl")).unwrap();
    assert!(quarantine.contains(r#""reason":"bad-utf8""#) && quarantine.contains(r#""bytes":"/3s=""#), "{quarantine}");
}

#[test]
fn one_process_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), PLAIN);
    let second = Log::open(Layout::folder(dir.path()), PLAIN, "r-2", Time(1));
    assert!(matches!(second, Err(OpenError::Taken(_))));
    drop(log);
    open(dir.path(), PLAIN);
}

#[test]
fn a_torn_tail_of_any_length_is_cut() {
    let disk = Arc::new(Drowned::default());
    let mut log = crash::open(&disk, PLAIN);
    append(&mut log, vec![ready(event(1), one_job(&event(1))), ready(event(2), no_jobs())]);
    drop(log);
    let (whole, names) = (disk.contents("events.jsonl"), disk.names());
    let ends: Vec<usize> = whole.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i + 1).collect();
    for len in ends[0]..whole.len() {
        for zeros in [0, 1, 4096] {
            disk.replace("events.jsonl", [&whole[..len], &vec![0; zeros]].concat());
            let mut log = crash::open(&disk, PLAIN);
            let want = ends.iter().filter(|end| **end <= len).count() - 1;
            assert_eq!(records(&log).len(), want, "cut at {len}, {zeros} zeros");
            // What was not acknowledged comes again, and nothing is there twice.
            append(&mut log, vec![ready(event(1), one_job(&event(1))), ready(event(2), no_jobs())]);
            assert_eq!(ids(&log), ["e-1", "e-2"], "cut at {len}, {zeros} zeros");
            let rows = csv::Reader::from_reader(&disk.contents("jobs.csv")[..]).into_records().count();
            assert_eq!((rows, disk.names()), (1, names.clone()), "a torn tail is no damage");
        }
    }
}

#[test]
fn damage_in_the_middle_is_cut_and_what_lies_behind_is_kept_aside() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), PLAIN);
    for n in 1..=3 {
        append(&mut log, vec![ready(event(n), one_job(&event(n)))]);
    }
    drop(log);
    let path = dir.path().join("events.jsonl");
    let mut bytes = std::fs::read(&path).unwrap();
    let second = bytes.windows(3).position(|w| w == b"e-2").unwrap();
    bytes[second] ^= 4;
    std::fs::write(&path, &bytes).unwrap();
    let mut log = open(dir.path(), PLAIN);
    assert_eq!(ids(&log), ["e-1"]);
    let aside = std::fs::read_to_string(dir.path().join("damaged-00000000000000000002.jsonl")).unwrap();
    assert!(aside.contains("e-3"));
    // The job log loses what the event log has lost, so that its numbers stay those of the log.
    append(&mut log, vec![ready(event(4), one_job(&event(4)))]);
    assert_eq!(rows(dir.path()), [("1".into(), "e-1".into()), ("2".into(), "e-4".into())]);
}

#[test]
fn the_same_id_with_other_content_is_another_event() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), PLAIN);
    let other = Event { id: "e-1".into(), ..event(2) };
    let again = Event { sent_at: Some("2025-01-01T00:00:00Z".into()), ..event(1) };
    let batch = [event(1), other.clone(), again, other.clone()];
    append(&mut log, batch.into_iter().map(|e| ready(e.clone(), one_job(&e))).collect());
    let beside = other.id_beside_another();
    assert_eq!(ids(&log), ["e-1", beside.as_str()]);
    assert_eq!(records(&log)[1].jobs, one_job(&Event { id: beside.clone(), ..other.clone() }).jobs);
    drop(log);
    let mut log = open(dir.path(), PLAIN);
    append(&mut log, vec![ready(other.clone(), one_job(&other)), ready(event(1), no_jobs())]);
    assert_eq!(ids(&log).len(), 2);
    assert_eq!(log.shared().extent().duplicates, 4);
}

#[test]
fn files_are_rotated_read_across_and_deleted_when_acknowledged_and_old() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { rotate_at: Some(1000), window: Some(3), keep: Span::days(1) };
    let mut log = open(dir.path(), options);
    for n in 1..=40 {
        append(&mut log, vec![ready(event(n), one_job(&event(n))), unreadable()]);
    }
    let files = || {
        std::fs::read_dir(dir.path())
            .unwrap()
            .filter(|f| f.as_ref().unwrap().file_name().to_str().unwrap().starts_with("events-"))
            .count()
    };
    assert!(files() > 5);
    assert_eq!(ids(&log).len(), 40);
    drop(log);
    let mut log = open(dir.path(), options);
    assert_eq!(ids(&log).len(), 40);
    assert_eq!(log.shared().counts(1).quarantined, 40, "the counts outlive their file");
    append(&mut log, vec![ready(event(39), no_jobs())]);
    assert_eq!(log.shared().counts(1).duplicates, 1, "the window reaches back over files");
    let mut reader = log.reader();
    for from in [17, 3, 39, 1] {
        let batch = reader.read(from, 1, 1 << 20).unwrap();
        assert!(batch.records[0].get().contains(&format!("\"id\":\"e-{from}\"")), "from {from}");
    }

    let later = Time(5).plus(Span::days(2));
    assert_eq!(log.forget(1, later).unwrap(), 0, "not acknowledged");
    assert_eq!(log.forget(41, Time(6)).unwrap(), 0, "not old");
    assert!(log.forget(20, later).unwrap() > 0);
    assert!(log.shared().extent().first() > 1 && log.shared().extent().first() <= 20);
    assert_eq!(reader.read(1, 1, 1).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    log.forget(41, later).unwrap();
    assert_eq!(files(), 0);
    drop(log);
    let log = open(dir.path(), options);
    assert_eq!(log.shared().counts(1).recorded, 40);
    assert_eq!(rows(dir.path()).len(), 40, "the rows of deleted files stay");
}

#[test]
fn a_rotation_that_a_crash_cut_in_two_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), PLAIN);
    append(&mut log, vec![ready(event(1), one_job(&event(1))), ready(event(2), one_job(&event(2)))]);
    drop(log);
    std::fs::rename(dir.path().join("events.jsonl"), dir.path().join("events-00000000000000000001.jsonl")).unwrap();
    std::fs::write(dir.path().join("events.jsonl.new"), "half").unwrap();
    let mut log = open(dir.path(), PLAIN);
    append(&mut log, vec![ready(event(3), one_job(&event(3))), ready(event(1), no_jobs())]);
    assert_eq!(ids(&log), ["e-1", "e-2", "e-3"]);
    assert_eq!(log.recorder(), "r-1");
    assert_eq!(rows(dir.path()).last().unwrap(), &("3".to_owned(), "e-3".to_owned()));
}

#[test]
fn the_job_log_is_made_again_from_where_it_is_whole() {
    let disk = Arc::new(Drowned::default());
    let options = Options { rotate_at: Some(1500), ..PLAIN };
    let mut log = crash::open(&disk, options);
    for n in 1..=10 {
        append(&mut log, vec![ready(event(n), one_job(&event(n)))]);
    }
    drop(log);
    let whole = disk.contents("jobs.csv");
    for len in (0..whole.len()).step_by(5) {
        for tail in [&b""[..], &[0; 700], b"x"] {
            disk.replace("jobs.csv", [&whole[..len], tail].concat());
            drop(crash::open(&disk, options));
            assert!(disk.contents("jobs.csv") == whole, "cut at {len}, then {} bytes", tail.len());
        }
    }
}

#[test]
fn a_job_log_that_somebody_took_away_is_made_again_and_another_file_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), PLAIN);
    append(&mut log, vec![ready(event(1), one_job(&event(1)))]);
    drop(log);
    let path = dir.path().join("jobs.csv");
    let whole = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    drop(open(dir.path(), PLAIN));
    assert_eq!(std::fs::read(&path).unwrap(), whole);
    let letter =
        "Dear diary, this is no job log, and it is long enough to be told from the beginning of one. ".repeat(3);
    std::fs::write(&path, &letter).unwrap();
    drop(open(dir.path(), PLAIN));
    assert_eq!(std::fs::read(&path).unwrap(), whole);
    assert_eq!(std::fs::read_to_string(dir.path().join("jobs.csv.set-aside")).unwrap(), letter);
}

#[test]
fn a_new_recorder_begins_with_what_the_master_cannot_have() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { rotate_at: Some(1000), ..PLAIN };
    let mut log = open(dir.path(), options);
    for n in 1..=9 {
        append(&mut log, vec![ready(event(n), one_job(&event(n)))]);
    }
    let mut reader = log.reader();
    reader.read(1, 4, 1 << 20).unwrap();
    log.start_over(6, "r-2".into(), Time(9)).unwrap();
    let want = ["e-6", "e-7", "e-8", "e-9"];
    assert_eq!(ids(&log), want);
    assert_eq!(records(&log).iter().map(|r| (r.seq, r.job_seq)).collect::<Vec<_>>(), [(1, 1), (2, 2), (3, 3), (4, 4)]);
    assert!(reader.read(1, 1, 1 << 20).unwrap().records[0].get().contains("e-6"), "an open reader follows");
    append(&mut log, vec![ready(event(2), no_jobs()), ready(event(10), one_job(&event(10)))]);
    assert_eq!(ids(&log).last().unwrap(), "e-10");
    drop(log);
    let log = open(dir.path(), options);
    assert_eq!(log.recorder(), "r-2");
    assert_eq!(ids(&log), ["e-6", "e-7", "e-8", "e-9", "e-10"]);
    let rows = rows(dir.path());
    assert_eq!(rows.len(), 14);
    assert_eq!(rows[9..].iter().map(|(seq, _)| seq.as_str()).collect::<Vec<_>>(), ["1", "2", "3", "4", "5"]);
}

#[test]
fn a_place_is_found_without_reading_from_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), PLAIN);
    let large = |n| Event { body: json!({"n": n, "pad": "x".repeat(20_000)}).as_object().unwrap().clone(), ..event(n) };
    append(&mut log, (1..=200).map(|n| ready(large(n), no_jobs())).collect());
    append(&mut log, (1..=200).map(|_| ready(large(1), no_jobs())).collect());
    append(&mut log, (201..=300).map(|n| ready(large(n), no_jobs())).collect());
    let mut reader = log.reader();
    for seq in [1, 2, 150, 199, 200, 201, 299, 300] {
        let batch = reader.read(seq, 1, 1).unwrap();
        assert!(batch.records[0].get().contains(&format!("\"id\":\"e-{seq}\"")), "{seq}");
    }
    assert!(reader.read(301, 1, 1).unwrap().records.is_empty());
    let file = std::fs::File::open(dir.path().join("events.jsonl")).unwrap();
    let len = file.metadata().unwrap().len();
    let near = super::segment::near(&file, len, super::segment::By::Seq, 250).unwrap();
    let mut lines = Lines::new(&file, near, len);
    let Some(Entry::Record(place)) = lines.line().unwrap().and_then(entry::read) else { panic!("no record") };
    assert!((230..=250).contains(&place.seq), "{}", place.seq);
}

fn heard(word: Word, at: i64) -> Ready {
    Ready::Heard(Heard { word, at: Time(at), to: "amqp:q".into() })
}

fn survey(dir: &Path) -> Survey {
    Past::open(&dir.join("events.jsonl")).unwrap().survey().unwrap()
}

#[test]
fn a_log_tells_which_spans_it_covers() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), PLAIN);
    append(&mut log, vec![ready(event(1), no_jobs())]);
    assert_eq!(survey(dir.path()).coverage, Coverage::default(), "nobody has said that he listens");
    append(&mut log, vec![heard(Word::Began, 100), ready(event(2), no_jobs()), heard(Word::Still, 200)]);
    drop(log);
    // A restart with a queue that was kept, and one without.
    let mut log = open(dir.path(), PLAIN);
    append(&mut log, vec![heard(Word::Again, 300), heard(Word::Ended, 400)]);
    drop(log);
    let mut log = open(dir.path(), PLAIN);
    append(&mut log, vec![heard(Word::Began, 500), ready(event(3), no_jobs()), heard(Word::Ended, 600)]);
    let counts = log.shared().counts(1);
    assert_eq!((counts.listening_since, counts.caught_up), (Some(Time(500)), Some(Time(600))));
    drop(log);
    assert_eq!(open(dir.path(), PLAIN).shared().counts(1), counts, "it is known after a restart");

    let survey = survey(dir.path());
    assert_eq!((survey.since, survey.coverage.until, survey.last), (Some(Time(100)), Some(Time(600)), Some(Time(5))));
    let gap = |from, to| Gap { from: Time(from), to: Time(to) };
    assert_eq!(survey.lacks(Time(100), Time(400)), []);
    assert_eq!(survey.lacks(Time(150), Time(550)), [gap(400, 500)]);
    assert_eq!(survey.lacks(Time(50), Time(700)), [gap(50, 100), gap(400, 500), gap(600, 700)]);
    assert_eq!(survey.damage, None);
}

#[test]
fn that_a_source_still_listens_is_known_at_once_and_written_down_now_and_then() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), PLAIN);
    let second = |n: i64| n * 1_000_000;
    append(&mut log, vec![heard(Word::Began, second(1))]);
    for n in 2..100 {
        append(&mut log, vec![heard(Word::Still, second(n))]);
        assert_eq!(log.shared().counts(1).caught_up, Some(Time(second(n))));
    }
    drop(log);
    let text = std::fs::read_to_string(dir.path().join("events.jsonl")).unwrap();
    assert_eq!(text.matches("\"still\"").count(), 3);
    assert_eq!(survey(dir.path()).coverage.until, Some(Time(second(91))));
}

#[test]
fn a_log_that_was_cut_does_not_say_that_it_lacks_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), PLAIN);
    append(&mut log, vec![heard(Word::Began, 100), ready(event(1), no_jobs()), ready(event(2), no_jobs())]);
    append(&mut log, vec![ready(event(3), no_jobs()), heard(Word::Ended, 200)]);
    drop(log);
    let path = dir.path().join("events.jsonl");
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, whole.replacen("\"e-2\"", "\"e-x\"", 1)).unwrap();
    assert_eq!(survey(dir.path()).damage.as_deref(), Some("events.jsonl is damaged or cut behind event 1"));
    // Its own recorder cuts it, and says that what was there is not there any more.
    let mut log = open(dir.path(), PLAIN);
    append(&mut log, vec![heard(Word::Again, 300), heard(Word::Ended, 400)]);
    drop(log);
    let survey = survey(dir.path());
    assert_eq!((survey.damage.clone(), survey.gaps.clone()), (None, vec![Gap { from: Time(100), to: Time(300) }]));
    // A line that is just being written is not there yet.
    std::fs::write(&path, std::fs::read_to_string(&path).unwrap() + "0000 {\"mark").unwrap();
    assert_eq!(super::tests::survey(dir.path()), survey);
}

#[test]
fn the_records_of_all_files_are_read_in_order_and_what_is_deleted_is_not_covered() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path(), Options { rotate_at: Some(600), ..PLAIN });
    append(&mut log, vec![heard(Word::Began, 1)]);
    for n in 1..=20 {
        append(&mut log, vec![ready(event(n), no_jobs())]);
    }
    append(&mut log, vec![heard(Word::Ended, 9)]);
    let past = Past::open(dir.path()).unwrap();
    let (mut place, mut seqs) = (Place::default(), Vec::new());
    loop {
        let records = past.read(&mut place, 3).unwrap();
        if records.is_empty() {
            break;
        }
        seqs.extend(records.iter().map(|record| record.seq));
    }
    assert_eq!(seqs, (1..=20).collect::<Vec<_>>());
    assert_eq!(past.survey().unwrap().lacks(Time(1), Time(9)), []);
    let mut names: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let (first, second) = (&names[0], &names[1]);
    assert!(first.starts_with("events-") && second.starts_with("events-"), "{names:?}");
    let kept = std::fs::read(dir.path().join(second)).unwrap();
    std::fs::remove_file(dir.path().join(second)).unwrap();
    assert!(survey(dir.path()).damage.is_some(), "a file in the middle is missing");
    std::fs::write(dir.path().join(second), kept).unwrap();
    std::fs::remove_file(dir.path().join(first)).unwrap();
    let survey = survey(dir.path());
    assert_eq!((survey.damage.clone(), survey.since), (None, Some(Time(5))), "the second file was begun then");
}

#[test]
fn a_job_log_without_its_event_log_is_no_reference() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(Layout::beside(&dir.path().join("new.csv")).unwrap(), PLAIN, "r", Time(1)).unwrap();
    append(&mut log, vec![heard(Word::Began, 1), ready(event(1), no_jobs())]);
    log.finish_jobs().unwrap();
    drop(log);
    for name in ["new.csv", "new.csv.events.jsonl"] {
        assert_eq!(Past::open(&dir.path().join(name)).unwrap().survey().unwrap().last, Some(Time(5)), "{name}");
    }
    std::fs::remove_file(dir.path().join("new.csv.events.jsonl")).unwrap();
    assert!(matches!(Past::open(&dir.path().join("new.csv")), Err(PastError::Alone(_))));
    std::fs::write(dir.path().join("other.csv"), "a,b\n").unwrap();
    assert!(matches!(Past::open(&dir.path().join("other.csv")), Err(PastError::NoLog(_))));
}
