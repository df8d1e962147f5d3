//! A folder that forgets what was not synced, and the proof that the log loses nothing with it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use model::intake::Record;
use model::{Span, Time};
use proptest::prelude::*;

use super::disk::{Bytes, Disk};
use super::tests::{event, no_jobs, one_job, ready, records, unreadable};
use super::{CommitError, Layout, Log, Options};

type Inode = Arc<Mutex<Contents>>;

#[derive(Default)]
struct Contents {
    now: Vec<u8>,
    synced: Vec<u8>,
}

/// A folder in memory with a power switch.
#[derive(Default)]
pub struct Drowned(Mutex<State>);

impl Drowned {
    pub fn contents(&self, name: &str) -> Vec<u8> {
        self.0.lock().unwrap().names[name].lock().unwrap().now.clone()
    }

    /// Puts bytes in the place of a file, as a disk might.
    pub fn replace(&self, name: &str, bytes: Vec<u8>) {
        let state = self.0.lock().unwrap();
        *state.names[name].lock().unwrap() = Contents { synced: bytes.clone(), now: bytes };
    }

    pub fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().names.keys().cloned().collect()
    }
}

#[derive(Default)]
struct State {
    names: BTreeMap<String, Inode>,
    synced_names: BTreeMap<String, Inode>,
    /// The folders that there were since the last sync of the folder, each after one change.
    steps: Vec<BTreeMap<String, Inode>>,
    /// How many more bytes can be written.
    room: Option<usize>,
    /// Whether the next sync of a file fails.
    sync_fails: bool,
}

struct Handle {
    disk: Arc<Drowned>,
    inode: Inode,
}

struct Shelf(Arc<Drowned>);

impl Drowned {
    /// The power goes: of each file some part of what was not synced is there, or zeros, or nothing of it; of the
    /// changes to the folder, the first few.
    fn crash(&self, chance: &mut impl FnMut(usize) -> usize) {
        let mut state = self.0.lock().unwrap();
        let steps = std::mem::take(&mut state.steps);
        let kept = chance(steps.len() + 1);
        state.names = if kept == 0 { state.synced_names.clone() } else { steps[kept - 1].clone() };
        state.synced_names = state.names.clone();
        for inode in state.names.values() {
            let mut contents = inode.lock().unwrap();
            let Contents { now, synced } = &mut *contents;
            let mut after = synced.clone();
            if now.len() > synced.len() {
                let tail = &now[synced.len()..];
                let written = chance(tail.len() + 1);
                after.extend_from_slice(&tail[..written]);
                if chance(2) == 0 {
                    // The length was written and the blocks were not.
                    after.extend(std::iter::repeat_n(0, chance(5000)));
                }
            }
            *synced = after.clone();
            *now = after;
        }
        state.room = None;
        state.sync_fails = false;
    }
}

impl Disk for Shelf {
    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn Bytes>> {
        let mut state = self.0.0.lock().unwrap();
        if !state.names.contains_key(name) {
            if !create {
                return Err(io::ErrorKind::NotFound.into());
            }
            state.names.insert(name.into(), Inode::default());
            let step = state.names.clone();
            state.steps.push(step);
        }
        Ok(Arc::new(Handle { disk: self.0.clone(), inode: state.names[name].clone() }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.0.lock().unwrap();
        let inode = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.into(), inode);
        let step = state.names.clone();
        state.steps.push(step);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.0.lock().unwrap();
        state.names.remove(name);
        let step = state.names.clone();
        state.steps.push(step);
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.0.lock().unwrap().names.keys().cloned().collect())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.0.lock().unwrap();
        state.synced_names = state.names.clone();
        state.steps.clear();
        Ok(())
    }
}

impl Bytes for Handle {
    fn len(&self) -> io::Result<u64> {
        Ok(self.inode.lock().unwrap().now.len() as u64)
    }

    fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let contents = self.inode.lock().unwrap();
        let rest = contents.now.get(at as usize..).unwrap_or_default();
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        let room = state.room.map_or(bytes.len(), |room| room.min(bytes.len()));
        state.room = state.room.map(|left| left - room);
        let now = &mut self.inode.lock().unwrap().now;
        let at = at as usize;
        now.resize(now.len().max(at + room), 0);
        now[at..at + room].copy_from_slice(&bytes[..room]);
        if room < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn cut(&self, len: u64) -> io::Result<()> {
        self.inode.lock().unwrap().now.resize(len as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        if std::mem::take(&mut self.disk.0.lock().unwrap().sync_fails) {
            return Err(io::Error::other("the disk is gone"));
        }
        let mut contents = self.inode.lock().unwrap();
        contents.synced = contents.now.clone();
        Ok(())
    }
}

pub fn open(disk: &Arc<Drowned>, options: Options) -> Log {
    let layout = Layout::folder(Path::new("/nowhere"));
    Log::open_on(Arc::new(Shelf(disk.clone())), layout, options, "r-1", Time(1)).unwrap()
}

const SMALL: Options = Options { rotate_at: Some(2000), window: None, keep: Span::days(30) };

/// One thing that happens to a trigger.
#[derive(Clone, Debug)]
enum Happening {
    /// A batch of so many events of these numbers, jobs for every second of them.
    Batch(Vec<u64>),
    /// The same, and the disk is full after so many bytes.
    Full(Vec<u64>, usize),
    /// The same, and the power goes before the sync is done.
    Lost(Vec<u64>),
    SyncFails(Vec<u64>),
    Unreadable,
    Restart,
    Crash,
}

fn happening() -> impl Strategy<Value = Happening> {
    let events = || prop::collection::vec(0u64..60, 1..6);
    prop_oneof![
        6 => events().prop_map(Happening::Batch),
        2 => (events(), 0usize..3000).prop_map(|(events, room)| Happening::Full(events, room)),
        1 => events().prop_map(Happening::Lost),
        1 => events().prop_map(Happening::SyncFails),
        1 => Just(Happening::Unreadable),
        1 => Just(Happening::Restart),
        2 => Just(Happening::Crash),
    ]
}

fn decided(n: u64) -> super::Decided {
    if n.is_multiple_of(2) { one_job(&event(n)) } else { no_jobs() }
}

/// Numbers below what is asked for. Xorshift: a crash has to be the same when proptest makes the story shorter.
fn chance(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_acknowledged_is_there_exactly_once(
        story in prop::collection::vec(happening(), 1..40),
        seed in any::<u64>(),
    ) {
        let mut chance = chance(seed);
        let disk = Arc::new(Drowned::default());
        let mut log = open(&disk, SMALL);
        let mut acknowledged = std::collections::BTreeSet::new();
        let mut quarantined = 0;
        for happening in story {
            let events = match &happening {
                Happening::Batch(events) | Happening::Full(events, _) | Happening::Lost(events)
                | Happening::SyncFails(events) => events.clone(),
                Happening::Unreadable | Happening::Restart | Happening::Crash => vec![],
            };
            let mut batch: Vec<_> = events.iter().map(|n| ready(event(*n), decided(*n))).collect();
            if let Happening::Unreadable = happening {
                batch.push(unreadable());
            }
            let staged = log.stage(batch, Time(2), one_job);
            let mut crash = false;
            match &happening {
                Happening::Restart => {
                    drop(log);
                    log = open(&disk, SMALL);
                    continue;
                }
                Happening::Crash => crash = true,
                Happening::Full(_, room) => {
                    disk.0.lock().unwrap().room = Some(*room);
                    match log.commit(&staged, Time(2)) {
                        Ok(()) => {}
                        Err(CommitError::Temporary(_)) => {
                            disk.0.lock().unwrap().room = None;
                            log.commit(&staged, Time(2)).unwrap();
                        }
                        Err(e) => panic!("{e}"),
                    }
                    disk.0.lock().unwrap().room = None;
                    acknowledged.extend(events);
                }
                Happening::Lost(_) => {
                    log.commit(&staged, Time(2)).unwrap();
                    // Written and synced, and yet nobody heard of it.
                    crash = true;
                }
                Happening::SyncFails(_) => {
                    disk.0.lock().unwrap().sync_fails = true;
                    match log.commit(&staged, Time(2)) {
                        Err(CommitError::Fatal(_)) => {}
                        // A rotation syncs other files first, and those may fail without harm.
                        Err(CommitError::Temporary(_)) => {}
                        Ok(()) => acknowledged.extend(events),
                    }
                    disk.0.lock().unwrap().sync_fails = false;
                    drop(log);
                    log = open(&disk, SMALL);
                    continue;
                }
                Happening::Batch(_) | Happening::Unreadable => {
                    log.commit(&staged, Time(2)).unwrap();
                    acknowledged.extend(events);
                    quarantined += u64::from(matches!(happening, Happening::Unreadable));
                }
            }
            if crash {
                drop(log);
                disk.crash(&mut chance);
                log = open(&disk, SMALL);
            } else if chance(3) > 0 {
                log.project(&staged);
            }
        }
        // The bus sends again what it never heard of.
        drop(log);
        disk.crash(&mut chance);
        let mut log = open(&disk, SMALL);
        let found = records(&log);
        let ids: Vec<_> = found.iter().map(|r| r.event.id.clone()).collect();
        let unique: std::collections::BTreeSet<_> = ids.iter().cloned().collect();
        prop_assert_eq!(unique.len(), ids.len(), "an event is there twice");
        for n in acknowledged {
            prop_assert!(unique.contains(&event(n).id), "event {} is lost", n);
        }
        let mut job_seq = 1;
        for (i, record) in found.iter().enumerate() {
            prop_assert_eq!((record.seq, record.job_seq), (i as u64 + 1, job_seq));
            job_seq += record.jobs.len() as u64;
        }
        prop_assert_eq!(log.shared().extent().quarantined, quarantined);
        let quarantine = disk.contents("quarantine.jsonl");
        prop_assert_eq!(quarantine.iter().filter(|b| **b == b'\n').count() as u64, quarantined);

        log.finish_jobs().unwrap();
        let jobs = disk.contents("jobs.csv");
        let rows: Vec<_> = csv::Reader::from_reader(&jobs[..]).into_records().map(Result::unwrap).collect();
        let want: Vec<_> = found.iter().flat_map(|r| r.jobs.iter().map(|job| job.key.to_string())).collect();
        let got: Vec<_> = rows.iter().map(|row| row[17].to_owned()).collect();
        prop_assert_eq!(got, want);
    }
}

/// What the forwarder would send now, from the number that the master wants.
fn sent(log: &Log, next: usize) -> Vec<Record> {
    let batch = log.reader().read(next as u64, usize::MAX, usize::MAX).unwrap();
    batch.records.iter().map(|raw| serde_json::from_str(raw.get()).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a4_no_job_is_scheduled_that_a_crash_takes_out_of_the_log(
        batches in prop::collection::vec((prop::collection::vec(0u64..60, 1..4), 0..4), 1..8),
        seed in any::<u64>(),
    ) {
        let mut chance = chance(seed);
        let disk = Arc::new(Drowned::default());
        let mut log = open(&disk, SMALL);
        let mut scheduled: Vec<Record> = Vec::new();
        for (events, fate) in batches {
            let batch = events.iter().map(|n| ready(event(*n), decided(*n))).collect();
            let staged = log.stage(batch, Time(2), one_job);
            // Written and synced; the sync fails and the process ends; killed before it is written; killed after it.
            disk.0.lock().unwrap().sync_fails = fate == 1;
            let done = if fate == 2 { Ok(()) } else { log.commit(&staged, Time(2)) };
            disk.0.lock().unwrap().sync_fails = false;
            // The forwarder looks at whatever moment.
            if chance(3) > 0 {
                scheduled.extend(sent(&log, scheduled.len() + 1));
            }
            if fate > 0 || done.is_err() {
                drop(log);
                disk.crash(&mut chance);
                log = open(&disk, SMALL);
            }
            let found = records(&log);
            prop_assert!(found.len() >= scheduled.len(), "the master has {}, the log {}", scheduled.len(), found.len());
            prop_assert_eq!(&found[..scheduled.len()], &scheduled[..]);
        }
        log.finish_jobs().unwrap();
        let jobs = disk.contents("jobs.csv");
        let rows = csv::Reader::from_reader(&jobs[..]).into_records().map(|row| row.unwrap()[17].to_owned());
        let rows: std::collections::BTreeSet<String> = rows.collect();
        for job in scheduled.iter().flat_map(|record| &record.jobs) {
            prop_assert!(rows.contains(&job.key.to_string()), "{} has no row", job.key);
        }
    }
}
