//! The clients that reporters use, as they come from PyPI, against a store that runs alone; on both engines.

use std::path::PathBuf;

use model::Role;
use net::{Grant, Secret, Tokens};

use crate::kit::{Database, Story, http, ports, secs, until};
use crate::site::PATIENCE;

#[test]
fn resultsdb_api_and_the_conventions_do_what_they_do_with_resultsdb_on_postgresql() {
    let database = Database::new();
    drive(database.url());
}

#[test]
fn resultsdb_api_and_the_conventions_do_what_they_do_with_resultsdb_on_sqlite() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    drive(&format!("sqlite:{}", folder.path().join("results.sqlite").display()));
}

fn drive(database: &str) {
    let (story, port) = (Story::new(), ports::free());
    let grant = Grant { name: "reporter".into(), role: Role::Submitter, expires: None };
    let tokens = story.write("tokens", Tokens::line(&Secret::new("known"), &grant).expect("a secret"));
    let settings = story.write(
        "taskotron.toml",
        format!(
            "[tokens]\nfile = {tokens:?}\n[resultsdb]\nlisten = \"127.0.0.1:{port}\"\ndatabase = {database:?}\n\
             permissions = [{{ users = [\"reporter\"], testcases = [\"scratch.*\"] }}]\n"
        ),
    );
    let mut command = story.taskotron();
    command.arg("--settings").arg(settings).arg("resultsdb");
    let mut store = story.start("resultsdb", command);
    let url = format!("http://127.0.0.1:{port}");
    until(PATIENCE, "the store", || http::get(&format!("{url}/readyz")).send().is_ok_and(|reply| reply.status == 200));

    let mut client = story.python();
    client.arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients/results.py"));
    client.arg(format!("{url}/api/v2.0/")).arg("known");
    let ran = story.run(secs(120), client);
    assert_eq!(ran.code, Some(0), "{}", ran.err);

    assert!(store.stop(PATIENCE).success());
    story.assert_nothing_left(secs(10));
}
