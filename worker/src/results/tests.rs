use std::fs;
use std::path::PathBuf;

use model::Span;
use model::lease::ResultFormat::{ExitCode, Junit, ResultYaml, Tap, Tmt};
use proptest::prelude::*;

use super::*;

fn task(results: Vec<ResultFormat>) -> TaskOrder {
    TaskOrder {
        name: "t".into(),
        run: vec!["true".into()],
        source: None,
        timeout: Span::minutes(1),
        no_output_timeout: None,
        grace: Span::seconds(1),
        exclusive: false,
        results,
        testcase: "dist.shop".into(),
        log_limit: 0,
        artifacts: Vec::new(),
        artifact_limit: 0,
        secrets: Vec::new(),
        bounds: Default::default(),
    }
}

fn files(text: &str) -> Vec<String> {
    vec![text.to_owned()]
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/results").join(name)).unwrap()
}

/// What a job that wrote these bytes and exited with `code` has found.
fn found(format: ResultFormat, bytes: &[u8], code: i32) -> Found {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), bytes).unwrap();
    of(&task(vec![format]), dir.path(), code)
}

/// One line a finding: outcome, name, the first line of its note.
fn lines(found: &Found) -> Vec<String> {
    let line = |finding: &Finding| {
        let note = finding.note.as_deref().unwrap_or_default().lines().next().unwrap_or_default().to_owned();
        let name = finding.testcase.as_deref().unwrap_or("-");
        format!("{} {name} {note}", finding.outcome).trim_end().to_owned()
    };
    found.findings.iter().map(line).collect()
}

fn outcomes(found: &Found) -> Vec<Outcome> {
    found.findings.iter().map(|f| f.outcome).collect()
}

#[test]
fn the_first_format_that_is_present_counts() {
    let dir = tempfile::tempdir().unwrap();
    let of = |formats: &[ResultFormat], code| of(&task(formats.to_vec()), dir.path(), code);
    let both = [ResultYaml, ExitCode];
    assert_eq!(outcomes(&of(&both, 0)), [Outcome::Passed]);
    assert_eq!(outcomes(&of(&both, 3)), [Outcome::Failed]);
    let missing = of(&[ResultYaml, Junit(files("out/*.xml"))], 0);
    assert_eq!(lines(&missing), ["ERROR - exited with 0 and wrote no results.yml nor out/*.xml"]);
    fs::write(dir.path().join("results.yml"), "results:\n- {item: a, outcome: INFO}\n").unwrap();
    assert_eq!(outcomes(&of(&both, 0)), [Outcome::Info]);
    assert_eq!(outcomes(&of(&[Junit(files("out/*.xml")), ResultYaml], 0)), [Outcome::Info]);
    assert_eq!(outcomes(&of(&[ExitCode, ResultYaml], 0)), [Outcome::Passed]);
    fs::write(dir.path().join("results.yml"), "results: []\n").unwrap();
    assert_eq!(outcomes(&of(&both, 0)), [Outcome::NeedsInspection]);
    assert_eq!(outcomes(&of(&both, 1)), [Outcome::Error]);
}

#[test]
fn a_failing_exit_is_never_a_pass_whatever_was_written() {
    let yaml = b"results:\n- {item: a, outcome: PASSED}\n- {item: b, outcome: INFO}\n";
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("results.yml"), yaml).unwrap();
    let contradicts = of(&task(vec![ResultYaml]), dir.path(), 2);
    let note = "ERROR - exited with 2, although nothing that it reports is worse than PASSED or INFO";
    assert_eq!(lines(&contradicts), ["PASSED -", "INFO -", note]);
    fs::write(dir.path().join("results.yml"), "results:\n- outcome: FAILED\n").unwrap();
    let explained = of(&task(vec![ResultYaml]), dir.path(), 2);
    assert_eq!(outcomes(&explained), [Outcome::Failed]);
    assert_eq!(explained.note.unwrap(), "exited with 2 after it wrote results.yml");
    let tap = b"1..1\nok 1 - fine\n";
    assert_eq!(outcomes(&found(Tap(files("file")), tap, 0)), [Outcome::Passed; 2]);
    assert_eq!(outcomes(&found(Tap(files("file")), tap, 1)), [Outcome::Error, Outcome::Passed]);
    assert_eq!(
        lines(&found(Tap(files("file")), b"1..0\n", 0)),
        ["NEEDS_INSPECTION - exited with 0, and its files list no result"]
    );
}

#[test]
fn pytest() {
    let found = found(Junit(files("file")), &fixture("pytest.xml"), 1);
    assert_eq!(
        lines(&found),
        [
            "ERROR - 8 results: 3 PASSED, 2 INFO, 2 FAILED, 1 ERROR",
            "PASSED dist.shop.test_shop.test_adds",
            "PASSED dist.shop.test_shop.test_fits[1]",
            "FAILED dist.shop.test_shop.test_fits[2] AssertionError: a cart holds one",
            "INFO dist.shop.test_shop.test_sleeps skipped: only at night",
            "INFO dist.shop.test_shop.test_known skipped: known since last year",
            "ERROR dist.shop.test_shop.test_with_shelf failed on setup with \"RuntimeError: no shelf\"",
            "PASSED dist.shop.test_shop.TestCart.test_total",
            "FAILED dist.shop.test_shop.TestCart.test_odd AssertionError: assert '\\x07' == ''",
        ]
    );
    assert_eq!(found.findings[7].data["issue"], ["17"]);
    assert!(found.findings[3].note.as_ref().unwrap().contains("def test_fits(n):"), "its text follows its message");
    assert_eq!(
        lines(&self::found(Junit(files("file")), &fixture("pytest-collection.xml"), 2)),
        ["ERROR - 1 result: 1 ERROR", "ERROR dist.shop.test_broken collection failure",]
    );
}

#[test]
fn surefire_gotestsum_and_node() {
    let surefire = fixture("TEST-org.example.CartTest.xml");
    assert_eq!(
        lines(&found(Junit(files("*")), &surefire, 1)),
        [
            "ERROR - 5 results: 2 PASSED, 1 INFO, 1 FAILED, 1 ERROR",
            "PASSED dist.shop.org.example.CartTest.adds",
            "FAILED dist.shop.org.example.CartTest.removes one is left ==> expected: <1> but was: <2>",
            "ERROR dist.shop.org.example.CartTest.explodes no shelf",
            "INFO dist.shop.org.example.CartTest.sleeps skipped: only at night",
            "PASSED dist.shop.org.example.CartTest.wobbles passed when it was tried again: the first time ==> expected: \
         <true> but was: <false>",
        ]
    );
    assert_eq!(
        lines(&found(Junit(files("file")), &fixture("gotestsum.xml"), 1)),
        [
            "FAILED - 5 results: 2 PASSED, 1 INFO, 2 FAILED",
            "FAILED dist.shop.example.org/shop.TestCart/full Failed",
            "FAILED dist.shop.example.org/shop.TestCart Failed",
            "INFO dist.shop.example.org/shop.TestNet skipped:     net_test.go:5: no network",
            "PASSED dist.shop.example.org/shop.TestAdd",
            "PASSED dist.shop.example.org/shop.TestCart/empty",
        ]
    );
    assert_eq!(
        lines(&found(Junit(files("file")), &fixture("node.xml"), 1))[..5],
        [
            "FAILED - 5 results: 2 PASSED, 2 INFO, 1 FAILED",
            "PASSED dist.shop.test.adds",
            "PASSED dist.shop.test.joins",
            "FAILED dist.shop.test.splits wrongly Expected values to be strictly deep-equal:+ actual - expected  [    'a',+   'b'  ]",
            "INFO dist.shop.test.is for later not yet",
        ]
    );
}

#[test]
fn tap_of_perl_and_node() {
    assert_eq!(
        lines(&found(Tap(files("file")), &fixture("test-more.tap"), 2)),
        [
            "FAILED - 8 results: 4 PASSED, 2 INFO, 2 FAILED",
            "PASSED dist.shop.adds",
            "FAILED dist.shop.adds wrongly",
            "INFO dist.shop.3 skipped: no network",
            "INFO dist.shop.divides by zero failed as expected, to do: not yet",
            "PASSED dist.shop.strings/joins",
            "PASSED dist.shop.strings/deeper/is deep",
            "FAILED dist.shop.strings/deeper/is wrong",
            "PASSED dist.shop.has a # in its name",
        ]
    );
    assert_eq!(
        lines(&found(Tap(files("file")), &fixture("node.tap"), 1)),
        [
            "FAILED - 5 results: 2 PASSED, 2 INFO, 1 FAILED",
            "PASSED dist.shop.adds",
            "PASSED dist.shop.strings/joins",
            "FAILED dist.shop.strings/splits wrongly Expected values to be strictly deep-equal:",
            "INFO dist.shop.strings/is for later failed as expected, to do",
            "INFO dist.shop.strings/needs a network skipped: no network",
        ]
    );
    let line = |name, code| lines(&found(Tap(files("file")), &fixture(name), code));
    assert_eq!(line("bail.tap", 255), ["ERROR - file, line 2: bailed out: the database is gone"]);
    assert_eq!(line("short.tap", 0), ["ERROR - file, line 3: 4 tests were planned, and there are 2"]);
    assert_eq!(
        line("skip-all.tap", 0),
        ["NEEDS_INSPECTION - nothing was judged; 1 result: 1 INFO", "INFO dist.shop.all skipped: only on s390x",]
    );
}

#[test]
fn tap_as_its_specification_has_it() {
    let tap = "TAP version 14\n1..4\n# Subtest: outer\n    1..2\n    ok 1 - a \\# b \\\\ c\n    ok\nok 1 - outer\n\
               not ok 2 - inner lies\n  ---\n  message: 'two is not one'\n  severity: fail\n  ...\nwhatever a test \
               prints\nok 3 - later # TODO soon\nnot ok 4 # SKIP but failed\n";
    assert_eq!(
        lines(&found(Tap(files("file")), tap.as_bytes(), 1)),
        [
            "FAILED - 5 results: 3 PASSED, 2 FAILED",
            "PASSED dist.shop.outer/a # b \\ c",
            "PASSED dist.shop.outer/2",
            "FAILED dist.shop.inner lies two is not one",
            "PASSED dist.shop.later passed unexpectedly, to do: soon",
            "FAILED dist.shop.4 skipped: but failed",
        ]
    );
    let parent = "1..1\n    1..1\n    ok 1 - child\nnot ok 1 - parent\n";
    let parent = lines(&found(Tap(files("file")), parent.as_bytes(), 1));
    assert_eq!(parent[1..], ["PASSED dist.shop.parent/child", "FAILED dist.shop.parent"]);
}

#[test]
fn what_makes_no_sense_is_one_error_with_its_line() {
    let deep = "<testsuites>".repeat(100);
    let bomb =
        "<!DOCTYPE x [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;\">]>\n<testsuite><testcase name=\"&b;\"/></testsuite>";
    let external = "<!DOCTYPE x [<!ENTITY a SYSTEM \"file:///etc/passwd\">]>\n<testsuite/>";
    for (format, text, want) in [
        ("junit", "", "line 1: there is no XML in it"),
        ("junit", "PASSED\n", "line 1: text outside of all elements"),
        ("junit", "<testsuite>\n<testcase name='a'/>\n", "line 3: it ends before its elements do"),
        ("junit", "<testsuite>\n<testcase name='a'>\n</testsuite>", "line 3: not XML"),
        ("junit", "<html/>", "line 1: the root is <html>, not <testsuites> or <testsuite>"),
        ("junit", "<testsuite/>\n<testsuite/>", "line 2: a second root, <testsuite>"),
        ("junit", "<testsuite>\n<testcase name='&a;'/></testsuite>", "line 2: "),
        ("junit", "<testsuite><testcase><failure>&a;</failure>", "line 1: the entity '&a;' is not expanded"),
        ("junit", "<testsuite failures='few'/>", "line 1: 'few' is no number of failures"),
        ("junit", bomb, "line 1: a document type is not taken"),
        ("junit", external, "line 1: a document type is not taken"),
        ("junit", &deep, "line 1: more than 64 elements in each other"),
        ("tap", "", "line 1: there is no TAP in it"),
        ("tap", "all is fine\n", "line 1: there is no TAP in it"),
        ("tap", "ok 1\nok 2\n", "line 2: 2 tests and no plan: it may have broken off"),
        ("tap", "1..2\nok 1\nok 1\n", "line 3: test 1 stands where test 2 should"),
        ("tap", "1..1\nok 1\n1..1\n", "line 3: a second plan"),
        ("tap", "1..1\n    1..2\n    ok 1\nok 1\n", "line 4: 2 tests were planned, and there are 1"),
        ("tap", "1..1\nok 1\n    1..1\n    ok 1\n", "line 4: a subtest has no test point of its own"),
        ("tap", "1..1\nok 1\n  ---\n  message: a\n", "line 4: a YAML block has no end"),
        ("tap", "1..1\npragma +strict\nok 1\nnonsense\n", "line 4: 'nonsense' is no TAP, and it says that all is"),
        ("tap", "TAP version 13\n1..1\nok 1\nTAP version 13\n1..1\nok 1\n", "line 4: another TAP document begins"),
        ("tmt", "- name: /a\n  result: fine\n", "line 2: 'fine' is no result of tmt"),
        ("tmt", "- name: /a\n", "line 1: missing field"),
        ("tmt", "- name: [\n", "line 1: "),
    ] {
        let format = match format {
            "junit" => Junit(files("file")),
            "tap" => Tap(files("file")),
            _ => Tmt(files("file")),
        };
        let found = lines(&found(format, text.as_bytes(), 0));
        assert!(found.len() == 1 && found[0].starts_with(&format!("ERROR - file, {want}")), "{text:?}: {found:?}");
    }
}

#[test]
fn a_suite_that_hides_its_failures_is_an_error() {
    let xml = "<testsuites failures='1'><testsuite name='s' failures='1'><testcase name='a'/></testsuite></testsuites>";
    assert_eq!(
        lines(&found(Junit(files("file")), xml.as_bytes(), 0)),
        [
            "ERROR - 2 results: 1 PASSED, 1 ERROR",
            "PASSED dist.shop.a",
            "ERROR dist.shop.s the suite says that it has 1 failures and errors, and shows 0",
        ]
    );
    let status = "<testsuite><testcase name='a' status='notrun'/><testcase name='b' status='failed'/></testsuite>";
    assert_eq!(
        lines(&found(Junit(files("file")), status.as_bytes(), 0))[1..],
        ["INFO dist.shop.a", "FAILED dist.shop.b"]
    );
}

#[test]
fn several_files_are_one_sum_and_one_that_is_wrong_makes_it_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let of = |code| lines(&of(&task(vec![Junit(files("**/TEST-*.xml")), ExitCode]), dir.path(), code));
    fs::create_dir_all(dir.path().join("a/reports")).unwrap();
    fs::write(dir.path().join("a/reports/TEST-1.xml"), "<testsuite><testcase name='one'/></testsuite>").unwrap();
    fs::write(dir.path().join("TEST-2.xml"), "<testsuite><testcase name='two'/></testsuite>").unwrap();
    let good = ["PASSED - 2 results: 2 PASSED", "PASSED dist.shop.two", "PASSED dist.shop.one"];
    assert_eq!(of(0), good);
    fs::write(dir.path().join("a/TEST-3.xml"), "<testsuite>").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("TEST-4.xml")).unwrap();
    let wrong = of(0);
    let note = "ERROR - TEST-4.xml: is a link, not a file; a/TEST-3.xml, line 1: it ends before its elements do";
    assert_eq!(wrong, [note, good[1], good[2]]);
}

#[test]
fn tmt() {
    assert_eq!(
        lines(&found(Tmt(files("file")), &fixture("tmt.yaml"), 2)),
        [
            "ERROR - 4 results: 1 PASSED, 1 INFO, 1 FAILED, 1 ERROR",
            "ERROR dist.shop.tests/broken",
            "INFO dist.shop.tests/info test result overridden: info; original test result: fail",
            "PASSED dist.shop.tests/smoke",
            "FAILED dist.shop.tests/wrong",
        ]
    );
    let sub = "- name: /a\n  result: warn\n  note: slow\n  subresult:\n  - {name: /b, result: skip}\n  - {name: /c, result: pending}\n";
    assert_eq!(
        lines(&found(Tmt(files("file")), sub.as_bytes(), 0))[1..],
        ["NEEDS_INSPECTION dist.shop.a slow", "INFO dist.shop.a/b", "ERROR dist.shop.a/c",]
    );
}

/// Every format, by a file of this name.
fn formats() -> [ResultFormat; 3] {
    [Junit(files("file")), Tap(files("file")), Tmt(files("file"))]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_job_writes_is_read_without_a_panic(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            "([ ]{0,9}((not )?ok( [0-9]{1,2})?( - [a-z\\\\#]{0,5})?( # (TODO|SKIP))?|1\\.\\.[0-9]|---|\\.\\.\\.|Bail out!|TAP version 14)\n){0,12}"
                .prop_map(String::into_bytes),
            "(<(/)?(testsuites|testsuite|testcase|failure|skipped|error|property)( name='[a&;<]{0,3}')?(/)?>|&lt;|&#0;|x){0,12}"
                .prop_map(String::into_bytes),
        ],
        code in 0..3,
    ) {
        for format in formats() {
            let found = found(format, &bytes, code);
            prop_assert!(!found.findings.is_empty());
            prop_assert!(code == 0 || found.findings.iter().any(|f| f.outcome > Outcome::Info));
        }
    }

    /// A writer that died, or a disk that was full.
    #[test]
    fn a_file_that_breaks_off_is_never_a_pass(share in 0.0..1.0f64) {
        let cases: [(&str, ResultFormat); 6] = [
            ("pytest.xml", Junit(files("file"))),
            ("gotestsum.xml", Junit(files("file"))),
            ("node.xml", Junit(files("file"))),
            ("TEST-org.example.CartTest.xml", Junit(files("file"))),
            ("test-more.tap", Tap(files("file"))),
            ("node.tap", Tap(files("file"))),
        ];
        for (name, format) in cases {
            let whole = fixture(name);
            // The last line of TAP may lack its end, and comments may follow its plan.
            let (root, end) = match &format {
                Tap(_) => (0, whole.windows(5).rposition(|w| w == b"1..2\n" || w == b"ok 6 ").unwrap()),
                _ => (0, whole.iter().rposition(|b| *b == b'>').unwrap()),
            };
            let cut = root + (share * end as f64) as usize;
            let found = found(format, &whole[..cut], 0);
            prop_assert_eq!(found.findings[0].outcome, Outcome::Error, "{} cut at {}", name, cut);
        }
    }
}
