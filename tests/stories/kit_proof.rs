//! The kit itself, against real servers and processes: a story can only prove
//! what the kit really does.

use std::fs;
use std::panic::catch_unwind;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::kit::netns::Network;
use crate::kit::tmpfs::Tmpfs;
use crate::kit::unsynced::Unsynced;
use crate::kit::{Chance, Database, Postgres, Proxy, Rabbit, Story, count, http, ports, secs, servers, sweep, until};

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

mod proxy {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
    use std::time::Instant;

    use super::*;

    /// Where whatever is sent comes back, for ever.
    fn echo() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("tcp://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut from, mut to) = (stream.as_ref().unwrap().try_clone().unwrap(), stream.unwrap());
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            }
        });
        url
    }

    fn connect(proxy: &Proxy) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect(proxy.url().trim_start_matches("tcp://"))?;
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        Ok(stream)
    }

    /// Sends a byte and waits for it to come back.
    fn ping(stream: &mut TcpStream) -> Result<(), ErrorKind> {
        stream.write_all(b"x").map_err(|error| error.kind())?;
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => Ok(()),
            Ok(_) => Err(ErrorKind::UnexpectedEof),
            Err(error) => Err(error.kind()),
        }
    }

    #[test]
    fn it_cuts_refuses_delays_and_swallows() {
        let proxy = Proxy::before(&echo());
        let mut old = connect(&proxy).unwrap();
        assert_eq!(ping(&mut old), Ok(()));

        proxy.cut();
        until(secs(10), "a reset", || match ping(&mut old) {
            Err(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => Ok(()),
            other => Err(other),
        });
        let mut old = connect(&proxy).unwrap();
        assert_eq!(ping(&mut old), Ok(()), "new connections pass");

        proxy.refuse();
        assert_eq!(connect(&proxy).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        proxy.let_through();
        let mut old = connect(&proxy).unwrap();
        assert_eq!(ping(&mut old), Ok(()));

        proxy.delay(Duration::from_millis(50));
        let begin = Instant::now();
        assert_eq!(ping(&mut old), Ok(()));
        assert!(begin.elapsed() >= Duration::from_millis(100), "there and back");
        proxy.delay(Duration::ZERO);

        proxy.half_open();
        let mut new = connect(&proxy).unwrap();
        for stream in [&mut old, &mut new] {
            assert_eq!(ping(stream), Err(ErrorKind::WouldBlock), "neither an answer nor an error");
        }
        proxy.forget();
        assert_eq!(ping(&mut connect(&proxy).unwrap()), Ok(()));
        assert_eq!(ping(&mut old), Err(ErrorKind::WouldBlock), "an old connection stays deaf");
        proxy.heal();
        until(secs(10), "a reset", || match ping(&mut old) {
            Err(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => Ok(()),
            other => Err(other),
        });
        assert_eq!(ping(&mut connect(&proxy).unwrap()), Ok(()));
    }

    #[test]
    fn a_server_that_is_down_is_down_behind_it_too() {
        let port = ports::free();
        let proxy = Proxy::before(&format!("tcp://127.0.0.1:{port}"));
        let ping = || ping(&mut connect(&proxy).unwrap());
        assert!(ping().is_err());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            stream.read_exact(&mut [0]).and_then(|()| stream.write_all(b"y"))
        });
        assert_eq!(ping(), Ok(()));
    }

    #[test]
    fn a_network_of_its_own_reaches_this_machine_until_its_cable_is_pulled() {
        let (story, network) = (Story::new(), Network::new());
        let proxy = Proxy::at(SocketAddr::from((network.host(), ports::free())), &echo());
        let mut python = story.command("python3");
        python.args([
            "-c",
            "import socket, sys\n\
            end = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)\n\
            end.settimeout(float(sys.argv[3]))\n\
            end.send(b'x'); assert end.recv(1) == b'x'; print('there', flush=True)\n\
            for line in open(sys.argv[4]): end.send(b'y'); print(end.recv(1), flush=True)",
        ]);
        let at = proxy.url().trim_start_matches("tcp://");
        let (host, port) = at.split_once(':').unwrap();
        let go = story.path("go");
        nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut patient = network.inside(&story, &python);
        patient.args([host, port, "60"]).arg(&go);
        let mut patient = story.start("patient", patient);
        until(secs(20), "the first byte", || if patient.out() == "there\n" { Ok(()) } else { Err(patient.err()) });

        network.cut();
        let mut late = network.inside(&story, &python);
        late.args([host, port, "1"]).arg(&go);
        assert_ne!(story.run(secs(30), late).code, Some(0), "nobody gets through");
        fs::write(&go, "now\n").unwrap();
        assert_eq!(patient.ended(), None, "nobody was told");
        network.mend();
        assert_eq!(patient.wait(secs(60)).code(), Some(0), "{}", patient.err());
        assert_eq!(patient.out(), "there\nb'y'\n", "what was sent meanwhile has come");
    }
}

#[test]
fn a_small_file_system_is_filled_and_freed() {
    let story = Story::new();
    let disk = Tmpfs::mount(&story, "disk", 512);
    let file = disk.folder().join("file");
    fs::write(&file, "before").unwrap();
    disk.fill();
    let error = fs::write(disk.folder().join("other"), "x").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(fs::read(&file).unwrap(), b"before");
    disk.free();
    fs::write(disk.folder().join("other"), vec![b'x'; 400 << 10]).unwrap();
    drop(disk);
    assert!(!file.exists(), "it is gone with what was in it");
}

#[test]
fn chance_is_the_same_with_the_same_seed() {
    let numbers = |seed| {
        let mut chance = Chance::new(seed);
        let mut order: Vec<_> = (0..10).collect();
        chance.shuffle(&mut order);
        (order, chance.below(1000), chance.millis(50))
    };
    assert_eq!(numbers(7), numbers(7));
    assert_ne!(numbers(7), numbers(8));
    // As the algorithm's own reference gives it.
    assert_eq!(Chance::new(1_234_567).below(usize::MAX), 6_457_827_717_110_365_317);
}

#[test]
fn counting_names_what_is_missing_unwanted_and_twice() {
    assert_eq!(count::same(["b", "a"], ["a", "b"]), Ok(()));
    let difference = count::same(["a", "b"], ["b", "b", "c"]).unwrap_err();
    assert_eq!(difference, r#"expected 2, found 3; missing 1 ["a"], unwanted 1 ["c"], twice 1 ["b"]"#);
}
