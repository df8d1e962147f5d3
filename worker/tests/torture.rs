//! Tasks that do what they should not. For each: how it ends, which limit caught it, and that it has changed nothing and
//! left nothing behind. `TASKOTRON_ROW=kills` runs only the rows with that in their names.

mod kit;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use kit::{Master, Rig, lease_with, until};
use model::lease::{Lease, Report, ResultFormat};
use model::{Bound, End, Outcome, Quota, Sandbox, Span};
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};

/// How many rows may be left out for want of something in the kernel.
const MOST_SKIPPED: usize = 2;

/// A variable of this process, and so of the worker's.
const OURS: &str = "CARGO_MANIFEST_DIR";

struct Row {
    name: &'static str,
    /// Labels without which it proves nothing.
    needs: &'static [&'static str],
    /// `$MARK` is a number of seconds that no other row sleeps, `$OUTSIDE` a folder that is not the job's.
    script: &'static str,
    change: fn(&mut Lease),
    check: fn(&Seen),
}

/// What is known when it is over.
struct Seen {
    name: &'static str,
    report: Report,
    log: Vec<u8>,
    outside: PathBuf,
}

impl Seen {
    #[track_caller]
    fn ends(&self, end: End) {
        assert_eq!(self.report.end, end, "{}: {}", self.name, self.text());
    }

    #[track_caller]
    fn over(&self, limit: Bound) {
        self.ends(End::OverLimit { limit });
        assert!(self.report.findings.is_empty(), "{}: it has judged nothing", self.name);
    }

    /// It ended by itself, and found no way.
    #[track_caller]
    fn refused(&self) {
        assert!(self.text().contains("refused") && !self.text().contains("DONE"), "{}: {}", self.name, self.text());
        self.ends(End::Exited { code: 0 });
    }

    #[track_caller]
    fn errs(&self) {
        let outcomes: Vec<Outcome> = self.report.findings.iter().map(|finding| finding.outcome).collect();
        assert_eq!(outcomes, [Outcome::Error], "{}: {:?}", self.name, self.report);
    }

    fn text(&self) -> String {
        let end = self.log.len().min(2000);
        String::from_utf8_lossy(&self.log[..end]).into_owned()
    }
}

const NONE: fn(&mut Lease) = |_| {};
const MEMORY: fn(&mut Lease) = |l| l.task.bounds.memory = Some(64 << 20);
const PROCESSES: fn(&mut Lease) = |l| l.task.bounds.processes = Some(64);
const DISK: fn(&mut Lease) = |l| l.task.bounds.disk = Some(8 << 20);
const SHORT: fn(&mut Lease) = |l| (l.task.timeout, l.task.grace) = (Span::millis(700), Span::millis(200));
const SHORT_LOG: fn(&mut Lease) = |l| l.task.log_limit = 100_000;
const FLOOD: fn(&mut Lease) = |l| {
    SHORT(l);
    SHORT_LOG(l);
};
const JUNIT: fn(&mut Lease) = |l| l.task.results = vec![ResultFormat::Junit(vec!["r.xml".to_owned()])];
const TAP: fn(&mut Lease) = |l| l.task.results = vec![ResultFormat::Tap(vec!["r.tap".to_owned()])];
const BUBBLEWRAP: fn(&mut Lease) = |l| l.task.bounds.sandbox = Some(Sandbox::Bubblewrap);

const EXITED: fn(&Seen) = |seen| seen.ends(End::Exited { code: 0 });
const TIMED_OUT: fn(&Seen) = |seen| seen.ends(End::TimedOut { quota: Quota::Total });
const REFUSED: fn(&Seen) = |seen| seen.refused();
const ERRS: fn(&Seen) = |seen| seen.errs();
const OVER_MEMORY: fn(&Seen) = |seen| seen.over(Bound::Memory);
const OVER_PROCESSES: fn(&Seen) = |seen| seen.over(Bound::Processes);
const OVER_DISK: fn(&Seen) = |seen| seen.over(Bound::Disk);
const SHORT_LOG_KEPT: fn(&Seen) =
    |seen| assert!((90_000..=100_000).contains(&seen.log.len()), "{}: {}", seen.name, seen.log.len());

const LANDLOCK: &[&str] = &["sandbox:landlock"];
const APART: &[&str] = &["sandbox:landlock", "limit:network"];

fn rows() -> Vec<Row> {
    let row = |name, needs, script, change, check| Row { name, needs, script, change, check };
    vec![
        // More than its share.
        row("fork bomb", &["limit:processes"], "b() { b | b & }; b; sleep $MARK", PROCESSES, OVER_PROCESSES),
        row(
            "threads without end",
            &["limit:processes"],
            "python3 -c 'import threading, time
while True: threading.Thread(target=time.sleep, args=(1e5,)).start()' ; sleep $MARK",
            PROCESSES,
            OVER_PROCESSES,
        ),
        row("memory hog", &["limit:memory"], "exec python3 -c 'x = b\"x\" * (1 << 30)'", MEMORY, OVER_MEMORY),
        row(
            "a hog whose parent goes on as if nothing were",
            &["limit:memory"],
            "python3 -c 'x = b\"x\" * (1 << 30)'; echo PASSED >$TASKOTRON_RESULTS; sleep $MARK",
            MEMORY,
            OVER_MEMORY,
        ),
        row(
            "files in memory",
            &["limit:memory", "sandbox:landlock", "limit:network"],
            "dd if=/dev/zero of=/dev/shm/$MARK bs=1M count=300 || sleep $MARK",
            MEMORY,
            OVER_MEMORY,
        ),
        row("disk filler", &[], "dd if=/dev/zero of=big bs=1M count=64", DISK, OVER_DISK),
        row(
            "disk filler, by many files",
            &[],
            "i=0; while [ $i -lt 40 ]; do dd if=/dev/zero of=$i bs=1M count=1; i=$((i + 1)); done; sleep $MARK",
            DISK,
            OVER_DISK,
        ),
        row(
            "a shell that goes on where its disk was full",
            &[],
            "dd if=/dev/zero of=big bs=1M count=64; echo on; exit 3",
            DISK,
            OVER_DISK,
        ),
        row("sparse file", &[], "truncate -s 1T hole || echo refused", DISK, REFUSED),
        row(
            "open files without end",
            &[],
            "python3 -c 'import os
n = 0
try:
    while True: os.open(\"/dev/null\", 0); n += 1
except OSError: print(\"refused after\", n)'",
            |l| l.task.bounds.files = Some(64),
            |seen| {
                seen.refused();
                assert!(seen.text().contains("refused after 6"), "{}", seen.text());
            },
        ),
        row(
            "more than its processors",
            &["limit:cpus"],
            "timeout 2 sh -c 'while :; do :; done'; [ $(awk '{print $14 + $15 + $16 + $17}' /proc/$$/stat) -lt 100 ]",
            |l| l.task.bounds.cpus = Some(0.2),
            EXITED,
        ),
        // Will not end.
        row("TERM ignorer", &[], "trap '' TERM HUP INT; while :; do sleep $MARK; done", SHORT, TIMED_OUT),
        row("stops itself", &[], "kill -STOP $$", SHORT, TIMED_OUT),
        row(
            "stops all that it has, and ignores TERM",
            &[],
            "trap '' TERM; setsid sh -c 'kill -STOP $$' & kill -STOP $$",
            SHORT,
            TIMED_OUT,
        ),
        // Leaves something behind.
        row("daemon", &[], "setsid sleep $MARK </dev/null >/dev/null 2>&1 & sleep 0.1", NONE, EXITED),
        row(
            "daemon without a trace: forked twice, in a session of its own, with an empty environment",
            &["limit:processes"],
            "(setsid env -i setsid sleep $MARK </dev/null >/dev/null 2>&1 &); sleep 0.2",
            NONE,
            EXITED,
        ),
        row("pipe holder", &[], "sleep $MARK & echo done", NONE, EXITED),
        row("pipe holder of its own session", &["limit:processes"], "setsid env -i sleep $MARK & echo on", NONE, EXITED),
        row("flood of orphans", &[], "for i in $(seq 60); do (sleep $MARK &) ; done", NONE, EXITED),
        row(
            "children that nobody waits for",
            &[],
            "python3 -c 'import os
for _ in range(60):
    if os.fork() == 0: os._exit(0)'",
            NONE,
            EXITED,
        ),
        row(
            "unreadable workspace",
            &[],
            "mkdir -p a/b; echo x >a/b/c; chmod 000 a/b/c a/b a artifacts tmp .",
            NONE,
            EXITED,
        ),
        row(
            "tree deeper than any path",
            &[],
            "python3 -c 'import os
for _ in range(2500): os.mkdir(\"d\"); os.chdir(\"d\")
open(\"leaf\", \"w\")'",
            NONE,
            |seen| assert!(matches!(seen.report.end, End::Exited { code: 0 } | End::OverLimit { limit: Bound::Disk })),
        ),
        row("thousands of small files", &[], "mkdir m; cd m; seq 5000 | xargs touch", NONE, EXITED),
        row(
            "names that are hard to say",
            &[],
            "python3 -c 'import os
for name in (b\"\\n\", b\"-rf\", b\"\\xff\\xfe\", b\" \", b\"x\" * 255, b\".1\"): os.mkdir(name); open(name + b\"/f\", \"w\")'",
            NONE,
            EXITED,
        ),
        row("moves its workspace away", LANDLOCK, "mv \"$PWD\" \"$PWD-moved\" || echo refused", NONE, REFUSED),
        // Says too much, or nothing that can be read.
        row("log flood", &[], "exec yes", FLOOD, |seen| {
            TIMED_OUT(seen);
            SHORT_LOG_KEPT(seen);
        }),
        row("a line of 100 MB", &[], "head -c 100000000 /dev/zero | tr '\\0' x", SHORT_LOG, |seen| {
            EXITED(seen);
            SHORT_LOG_KEPT(seen);
        }),
        row("binary log", &[], "head -c 200000 /dev/urandom", NONE, |seen| {
            EXITED(seen);
            assert_eq!(seen.log.len(), 200_000);
        }),
        row("results file of 500 MB", &[], "truncate -s 500M $TASKOTRON_RESULTS", NONE, ERRS),
        row("deep YAML", &[], "head -c 1000000 /dev/zero | tr '\\0' '[' >$TASKOTRON_RESULTS", NONE, ERRS),
        row(
            "YAML bomb",
            &[],
            "python3 -c 'print(\"a0: &a0 [x, x]\")
for n in range(1, 40): print(f\"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\")
print(\"results: *a39\")' >$TASKOTRON_RESULTS",
            NONE,
            ERRS,
        ),
        row("results that are a pipe", &[], "mkfifo $TASKOTRON_RESULTS", NONE, ERRS),
        row("results that are a folder", &[], "mkdir $TASKOTRON_RESULTS", NONE, ERRS),
        row("results that lead elsewhere", &[], "ln -s /etc/passwd $TASKOTRON_RESULTS", NONE, ERRS),
        row(
            "XML bomb",
            &[],
            "python3 -c 'print(\"<!DOCTYPE x [<!ENTITY e0 \\\"ha\\\">\")
for n in range(1, 40): print(f\"<!ENTITY e{n} \\\"&e{n - 1};&e{n - 1};\\\">\")
print(\"]><testsuite><testcase name=\\\"&e39;\\\">&e39;</testcase></testsuite>\")' >r.xml",
            JUNIT,
            ERRS,
        ),
        row(
            "XML without an end to its depth",
            &[],
            "yes '<testsuite>' | head -n 1000000 >r.xml",
            JUNIT,
            ERRS,
        ),
        row("XML of 500 MB", &[], "echo '<testsuite>' >r.xml; truncate -s 500M r.xml", JUNIT, ERRS),
        row(
            "XML that includes files of others",
            &[],
            "echo \"<!DOCTYPE x [<!ENTITY e SYSTEM 'file://$OUTSIDE/secret'>]><testsuite><testcase name='&e;'/></testsuite>\" >r.xml",
            JUNIT,
            ERRS,
        ),
        row(
            "a plan of more tests than there can be",
            &[],
            "printf 'TAP version 14\\n1..99999999999999999999\\nok 1\\n' >r.tap",
            TAP,
            ERRS,
        ),
        row("a million tests", &[], "seq -f 'ok %.0f' 1000000 >r.tap; echo 1..1000000 >>r.tap", TAP, ERRS),
        row(
            "artifacts that lead elsewhere by links and patterns",
            &[],
            "ln -s $OUTSIDE out; ln -s $OUTSIDE/secret file; mkfifo pipe",
            |l| l.task.artifacts = ["out/**", "file", "pipe", "../**", "/etc/passwd"].map(str::to_owned).to_vec(),
            |seen| {
                EXITED(seen);
                let note = seen.report.note.as_deref().unwrap_or_default();
                assert!(note.contains("file (is a link)"), "{}: {note}", seen.name);
            },
        ),
        row("artifact that leads elsewhere", &[], "ln -s $OUTSIDE/kept $TASKOTRON_ARTIFACTS/kept", NONE, EXITED),
        row(
            "artifact above its folder",
            LANDLOCK,
            "echo x >\"$TASKOTRON_ARTIFACTS/../../escaped\" && echo DONE || echo refused",
            NONE,
            REFUSED,
        ),
        // Reaches for what is not its own.
        row("writes outside", LANDLOCK, "echo x >$OUTSIDE/kept && echo DONE || echo refused", NONE, REFUSED),
        row("removes outside", LANDLOCK, "rm -f $OUTSIDE/kept && echo DONE || echo refused", NONE, REFUSED),
        row("reads a secret", LANDLOCK, "cat $OUTSIDE/secret && echo DONE || echo refused", NONE, REFUSED),
        row("second name for a file of others", LANDLOCK, "ln $OUTSIDE/kept mine && echo DONE || echo refused", NONE, REFUSED),
        row("system", LANDLOCK, "touch /usr/x || touch /etc/x || touch /root/x || touch /var/x || echo refused", NONE, REFUSED),
        row("kernel's settings", LANDLOCK, "echo x >/proc/sys/kernel/core_pattern && echo DONE || echo refused", NONE, REFUSED),
        row("clock", LANDLOCK, "date -s @0 && echo DONE || echo refused", NONE, REFUSED),
        row("device nodes", LANDLOCK, "mknod disk b 254 0 && echo DONE || echo refused", NONE, REFUSED),
        row("mounts", LANDLOCK, "mount -t tmpfs x tmp && echo DONE || echo refused", NONE, REFUSED),
        row(
            "mounts in namespaces of its own",
            LANDLOCK,
            "unshare --user --map-root-user --mount mount -t tmpfs x tmp && echo DONE || echo refused",
            NONE,
            REFUSED,
        ),
        row("leaves its cgroup", LANDLOCK, "f=0; for p in /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs; do
(echo $$ >$p) 2>/dev/null && f=1; done; [ $f = 0 ] && echo refused", NONE, REFUSED),
        row("kills its parent", LANDLOCK, "kill -9 $PPID && echo DONE || echo refused", NONE, REFUSED),
        row("looks into its parent", LANDLOCK, "cat /proc/$PPID/environ && echo DONE || echo refused", NONE, REFUSED),
        row(
            "traces its parent",
            LANDLOCK,
            "python3 -c 'import ctypes, sys
print(\"refused\" if ctypes.CDLL(None).ptrace(16, int(sys.argv[1]), 0, 0) == -1 else \"DONE\")' $PPID",
            NONE,
            REFUSED,
        ),
        row("environment of the worker", &[], "env; cat /proc/self/environ", NONE, |seen| {
            EXITED(seen);
            assert!(std::env::var_os(OURS).is_some());
            assert!(seen.text().contains("TASKOTRON_ITEM") && !seen.text().contains(OURS), "{}", seen.text());
        }),
        row(
            "files that the worker has open",
            &[],
            "n=3; while [ $n -lt 1000 ]; do [ -e /proc/$$/fd/$n ] && echo DONE $n; n=$((n + 1)); done; echo refused",
            NONE,
            REFUSED,
        ),
        row("core dump", &[], "ulimit -c unlimited; sh -c 'kill -SEGV $$'; ls core* && echo DONE || echo refused", NONE, REFUSED),
        row("crash", &[], "kill -SEGV $$", NONE, |seen| seen.ends(End::Signalled { signal: 11 })),
        row(
            "becomes root by a file of its own",
            &[],
            "cp /usr/bin/id mine; chmod 6755 mine; ./mine",
            NONE,
            EXITED,
        ),
        row(
            "network",
            APART,
            "python3 -c 'import os, socket
for kind, where in ((socket.SOCK_STREAM, (\"127.0.0.1\", int(os.environ[\"PORT\"]))), (socket.SOCK_DGRAM, (\"192.0.2.1\", 9))):
    try: socket.socket(socket.AF_INET, kind).connect(where); print(\"DONE\")
    except OSError as e: print(\"refused\", e)'",
            NONE,
            REFUSED,
        ),
        row(
            "serves itself, which it may",
            APART,
            "python3 -c 'import socket
s = socket.create_server((\"127.0.0.1\", 8080)); c = socket.create_connection((\"127.0.0.1\", 8080)); s.accept()'",
            NONE,
            EXITED,
        ),
        row("temporary files of all", APART, "echo x >/tmp/torture-$MARK && ls /tmp", NONE, |seen| {
            EXITED(seen);
            assert_eq!(seen.text().lines().count(), 1, "it finds none of others: {}", seen.text());
        }),
        row("terminal of another", LANDLOCK, "(echo x >$TERMINAL) && echo DONE || echo refused", NONE, REFUSED),
        row(
            "terminals of all, by their folder",
            APART,
            "[ $(ls /dev/pts | grep -c '^[0-9]') = 0 ] && echo refused",
            NONE,
            REFUSED,
        ),
        row(
            "a terminal of its own, which it may have",
            APART,
            "python3 -c 'import os; os.write(os.openpty()[1], b\"x\")' && script -qc tty /dev/null",
            NONE,
            EXITED,
        ),
        // The same, in a machine of its own.
        row(
            "kills everything",
            &["sandbox:bubblewrap"],
            "setsid sleep $MARK & kill -9 -1; echo on; kill -9 $PPID && echo on",
            BUBBLEWRAP,
            |seen| assert!(seen.text().contains("on"), "{}", seen.text()),
        ),
        row("crash, in bubblewrap", &["sandbox:bubblewrap"], "kill -SEGV $$", BUBBLEWRAP, |seen| {
            seen.ends(End::Signalled { signal: 11 });
        }),
        row("exits as if by no signal, in bubblewrap", &["sandbox:bubblewrap"], "exit 128", BUBBLEWRAP, |seen| {
            seen.ends(End::Exited { code: 128 });
        }),
        row(
            "files that the worker has open, in bubblewrap",
            &["sandbox:bubblewrap"],
            "n=3; while [ $n -lt 1000 ]; do [ -e /proc/$$/fd/$n ] && echo DONE $n; n=$((n + 1)); done; echo refused",
            BUBBLEWRAP,
            REFUSED,
        ),
        row(
            "writes outside, from bubblewrap",
            &["sandbox:bubblewrap"],
            "echo x >$OUTSIDE/kept && echo DONE || echo refused",
            BUBBLEWRAP,
            REFUSED,
        ),
        row(
            "network, from bubblewrap",
            &["sandbox:bubblewrap"],
            "python3 -c 'import os, socket
try: socket.create_connection((\"127.0.0.1\", int(os.environ[\"PORT\"]))); print(\"DONE\")
except OSError as e: print(\"refused\", e)'",
            BUBBLEWRAP,
            REFUSED,
        ),
        row(
            "daemon without a trace, from bubblewrap",
            &["sandbox:bubblewrap"],
            "(setsid env -i setsid sleep $MARK </dev/null >/dev/null 2>&1 &); sleep 0.2",
            BUBBLEWRAP,
            EXITED,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_tasks_harm_nothing_and_leave_nothing_behind() {
    // Not below /tmp, of which jobs have one of their own.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    for name in ["kept", "secret"] {
        fs::write(outside.join(name), name).unwrap();
    }
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    stranger.set_nonblocking(true).unwrap();
    let port = stranger.local_addr().unwrap().port();
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    unlockpt(&terminal).unwrap();
    let terminal_name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
    let master = Master::start().await;
    let rig = Rig::with(master, dir, |settings| {
        settings.writable = Vec::new();
        settings.slots = 8;
        settings.limits.processes = 256;
        let outside = outside.display().to_string();
        settings.environment = [("PORT", port.to_string()), ("OUTSIDE", outside), ("TERMINAL", terminal_name.clone())]
            .map(|(name, value)| (name.to_owned(), value))
            .into();
    });
    let offered = rig.master.until("a claim", |book| book.labels.clone()).await;
    let mounts = mounts_below(rig.dir.path());
    let passwd = fs::metadata("/etc/passwd").unwrap();

    let only = std::env::var("TASKOTRON_ROW").unwrap_or_default();
    let meant = rows().into_iter().filter(|row| row.name.contains(&only));
    let (able, skipped): (Vec<Row>, Vec<Row>) =
        meant.partition(|row| row.needs.iter().all(|need| offered.contains(*need)));
    let lacking: Vec<_> = skipped.iter().map(|row| format!("{} (needs {})", row.name, row.needs.join(", "))).collect();
    println!("{} rows, left out: {lacking:?}", able.len());
    assert!(lacking.len() <= MOST_SKIPPED, "too much is left out for want of a kernel's feature: {lacking:?}");
    assert!(able.len() >= 30 || !only.is_empty());

    let marks = 31_415_926 + u64::from(std::process::id()) * 1000;
    let leases: Vec<(Row, String, Lease)> = able
        .into_iter()
        .zip(marks..)
        .map(|(row, mark)| {
            let mark = mark.to_string();
            let lease = lease_with(&format!("MARK={mark}; {}", row.script), row.change);
            rig.master.give(lease.clone());
            (row, mark, lease)
        })
        .collect();
    let mut failed = Vec::new();
    for (row, mark, lease) in leases {
        let report = rig.master.report(&lease).await;
        println!("{:60} {}", row.name, report.end);
        assert!(!report.enforced.is_empty(), "{}: it says what held it", row.name);
        let seen = Seen { name: row.name, report, log: rig.master.log(&lease), outside: outside.clone() };
        let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (row.check)(&seen)));
        let left = processes_with(&mark);
        if judged.is_err() || !left.is_empty() || !kit::processes_of(&lease).is_empty() {
            failed.push(format!("{}: {left:?}", row.name));
        }
        for name in ["kept", "secret"] {
            assert_eq!(fs::read_to_string(seen.outside.join(name)).unwrap_or_default(), name, "{}", row.name);
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(stranger.accept().is_err(), "somebody has reached the test");
    assert_eq!(fs::metadata("/etc/passwd").unwrap().nlink(), passwd.nlink());
    assert!(fs::read_dir("/tmp").unwrap().flatten().all(|e| !e.file_name().to_string_lossy().starts_with("torture-")));
    until("every workspace to be gone", || rig.lies_in("work").is_empty() && rig.lies_in("groups").is_empty()).await;
    assert_eq!(mounts_below(rig.dir.path()), mounts);
    let cgroups = cgroups_of(&rig);
    let busy: Vec<_> = cgroups.iter().filter(|group| !processes_in(group).is_empty()).collect();
    assert!(busy.is_empty(), "{busy:?}");

    rig.stop.graceful.cancel();
    let dir = rig.ended().await;
    assert!(cgroups.iter().all(|group| !group.exists()), "a worker that has ended leaves no cgroup");
    assert!(!dir.path().join("worker").join("work").join("escaped").exists());
    until("no zombie of ours", || zombies_of(std::process::id()).is_empty()).await;
}

#[tokio::test]
async fn what_is_asked_for_and_cannot_be_enforced_is_not_offered_and_never_run() {
    let (master, dir) = (Master::start().await, tempfile::tempdir().unwrap());
    let rig = Rig::with(master, dir, |settings| (settings.cgroups, settings.sandboxes) = (false, vec![Sandbox::None]));
    let offered = rig.master.until("a claim", |book| book.labels.clone()).await;
    let not: Vec<_> = ["limit:memory", "limit:processes", "limit:cpus", "sandbox:landlock"].into();
    assert!(not.iter().all(|label| !offered.contains(*label)), "{offered:?}");
    assert!(["limit:files", "limit:disk", "sandbox:none"].iter().all(|label| offered.contains(*label)), "{offered:?}");
    // A master that gives it all the same.
    let report = rig.run(&lease_with("echo it ran", MEMORY)).await;
    let reason = "its task needs limit:memory, which this worker does not offer".to_owned();
    assert_eq!(report.end, End::NotStarted { reason });
    let free = lease_with("echo x >$HOME/../../free", |l| l.task.bounds.sandbox = Some(Sandbox::None));
    let report = rig.run(&free).await;
    assert_eq!((report.end, report.enforced["sandbox"].as_str()), (End::Exited { code: 0 }, "none"));
    assert!(!report.enforced.contains_key("memory"), "nothing is claimed that was not enforced");
    rig.stop.graceful.cancel();
    rig.ended().await;
}

#[tokio::test]
async fn a_full_disk_is_one_jobs_trouble_and_not_the_next_ones() {
    let dir = tempfile::tempdir().unwrap();
    let small = Small::mount(dir.path());
    let rig = Rig::with(Master::start().await, dir, |settings| (settings.slots, settings.disk_reserve) = (1, 0));
    let filler = lease_with("dd if=/dev/zero of=big bs=64k; echo $?; exit 7", |_| {});
    assert_eq!(rig.run(&filler).await.end, End::Exited { code: 7 }, "the disk was full before its limit");
    let next = lease_with("dd if=/dev/zero of=big bs=64k count=8", |_| {});
    assert_eq!(rig.run(&next).await.end, End::Exited { code: 0 });
    rig.stop.graceful.cancel();
    rig.ended().await;
    drop(small);
}

#[tokio::test]
async fn a_job_whose_log_finds_no_room_is_not_handed_back_which_would_cost_no_budget() {
    let dir = tempfile::tempdir().unwrap();
    let small = Small::mount(dir.path());
    let rig = Rig::with(Master::start().await, dir, |settings| settings.disk_reserve = 0);
    let chatty = lease_with("dd if=/dev/zero of=big bs=64k; yes", |_| {});
    let reason = match rig.run(&chatty).await.end {
        End::NotStarted { reason } => reason,
        other => panic!("{other:?}"),
    };
    assert!(reason.starts_with("cannot write the job's log: No space left"), "{reason}");
    rig.stop.graceful.cancel();
    rig.ended().await;
    drop(small);
}

#[tokio::test]
async fn a_log_whose_end_finds_no_room_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let small = Small::mount(dir.path());
    let rig = Rig::with(Master::start().await, dir, |settings| settings.disk_reserve = 0);
    // What is kept of the end has its room by then; it follows the beginning when the job is over.
    let script = "head -c 2000000 /dev/zero; dd if=/dev/zero of=big bs=64k; exit 0";
    let report = rig.run(&lease_with(script, |l| l.task.log_limit = 1 << 20)).await;
    assert_eq!(report.end, End::Exited { code: 0 });
    let want = "the log ends early: cannot write the end of the job's log: No space left on device (os error 28)";
    assert_eq!(report.note.as_deref(), Some(want));
    rig.stop.graceful.cancel();
    rig.ended().await;
    drop(small);
}

/// A file system of 16 MiB where a worker has its folder.
struct Small(PathBuf);

impl Small {
    fn mount(dir: &Path) -> Small {
        let folder = dir.join("worker");
        fs::create_dir(&folder).unwrap();
        let mounted =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "x"]).arg(&folder).status();
        assert!(mounted.unwrap().success(), "this needs to mount a tmpfs: run ./test as root, or in unshare -Urm");
        Small(folder)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Living processes that have this number among their arguments.
fn processes_with(mark: &str) -> Vec<String> {
    let commands = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let command = fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&command).replace('\0', " "))
    });
    commands.filter(|command| command.contains(mark)).collect()
}

/// Their lines of `/proc/PID/stat`: after the name come state and parent.
fn zombies_of(parent: u32) -> Vec<String> {
    let stats = fs::read_dir("/proc").unwrap().flatten();
    let stats = stats.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    stats.filter(|stat| stat.contains(&format!(") Z {parent} "))).collect()
}

fn mounts_below(folder: &Path) -> Vec<String> {
    let folder = folder.display().to_string();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().filter(|line| line.contains(&folder)).map(str::to_owned).collect()
}

/// The groups of a running worker.
fn cgroups_of(rig: &Rig) -> Vec<PathBuf> {
    let folders = fs::read_to_string(rig.file("worker/cgroups")).unwrap_or_default();
    let groups = folders.lines().flat_map(|folder| fs::read_dir(folder).unwrap().flatten());
    groups.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

fn processes_in(group: &Path) -> String {
    fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default()
}
