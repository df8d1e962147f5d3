//! A trigger without a master: events to a job log that `jobrunner` can submit later.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::Span;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::decode::Limits;
use crate::intake::{self, Ended, Intake, Parts};
use crate::log::{self, Layout, Log, OpenError};
use crate::metrics::Metrics;
use crate::{Live, amqp, jsonl};

/// What to record, and where.
pub struct Recording {
    pub from: Origin,
    /// The job log; its event log is kept beside it as `OUT.events.jsonl`.
    pub out: PathBuf,
    /// Go on with an existing job log.
    pub append: bool,
    pub live: watch::Receiver<Live>,
    pub limits: Limits,
    pub metrics: Arc<Metrics>,
}

/// Where the events come from.
pub enum Origin {
    /// A JSON-lines file, `-` for standard input: the recording ends with it.
    File(String),
    /// A bus, on a queue of our own: the recording ends when it is stopped.
    Bus(Box<amqp::Settings>),
}

/// What came of a recording. received = recorded + duplicates + quarantined, if it ended in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub recorder: String,
    /// Deliveries taken in this run.
    pub received: u64,
    /// New events of this run.
    pub recorded: u64,
    pub duplicates: u64,
    pub quarantined: u64,
    /// Jobs of this run.
    pub jobs: u64,
    /// Rows in the job log, with those of earlier runs.
    pub rows: u64,
}

/// Why there is no recording, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("{} exists; go on with it with --append, or name another file", .0.display())]
    Exists(PathBuf),
    #[error("{} is no job log", .0.display())]
    NoJobLog(PathBuf),
    #[error("'{}' cannot be the name of a job log", .0.display())]
    NoName(PathBuf),
    #[error(transparent)]
    Refused(#[from] amqp::Refused),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Ended(#[from] Ended),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Records until the input ends, or until `stop`. When it returns, the job log is complete and on disk.
pub async fn record(recording: Recording, stop: CancellationToken) -> Result<Summary, RecordError> {
    let layout = Layout::beside(&recording.out).ok_or_else(|| RecordError::NoName(recording.out.clone()))?;
    check_out(&recording, &layout)?;
    let input = Input::open(&recording)?;

    let options = log::Options { rotate_at: None, window: None, keep: Span::default() };
    let (fresh, now) = (intake::new_recorder("record"), net::clock::now());
    let (opened, made) = (layout.clone(), !recording.append);
    let log = tokio::task::spawn_blocking(move || Log::open(opened, options, &fresh, now));
    let log = log.await.map_err(io::Error::other)??;
    let recorder = log.recorder().to_owned();

    let metrics = recording.metrics.clone();
    let started = intake::start(Parts {
        log,
        live: recording.live,
        limits: recording.limits,
        metrics: metrics.clone(),
        stop: stop.clone(),
        name: "record".into(),
    });
    let mut end = started.end;
    let ended = tokio::select! {
        ended = &mut end => ended,
        consumed = input.consume(started.intake, recording.limits.size, &stop) => {
            let ended = end.await;
            if let Err(error) = consumed {
                if made && metrics.received.load(Ordering::Relaxed) == 0 {
                    // Nothing came of it, so nothing stands in the way of the next try.
                    log::remove(&layout)?;
                }
                return Err(error);
            }
            ended
        }
    };
    let mut log = ended.map_err(io::Error::other)??;
    let rows = log.jobs();
    tokio::task::spawn_blocking(move || log.finish_jobs()).await.map_err(io::Error::other)??;
    log::remove_empty_quarantine(&layout)?;
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    Ok(Summary {
        recorder,
        received: count(&metrics.received),
        recorded: count(&metrics.recorded),
        duplicates: count(&metrics.duplicates),
        quarantined: count(&metrics.quarantined),
        jobs: count(&metrics.jobs),
        rows,
    })
}

/// Sees to it that nothing of somebody's is touched.
fn check_out(recording: &Recording, layout: &Layout) -> Result<(), RecordError> {
    let out = &recording.out;
    if !recording.append {
        let there = [out.clone(), layout.path(&layout.active())].into_iter().find(|path| path.exists());
        return there.map_or(Ok(()), |path| Err(RecordError::Exists(path)));
    }
    match std::fs::File::open(out) {
        Ok(mut file) => match log::is_job_log(&mut file)? {
            true => Ok(()),
            false => Err(RecordError::NoJobLog(out.clone())),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// An input that is known to be there.
enum Input {
    File(jsonl::Source),
    Bus(Box<amqp::Source>),
}

impl Input {
    fn open(recording: &Recording) -> Result<Input, RecordError> {
        Ok(match &recording.from {
            Origin::File(from) => Input::File(jsonl::open(from)?),
            Origin::Bus(settings) => Input::Bus(Box::new(amqp::Source {
                settings: (**settings).clone(),
                name: "taskotron record".into(),
                alone: true,
                metrics: recording.metrics.clone(),
            })),
        })
    }

    /// Takes the intake with it when it is done, so that the intake ends.
    async fn consume(self, intake: Intake, size: usize, stop: &CancellationToken) -> Result<(), RecordError> {
        match self {
            Input::File(source) => Ok(jsonl::consume(source, size, &intake, stop).await?),
            Input::Bus(source) => Ok(amqp::consume(&source, &intake, stop).await?),
        }
    }
}
