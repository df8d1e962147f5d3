//! `up --demo`: the example configuration, and real bus messages that go round for ever.
//!
//! The messages take the road of any file: they are written as JSON lines into a pipe that the trigger reads. Each time
//! round they are new ones: with ids and a time of their own, and with other numbers where a kind would recognise the
//! same build, commit or pull request by them.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use net::clock;
use nix::sys::stat::Mode;
use rust_embed::RustEmbed;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

/// Real messages, a selection of `tests/corpus`, where their sources are named.
const MESSAGES: &str = include_str!("../demo/messages.jsonl");

/// The first messages come quickly, so that there is something to see.
const QUICK: (u64, Duration) = (4, Duration::from_millis(200));
const GENTLE: Duration = Duration::from_secs(1);

#[derive(RustEmbed)]
#[folder = "examples/config"]
struct Example;

/// Writes the example configuration into a folder, over what is there.
pub fn unpack(dir: &Path) -> anyhow::Result<()> {
    for name in Example::iter() {
        let path = dir.join(&*name);
        let file = Example::get(&name).context("an embedded file is gone")?;
        std::fs::create_dir_all(path.parent().unwrap_or(dir))
            .and_then(|()| std::fs::write(&path, &file.data))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// A pipe that a trigger can read as its file.
pub struct Pipe {
    pub path: PathBuf,
    file: std::fs::File,
}

impl Pipe {
    pub fn make(path: PathBuf) -> anyhow::Result<Pipe> {
        let cannot = || format!("cannot make the pipe {}", path.display());
        if path.exists() {
            std::fs::remove_file(&path).with_context(cannot)?;
        }
        nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).with_context(cannot)?;
        // Open for reading too: opening does not wait for the reader, and writing never finds it gone.
        let file = OpenOptions::new().read(true).write(true).open(&path).with_context(cannot)?;
        Ok(Pipe { path, file })
    }

    /// Writes messages until `stop`.
    pub async fn feed(self, stop: CancellationToken) -> anyhow::Result<()> {
        // Other numbers than those of an earlier run over the same data.
        let began = u64::try_from(clock::now().0 / 1_000_000).unwrap_or(0);
        let mut sent: u64 = 0;
        loop {
            for line in MESSAGES.lines() {
                let mut message: Map<String, Value> = serde_json::from_str(line).context("an embedded message")?;
                freshen(&mut message, began + sent);
                let mut line = serde_json::to_vec(&message)?;
                line.push(b'\n');
                // Longer than a pipe holds, and the trigger may be waiting for its disk: not on a thread of the runtime.
                let mut file = self.file.try_clone()?;
                tokio::select! {
                    written = tokio::task::spawn_blocking(move || file.write_all(&line)) => written??,
                    () = stop.cancelled() => return Ok(()),
                }
                sent += 1;
                tokio::select! {
                    () = tokio::time::sleep(if sent < QUICK.0 { QUICK.1 } else { GENTLE }) => {}
                    () = stop.cancelled() => return Ok(()),
                }
            }
        }
    }
}

/// Makes a message one that was not there before.
fn freshen(message: &mut Map<String, Value>, salt: u64) {
    message.insert("id".into(), clock::uuid().to_string().into());
    message.insert("sent_at".into(), clock::now().to_string().into());
    let Some(body) = message.get_mut("body") else { return };
    for place in ["/build_id", "/build", "/pullrequest/id", "/project/id"] {
        if let Some(number) = body.pointer_mut(place)
            && let Some(old) = number.as_u64()
        {
            *number = (old + salt).into();
        }
    }
    if let Some(Value::String(rev)) = body.pointer_mut("/commit/rev")
        && rev.len() >= 8
        && rev.is_ascii()
    {
        rev.replace_range(..8, &format!("{:08x}", salt & 0xffff_ffff));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use trigger::decode::{Limits, decode_line};

    use super::*;

    /// The jobs that the example makes of one round.
    fn round(configuration: &rules::Configuration, salt: u64) -> Vec<model::JobId> {
        let mut keys = Vec::new();
        for (line, salt) in MESSAGES.lines().zip(salt..) {
            let mut message = serde_json::from_str(line).unwrap();
            freshen(&mut message, salt);
            let line = serde_json::to_vec(&message).unwrap();
            let event = decode_line(line, "file:demo", &Limits::default()).unwrap();
            keys.extend(configuration.decide(&event, clock::now()).jobs.into_iter().map(|job| job.key));
        }
        keys
    }

    #[test]
    fn the_example_makes_many_jobs_of_the_messages_and_new_ones_each_time_round() {
        let dir = tempfile::tempdir().unwrap();
        unpack(dir.path()).unwrap();
        let configuration = crate::command::read_configuration(dir.path()).unwrap();
        assert_eq!(configuration.check(), []);
        let (first, second) = (round(&configuration, 1_700_000_000), round(&configuration, 1_700_001_000));
        assert!(first.len() >= 60, "{} jobs", first.len());
        let old: BTreeSet<_> = first.into_iter().collect();
        let again = second.iter().filter(|key| old.contains(key)).count();
        assert!(again * 10 <= second.len(), "{again} of {} are not new", second.len());
    }
}
