//! What a job prints, on its way to those who watch it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::FileExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::fleet::{Fleet, Peer, Plan, Role};
use crate::installation::Installation;
use crate::kit::browser::Browser;
use crate::kit::count::text;
use crate::kit::{Chance, Proxy, Story, http, secs, until};
use crate::site::PATIENCE;

/// Lines of the job that is watched, each with the time at which it was printed.
const LINES: usize = 25;

/// Waits for its gate, and says something hostile and something colourful first.
const TICKS: &str = r#"
tasks:
  ticks:
    run:
      - sh
      - -c
      - |
        printf '<script>document.title = "hacked"</script>\n\033[31mred\033[0m\n1%%\r99%%\n'
        while [ ! -e GATE ]; do sleep 0.05; done
        n=0
        while [ $n -lt LINES ]; do n=$((n + 1)); echo "tick $n $(date +%s%3N)"; sleep 0.2; done
        while [ ! -e GATE.end ]; do sleep 0.05; done
"#;

#[expect(clippy::disallowed_methods, reason = "the moment at which a line is seen, by the clock that its job printed")]
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("it fits")
}

/// A command whose output comes through a pipe.
fn piped(mut command: Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it can be started")
}

/// The median, and how long the slowest took.
fn median(name: &str, mut latencies: Vec<i64>) -> i64 {
    latencies.sort_unstable();
    let (median, most) = (latencies[latencies.len() / 2], latencies[latencies.len() - 1]);
    println!("{name}: a line is seen after {median} ms (median of {}; at most {most} ms)", latencies.len());
    median
}

/// In the page: when each line was seen, after it was printed.
const WATCH: &str = r"
  window.seen = {};
  const look = () => {
    const now = Date.now();
    const text = document.querySelector('[data-follow]')?.textContent ?? '';
    for (const [, n, at] of text.matchAll(/tick (\d+) (\d+)\n/g)) window.seen[n] ??= now - Number(at);
  };
  new MutationObserver(look).observe(document.querySelector('main'), { childList: true, subtree: true });
";

#[test]
fn a_line_is_seen_at_once_by_a_browser_and_by_job_log_f() {
    let story = Story::new();
    let gate = story.path("gate");
    let tasks = TICKS.replace("GATE", &gate.display().to_string()).replace("LINES", &LINES.to_string());
    story.write("config/ticks.yml", tasks);
    let sheet = story.write("jobs.csv", "item,item_type,task,arch\nx,number,ticks,\n");
    let mut site = Installation::new(story, "");
    site.start_ready();
    let mut submit = site.as_operator(site.story.jobrunner());
    submit.arg(&sheet);
    assert_eq!(site.story.run(PATIENCE, submit).code, Some(0));
    let job = text(&site.get("/api/v1/jobs")["items"][0]["id"]);

    let mut command = site.as_operator(site.story.taskotron());
    command.args(["job", "log", "-f", &job]);
    let mut follower = piped(command);
    let mut lines = BufReader::new(follower.stdout.take().expect("piped")).lines();
    let hostile = "<script>document.title = \"hacked\"</script>";
    assert_eq!(lines.next().expect("a line").expect("text"), hostile);
    let mut browser = Browser::start(&site.story);
    browser.open(&format!("{}/jobs/{job}", site.url()));
    until(PATIENCE, "the page to follow", || {
        browser.evaluate("document.querySelector('.ansi-31')?.textContent") == "red"
    });
    browser.evaluate(WATCH);
    fs::write(&gate, "").expect("the story has a folder");

    assert_eq!(lines.next().expect("a line").expect("text"), "\u{1b}[31mred\u{1b}[0m");
    assert_eq!(lines.next().expect("a line").expect("text"), "1%\r99%");
    let mut latencies = Vec::new();
    for line in lines.by_ref().take(LINES).map(|line| line.expect("text")) {
        let printed: i64 = line.rsplit(' ').next().and_then(|at| at.parse().ok()).expect("a time");
        latencies.push(now() - printed);
    }
    let seen = until(PATIENCE, "the page to show every line", || {
        let seen = browser.evaluate("window.seen");
        let values: Vec<i64> = seen.as_object().into_iter().flatten().filter_map(|(_, ms)| ms.as_i64()).collect();
        if values.len() == LINES { Ok(values) } else { Err(seen) }
    });
    median("job log -f", latencies);
    median("Chromium", seen);

    // What it printed is text, and of a line that was printed over itself the last is shown.
    let shown = browser.evaluate("document.querySelector('[data-follow]').textContent");
    let shown = text(&shown);
    assert!(shown.starts_with(&format!("{hostile}\nred\n99%\ntick 1 ")), "{shown}");
    assert_eq!(browser.evaluate("document.querySelectorAll('main script').length"), 0);
    assert!(!text(&browser.evaluate("document.title")).contains("hacked"));
    // The same page without a script.
    let page = http::get(&format!("{}/jobs/{job}", site.url())).send().expect("it answers").text();
    assert!(page.contains("&lt;script&gt;") || page.contains("&#60;script&#62;"), "{page}");
    assert!(page.contains("\nred\n99%\ntick 1 ") && !page.contains("document.title = \"hacked\""), "{page}");

    fs::write(gate.with_extension("end"), "").expect("the story has a folder");
    assert!(follower.wait().expect("it ends").success(), "it ends with the job");
    assert!(lines.next().is_none());
    drop(browser);
    assert!(site.stop(PATIENCE).success());
    site.assert_nothing_left();
    site.assert_sound();
}

/// Bytes of the log that flows while everything is cut.
const FLOW: usize = 10 << 20;

#[test]
fn a_log_whose_connections_are_cut_ten_times_is_stored_and_followed_as_it_was_printed() {
    let story = Story::new();
    let payload = story.write("payload", Chance::new(1).bytes(FLOW));
    let run = format!(
        "n=0; while [ $n -lt 160 ]; do dd if={} bs=65536 skip=$n count=1 status=none; n=$((n + 1)); sleep 0.02; done",
        payload.display()
    );
    story.write("config/flow.yml", format!("tasks:\n  flow: {{ run: [sh, -c, {run:?}] }}\n"));
    let plan = Plan { triggers: 0, masters: 1, workers: 1, ..Plan::default() };
    let mut fleet = Fleet::new(story, plan);
    fleet.start_all();
    crate::held::submit(&fleet, 0, "flow", &["x"]);
    let job = crate::held::job_of(&fleet, "x");
    let watched = Proxy::before(&fleet.masters[0]);
    let mut command = fleet.as_operator(fleet.story.taskotron(), 0);
    command.args(["job", "log", "-f", &job]).env("TASKOTRON_URL", watched.url());
    let mut follower = piped(command);
    let mut out = follower.stdout.take().expect("piped");
    let reader = std::thread::spawn(move || {
        let mut seen = Vec::new();
        out.read_to_end(&mut seen).map(|_| seen)
    });
    for cut in 1..=10 {
        until(secs(120), &format!("cut {cut}"), || {
            let seen = fleet.look(&format!("/api/v1/jobs/{job}"))?;
            let size = seen["attempts_made"][0]["log_size"].as_u64().unwrap_or(0);
            let reached = size * 11 >= cut * FLOW as u64;
            if reached { Ok(()) } else { Err(size.to_string()) }
        });
        fleet.proxy(Role::Worker(0), Peer::Master(0)).cut();
        watched.cut();
    }
    let over = until(secs(120), "the job to end", || {
        let seen = fleet.look(&format!("/api/v1/jobs/{job}"))?;
        if seen["state"] == "finished" { Ok(seen) } else { Err(seen.to_string()) }
    });
    assert_eq!((&over["outcome"], over["attempts"].as_u64()), (&Value::from("PASSED"), Some(1)), "{over}");
    let printed = fs::read(&payload).expect("it is there");
    assert!(follower.wait().expect("it ends").success());
    let followed = reader.join().expect("it reads").expect("it reads");
    assert!(followed == printed, "{} bytes were followed", followed.len());
    let token = fs::read_to_string(&fleet.token_file).expect("it is there");
    let stored = http::get(&format!("{}/api/v1/jobs/{job}/log", fleet.masters[0])).bearer(&token).send();
    let stored = stored.expect("the master answers").body;
    assert!(stored == printed, "{} bytes are stored", stored.len());
    fleet.stop_all();
    fleet.assert_nothing_left();
    fleet.assert_sound();
}

/// Jobs, and how many bytes each prints, from a place of its own in the payload.
const JOBS: usize = 200;
const EACH: usize = 200_000;

#[test]
fn of_two_hundred_jobs_on_eight_slots_no_byte_is_lost_no_zombie_is_left_and_the_worker_stays_small() {
    let story = Story::new();
    let payload = story.write("payload", Chance::new(1).bytes(JOBS * 1000 + EACH));
    let run = format!("exec dd if={} bs=1000 skip={{{{ item }}}} count={} status=none", payload.display(), EACH / 1000);
    story.write("config/flow.yml", format!("tasks:\n  flow: {{ run: [sh, -c, {run:?}] }}\n"));
    let plan = Plan { triggers: 0, masters: 1, workers: 1, slots: 8, proxied: false, ..Plan::default() };
    let mut fleet = Fleet::new(story, plan);
    let items: Vec<String> = (0..JOBS).map(|n| n.to_string()).collect();
    let rows: String = items.iter().map(|item| format!("{item},number,flow,\n")).collect();
    fleet.story.write("jobs.csv", format!("item,item_type,task,arch\n{rows}"));
    fleet.start_all();
    let mut submit = fleet.as_operator(fleet.story.jobrunner(), 0);
    submit.arg("jobs.csv");
    assert_eq!(fleet.story.run(PATIENCE, submit).code, Some(0));
    fleet.settled(secs(180));

    let worker = fleet.process(Role::Worker(0)).pid();
    let most = most(worker);
    // A debug build's own text is several times what is shipped.
    let program = memory(worker, "RssFile");
    println!("the worker had {most} kB at most, {program} kB of them its program and libraries");
    assert!(most - program < 40_000, "the worker had {most} kB, {program} kB of them its program");
    let zombies = children(worker).into_iter().filter(|(_, state)| state == "Z").count();
    assert_eq!(zombies, 0);
    let printed = fs::read(&payload).expect("it is there");
    let token = fs::read_to_string(&fleet.token_file).expect("it is there");
    let jobs = fleet.all("jobs");
    assert_eq!(jobs.len(), JOBS);
    for job in jobs {
        assert_eq!((&job["outcome"], job["attempts"].as_u64()), (&Value::from("PASSED"), Some(1)), "{job}");
        let (id, item) = (text(&job["id"]), text(&job["item"]));
        let log = http::get(&format!("{}/api/v1/jobs/{id}/log", fleet.masters[0])).bearer(&token).send();
        let begin = item.parse::<usize>().expect("a number") * 1000;
        assert!(log.expect("it answers").body == printed[begin..begin + EACH], "the log of {item}");
    }
    fleet.stop_all();
    fleet.assert_nothing_left();
    fleet.assert_sound();
}

/// How many kB of memory a process has had at most.
fn most(pid: i32) -> u64 {
    memory(pid, "VmHWM")
}

/// One of the sizes in proc(5)'s `status`, in kB.
fn memory(pid: i32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let size = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect("it has a size");
    size.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// The children of a process, with their states.
fn children(of: i32) -> Vec<(i32, String)> {
    let processes = fs::read_dir("/proc")
        .expect("there is a /proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let stat = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let (state, parent) = (fields.next()?.to_owned(), fields.next()?.parse::<i32>().ok()?);
        (parent == of).then_some((pid, state))
    };
    processes.filter_map(stat).collect()
}

/// Bytes of a log that is as long as one can be.
const LONG: u64 = 1 << 30;

/// Reads a log to its end and keeps nothing of it; how long it was, and its last bytes.
fn swallow(url: &str) -> (u64, Vec<u8>) {
    let (host, path) = url.trim_start_matches("http://").split_once('/').expect("a path");
    let mut stream = TcpStream::connect(host).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    write!(stream, "GET /{path} HTTP/1.0\r\nhost: {host}\r\n\r\n").expect("it reads");
    let (mut buffer, mut seen, mut last) = (vec![0; 1 << 20], 0, Vec::new());
    loop {
        match stream.read(&mut buffer).expect("it answers") {
            0 => return (seen, last),
            n => {
                seen += n as u64;
                last = buffer[n.saturating_sub(3)..n].to_vec();
            }
        }
    }
}

#[test]
fn a_log_of_one_gib_is_served_and_compressed_in_constant_memory() {
    let story = Story::new();
    story.write("config/tasks.yml", "tasks:\n  quick: { run: ['true'] }\n");
    let sheet = story.write("jobs.csv", "item,item_type,task,arch\nx,number,quick,\n");
    let mut site = Installation::new(story, "[master.logs]\ncompress_after = \"0s\"\n");
    site.start_ready();
    let mut submit = site.as_operator(site.story.jobrunner());
    submit.arg(&sheet);
    assert_eq!(site.story.run(PATIENCE, submit).code, Some(0));
    site.settled(PATIENCE);
    let job = text(&site.get("/api/v1/jobs")["items"][0]["id"]);
    assert!(site.stop(PATIENCE).success());

    let plain = site.data(&format!("master/logs/{}/{job}.1.log", &job[..2]));
    fs::create_dir_all(plain.parent().expect("a folder")).expect("it is ours");
    let log = fs::File::create(&plain).expect("it is ours");
    log.write_all_at(b"end", LONG - 3).expect("there is room");
    drop(log);
    site.start_ready();
    let up = site.up().pid();
    let before = most(up);
    let url = format!("{}/api/v1/jobs/{job}/log", site.url());
    let resting = plain.with_extension("log.zst");
    for state in ["growing or not", "at rest"] {
        let (seen, last) = swallow(&url);
        assert!((LONG..LONG + 2000).contains(&seen), "{state}: {seen} bytes");
        assert_eq!(last, b"end", "{state}");
        let part = http::get(&url).header("range", &format!("bytes={}-", LONG - 3)).send().expect("it answers");
        assert_eq!((part.status, &part.body[..]), (206, &b"end"[..]), "{state}");
        until(secs(120), "the log to be compressed", || resting.exists() && !plain.exists());
    }
    let size = fs::metadata(&resting).expect("it is there").len();
    let more = most(up) - before;
    println!("a log of {LONG} bytes, {size} at rest, took {more} kB of memory");
    assert!(more < 64_000, "{more} kB");
    assert!(site.stop(PATIENCE).success());
}
