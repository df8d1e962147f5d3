//! What a task's author gets: the checks of `examples/checks`, each from a repository of its own that is pushed to, on
//! things that are good and things that are not; and the same on the author's own machine.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::installation::{Installation, PATIENCE};
use crate::kit::count::text;
use crate::kit::{Story, secs, until};
use crate::upstream::Upstream;

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

/// What a check prints from its second version on.
const SECOND: &str = "the second version";

/// What its author changes for that: (check, file, a text in it, what becomes of that)
const EDITS: [(&str, &str, &str, &str); 5] = [
    ("rpmlint", "run.sh", "set -u\n", "set -u\necho the second version\n"),
    ("python-check", "check.py", "import ast\n", "import ast\nprint('the second version')\n"),
    ("shellcheck", "run.sh", "set -u\n", "set -u\necho the second version\n"),
    ("pytest", "run.sh", "set -eu\n", "set -eu\necho the second version\n"),
    (
        "standard-test",
        "tests/tests.yml",
        "  tasks:\n",
        "  tasks:\n    - ansible.builtin.debug: { msg: the second version }\n",
    ),
];

/// The repositories of the checks, each with what lies in its folder of `examples/checks`.
fn repositories(story: &Story) -> BTreeMap<&'static str, Upstream<'_>> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/checks");
    let repository = |check: &'static str| {
        let upstream = Upstream::empty(story, check);
        let copied = Command::new("cp").arg("-R").arg(examples.join(check).join(".")).arg(upstream.work()).status();
        assert!(copied.expect("cp runs").success());
        upstream.commit_all("as in the examples");
        upstream.git(&["push", "--quiet", "origin", "main"]);
        (check, upstream)
    };
    EDITS.iter().map(|(check, ..)| repository(check)).collect()
}

/// An installation whose tasks are those of `examples/checks`, from the repositories in `folder`: an event of
/// `org.example.check` asks for one.
fn installation(folder: &Path) -> Installation {
    let story = Story::new();
    let checks = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/checks/checks.yml");
    let tasks = std::fs::read_to_string(checks).expect("it is there");
    let here = format!("file://{}", folder.display());
    story.write("config/checks.yml", tasks.replace("https://git.example.org/checks", &here));
    let rule = |check: &str| {
        format!(
            "  - {{ name: {check}, topics: [org.example.check], when: {{ body.check: {check} }},\n      \
             do: [{{ tasks: [{check}], item: '{{{{ body.path }}}}', item_type: path }}] }}\n"
        )
    };
    let rules: String = EDITS.iter().map(|(check, ..)| rule(check)).collect();
    story.write("config/rules.yml", format!("rules:\n{rules}"));
    for (good, files) in [("good", GOOD), ("bad", BAD)] {
        files.iter().for_each(|(name, content)| drop(story.write(format!("{good}/{name}"), content)));
        rpm(&story, good == "good", &format!("{good}/rpmlint"));
    }
    let python = story.python().get_program().to_owned();
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", Path::new(&python).parent().expect("a folder").display());
    // Tools may be in an environment of their own, and what the checks look at is in the story's folder.
    let tools = Path::new(&python).ancestors().nth(2).unwrap_or(story.folder());
    let readable = [story.folder(), tools];
    let settings = format!(
        "[worker]\nslots = 2\npath = {path:?}\nreadable = {readable:?}\n[master.mirrors]\nprotocols = [\"file\"]\ninterval = \"1h\"\n"
    );
    Installation::new(story, &settings)
}

/// Has every check look at what is good and at what is not; the jobs of that, by check and whether it is good.
fn ask(it: &Installation, round: &str) -> BTreeMap<(&'static str, bool), String> {
    let asked = CHECKS.map(|(check, good, _)| {
        let path = it.story.path(if good { "good" } else { "bad" }).join(check);
        let body = json!({"check": check, "path": path});
        json!({"id": format!("{round}-{check}-{good}"), "topic": "org.example.check", "body": body})
    });
    it.tell(&json!(asked));
    let made = until(PATIENCE, "each event to have its job", || {
        let jobs = it.look("/api/v1/jobs?limit=1000")?;
        let job = |check: &str, good: bool| {
            let event = format!("{round}-{check}-{good}");
            let job = jobs["items"].as_array()?.iter().find(|job| job["event_id"] == *event)?;
            Some(text(&job["id"]))
        };
        let made = CHECKS.iter().map(|(check, good, _)| Some(((*check, *good), job(check, *good)?)));
        made.collect::<Option<BTreeMap<_, _>>>().ok_or_else(|| jobs.to_string())
    });
    it.settled(secs(120));
    made
}

/// Proves that each job found what it is to find, and ran that commit of its check.
fn assert_found(
    it: &Installation,
    jobs: &BTreeMap<(&'static str, bool), String>,
    commits: &BTreeMap<&str, String>,
    second: bool,
) {
    let results = it.results();
    for (check, good, want) in CHECKS {
        let id = &jobs[&(check, good)];
        let found = results.get(id).cloned().unwrap_or_default();
        let mut lines: Vec<String> = found
            .iter()
            .map(|result| format!("{} {}", text(&result["testcase"]["name"]), text(&result["outcome"])))
            .collect();
        lines.sort_unstable();
        let log = it.taskotron(&["job", "log", id]).out;
        assert_eq!(lines, want, "{check}, {good}: {log}");
        let grouped = found.iter().all(|result| result["groups"] == json!([id]));
        assert!(grouped, "all results of a job are one group: {found:?}");
        assert_eq!(it.get(&format!("/api/v1/jobs/{id}"))["source"]["commit"], *commits[check], "{check}");
        assert_eq!(log.contains(SECOND), second, "{check} ran the commit that its job names: {log}");
    }
}

#[test]
fn five_checks_that_people_push_find_what_is_good_and_what_is_not() {
    let home = Story::new();
    let checks = repositories(&home);
    let heads = || -> BTreeMap<&str, String> {
        checks.iter().map(|(name, upstream)| (*name, upstream.git(&["rev-parse", "HEAD"]))).collect()
    };
    let mut it = installation(home.folder());
    it.start_ready();
    let (jobs, first) = (ask(&it, "first"), heads());
    assert_found(&it, &jobs, &first, false);
    let earlier = jobs;

    // Every author pushes, and the bus tells of it.
    let fetched = || -> Result<Vec<Value>, String> {
        let mirrors = it.look("/api/v1/mirrors")?;
        Ok(mirrors["items"].as_array().expect("items").iter().map(|mirror| mirror["fetched_at"].clone()).collect())
    };
    let before = fetched().expect("it is up");
    for (check, file, old, new) in EDITS {
        let upstream = &checks[check];
        let path = upstream.work().join(file);
        let written = std::fs::read_to_string(&path).expect("it was copied");
        assert!(written.contains(old), "{written}");
        upstream.write(file, written.replacen(old, new, 1));
        upstream.commit_all("say which version it is");
        upstream.git(&["push", "--quiet", "origin", "main"]);
        let body = json!({"commit": {"repo": check, "branch": "main"}});
        it.tell(&json!({"id": format!("push-{check}"), "topic": "org.example.git.receive", "body": body}));
    }
    until(PATIENCE, "what was pushed to be fetched", || {
        let after = fetched()?;
        if before.iter().all(|old| !after.contains(old)) { Ok(()) } else { Err(format!("{before:?} and {after:?}")) }
    });
    let (jobs, second) = (ask(&it, "second"), heads());
    assert!(first.iter().all(|(check, commit)| *commit != second[check]), "each was pushed to");
    assert_found(&it, &jobs, &second, true);

    // The author runs again, at home, what a real job ran.
    for (check, good, want) in CHECKS.into_iter().filter(|(check, ..)| ["pytest", "rpmlint"].contains(check)) {
        let id = &earlier[&(check, good)];
        let again = it.taskotron(&["run", "--job", id, "-o", "json", "--settings", "taskotron.toml"]);
        assert_eq!(again.code, Some(if good { 0 } else { 1 }), "{check}: {}", again.err);
        assert!(!again.err.contains(SECOND), "its commit is the job's: {}", again.err);
        let ran: Value = serde_json::from_str(&again.out).expect("one document");
        let line = |result: &Value| format!("{} {}", text(&result["testcase"]), text(&result["outcome"]));
        assert_eq!(ran["results"].as_array().expect("results").iter().map(line).collect::<Vec<_>>(), want);
    }
    it.stop(secs(30));
    it.assert_sound();
    it.assert_nothing_left();
}
