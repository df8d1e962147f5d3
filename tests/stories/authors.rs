//! What a task's author gets: the checks of `examples/checks`, each from its own repository, on things that are good and
//! things that are not; and the same on the author's own machine.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::installation::{Installation, PATIENCE};
use crate::kit::count::text;
use crate::kit::{Story, secs};

/// (task, whether what it looks at is good, what it finds)
const CHECKS: [(&str, bool, &[&str]); 10] = [
    ("rpmlint", true, &["dist.rpmlint PASSED"]),
    ("rpmlint", false, &["dist.rpmlint FAILED"]),
    ("python-check", true, &["dist.python-check.metadata PASSED", "dist.python-check.syntax PASSED"]),
    ("python-check", false, &["dist.python-check.metadata FAILED", "dist.python-check.syntax FAILED"]),
    (
        "shellcheck",
        true,
        &[
            "dist.shellcheck PASSED",
            "dist.shellcheck QUEUED",
            "dist.shellcheck RUNNING",
            "dist.shellcheck.go.sh PASSED",
        ],
    ),
    (
        "shellcheck",
        false,
        &[
            "dist.shellcheck FAILED",
            "dist.shellcheck QUEUED",
            "dist.shellcheck RUNNING",
            "dist.shellcheck.go FAILED",
            "dist.shellcheck.ok.sh PASSED",
        ],
    ),
    ("pytest", true, &["dist.pytest PASSED", "dist.pytest.test_shop.test_adds PASSED"]),
    (
        "pytest",
        false,
        &["dist.pytest FAILED", "dist.pytest.test_shop.test_adds FAILED", "dist.pytest.test_shop.test_later INFO"],
    ),
    ("standard-test", true, &["smoke PASSED"]),
    ("standard-test", false, &["smoke FAILED"]),
];

const GOOD: [(&str, &str); 5] = [
    (
        "python-check/pyproject.toml",
        "[project]\nname = \"shop\"\nversion = \"1.2\"\ndescription = \"x\"\nrequires-python = \"3\"\n",
    ),
    ("python-check/shop.py", "x = 1\n"),
    ("shellcheck/go.sh", "#!/bin/sh\necho \"$1\"\n"),
    ("pytest/test_shop.py", "def test_adds():\n    assert 1 + 1 == 2\n"),
    ("standard-test", "something\n"),
];

const BAD: [(&str, &str); 5] = [
    ("python-check/pyproject.toml", "[project]\nversion = \"one\"\n"),
    ("python-check/shop.py", "x = = 1\n"),
    ("shellcheck/go", "#!/bin/sh\n[ $1 = x ] && echo yes\n"),
    ("shellcheck/ok.sh", "#!/bin/sh\necho fine\n"),
    (
        "pytest/test_shop.py",
        "import pytest\ndef test_adds():\n    assert 1 + 1 == 3\n@pytest.mark.skip\ndef test_later(): pass\n",
    ),
];

const SPEC: &str = "Name: foo\nVersion: 1\nRelease: 1\nSummary: What foos do\nLicense: MIT\nURL: https://example.org/foo\n\
                    BuildArch: noarch\n%description\nFoo does what foos do.\n%install\nmkdir -p %{buildroot}/usr/share/doc/foo\n\
                    echo hello > %{buildroot}/usr/share/doc/foo/README\n%files\n%doc /usr/share/doc/foo/README\n";

const CHANGES: &str = "%changelog\n* Wed Nov 25 2026 Somebody <somebody@example.org> - 1-1\n- made\n";

/// Makes an RPM; one without a list of changes is not good.
fn rpm(story: &Story, good: bool, at: &str) {
    let spec = story.write(format!("{at}.spec"), format!("{SPEC}{}", if good { CHANGES } else { "" }));
    let top = story.path(format!("{at}.rpm-build"));
    let mut build = story.command("rpmbuild");
    build.args(["-bb", "--define"]).arg(format!("_topdir {}", top.display())).arg(spec);
    let built = story.run(PATIENCE, build);
    assert_eq!(built.code, Some(0), "{}{}", built.out, built.err);
    std::fs::rename(top.join("RPMS/noarch/foo-1-1.noarch.rpm"), story.path(at)).expect("rpmbuild has made it");
}

/// Copies a check into the story, as its author has it.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").args(["-R", "--"]).arg(from).arg(to).status().expect("cp runs");
    assert!(copied.success());
}

/// An installation whose tasks are those of `examples/checks`, each from its own place.
fn installation() -> Installation {
    let story = Story::new();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/checks");
    let checks = story.path("checks");
    copy(&examples, &checks);
    let tasks = std::fs::read_to_string(checks.join("checks.yml")).expect("it was copied");
    story.write("config/checks.yml", tasks.replace("/srv/checks", &checks.display().to_string()));
    for (good, files) in [("good", GOOD), ("bad", BAD)] {
        files.iter().for_each(|(name, content)| drop(story.write(format!("{good}/{name}"), content)));
        rpm(&story, good == "good", &format!("{good}/rpmlint"));
    }
    let python = story.python().get_program().to_owned();
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", Path::new(&python).parent().expect("a folder").display());
    Installation::new(story, &format!("[worker]\nslots = 2\npath = {path:?}\n"))
}

fn item(it: &Installation, task: &str, good: bool) -> String {
    it.story.path(if good { "good" } else { "bad" }).join(task).display().to_string()
}

#[test]
fn five_checks_that_people_use_find_what_is_good_and_what_is_not() {
    let mut it = installation();
    it.start_ready();
    let rows = CHECKS.map(|(task, good, _)| format!("{},path,{task},noarch\n", item(&it, task, good)));
    it.story.write("jobs.csv", format!("item,item_type,task,arch\n{}", rows.concat()));
    let mut replay = it.as_operator(it.story.jobrunner());
    replay.arg("jobs.csv");
    let replay = it.story.run(PATIENCE, replay);
    assert_eq!(replay.code, Some(0), "{}{}", replay.out, replay.err);
    it.settled(secs(120));

    let (jobs, results) = (it.all("jobs"), it.results());
    let job = |task: &str, good: bool| {
        let item = item(&it, task, good);
        let job = jobs.iter().find(|job| job["task"] == task && job["item"] == *item).expect("it was submitted");
        text(&job["id"])
    };
    for (task, good, want) in CHECKS {
        let id = job(task, good);
        let found = results.get(&id).cloned().unwrap_or_default();
        let mut lines: Vec<String> = found
            .iter()
            .map(|result| format!("{} {}", text(&result["testcase"]["name"]), text(&result["outcome"])))
            .collect();
        lines.sort_unstable();
        let log = || it.taskotron(&["job", "log", &id]).out;
        assert_eq!(lines, want, "{task}, {good}: {}", log());
        let grouped = found.iter().all(|result| result["groups"] == Value::from(vec![id.clone()]));
        assert!(grouped, "all results of a job are one group: {found:?}");
    }

    // The author runs again, at home, what a real job ran.
    for (task, good, want) in CHECKS.into_iter().filter(|(task, ..)| ["pytest", "rpmlint"].contains(task)) {
        let again = it.taskotron(&["run", "--job", &job(task, good), "-o", "json", "--settings", "taskotron.toml"]);
        assert_eq!(again.code, Some(if good { 0 } else { 1 }), "{task}: {}", again.err);
        let ran: Value = serde_json::from_str(&again.out).expect("one document");
        let results = ran["results"].as_array().expect("results");
        let line = |result: &Value| format!("{} {}", text(&result["testcase"]), text(&result["outcome"]));
        assert_eq!(results.iter().map(line).collect::<Vec<_>>(), want);
    }
    it.stop(secs(30));
    it.assert_sound();
    it.assert_nothing_left();
}
