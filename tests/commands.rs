//! What the programs say and end with where no master is needed.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A program in an empty folder, away from any settings and any running `up`.
fn program(path: &str, home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(path);
    command.args(arguments).env_clear().env("XDG_RUNTIME_DIR", home).current_dir(home).stdin(Stdio::null());
    command
}

fn taskotron(home: &Path, arguments: &[&str]) -> Output {
    program(env!("CARGO_BIN_EXE_taskotron"), home, arguments).output().unwrap()
}

/// `jobrunner` with a master that nobody is, at a port that nobody may listen on.
fn jobrunner(home: &Path, arguments: &[&str]) -> Output {
    let mut command = program(env!("CARGO_BIN_EXE_jobrunner"), home, arguments);
    command.env("TASKOTRON_URL", "http://127.0.0.1:1").output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_exit_codes_are_listed_and_kept() {
    let home = tempfile::tempdir().unwrap();
    let listed = taskotron(home.path(), &["help", "exit-codes"]);
    assert_eq!(text(&listed.stdout).lines().count(), 12);
    for (arguments, expected) in [
        (&["status"][..], 6),
        (&["status", "--url", "http://127.0.0.1:1"], 6),
        (&["status", "--url", "nonsense"], 2),
        (&["idle"], 2),
        (&["idle", "-m", " ", "--url", "http://127.0.0.1:1"], 2),
        (&["nonsense"], 2),
        (&["help", "nonsense"], 2),
        (&["rules", "check", "nowhere"], 2),
        (&["--settings", "nowhere.toml", "config", "show"], 2),
        (&["config", "show", "--origin"], 0),
        (&["token", "list"], 2),
        (&["completion", "bash"], 0),
    ] {
        let output = taskotron(home.path(), arguments);
        assert_eq!(code(&output), expected, "{arguments:?}: {}", text(&output.stderr));
        assert!(expected == 0 || output.stdout.is_empty(), "{arguments:?} prints an error where data belongs");
    }
}

#[test]
fn a_token_is_made_listed_and_never_written_down() {
    let home = tempfile::tempdir().unwrap();
    let create = ["token", "create", "--role", "worker", "--name", "qa04", "--file", "tokens", "-m", "a new host"];
    let made = taskotron(home.path(), &create);
    assert_eq!(code(&made), 0, "{}", text(&made.stderr));
    let file = std::fs::read_to_string(home.path().join("tokens")).unwrap();
    assert!(file.contains(": a new host\n") && !file.contains(text(&made.stdout).trim()));
    let listed = taskotron(home.path(), &["token", "list", "--file", "tokens", "-o", "csv"]);
    assert_eq!(text(&listed.stdout), "name,role,expires\nqa04,worker,\n");
}

#[test]
fn without_a_token_file_it_is_said_how_one_is_made() {
    let home = tempfile::tempdir().unwrap();
    let settings = "[tokens]\nfile = \"none\"\n[resultsdb]\ndatabase = \"sqlite:results.db\"\n";
    std::fs::write(home.path().join("s.toml"), settings).unwrap();
    let output = taskotron(home.path(), &["--settings", "s.toml", "resultsdb"]);
    let says = "none: No such file or directory (os error 2); 'taskotron token create' makes the token file";
    assert!(code(&output) == 2 && text(&output.stderr).contains(says), "{}", text(&output.stderr));
}

#[test]
fn what_is_no_job_log_is_refused_before_anything_is_asked() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("bad.csv"), "a,b\n1,2\n").unwrap();
    std::fs::write(home.path().join("good.csv"), "item,item_type,task,arch\ni,k,t,noarch\n").unwrap();
    for arguments in [&["bad.csv"][..], &["good.csv", "bad.csv"], &["absent.csv"], &["--rate", "fast", "good.csv"]] {
        assert_eq!(code(&jobrunner(home.path(), arguments)), 2, "{arguments:?}");
    }
    assert!(!home.path().join("good.csv.receipt.json").exists());
}

#[test]
fn a_job_log_without_rows_is_done_and_an_unreachable_master_is_told_in_the_receipt() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("empty.csv"), "item,item_type,task,arch\n").unwrap();
    let empty = jobrunner(home.path(), &["--json", "empty.csv"]);
    assert_eq!(code(&empty), 0, "{}", text(&empty.stderr));
    let zero = r#"{"rows":0,"submitted":0,"exists":0,"expired":0,"refused":0,"invalid":0,"left":0}"#;
    assert_eq!(text(&empty.stdout).trim(), zero);

    std::fs::write(home.path().join("jobs.csv"), "item,item_type,task,arch\ni,k,t,noarch\nj,k,,noarch\n").unwrap();
    let unreachable = jobrunner(home.path(), &["jobs.csv"]);
    assert_eq!(code(&unreachable), 6, "{}", text(&unreachable.stderr));
    let last = text(&unreachable.stdout).lines().last().unwrap();
    assert_eq!(last, "jobs.csv: 2 rows: submitted 0; exists 0; expired 0; refused 0; invalid 1; left 1");
    let receipt = std::fs::read(home.path().join("jobs.csv.receipt.json")).unwrap();
    let receipt: serde_json::Value = serde_json::from_slice(&receipt).unwrap();
    assert_eq!((&receipt["exit"], &receipt["stopped"]["line"]), (&6.into(), &2.into()));
}

#[test]
fn a_job_log_may_come_through_a_pipe() {
    let home = tempfile::tempdir().unwrap();
    let mut command = program(env!("CARGO_BIN_EXE_jobrunner"), home.path(), &["-"]);
    command.env("TASKOTRON_URL", "http://127.0.0.1:1").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"item;item_type;task\r\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 0);
    assert!(text(&output.stdout).starts_with("-: 0 rows: "));
}

/// A configuration with tasks that stand in `home`, for `taskotron run`.
fn tasks(home: &Path, tasks: &str) {
    std::fs::create_dir_all(home.join("config")).unwrap();
    std::fs::write(home.join("config/tasks.yml"), tasks).unwrap();
}

/// `taskotron run` in `home`, where nothing of it may be left.
fn run(home: &Path, arguments: &[&str]) -> Output {
    let arguments = [&["run", "--config", "config", "-o", "json"], arguments].concat();
    let before = std::fs::read_dir(home).unwrap().count();
    let mut command = program(env!("CARGO_BIN_EXE_taskotron"), home, &arguments);
    let output = command.env("TMPDIR", home).env("PATH", "/usr/bin:/bin").output().unwrap();
    assert_eq!(std::fs::read_dir(home).unwrap().count(), before, "{arguments:?} leaves something");
    output
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&output.stderr)))
}

const LINT: &str = r#"
echo "$1 on $2: $TASKOTRON_ITEM_TYPE $TASKOTRON_TASK $3"
ls
[ -z "${TASKOTRON_EVENT-}" ] || cat "$TASKOTRON_EVENT"
sleep 60 &
echo "<testsuite><testcase name='a'/><testcase name='b'>$4</testcase></testsuite>" > junit.xml
"#;

const LINT_TASKS: &str = r#"
tasks:
  lint:
    source: { path: HOME/source }
    run: [sh, lint.sh, "{{ item }}", "{{ arch }}", "{{ params.level }}", "{{ params.b | default('') }}"]
    results: [junit]
    testcase: dist.lint
  slow: { run: [sleep, 60], timeout: 1s, grace: 1s }
rules:
  - name: on-build
    topics: [a.build]
    do:
      - tasks: [lint]
        item: "{{ body.nvr }}"
        item_type: koji_build
        arches: [x86_64]
    params: { level: "7" }
"#;

#[test]
fn a_task_runs_on_its_authors_machine_as_it_would_on_a_worker() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("source")).unwrap();
    std::fs::write(home.path().join("source/lint.sh"), LINT).unwrap();
    tasks(home.path(), &LINT_TASKS.replace("HOME", &home.path().display().to_string()));
    std::fs::write(home.path().join("event.json"), r#"{"id":"e1","topic":"a.build","body":{"nvr":"foo-1-1"}}"#)
        .unwrap();

    let passed = run(home.path(), &["lint", "--event", "event.json"]);
    let log = text(&passed.stderr);
    assert_eq!(code(&passed), 0, "{log}");
    assert!(log.contains("foo-1-1 on x86_64: koji_build lint 7\n") && log.contains("lint.sh\n"), "{log}");
    assert!(log.contains(r#""topic":"a.build""#), "the task gets the event: {log}");
    let found = json(&passed);
    assert_eq!((&found["outcome"], &found["end"]["code"]), (&"PASSED".into(), &0.into()));
    let names: Vec<_> = found["results"].as_array().unwrap().iter().map(|r| r["testcase"].as_str().unwrap()).collect();
    assert_eq!(names, ["dist.lint", "dist.lint.a", "dist.lint.b"]);

    let by_hand = ["lint", "--item", "bar", "--param", "level=1", "--param", "b=<failure message='no'/>"];
    let failed = run(home.path(), &by_hand);
    assert_eq!((code(&failed), &json(&failed)["outcome"]), (1, &"FAILED".into()));
    let late = run(home.path(), &["slow", "--item", "x"]);
    assert_eq!((code(&late), &json(&late)["outcome"]), (1, &"ERROR".into()));
    assert_eq!(json(&late)["results"][0]["note"], "did not judge its item: ran longer than its timeout");
    for (arguments, says) in [
        (&["lnt", "--item", "x"][..], "did you mean 'lint'?"),
        (&["lint"], "name the --item"),
        (&["lint", "--item", "x"], "params.level"),
        (&["lint", "--event", "absent.json"], "cannot read absent.json"),
        (&["slow", "--event", "event.json"], "no rule makes a job of 'slow'"),
        (&["./absent", "--item", "x"], "cannot find ./absent"),
        (&["./source", "--item", "x"], "no tests/tests.yml"),
    ] {
        let refused = run(home.path(), arguments);
        assert_eq!(code(&refused), 2, "{arguments:?}");
        assert!(text(&refused.stderr).contains(says), "{arguments:?}: {}", text(&refused.stderr));
    }
}

#[test]
fn a_formula_is_told_as_a_task_that_runs() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("old");
    std::fs::create_dir(&folder).unwrap();
    let formula = "name: smoke\ninput: { args: [koji_build] }\nactions:\n- shell: 'test ${koji_build} = foo-1-1'\n";
    std::fs::write(folder.join("runtask.yml"), formula).unwrap();
    let refused = run(home.path(), &["./old", "--item", "foo-1-1"]);
    assert_eq!(code(&refused), 2);
    let said = text(&refused.stderr);
    let at = said.find("tasks:\n").unwrap_or_else(|| panic!("{said}"));
    let lines: String =
        said[at..].lines().take_while(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect();
    tasks(home.path(), &lines);
    for (item, want) in [("foo-1-1", 0), ("bar-1-1", 1)] {
        let ran = run(home.path(), &["smoke", "--item", item]);
        assert_eq!(code(&ran), want, "{}", text(&ran.stderr));
    }
}

#[test]
fn a_benchmark_measures_the_real_rooms_and_leaves_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    for benchmark in [&["throughput", "--jobs", "20", "--slots", "2"][..], &["claim", "--jobs", "100", "--ended", "50"]]
    {
        let arguments = [&["bench", "-o", "json"], benchmark].concat();
        let output = program(env!("CARGO_BIN_EXE_taskotron"), home.path(), &arguments)
            .env("TMPDIR", home.path())
            .output()
            .unwrap();
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        let figures: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
        for figure in &figures[..2] {
            assert!(figure["value"].as_f64() > Some(0.0) && figure["limit"]["value"].as_f64() > Some(0.0), "{figure}");
        }
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "{benchmark:?} leaves something");
    }
    let arguments = ["bench", "-o", "json", "results", "--load", "2000", "--for", "50ms"];
    let output =
        program(env!("CARGO_BIN_EXE_taskotron"), home.path(), &arguments).env("TMPDIR", home.path()).output().unwrap();
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let all: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert!(all.len() > 20 && all.iter().all(|m| m["rate"].as_f64() > Some(0.0)), "{all:?}");
    let page = all.iter().find(|m| m["what"] == "item and type").unwrap();
    assert!(page["length"].as_u64() > Some(5_000), "a page of twenty results is longer: {page}");
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "it leaves something");
}
