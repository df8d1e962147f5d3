//! The one thread that starts processes.
//!
//! A process asks the kernel to be stopped when its parent dies (the guardian then ends it), and for the kernel the
//! parent is the *thread* that started it. So this thread must outlive every process: it ends only when the last handle to it is gone, and every
//! running attempt holds one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;

use tokio::sync::oneshot;

use crate::boot::Boot;
use crate::confine::Cell;
use crate::leader::Leader;
use crate::spares::Spares;
use crate::vfork::{Program, Streams};

/// What to start, and where.
#[derive(Debug)]
pub struct Order {
    /// What it is kept in, with its arguments.
    pub cell: Arc<Cell>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    pub folder: PathBuf,
    /// Where the new process writes down who it is, before it becomes the job's program.
    pub record: PathBuf,
    /// When it must not become that any more.
    pub latest: Option<Boot>,
}

/// A process that was started.
#[derive(Debug)]
pub struct Started {
    pub leader: Leader,
    /// What it prints, both streams in one.
    pub output: OwnedFd,
}

struct Request {
    order: Order,
    runtime: tokio::runtime::Handle,
    answer: oneshot::Sender<Result<Started, String>>,
}

/// A handle to the thread.
#[derive(Clone, Debug)]
pub struct Spawner {
    requests: mpsc::Sender<Request>,
}

impl Spawner {
    /// Records are made of `spares`.
    pub fn new(spares: Arc<Spares>) -> io::Result<Spawner> {
        let (requests, orders) = mpsc::channel::<Request>();
        thread::Builder::new().name("spawner".to_owned()).spawn(move || {
            for Request { order, runtime, answer } in orders {
                let _context = runtime.enter();
                // Nobody waits any more: the leader is dropped, and that ends it.
                let _ = answer.send(start(&order, &spares));
            }
        })?;
        Ok(Spawner { requests })
    }

    /// Starts a process; the error is a reason for people.
    pub async fn start(&self, order: Order) -> Result<Started, String> {
        let (answer, started) = oneshot::channel();
        let runtime = tokio::runtime::Handle::current();
        let gone = || "the thread that starts processes has ended".to_owned();
        self.requests.send(Request { order, runtime, answer }).map_err(|_| gone())?;
        started.await.unwrap_or_else(|_| Err(gone()))
    }
}

fn start(order: &Order, spares: &Spares) -> Result<Started, String> {
    let program = order.cell.argv.first().ok_or("the task's `run` is empty")?;
    let record = spares.give_record(&order.record);
    let record = record.and_then(|record| note_place(record, &order.cell));
    let record = record.map_err(|e| format!("cannot write {}: {e}", order.record.display()))?;
    spawn(order, &record).map_err(|e| {
        // There is no process, so its record goes; at worst it is found to be void at the next start.
        let _ = fs::remove_file(&order.record);
        match e.kind() {
            io::ErrorKind::NotFound => {
                format!("cannot run '{program}': no such program, or its interpreter is missing")
            }
            io::ErrorKind::TimedOut => format!("did not run '{program}': its lease was about to end"),
            io::ErrorKind::PermissionDenied => format!(
                "cannot run '{program}': {e}; it is no program, or lies where jobs may not read (`readable` in [worker])"
            ),
            _ => format!("cannot run '{program}': {e}"),
        }
    })
}

/// Where it will run, before the line of the process itself.
fn note_place(mut record: File, cell: &Cell) -> io::Result<File> {
    if let Some(place) = cell.place() {
        writeln!(record, "{}", place.display())?;
    }
    Ok(record)
}

fn spawn(order: &Order, record: &File) -> io::Result<Started> {
    let (output, input) = io::pipe()?;
    let nothing = File::open("/dev/null")?;
    let search = order.env.get("PATH").map_or("", String::as_str);
    let program = Program::new(&order.cell.argv, order.env.iter(), search, &order.folder)?;
    let streams = Streams { input: nothing.as_fd(), output: input.as_fd() };
    let pid = program.start(&streams, record.as_fd(), &order.cell.cage, order.latest)?;
    Ok(Started { leader: Leader::new(pid)?, output: output.into() })
}
