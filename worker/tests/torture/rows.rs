//! The hostile tasks, and what must become of each.

use std::path::PathBuf;

use model::lease::{Lease, Report, ResultFormat};
use model::{Bound, End, Outcome, Quota, Sandbox, Span};

/// A variable of this process, and so of the worker's.
const OURS: &str = "CARGO_MANIFEST_DIR";

pub struct Row {
    pub name: &'static str,
    /// Labels without which it proves nothing.
    pub needs: &'static [&'static str],
    /// `$MARK` is a number of seconds that no other row sleeps, `$OUTSIDE` a folder that is not the job's.
    pub script: &'static str,
    pub change: fn(&mut Lease),
    pub check: fn(&Seen),
}

/// What is known when it is over.
pub struct Seen {
    pub name: &'static str,
    pub report: Report,
    pub log: Vec<u8>,
    pub outside: PathBuf,
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
pub const MEMORY: fn(&mut Lease) = |l| l.task.bounds.memory = Some(64 << 20);
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

pub fn rows() -> Vec<Row> {
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
