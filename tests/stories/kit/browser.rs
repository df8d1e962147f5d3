//! A real browser, Chromium without a window, driven over its own debugging pipe: JSON messages that end with a NUL
//! (`--remote-debugging-pipe`; the protocol is at https://chromedevtools.github.io/devtools-protocol/).

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::{Story, secs, until};

/// How long it may take to start, or to answer, on a busy machine.
const PATIENCE: Duration = secs(60);

/// One browser with one page. Dropping it kills all of it.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    session: Value,
    asked: u64,
}

impl Browser {
    #[track_caller]
    pub fn start(story: &Story) -> Browser {
        let folder = story.path("browser");
        std::fs::create_dir_all(&folder).expect("the story has a folder");
        let log = std::fs::File::create(story.path("browser.err")).expect("the story has a folder");
        // What the pipe is to it are the files 3 and 4.
        let line = "exec chromium --headless --remote-debugging-pipe --no-sandbox --disable-gpu --disable-dev-shm-usage \
                    --no-first-run --disable-background-networking --user-data-dir=\"$0\" about:blank \
                    3<&0 4>&1 </dev/null >/dev/null";
        let mut command: Command = story.command("sh");
        command.args(["-c", line]).arg(&folder).env("HOME", &folder).process_group(0);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn().expect("a shell can be started");
        let (to, out) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let (send, from) = channel();
        std::thread::spawn(move || {
            let messages = BufReader::new(out).split(0);
            for message in messages.map_while(Result::ok) {
                let _ = serde_json::from_slice(&message).map(|message| send.send(message));
            }
        });
        let mut browser = Browser { child, to, from, session: Value::Null, asked: 0 };
        let target = until(PATIENCE, "a browser with a page", || {
            let targets = browser.ask("Target.getTargets", json!({}));
            let pages = targets["targetInfos"].as_array().cloned().unwrap_or_default();
            pages.into_iter().find(|target| target["type"] == "page").map(|target| target["targetId"].clone())
        });
        let attached = browser.ask("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        browser.session = attached["sessionId"].clone();
        browser
    }

    /// Goes to an address, and waits until the page is there and its scripts have begun.
    #[track_caller]
    pub fn open(&mut self, url: &str) {
        self.ask("Page.navigate", json!({ "url": url }));
        let there = format!("document.readyState === 'complete' && location.href === {url:?}");
        until(PATIENCE, url, || self.evaluate(&there) == true);
    }

    /// The value of an expression in the page, with what it promises.
    #[track_caller]
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let ask = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.ask("Runtime.evaluate", ask);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    #[track_caller]
    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let mut message = json!({ "id": self.asked, "method": method, "params": params });
        if !self.session.is_null() {
            message["sessionId"] = self.session.clone();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).expect("the browser reads");
        loop {
            let answer = self.from.recv_timeout(PATIENCE).unwrap_or_else(|e| panic!("{method}: no answer: {e}"));
            if answer["id"] == self.asked {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = Pid::from_raw(i32::try_from(self.child.id()).expect("Linux pids fit"));
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}
