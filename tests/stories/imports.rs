//! Results are brought in from a file and from a store that runs, killed in the middle and run again, and come out as they
//! went in.

use std::fmt::Write as _;
use std::process::Stdio;
use std::time::Duration;

use crate::installation::PATIENCE;
use crate::kit::process::Process;
use crate::kit::servers::Database;
use crate::kit::{Story, http, ports, secs, until};

/// So many that an import of a debug build takes seconds.
const RESULTS: u32 = 12_000;

/// A debug build on a busy machine.
const LONG: Duration = secs(180);

/// A results store that runs alone.
struct Server {
    url: String,
    database: String,
    _process: Process,
}

impl Server {
    fn start(story: &Story, name: &str, database: &str) -> Server {
        let listen = format!("127.0.0.1:{}", ports::free());
        let tokens = story.write("tokens", "");
        let settings =
            format!("[tokens]\nfile = {tokens:?}\n[resultsdb]\ndatabase = {database:?}\nlisten = {listen:?}\n");
        story.write(format!("{name}.toml"), settings);
        let mut command = story.taskotron();
        command.args(["resultsdb", "--settings", &format!("{name}.toml")]);
        let process = story.start(name, command);
        let server = Server { url: format!("http://{listen}"), database: database.to_owned(), _process: process };
        until(PATIENCE, "the results store to serve", || server.status("/healthcheck") == 200);
        server
    }

    fn status(&self, path: &str) -> u16 {
        http::get(&format!("{}/api/v2.0{path}", self.url)).send().map_or(0, |reply| reply.status)
    }
}

/// As an export writes it.
fn lines() -> String {
    let mut text = String::from("{\"name\":\"unused\",\"ref_url\":null}\n");
    for group in 0..50 {
        writeln!(text, r#"{{"description":"run {group}","ref_url":null,"uuid":"g{group}"}}"#).unwrap();
    }
    for id in 1..=RESULTS {
        let (second, group) = (id / 40, id % 50);
        let data = format!(r#"{{"arch":["x86_64"],"item":["pkg-{}"],"type":["koji_build"]}}"#, id % 300);
        let groups = format!(r#"[{{"description":"run {group}","ref_url":null,"uuid":"g{group}"}}]"#);
        let time = format!("2020-01-01T{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
        let rest = format!(r#""submit_time":"{time}","testcase":{{"name":"t{}","ref_url":null}}"#, id % 9);
        writeln!(
            text,
            r#"{{"data":{data},"groups":{groups},"id":{id},"note":null,"outcome":"PASSED","ref_url":null,{rest}}}"#
        )
        .unwrap();
    }
    text
}

/// Imports `source`, is killed in the middle, and does it again.
fn import(story: &Story, name: &str, server: &Server, source: &str) {
    let command = || {
        let mut command = story.taskotron();
        command.args(["results", "import", source, "--database", &server.database, "--page", "50"]);
        command
    };
    let mut first = story.start(name, command());
    until(LONG, "some results to be there", || {
        let ended = first.ended().map(|end| format!("{end}: {}", first.err()));
        assert!(ended.is_none(), "the import has ended: {}", ended.unwrap_or_default());
        server.status("/results/300") == 200
    });
    first.kill();
    assert_eq!(server.status(&format!("/results/{RESULTS}")), 404, "the import was not in the middle");
    let again = story.run(LONG, command());
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert!(again.err.contains("results that the source names are here"), "{}", again.err);
    assert!(
        again.err.contains(&format!("the store has {RESULTS} results, 10 testcases and 50 groups")),
        "{}",
        again.err
    );
    let third = story.run(LONG, command());
    assert!(third.err.contains(": 0 new,"), "{}", third.err);
}

fn export(story: &Story, server: &Server, file: &str, more: &[&str]) -> String {
    let mut command = story.taskotron();
    command.args(["results", "export", "--url", &server.url, "--out", file]).args(more);
    let ran = story.run(LONG, command);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    std::fs::read_to_string(story.path(file)).unwrap()
}

/// The lines of results; testcases and groups may come in another order than they were written here.
fn results(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.contains("\"outcome\"")).collect()
}

fn story(database: &str, copy: &str) {
    let story = Story::new();
    let whole = lines();
    let file = story.write("whole.jsonl", &whole);
    let server = Server::start(&story, "server", &database.replace("STORY", &story.folder().display().to_string()));
    import(&story, "import", &server, file.to_str().unwrap());
    let exported = export(&story, &server, "exported.jsonl", &[]);
    assert!(results(&exported) == results(&whole), "what came out is not what went in");
    assert_eq!(exported.lines().count(), whole.lines().count() - 1 + 9 + 1);

    // An export that was killed goes on behind its last whole line.
    let cut = exported.len() * 2 / 3;
    story.write("cut.jsonl", &exported[..cut]);
    assert!(export(&story, &server, "cut.jsonl", &["--resume"]) == exported, "it does not go on where it was cut");
    let mut existing = story.taskotron();
    existing.args(["results", "export", "--url", &server.url, "--out", "cut.jsonl"]);
    assert_eq!(story.run(LONG, existing).code, Some(2));
    let some = export(&story, &server, "some.jsonl", &["item=pkg-7", "testcases:like=t*"]);
    assert_eq!(some.lines().count(), results(&some).len());
    assert_eq!(some.lines().count() as u32, RESULTS / 300);

    // Another store reads it over the API.
    let copy = Server::start(&story, "copy", &copy.replace("STORY", &story.folder().display().to_string()));
    import(&story, "copying", &copy, &server.url);
    assert!(export(&story, &copy, "copied.jsonl", &[]).lines().count() == exported.lines().count());
    assert!(results(&export(&story, &copy, "again.jsonl", &[])) == results(&whole), "the copy differs");

    // What cannot be imported is said, with its line.
    let mut wrong = story.taskotron();
    wrong.args(["results", "import", "-", "--database", &copy.database]).stdin(Stdio::null());
    let ran = story.run(LONG, wrong);
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    assert!(ran.err.contains("stdin: there is nothing in it"), "{}", ran.err);
}

#[test]
fn an_import_that_is_killed_goes_on_into_postgresql() {
    let database = Database::new();
    story(database.url(), "sqlite:STORY/copy.sqlite");
}

#[test]
fn an_import_that_is_killed_goes_on_into_sqlite() {
    let copy = Database::new();
    story("sqlite:STORY/results.sqlite", copy.url());
}
