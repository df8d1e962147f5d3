//! What a repository here answers to somebody who fetches from it over HTTP.

use std::path::Path;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWriteExt as _, ReadBuf};
use tokio::process::ChildStdout;

use crate::command::{Error, Git, Running};

/// An answer as it comes. Dropped, it ends the process that makes it.
#[derive(Debug)]
pub struct Answer {
    output: ChildStdout,
    _running: Running,
}

impl AsyncRead for Answer {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.output).poll_read(cx, buf)
    }
}

/// What a fetch asks for.
#[derive(Debug)]
pub enum Question {
    /// What the repository has.
    Advertise,
    /// Objects, as the body of a request names them.
    Objects(Vec<u8>),
}

/// Answers a fetch from a repository. No branch and no tag is shown, and any commit is given to whoever names it.
/// `version` is the version of the protocol that is asked for, as in the header `Git-Protocol`.
pub fn answer(git: &Git, repository: &Path, version: Option<&str>, question: Question) -> Result<Answer, Error> {
    let mut command = git.command();
    command.args(["-c", "uploadpack.allowAnySHA1InWant=true", "-c", "uploadpack.hideRefs=refs"]);
    command.args(["upload-pack", "--strict", "--stateless-rpc"]).stderr(Stdio::null());
    if let Some(version) = version.filter(|version| matches!(*version, "version=1" | "version=2")) {
        command.env("GIT_PROTOCOL", version);
    }
    let input = match question {
        Question::Advertise => {
            command.arg("--http-backend-info-refs");
            None
        }
        Question::Objects(body) => {
            command.stdin(Stdio::piped());
            Some(body)
        }
    };
    command.arg(repository);
    let mut child = command.spawn()?;
    let (stdin, output) = (child.stdin.take(), child.stdout.take());
    let running = Running::new(child);
    if let (Some(mut stdin), Some(body)) = (stdin, input) {
        tokio::spawn(async move {
            // It may have heard enough, or be gone.
            let _ = stdin.write_all(&body).await;
        });
    }
    let output = output.ok_or_else(|| std::io::Error::other("git has no standard output"))?;
    Ok(Answer { output, _running: running })
}
