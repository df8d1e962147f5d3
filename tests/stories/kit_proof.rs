//! The kit itself, against real servers and processes: a story can only prove
//! what the kit really does.

use std::fs;
use std::panic::catch_unwind;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::kit::unsynced::Unsynced;
use crate::kit::{Database, Postgres, Rabbit, Story, http, ports, secs, servers, sweep, until};

#[test]
fn waiting_says_what_for_and_what_was_seen_instead() {
    let mut looks = 0;
    let third = until(secs(5), "the third look", || {
        looks += 1;
        if looks == 3 { Ok(looks) } else { Err(looks) }
    });
    assert_eq!(third, 3);

    let panic = catch_unwind(|| {
        until(Duration::from_millis(20), "a green job", || Err::<(), _>("red"));
    });
    let message = *panic.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("a green job") && message.contains("red"), "{message}");
}

#[test]
fn postgres_keeps_what_was_committed_over_kill_and_restart() {
    let postgres = Postgres::start();
    let connect = || postgres::Client::connect(postgres.url(), postgres::NoTls);
    let rows = || -> i64 {
        let row = connect().unwrap().query_one("SELECT count(*) FROM t", &[]);
        row.unwrap().get(0)
    };
    let mut client = connect().unwrap();
    client.batch_execute("CREATE TABLE t (n int); INSERT INTO t VALUES (1)").unwrap();

    postgres.kill();
    client.batch_execute("INSERT INTO t VALUES (2)").unwrap_err();
    assert!(connect().is_err(), "it is down until it is started");
    postgres.start_again();
    assert_eq!(rows(), 1);

    postgres.restart();
    assert_eq!(rows(), 1);
    postgres.stop();
    postgres.stop();
    assert!(connect().is_err());
}

#[test]
fn shared_postgres_lends_databases() {
    let [one, two] = [Database::new(), Database::new()];
    assert_ne!(one.url(), two.url());
    one.connect().batch_execute("CREATE TABLE t (n int)").unwrap();
    two.connect().batch_execute("CREATE TABLE t (n int)").unwrap();
    let url = one.url().to_owned();
    let _still_connected = one.connect();
    drop(one);
    assert!(postgres::Client::connect(&url, postgres::NoTls).is_err());
}

mod amqp {
    use super::*;
    use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
    use lapin::types::FieldTable;
    use lapin::{BasicProperties, Connection, ConnectionProperties};

    const QUEUE: &str = "kit-proof";
    const PERSISTENT: u8 = 2;

    async fn declare(channel: &lapin::Channel, passive: bool) -> u32 {
        let options = QueueDeclareOptions { durable: true, passive, ..Default::default() };
        let queue = channel.queue_declare(QUEUE.into(), options, FieldTable::default());
        queue.await.unwrap().message_count()
    }

    async fn channel(url: &str) -> lapin::Channel {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
        connection.create_channel().await.unwrap()
    }

    async fn publish(url: &str, count: u32) {
        let channel = channel(url).await;
        declare(&channel, false).await;
        let confirms = ConfirmSelectOptions::default();
        channel.confirm_select(confirms).await.unwrap();
        for _ in 0..count {
            let sent = channel.basic_publish(
                "".into(),
                QUEUE.into(),
                BasicPublishOptions::default(),
                b"a message",
                BasicProperties::default().with_delivery_mode(PERSISTENT),
            );
            assert!(sent.await.unwrap().await.unwrap().is_ack());
        }
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Runtime::new().unwrap().block_on(work)
    }

    #[test]
    fn rabbitmq_keeps_persistent_messages_over_kill_and_restart() {
        let rabbit = Rabbit::start();
        let waiting = || run(async { declare(&channel(rabbit.url()).await, true).await });
        run(async { declare(&channel(rabbit.url()).await, false).await });
        rabbit.settle();
        run(publish(rabbit.url(), 20));

        rabbit.kill();
        assert_eq!(sweep::marked(&mark(&rabbit)), [], "nothing survives a kill");
        rabbit.start_again();
        assert_eq!(waiting(), 20);

        rabbit.restart();
        assert_eq!(waiting(), 20);

        rabbit.stop();
        rabbit.stop();
        assert_eq!(sweep::marked(&mark(&rabbit)), [], "not even epmd is left");
    }

    fn mark(rabbit: &Rabbit) -> String {
        rabbit.folder().display().to_string()
    }

    #[test]
    fn shared_rabbitmq_answers() {
        run(channel(&servers::shared_amqp()));
    }
}

fn shell(story: &Story, script: &str) -> Command {
    let mut command = story.command("sh");
    command.args(["-c", script]);
    command
}

#[test]
fn processes_can_be_signalled_waited_for_and_read() {
    let story = Story::new();
    let script = "trap 'echo bye >&2; exit 7' TERM; echo hello; while :; do sleep 0.01; done";
    let mut process = story.start("greeter", shell(&story, script));
    until(secs(5), "the greeting", || process.out() == "hello\n");
    assert_eq!(process.ended(), None);
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait(secs(5)).code(), Some(7));
    assert_eq!(process.err(), "bye\n");

    let ran = story.run(secs(5), shell(&story, "echo out; echo err >&2; exit 3"));
    assert_eq!((ran.code, &*ran.out, &*ran.err), (Some(3), "out\n", "err\n"));
}

#[test]
fn the_binaries_are_the_ones_just_built() {
    let story = Story::new();
    for command in [story.taskotron(), story.jobrunner()] {
        assert!(fs::metadata(command.get_program()).unwrap().is_file());
    }
}

#[test]
fn killing_a_process_kills_its_group() {
    let story = Story::new();
    let script = "sleep 1000 & sleep 1000 & echo started; wait";
    let mut process = story.start("family", shell(&story, script));
    until(secs(5), "the children", || process.out() == "started\n");
    assert_eq!(story.left().len(), 3);
    process.kill();
    story.assert_nothing_left(secs(5));
}

#[test]
fn the_sweep_finds_what_left_its_group_and_the_story_takes_it_along() {
    let story = Story::new();
    let folder = story.folder().to_owned();
    // Double-forked, in a session of its own, with an environment of its own; what
    // gives it away is where it works.
    let script = "env -i setsid sleep 1000 & echo $! >daemon";
    assert_eq!(story.run(secs(5), shell(&story, script)).code, Some(0));
    let daemon = until(secs(5), "the daemon to become one", || {
        let left = story.left();
        let daemon = left.iter().find(|process| process.command == "sleep 1000");
        daemon.cloned().ok_or(left)
    });
    assert!(catch_unwind(|| story.assert_nothing_left(Duration::from_millis(10))).is_err());
    drop(story);
    until(secs(5), "the daemon to be gone", || !sweep::marked(&folder.display().to_string()).contains(&daemon));
    assert!(!folder.exists());
}

#[test]
fn the_sweep_finds_a_job_by_its_id() {
    let story = Story::new();
    let mark = format!("TASKOTRON_JOB_ID={}", story.folder().display());
    let mut job = story.command("sleep");
    job.arg("1000").env("TASKOTRON_JOB_ID", story.folder());
    let mut job = story.start("job", job);
    let found = until(secs(5), "the job", || sweep::marked(&mark).pop());
    assert_eq!(found.pid, job.pid());
    job.kill();
    assert_eq!(sweep::marked(&mark), []);
}

#[test]
fn http_talks_to_a_real_server() {
    let story = Story::new();
    story.write("hello.json", r#"{"hello": "world"}"#);
    let port = ports::free();
    assert_ne!(port, ports::free());
    let mut server = story.python();
    server.args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string()]);
    let _server = story.start("server", server);
    let base = format!("http://127.0.0.1:{port}");
    let reply = until(secs(20), "the server to answer", || http::get(&format!("{base}/hello.json?a=b")).send());
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.json()["hello"], "world");
    let reply = http::post(&base, "text/plain", "a body").bearer("secret").send();
    assert_eq!(reply.unwrap().status, 501);
}

/// What python's `os` is told to do with the log, before it kills itself.
fn log_after_power_cut(steps: &str) -> String {
    let story = Story::new();
    let script = format!(
        "import os, signal\n\
         log = os.open('events.jsonl', os.O_RDWR | os.O_CREAT | os.O_APPEND)\n\
         {steps}\n\
         os.kill(os.getpid(), signal.SIGKILL)"
    );
    let mut python = story.python();
    python.args(["-c", &script]);
    Unsynced::build(story.folder()).hold(&mut python, "events.jsonl");
    let ran = story.run(secs(20), python);
    assert_eq!(ran.code, None, "it lives until it kills itself: {ran:?}");
    fs::read_to_string(story.path("events.jsonl")).unwrap()
}

#[test]
fn a_power_cut_takes_what_was_not_synced() {
    assert_eq!(log_after_power_cut("os.write(log, b'one')"), "");
    assert_eq!(log_after_power_cut("os.write(log, b'one'); os.close(log)"), "");
    assert_eq!(log_after_power_cut("os.write(log, b'one'); os.fdatasync(log); os.write(log, b'two')"), "one");
}

#[test]
fn a_power_cut_leaves_what_was_synced() {
    let synced = "os.write(log, b'one'); os.writev(log, [b't', b'wo']); os.fdatasync(log)";
    assert_eq!(log_after_power_cut(synced), "onetwo");
    // Whichever descriptor is synced, also one of another opening of the file.
    let other = "os.write(log, b'one'); os.fsync(os.open('events.jsonl', os.O_RDWR))";
    assert_eq!(log_after_power_cut(other), "one");
    let cut = "os.write(log, b'onetwo'); os.ftruncate(log, 3); os.write(log, b'!'); os.fsync(log)";
    assert_eq!(log_after_power_cut(cut), "one!");
}

#[test]
fn until_the_power_cut_a_process_sees_what_it_has_written() {
    let steps = "\
os.write(log, b'one'); os.fsync(log); os.write(log, b'two')
reader = os.open('events.jsonl', os.O_RDONLY)
assert os.read(reader, 4) == b'onet', 'read'
assert os.read(reader, 9) == b'wo', 'read on'
assert os.pread(reader, 9, 2) == b'etwo', 'pread'
assert os.lseek(log, 0, os.SEEK_END) == 6, 'lseek'
assert os.fstat(reader).st_size == 6, 'fstat'
assert os.stat('events.jsonl').st_size == 6, 'stat'
os.ftruncate(log, 5)
assert open('events.jsonl').read() == 'onetw', 'after ftruncate'";
    assert_eq!(log_after_power_cut(steps), "one");
}

#[test]
fn an_orderly_exit_is_no_power_cut() {
    let story = Story::new();
    let mut python = story.python();
    let script = "import os; os.write(os.open('events.jsonl', os.O_WRONLY | os.O_CREAT), b'one')";
    python.args(["-c", script]);
    Unsynced::build(story.folder()).hold(&mut python, "events.jsonl");
    let ran = story.run(secs(20), python);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(fs::read_to_string(story.path("events.jsonl")).unwrap(), "one");
}
