//! The worker's side of its guardian (`vigil`): starts it, tells it what may run until when, starts it again if it ends.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::unistd::Pid;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::boot::Boot;
use crate::home::{AttemptId, Home};
use crate::pidfd::PidFd;
use crate::vigil::Word;

/// How long the guardian of an earlier worker may take to end what that has left.
const PATIENCE: Duration = Duration::from_secs(30);

/// Before a guardian that has ended is started again, and between two tries to.
const AGAIN: Duration = Duration::from_secs(1);

/// Arguments that make this very program call [`crate::keep_vigil`]; the worker's folder follows them.
#[derive(Clone, Copy, Debug)]
pub struct Vigil(pub &'static [&'static str]);

#[derive(Debug)]
pub struct Guardian {
    told: Arc<Mutex<Told>>,
    minding: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Told {
    /// Closed when the worker ends.
    pipe: Option<ChildStdin>,
    due: BTreeMap<AttemptId, Boot>,
    /// No other is started.
    enough: bool,
}

impl Guardian {
    /// Returns once the guardian of an earlier worker is through, and a new one runs.
    pub async fn start(home: Arc<Home>, vigil: Vigil) -> anyhow::Result<Guardian> {
        let told = Arc::new(Mutex::new(Told::default()));
        let child = begin(&home, vigil, &told).await?;
        let minding = tokio::spawn(mind(home, vigil, told.clone(), child));
        Ok(Guardian { told, minding: Mutex::new(Some(minding)) })
    }

    /// Says until when an attempt may run; whether the guardian was told.
    pub fn allow(&self, id: AttemptId, until: Boot) -> bool {
        let mut told = lock(&self.told);
        told.due.insert(id, until);
        told.say(Word::Until(id, until))
    }

    /// Says that an attempt is over.
    pub fn over(&self, id: AttemptId) {
        let mut told = lock(&self.told);
        if told.due.remove(&id).is_some() {
            // Should it not arrive, an attempt is ended that is over.
            told.say(Word::Over(id));
        }
    }

    /// Lets it go, and waits until it is gone.
    pub async fn end(&self) {
        {
            let mut told = lock(&self.told);
            told.enough = true;
            told.pipe = None;
        }
        let minding = self.minding.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(minding) = minding
            && timeout(PATIENCE, minding).await.is_err()
        {
            tracing::warn!("the guardian does not end");
        }
    }
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Told {
    /// Never waits: a guardian that does not listen ends what it was told of before, which is too early at worst.
    fn say(&mut self, word: Word) -> bool {
        // A short write to a pipe is written whole or not at all (pipe(7)).
        self.pipe.as_mut().is_some_and(|pipe| pipe.write_all(word.to_string().as_bytes()).is_ok())
    }
}

/// Starts one, and tells it all that is known.
async fn begin(home: &Home, vigil: Vigil, told: &Mutex<Told>) -> anyhow::Result<Child> {
    let turn = turn(home).await?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("taskotron").args(vigil.0).arg(home.root()).current_dir("/");
    // It holds the lock as its standard output, for as long as it lives.
    command.stdin(Stdio::piped()).stdout(turn).process_group(0);
    let mut child = command.spawn().context("cannot start the guardian, which ends jobs that outlive their worker")?;
    let mut told = lock(told);
    told.pipe = child.stdin.take().filter(|_| !told.enough);
    if let Some(pipe) = &told.pipe {
        rustix::io::ioctl_fionbio(pipe, true).context("cannot set up the pipe to the guardian")?;
    }
    for (id, until) in told.due.clone() {
        told.say(Word::Until(id, until));
    }
    Ok(child)
}

/// Waits until no guardian guards this folder: an earlier one would end what this worker is about to start.
async fn turn(home: &Home) -> anyhow::Result<File> {
    let path = home.root().join("guardian");
    let begun = Instant::now();
    loop {
        let file = File::options().create(true).truncate(true).write(true).open(&path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => sleep(Duration::from_millis(10)).await,
            Err(TryLockError::WouldBlock) => bail!(
                "the guardian of an earlier worker has not yet ended what that left running in {}; see which processes \
                 do not die",
                home.root().display()
            ),
            Err(TryLockError::Error(e)) => return Err(e).with_context(|| format!("cannot lock {}", path.display())),
        }
    }
}

/// Sees that there is a guardian, until it is let go.
async fn mind(home: Arc<Home>, vigil: Vigil, told: Arc<Mutex<Told>>, mut child: Child) {
    loop {
        let ended = gone(&mut child).await;
        if lock(&told).enough {
            return;
        }
        lock(&told).pipe = None;
        tracing::error!("the guardian has ended ({ended}); starting it again");
        child = loop {
            sleep(AGAIN).await;
            match begin(&home, vigil, &told).await {
                Ok(child) => break child,
                Err(e) => tracing::error!("no guardian: {e:#}"),
            }
        };
    }
}

/// Waits for its end, and how it was.
async fn gone(child: &mut Child) -> String {
    let watched =
        i32::try_from(child.id()).map_err(io::Error::other).and_then(|pid| PidFd::open(Pid::from_raw(pid))?.watch());
    match watched {
        Ok(watched) => watched.ended().await,
        // Too many open files: it is looked at now and then.
        Err(_) => {
            while matches!(child.try_wait(), Ok(None)) {
                sleep(AGAIN).await
            }
        }
    }
    child.wait().map_or_else(|e| e.to_string(), |status| status.to_string())
}
