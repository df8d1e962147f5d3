//! `taskotron idle`: asks for no more work to be given out, and waits until that is seen to be so.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use model::Span;
use model::operator::{IdleRequest, Mode, ModeView, OnDeadline};
use net::{Client, ClientError, clock};
use tokio::time::Instant;

use crate::exit::{Exit, Failure};

use super::terminal::harmless;
use super::{Session, output, question};

/// How often the master is asked while waiting.
const LOOK: Duration = Duration::from_millis(250);
/// A progress line comes when something changed, at most this often, and at least this often.
const WORD: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long the master may be away before nothing can be told.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long stopped jobs may take to end after the deadline: the longest grace, and then some.
const AFTER_DEADLINE: Duration = Duration::from_secs(120);

const AFTER: &str = "\
Events go on being recorded, and the jobs that they call for are queued. What runs is waited for; with --finish-queue,
what is queued by now still runs first. The command returns 0 only once nothing runs and nothing is undelivered: it is
safe to stop everything then. Ctrl-C stops the watching, never the idling; 'taskotron resume' undoes it. What a person
idled stays idle over every restart until a person resumes it.

Exit codes: 0 idle; 5 the deadline came first, and jobs still run; 8 somebody resumed meanwhile; 130 detached.";

#[derive(Args, Debug)]
#[command(after_long_help = AFTER)]
pub struct Idle {
    /// Why, for those who come after
    #[arg(short = 'm', long, value_name = "TEXT")]
    reason: String,
    /// How long to wait for running jobs: 30s, 10m, 2h
    #[arg(long, value_name = "SPAN")]
    deadline: Option<Span>,
    /// What becomes of jobs that still run at the deadline
    #[arg(long, value_name = "WHAT", default_value = "wait", requires = "deadline")]
    on_deadline: AtDeadline,
    /// Let what is queued by now run first, until a deadline that stops what runs
    #[arg(long)]
    finish_queue: bool,
    /// Ask for it, and do not wait
    #[arg(long)]
    detach: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum AtDeadline {
    /// They go on, and this command ends with 5
    Wait,
    /// Those whose task is interruptible are stopped and queued again; the others go on, and are waited for
    Requeue,
    /// They are stopped and end as cancelled
    Kill,
}

impl From<AtDeadline> for OnDeadline {
    fn from(what: AtDeadline) -> OnDeadline {
        match what {
            AtDeadline::Wait => OnDeadline::Wait,
            AtDeadline::Requeue => OnDeadline::Requeue,
            AtDeadline::Kill => OnDeadline::Kill,
        }
    }
}

impl Idle {
    pub async fn run(self, session: &Session) -> anyhow::Result<Exit> {
        let client = session.client()?;
        let request = IdleRequest {
            reason: question::reason(&self.reason)?,
            deadline: self.deadline,
            on_deadline: self.on_deadline.into(),
            finish_queue: self.finish_queue,
        };
        let deadline = self.deadline.map(|span| Instant::now() + span.0);
        let asked: ModeView = client.post("/api/v1/idle", &request).await?;
        if self.detach {
            eprintln!("asked for; watch: taskotron status; undo: taskotron resume -m REASON");
            output::one(session.format, &asked, sentence)?;
            return Ok(Exit::Reached);
        }
        tokio::select! {
            watched = watch(&client, asked, deadline, request.on_deadline) => {
                let (exit, view) = watched?;
                output::one(session.format, &view, sentence)?;
                Ok(exit)
            }
            _ = tokio::signal::ctrl_c() => {
                eprintln!("detached; idling goes on. Watch: taskotron status. Undo: taskotron resume -m REASON");
                Ok(Exit::Detached)
            }
        }
    }
}

/// Looks until the system is idle, somebody resumed it, or the deadline has passed.
async fn watch(
    client: &Client,
    mut view: ModeView,
    deadline: Option<Instant>,
    at_deadline: OnDeadline,
) -> anyhow::Result<(Exit, ModeView)> {
    let mut progress = Progress::default();
    let mut seen = Instant::now();
    loop {
        match view.mode {
            Mode::Idle => return Ok((Exit::Reached, view)),
            Mode::Active => {
                eprintln!("{} resumed meanwhile: {}", harmless(&view.by), harmless(&view.reason));
                return Ok((Exit::Aborted, view));
            }
            Mode::Draining => progress.tell(&view),
        }
        let late = deadline.is_some_and(|deadline| match at_deadline {
            OnDeadline::Wait => Instant::now() >= deadline,
            OnDeadline::Requeue | OnDeadline::Kill => Instant::now() >= deadline + AFTER_DEADLINE,
        });
        if late {
            eprintln!(
                "the deadline has passed and it goes on ({}): watch: taskotron status; undo: taskotron resume -m REASON",
                reasons(&view)
            );
            return Ok((Exit::TimedOut, view));
        }
        let next = deadline.filter(|deadline| *deadline > Instant::now()).unwrap_or(Instant::now() + LOOK);
        tokio::time::sleep_until(next.min(Instant::now() + LOOK)).await;
        match client.get::<ModeView>("/api/v1/mode").await {
            Ok(now) => {
                seen = Instant::now();
                view = now;
            }
            Err(ClientError::Unavailable(why)) if seen.elapsed() < PATIENCE => progress.tell_away(&why),
            Err(e) => {
                let exit = Exit::of_client(&e);
                return Err(Failure::error(
                    exit,
                    format!("cannot tell whether the system is idle: {e}; idling was asked for"),
                ));
            }
        }
    }
}

/// How many reasons a line gives.
const REASONS: usize = 3;

/// What stands between draining and idle.
fn reasons(view: &ModeView) -> String {
    let mut text = view.waiting_for.iter().take(REASONS).map(|what| harmless(what)).collect::<Vec<_>>().join("; ");
    if view.waiting_for.len() > REASONS {
        text += &format!(" and {} more", view.waiting_for.len() - REASONS);
    }
    text
}

/// What was last said, so that a log has lines and not a flood.
#[derive(Default)]
struct Progress {
    last: Option<(Instant, String)>,
}

impl Progress {
    fn tell(&mut self, view: &ModeView) {
        let mut text = format!("(running: {}; queued: {}; outbox: {})", view.running, view.queued, view.outbox);
        if !view.waiting_for.is_empty() {
            text += &format!(": {}", reasons(view));
        }
        self.say(text);
    }

    fn tell_away(&mut self, why: &str) {
        self.say(format!("the master does not answer ({why}); looking again"));
    }

    fn say(&mut self, text: String) {
        let due = self.last.as_ref().is_none_or(|(when, said)| {
            let since = when.elapsed();
            since >= WORD.1 || (*said != text && since >= WORD.0)
        });
        if due {
            let time = clock::now().to_seconds();
            eprintln!("{} idle: {text}", if std::io::stderr().is_terminal() { &time[11..] } else { &time });
            self.last = Some((Instant::now(), text));
        }
    }
}

/// The mode in one sentence.
pub fn sentence(view: &ModeView) -> String {
    let ModeView { mode, by, reason, since, running, queued, .. } = view;
    format!(
        "{mode} since {}, by {}: {} (running: {running}; queued: {queued})",
        since.to_seconds(),
        harmless(by),
        harmless(reason)
    )
}
