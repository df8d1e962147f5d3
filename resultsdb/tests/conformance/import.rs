//! Bringing in what another store has: from lines, from a dump of the original's database, over the API.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use db::sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use net::{Client, Secret};
use resultsdb::import::{Done, Importer, Origin, Reading};
use serde_json::{Value, json};

use crate::server::Server;

crate::on_both_engines!(
    what_was_exported_is_imported_as_it_was,
    a_result_of_another_content_ends_an_import,
    a_line_that_is_wrong_is_named,
    a_dump_of_the_original_is_imported_as_it_was,
    a_dump_that_is_not_whole_is_named,
    a_running_store_is_read_over_its_api,
    what_comes_to_a_running_store_later_is_read_later,
);

async fn read(server: &Server, text: &str) -> anyhow::Result<Done> {
    let mut report = |_: &Done| ();
    let mut importer = Importer::new(server.store.clone(), &mut report);
    let folder = tempfile::tempdir().unwrap();
    importer.read(text.as_bytes(), folder.path()).await?;
    importer.finish().await
}

/// All that a store has, as the lines of its exports.
async fn everything(server: &Server) -> String {
    let mut all = String::new();
    for what in ["testcases", "groups", "results"] {
        let answer = server.get(&format!("/export/{what}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        all.push_str(&answer.text);
    }
    all
}

/// A store with results of every kind; more than are stored at once.
async fn full(origin: &Server) {
    origin.post("/testcases", json!({"name": "unused é", "ref_url": "https://t"})).await;
    origin.post("/groups", json!({"uuid": "zz first", "description": "made first", "ref_url": "https://g"})).await;
    origin.post("/groups", json!({"uuid": "aa second"})).await;
    let outcomes = ["PASSED", "FAILED", "INFO", "RUNNING"];
    for i in 0..40 {
        let body = json!({"outcome": outcomes[i % 4], "note": "a\tb\nc\\N", "ref_url": null,
            "testcase": {"name": format!("dist/t{}", i % 3), "ref_url": format!("https://t/{}", i % 3)},
            "groups": [{"uuid": format!("g{}", i % 7), "description": "d"}, "aa second"],
            "data": {"item": [format!("pkg-{}", i % 5), "x,y"], "type": "koji_build", "n": i, "long": "é".repeat(3000)},
            "submit_time": format!("2020-01-01T00:00:{:02}.{}", 59 - i, i % 2)});
        origin.add(body).await;
    }
    for i in 0..600u32 {
        origin.add_at("many", "PASSED", 100 + i / 300).await;
    }
}

async fn what_was_exported_is_imported_as_it_was(server: Server) {
    let origin = Server::sqlite().await;
    full(&origin).await;
    let lines = everything(&origin).await;
    let done = read(&server, &lines).await.unwrap();
    assert_eq!((done.testcases, done.groups, done.results, done.stored), (5, 9, 640, 640));
    assert_eq!(everything(&server).await, lines);
    // It is found as it was, too.
    for path in
        ["/results?item=pkg-1&limit=100", "/groups?limit=100", "/results/latest?groups=g3", "/results?testcases=many"]
    {
        assert_eq!(server.get(path).await.text, origin.get(path).await.text, "{path}");
    }
    let again = read(&server, &lines).await.unwrap();
    assert_eq!((again.results, again.stored), (640, 0));
    assert_eq!(everything(&server).await, lines);
    assert_eq!(server.add_data("t", json!({})).await, 641);

    // Some of it, gone on with where it was left, and with ids far above.
    let other = Server::sqlite().await;
    let some = origin.get("/export/results?item=pkg-2&_after=10").await.text;
    assert_eq!(read(&other, &some).await.unwrap().stored, 6);
    assert_eq!(other.get("/export/results").await.text, some);
    let far = some.lines().next().unwrap().replace("\"id\":13,", "\"id\":5000000000,");
    assert_ne!(far, some.lines().next().unwrap());
    assert_eq!(read(&server, &far).await.unwrap().stored, 1);
    assert_eq!(server.add_data("t", json!({})).await, 5_000_000_001);
}

const LINE: &str = r#"{"id":3,"outcome":"PASSED","testcase":"t","submit_time":"2020-01-01T00:00:00","note":null,
                      "groups":["g"],"data":{"k":["a","b"]}}"#;

fn line(change: impl Fn(&mut Value)) -> String {
    let mut value: Value = serde_json::from_str(LINE).unwrap();
    change(&mut value);
    format!("{value}\n")
}

async fn a_result_of_another_content_ends_an_import(server: Server) {
    read(&server, &line(|_| ())).await.unwrap();
    let shuffled = line(|r| r["data"]["k"] = json!(["b", "a"]));
    assert_eq!(read(&server, &shuffled).await.unwrap().stored, 0);
    let before = everything(&server).await;
    for (part, change) in [
        ("testcase", json!({"testcase": "u"})),
        ("outcome", json!({"outcome": "FAILED"})),
        ("submit_time", json!({"submit_time": "2020-01-01T00:00:00.1"})),
        ("note", json!({"note": ""})),
        ("ref_url", json!({"ref_url": "r"})),
        ("data", json!({"data": {"k": ["a"]}})),
        ("groups", json!({"groups": []})),
    ] {
        let other = line(|r| r.as_object_mut().unwrap().extend(change.as_object().unwrap().clone()));
        let error =
            format!("{:#}", read(&server, &format!("\n{}{other}", line(|r| r["id"] = 4.into()))).await.unwrap_err());
        assert!(error.contains("line 3: result 3 is here already with another") && error.contains(part), "{error}");
        assert_eq!(everything(&server).await, before, "{part}");
    }
}

async fn a_line_that_is_wrong_is_named(server: Server) {
    let good = line(|_| ());
    for (text, says) in [
        (String::new(), "there is nothing in it"),
        (format!("{good}\n{{\"id\": 4, \"outc"), "line 3: it is no JSON, or it ends in the middle"),
        (format!("{good}[]\n"), "line 2: it is no JSON object"),
        (line(|r| r["id"] = json!("3")), "line 1: a result's id must be"),
        (line(|r| r["testcase"] = json!("")), "line 1: result 3: testcase:"),
        (line(|r| r["submit_time"] = json!("yesterday")), "line 1: result 3: submit_time must be"),
        ("PGDMP\u{1}".to_owned(), "pg_restore"),
        ("\u{1f}".to_owned(), "it holds no rows of testcase, group, result, result_data, groups_to_results"),
        ("INSERT INTO public.result VALUES (1);".to_owned(), "line 1: it was made with --inserts"),
        ("--\nSET client_encoding = 'LATIN1';\n".to_owned(), "line 2: it is not in UTF-8"),
    ] {
        let error = format!("{:#}", read(&server, &text).await.unwrap_err());
        assert!(error.contains(says), "{text}: {error}");
    }
    assert_eq!(everything(&server).await, "");
}

/// A database with the original's tables, rows in the order of these statements.
async fn original(statements: &str) -> String {
    let admin = std::env::var("TASKOTRON_TEST_POSTGRES").expect("TASKOTRON_TEST_POSTGRES: run ./test");
    let name = format!("original_{}", net::clock::uuid().simple());
    let mut connection = PgConnection::connect(&admin).await.unwrap();
    connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
    let url = format!("{}/{name}", admin.rsplit_once('/').unwrap().0);
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let tables = "
        CREATE TABLE testcase (id serial PRIMARY KEY, name text UNIQUE, ref_url text);
        CREATE TABLE \"group\" (id serial PRIMARY KEY, uuid varchar(36) UNIQUE, description text, ref_url text);
        CREATE TABLE result (id serial PRIMARY KEY, testcase_name text REFERENCES testcase (name),
            submit_time timestamp, outcome varchar(32), note text, ref_url text);
        CREATE TABLE result_data (id serial PRIMARY KEY, result_id integer REFERENCES result (id), key text, value text);
        CREATE TABLE groups_to_results (id serial PRIMARY KEY, group_uuid varchar(36) REFERENCES \"group\" (uuid),
            result_id integer REFERENCES result (id));
        CREATE TABLE sessions (id serial PRIMARY KEY, data bytea);";
    connection.execute(AssertSqlSafe(format!("{tables}\n{statements}"))).await.unwrap();
    url
}

fn dump(url: &str, arguments: &[&str]) -> String {
    let mut folders: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.filter_map(|v| Some(v.ok()?.path().join("bin"))).collect())
        .unwrap_or_default();
    folders.sort();
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let program = folders.iter().rev().map(|folder| folder.join("pg_dump")).find(|file| Path::exists(file)).unwrap();
    let output = Command::new(program).args(arguments).arg(url).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

const ROWS: &str = r#"
    INSERT INTO testcase (name, ref_url) VALUES ('z/é', 'https://z'), ('a', NULL), ('unused', '');
    INSERT INTO "group" (uuid, description, ref_url) VALUES ('u2', E'two\tlines\nand \\N', 'https://g'), ('u1', NULL, NULL),
        ('empty', '', NULL);
    UPDATE "group" SET ref_url = 'later' WHERE uuid = 'u2';
    INSERT INTO result (id, testcase_name, submit_time, outcome, note, ref_url) VALUES
        (7, 'z/é', '2020-01-02 03:04:05.678901', 'PASSED', NULL, 'https://r'),
        (3, 'a', '2021-01-01', 'CRASHED', E'\\.\n\\N\t', ''),
        (2000000000, 'a', '2021-01-01 00:00:00.5', 'FAILED', '', NULL);
    INSERT INTO result_data (result_id, key, value) VALUES (7, 'item', 'b'), (3, 'k', ''), (7, 'item', 'a'),
        (7, 'it''s', E'back\\slash'), (7, 'item', 'b');
    INSERT INTO groups_to_results (group_uuid, result_id) VALUES ('u1', 7), ('u2', 7), ('u2', 3), ('u1', 7);
    INSERT INTO sessions (data) VALUES ('x');
    INSERT INTO result (id, testcase_name, submit_time, outcome)
        SELECT i, 'a', timestamp '2022-01-01' + i * interval '1 second', 'INFO' FROM generate_series(100, 5099) i;
    INSERT INTO result_data (result_id, key, value)
        SELECT i, 'item', 'item-' || i % 50 FROM generate_series(100, 5099) i ORDER BY i % 7, i;
"#;

async fn a_dump_of_the_original_is_imported_as_it_was(server: Server) {
    let url = original(ROWS).await;
    for arguments in [
        &[][..],
        &["-a", "-t", "testcase", "-t", "\"group\"", "-t", "result", "-t", "result_data", "-t", "groups_to_results"],
    ] {
        let done = read(&server, &dump(&url, arguments)).await.unwrap();
        assert_eq!((done.testcases, done.groups, done.results), (3, 3, 5003));
        assert!(done.outcomes.contains("CRASHED") && done.left_out.is_empty());
    }
    let result = server.get("/results/7").await.json();
    assert_eq!(
        result,
        json!({"id": 7, "outcome": "PASSED", "note": null, "ref_url": "https://r", "groups": ["u1", "u2"],
               "submit_time": "2020-01-02T03:04:05.678901", "href": "http://h/api/v2.0/results/7",
               "data": {"item": ["b", "a", "b"], "it's": ["back\\slash"]},
               "testcase": {"name": "z/é", "ref_url": "https://z", "href": "http://h/api/v2.0/testcases/z/%C3%A9"}})
    );
    let result = server.get("/results/3").await.json();
    assert_eq!(result["note"], "\\.\n\\N\t");
    assert_eq!(
        (&result["ref_url"], &result["data"], &result["outcome"]),
        (&json!(""), &json!({"k": [""]}), &json!("CRASHED"))
    );
    assert_eq!(result["submit_time"], "2021-01-01T00:00:00");
    // In the order in which they were made, whatever became of their rows since.
    assert_eq!(server.get("/groups").await.column("uuid"), ["empty", "u1", "u2"]);
    let group = server.get("/groups/u2").await.json();
    assert_eq!(group["description"], "two\tlines\nand \\N");
    assert_eq!((&group["ref_url"], &group["results_count"]), (&json!("later"), &json!(2)));
    assert_eq!(server.get("/testcases").await.column("name"), ["a", "unused", "z/é"]);
    assert_eq!(server.ids("/results?item=item-7&limit=1000").await.len(), 100);
    assert_eq!(server.add_data("t", json!({})).await, 2_000_000_001);
}

async fn a_dump_that_is_not_whole_is_named(server: Server) {
    let url = original(
        "INSERT INTO testcase (name) VALUES ('a');
        INSERT INTO result (testcase_name, submit_time, outcome) VALUES ('a', '2020-01-01', 'PASSED');",
    )
    .await;
    let whole = dump(&url, &[]);
    let number = |text: &str| whole.lines().position(|line| line.starts_with(text)).unwrap() + 1;
    let row = number("1\ta\t2020");
    let cut = &whole[..whole.find("1\ta\t2020").unwrap() + 20];
    for (text, says) in [
        (cut.to_owned(), format!("line {row}, of table result: it has 3 columns instead of 6")),
        (
            format!("{}\n", cut.rsplit_once('\n').unwrap().0),
            format!("ends in the middle of table result, at line {}", row - 1),
        ),
        (
            whole.replace("2020-01-01 00:00:00", "infinity"),
            format!("line {row}, of table result: column submit_time holds"),
        ),
        (whole.replace("COPY public.result_data", "COPY public.other"), "it holds no rows of result_data".to_owned()),
        (dump(&url, &["--inserts"]), "--inserts".to_owned()),
        (dump(&url, &["-T", "testcase"]), "it holds no rows of testcase".to_owned()),
    ] {
        let error = format!("{:#}", read(&server, &text).await.unwrap_err());
        assert!(error.contains(&says), "{says}: {error}");
    }
    assert_eq!(everything(&server).await, "");
    // A row that leads nowhere is told.
    let stray = whole.replace(
        "COPY public.result_data (id, result_id, key, value) FROM stdin;\n",
        "COPY public.result_data (id, result_id, key, value) FROM stdin;\n9\t9\tk\tv\n",
    );
    let done = read(&server, &stray).await.unwrap();
    assert_eq!(done.left_out, ["1 rows of result_data whose result is not in the dump"]);
    assert_eq!(server.ids("/results").await, [1]);
}

/// Serves a store over HTTP, answers 503 to the request of this number, and counts them.
async fn served(origin: &Server, failing: usize) -> (String, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let guard = move |request: Request, next: Next| {
        let counted = counted.clone();
        async move {
            if counted.fetch_add(1, Ordering::Relaxed) + 1 == failing {
                return StatusCode::SERVICE_UNAVAILABLE.into_response();
            }
            let response: Response = next.run(request).await;
            response
        }
    };
    let router = origin.router.clone().layer(middleware::from_fn(guard));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, count)
}

async fn read_api(server: &Server, url: &str, reading: Reading) -> anyhow::Result<Done> {
    let client = Client::new(url.parse::<url::Url>().unwrap(), Secret::none()).unwrap();
    let origin = Origin::new(client, url, 100, Box::new(|_| ()));
    let mut report = |_: &Done| ();
    origin.read(&server.store, Importer::new(server.store.clone(), &mut report), reading).await
}

async fn a_running_store_is_read_over_its_api(server: Server) {
    let origin = Server::sqlite().await;
    // 300 results of one second, and 100 on a page.
    full(&origin).await;
    let (url, _) = served(&origin, 5).await;
    let done = read_api(&server, &url, Reading::On).await.unwrap();
    assert_eq!((done.results, done.stored), (640, 640));
    assert_eq!(everything(&server).await.lines().count(), everything(&origin).await.lines().count());
    let (of_server, of_origin) = (server.get("/export/results").await.text, origin.get("/export/results").await.text);
    assert_eq!(of_server, of_origin);
    assert_eq!(server.get("/export/groups").await.text, origin.get("/export/groups").await.text);
    assert_eq!(server.add_data("t", json!({})).await, 641);
}

async fn what_comes_to_a_running_store_later_is_read_later(server: Server) {
    let origin = Server::sqlite().await;
    for second in 0..250 {
        origin.add_at("t", "PASSED", second).await;
    }
    let (url, count) = served(&origin, 0).await;
    assert_eq!(read_api(&server, &url, Reading::On).await.unwrap().stored, 250);
    let requests = count.swap(0, Ordering::Relaxed);
    origin
        .add(json!({"outcome": "FAILED", "testcase": "t", "submit_time": "2020-01-01T01:00:00.0",
                    "groups": [{"uuid": "new/one", "description": "new"}]}))
        .await;
    let later = read_api(&server, &url, Reading::On).await.unwrap();
    assert_eq!((later.results, later.stored), (2, 1));
    assert!(count.load(Ordering::Relaxed) < requests + 2);
    assert_eq!(server.get("/export/groups").await.text, origin.get("/export/groups").await.text);
    // One with an older time is missed, said so, and found by reading anew.
    origin.add_at("t", "INFO", 5).await;
    let error = format!("{:#}", read_api(&server, &url, Reading::On).await.unwrap_err());
    assert!(
        error.contains("has 252 results") && error.contains("this store 251") && error.contains("--anew"),
        "{error}"
    );
    assert_eq!(read_api(&server, &url, Reading::Anew).await.unwrap().stored, 1);
    assert_eq!(server.get("/export/results").await.text, origin.get("/export/results").await.text);
}
