//! People and their programs submit job logs.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use futures_util::stream;
use model::DEPTH;
use serde_json::Value;

use super::house::{House, worker};

/// The answers, one short word a row, with their lines.
fn words(reply: &super::house::Reply) -> Vec<(u64, String)> {
    let answers: Value = reply.json();
    let word = |row: &Value| {
        let word = if row["invalid"].is_string() { "invalid" } else { row["answer"].as_str().unwrap() };
        (row["line"].as_u64().unwrap(), word.to_owned())
    };
    answers["rows"].as_array().unwrap_or_else(|| panic!("{answers}")).iter().map(word).collect()
}

fn list(words: &[(u64, &str)]) -> Vec<(u64, String)> {
    words.iter().map(|(line, word)| (*line, (*word).to_owned())).collect()
}

#[tokio::test]
async fn every_row_is_answered_and_the_same_rows_again_add_nothing() {
    let house = House::new().await;
    let log = "item,item_type,task,arch\r\nfoo,koji_build,noop,\r\n\"b\nar\",koji_build,noop,\r\n,koji_build,noop,\r\n\
               foo,koji_build,nope,\r\n";
    let first = house.csv("/api/v1/jobs", log).await;
    assert_eq!(words(&first), list(&[(2, "submitted"), (3, "submitted"), (5, "invalid"), (6, "refused")]));
    let second = house.csv("/api/v1/jobs", log).await;
    assert_eq!(words(&second), list(&[(2, "exists"), (3, "exists"), (5, "invalid"), (6, "refused")]));
    assert_eq!(house.status().await.jobs.queued, 2);
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_and_changes_nothing() {
    let house = House::new().await;
    house.submit("noop", "foo").await;
    let log = "item;item_type;task;arch\nfoo;koji_build;noop;\nbar;koji_build;noop;\n";
    let reply = house.csv("/api/v1/jobs?dry_run=true", log).await;
    assert_eq!(words(&reply), list(&[(2, "exists"), (3, "submitted")]));
    assert_eq!(house.status().await.jobs.queued, 1);
}

#[tokio::test]
async fn a_rerun_is_a_new_job_where_the_old_one_has_ended() {
    let house = House::new().await;
    let ended = house.submit("noop", "foo").await;
    assert_eq!(house.run_one(&worker("w1", &[])).await, ended);
    house.submit("noop", "bar").await;
    let log = "item,item_type,task,arch\nfoo,koji_build,noop,\nbar,koji_build,noop,\n";
    let send = || {
        let request = Request::post("/api/v1/jobs?rerun=true")
            .header(header::AUTHORIZATION, "Bearer submitter")
            .header("idempotency-key", "k1")
            .body(Body::from(log));
        house.send(request.unwrap())
    };
    let first = send().await;
    assert_eq!(words(&first), list(&[(2, "submitted"), (3, "exists")]));
    let job: Value = first.json();
    assert_ne!(job["rows"][0]["job"], Value::from(ended.to_string()));
    send().await;
    assert_eq!(house.status().await.jobs.queued, 2, "the same request makes one job");
    let audit: Value = house.get("/api/v1/audit").await.json();
    let acts: Vec<_> = audit["items"].as_array().unwrap().iter().map(|act| (&act["action"], &act["actor"])).collect();
    assert_eq!(acts, [(&Value::from("rerun"), &Value::from("the-submitter"))]);
}

#[tokio::test]
async fn a_job_that_several_rows_name_is_run_again_once() {
    let house = House::new().await;
    house.submit("noop", "foo").await;
    house.run_one(&worker("w1", &[])).await;
    let log = "item,item_type,task,arch\nfoo,koji_build,noop,\nfoo,koji_build,noop,\n";
    let reply = house.csv("/api/v1/jobs?rerun=true", log).await;
    assert_eq!(words(&reply), list(&[(2, "submitted"), (3, "exists")]));
    assert_eq!(house.status().await.jobs.queued, 1);
}

#[tokio::test]
async fn params_are_taken_as_deep_as_a_worker_can_read_them() {
    let house = House::new().await;
    let row = |item: &str, levels: usize| {
        let params = format!("{}1{}", r#"{""a"":"#.repeat(levels), "}".repeat(levels));
        format!("{item},koji_build,noop,,\"{params}\"\n")
    };
    let log = format!("item,item_type,task,arch,params\n{}{}{}", row("a", DEPTH), row("b", DEPTH + 1), row("c", 126));
    let reply = house.csv("/api/v1/jobs", &log).await;
    assert_eq!(words(&reply), list(&[(2, "submitted"), (3, "refused"), (4, "refused")]));
    assert!(reply.text().contains("params is nested more than 100 levels deep"), "{}", reply.text());
    let leases = house.claim(&worker("w1", &[]), 9, "0s").await;
    assert_eq!(leases.iter().map(|lease| lease.item.as_str()).collect::<Vec<_>>(), ["a"]);
}

#[tokio::test]
async fn what_is_no_job_log_changes_nothing() {
    let house = House::new().await;
    for body in ["a,b\n1,2\n", "", "{\"item\": \"foo\"}"] {
        let reply = house.csv("/api/v1/jobs", body).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{body}");
        reply.detail();
    }
    let empty = house.csv("/api/v1/jobs", "item,item_type,task,arch\n").await;
    assert_eq!(words(&empty), []);
    let json = Request::post("/api/v1/jobs")
        .header(header::AUTHORIZATION, "Bearer submitter")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from("{}"));
    assert_eq!(house.send(json.unwrap()).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn what_one_request_takes_is_bounded_and_says_where_it_ended() {
    let house = House::new().await;
    let send = async |body: Body| {
        let request = Request::post("/api/v1/jobs").header(header::AUTHORIZATION, "Bearer submitter");
        house.send(request.body(body).unwrap()).await
    };
    let log = |rows: usize| Body::from(format!("item,item_type,task,arch\n{}", ",koji_build,noop,\n".repeat(rows)));
    assert_eq!(send(log(100_000)).await.status, StatusCode::OK);
    let refused = send(log(100_001)).await;
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(refused.detail().starts_with("line 100002: one request takes 100000 rows"), "{}", refused.text());

    // A quote is missing: all that follows is one record.
    let begin = "item,item_type,task,arch\nfoo,koji_build,noop,\n\"bar,koji_build,noop,\n".to_owned();
    let rest = std::iter::repeat_n("bar,koji_build,noop,\n".repeat(1000), 1000);
    let body = std::iter::once(begin).chain(rest).map(Ok::<_, std::io::Error>);
    let refused = send(Body::from_stream(stream::iter(body))).await;
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(refused.detail().starts_with("line 3: the row that begins here has more than 8 MiB"), "{}", refused.text());
}

#[tokio::test]
async fn thousands_of_rows_are_read_as_they_come() {
    let house = House::new().await;
    let rows = (0..2500).map(|n| Ok::<_, std::io::Error>(format!("foo-{n},koji_build,noop,\n")));
    let header_line = std::iter::once(Ok("item,item_type,task,arch\n".to_owned()));
    let body = Body::from_stream(stream::iter(header_line.chain(rows)));
    let request = Request::post("/api/v1/jobs").header(header::AUTHORIZATION, "Bearer submitter").body(body).unwrap();
    let reply = house.send(request).await;
    assert_eq!(words(&reply).len(), 2500);
    assert_eq!(house.status().await.jobs.queued, 2500);
}
