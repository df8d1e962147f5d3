//! Old results go, with all that only they had; what a gate goes by stays.

use axum::http::HeaderValue;
use db::sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};
use model::Time;
use resultsdb::{Retentions, Store};
use serde_json::{Value, json};

use crate::server::{Server, posting};

crate::on_both_engines!(
    old_results_go_and_the_newest_stay,
    what_only_they_had_goes_too,
    a_dry_run_counts,
    the_newest_go_where_that_is_said,
    terms_go_later_and_come_back,
    results_come_in_meanwhile
);

const DAY: i64 = 86_400_000_000;

/// 2020-07-01.
const NOW: Time = Time(1_593_561_600_000_000);

fn retentions(text: Value) -> Retentions {
    serde_json::from_value(text).unwrap()
}

/// Keeps results for 30 days.
fn month() -> Retentions {
    retentions(json!([{"testcases": ["*"], "keep": "30d"}]))
}

async fn add(server: &Server, month: u32, testcase: &str, data: Value) -> i64 {
    let time = format!("2020-{month:02}-01T00:00:00.0");
    let body = json!({"outcome": "PASSED", "testcase": testcase, "submit_time": time, "data": data, "groups": [format!("g{month}")]});
    server.add(body).await["id"].as_i64().unwrap()
}

/// How many went, and how many stayed as the newest.
async fn prune(store: &Store, retentions: &Retentions, now: Time, dry_run: bool) -> (u64, u64) {
    let mut sum = (0, 0);
    store.prune(retentions, now, dry_run, |p| sum = (sum.0 + p.results, sum.1 + p.latest)).await.unwrap();
    sum
}

async fn count(server: &Server, table: &str) -> i64 {
    let text = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
    match server.url.starts_with("sqlite:") {
        true => {
            let mut connection = SqliteConnection::connect(&server.url).await.unwrap();
            db::sqlx::query_scalar(text).fetch_one(&mut connection).await.unwrap()
        }
        false => {
            let mut connection = PgConnection::connect(&server.url).await.unwrap();
            db::sqlx::query_scalar(text).fetch_one(&mut connection).await.unwrap()
        }
    }
}

async fn old_results_go_and_the_newest_stay(server: Server) {
    let x86 = json!({"item": "x", "type": "koji_build", "arch": "x86_64"});
    add(&server, 1, "t", x86.clone()).await;
    add(&server, 2, "t", x86.clone()).await;
    let superseding = add(&server, 3, "t", x86.clone()).await;
    let other_arch = add(&server, 1, "t", json!({"item": "x", "type": "koji_build", "arch": "s390x"})).await;
    let no_arch = add(&server, 1, "t", json!({"item": "x", "type": "koji_build"})).await;
    let other_item = add(&server, 1, "t", json!({"item": "y", "type": "koji_build", "arch": "x86_64"})).await;
    let other_testcase = add(&server, 1, "u", x86.clone()).await;
    let of_two = add(&server, 1, "t", json!({"item": ["x", "z"], "type": "koji_build", "arch": "x86_64"})).await;
    let young = add(&server, 6, "t", json!({"item": "y", "type": "koji_build", "arch": "ppc64le"})).await;
    add(&server, 1, "t", json!({"kind": "of no item"})).await;
    assert_eq!(prune(&server.store, &month(), NOW, false).await, (3, 6));
    let left = [superseding, other_arch, no_arch, other_item, other_testcase, of_two, young];
    let mut there = server.ids("/results?limit=100").await;
    there.sort_unstable();
    assert_eq!(there, left);
    assert_eq!(server.ids("/results?item=x&arch=x86_64&testcases=t").await, [superseding, of_two]);
    assert_eq!(server.ids("/results/latest?item=x&arch=x86_64&testcases=t").await, [superseding]);
    assert_eq!(server.ids("/results?kind=of%20no%20item").await, [] as [i64; 0]);
    assert_eq!(prune(&server.store, &month(), NOW, false).await, (0, 6));
}

async fn what_only_they_had_goes_too(server: Server) {
    let mut request =
        posting("/results", r#"{"outcome": "PASSED", "testcase": "t", "submit_time": "2020-01-01T00:00:00.0"}"#);
    request.headers_mut().insert("idempotency-key", HeaderValue::from_static("k"));
    assert_eq!(server.send(request).await.status, 201);
    add(&server, 1, "t", json!({"a": "b"})).await;
    add(&server, 6, "t", json!({"a": "b"})).await;
    assert_eq!(prune(&server.store, &month(), NOW, false).await, (2, 0));
    for (table, left) in [("results", 1), ("facts", 2), ("idempotency_keys", 0), ("groups", 1), ("testcases", 1)] {
        assert_eq!(count(&server, table).await, left, "{table}");
    }
    assert_eq!(count(&server, "stretches WHERE results <> 0").await, 1);
    assert_eq!(server.get("/groups/g1").await.status, 404);
    assert_eq!(server.get("/groups/g6").await.json()["results_count"], 1);
}

async fn a_dry_run_counts(server: Server) {
    for month in 1..=6 {
        add(&server, month, "t", json!({"item": "x"})).await;
        add(&server, month, "kept", json!({"item": "x"})).await;
    }
    let only = retentions(json!([{"testcases": ["t"], "keep": "30d"}]));
    assert_eq!(prune(&server.store, &only, NOW, true).await, (5, 0));
    assert_eq!(server.ids("/results?limit=100").await.len(), 12);
    assert_eq!(prune(&server.store, &only, NOW, false).await, (5, 0));
    assert_eq!(server.ids("/results?testcases=kept").await.len(), 6);
    assert_eq!(prune(&server.store, &Retentions::default(), NOW, false).await, (0, 0));
}

async fn the_newest_go_where_that_is_said(server: Server) {
    add(&server, 1, "t", json!({"item": "x"})).await;
    let younger = add(&server, 4, "t", json!({"item": "y"})).await;
    let both = retentions(
        json!([{"testcases": ["[t]"], "keep": "30d", "latest": "120d"}, {"testcases": ["*"], "keep": "1s"}]),
    );
    assert_eq!(prune(&server.store, &both, NOW, false).await, (1, 1));
    assert_eq!(server.ids("/results").await, [younger]);
}

async fn terms_go_later_and_come_back(server: Server) {
    add(&server, 1, "t", json!({"once": "a", "again": "b"})).await;
    prune(&server.store, &month(), NOW, false).await;
    // A term of a result that has gone is still there, and marked; who uses it again takes the mark away.
    assert_eq!(count(&server, "terms").await, 2);
    assert_eq!(count(&server, "terms WHERE unused_since IS NOT NULL").await, 2);
    let other = Store::open(&server.url).await.unwrap();
    let routed = Server::router(&other, resultsdb::WriteAccess::Open, true);
    let body =
        r#"{"outcome": "PASSED", "testcase": "t", "data": {"again": "b"}, "submit_time": "2020-06-20T00:00:00.0"}"#;
    assert_eq!(crate::server::send(routed, posting("/results", body)).await.status, 201);
    other.close().await;
    prune(&server.store, &month(), Time(NOW.0 + DAY / 48), false).await;
    assert_eq!(count(&server, "terms").await, 2, "an unused term stays for an hour");
    prune(&server.store, &month(), Time(NOW.0 + DAY), false).await;
    assert_eq!(count(&server, "terms").await, 1);
    assert_eq!(server.ids("/results?again:like=*b*").await.len(), 1);
}

async fn results_come_in_meanwhile(server: Server) {
    let old = |i: usize| json!({"outcome": "PASSED", "testcase": "t", "submit_time": "2020-01-01T00:00:00.0", "groups": ["shared"], "data": {"n": i % 7}});
    let batch: Vec<Value> = (0..1_200).map(old).collect();
    assert_eq!(server.post("/batch", json!({"results": batch})).await.status, 200);
    let writing = async {
        let mut made = Vec::new();
        for n in 0..60 {
            let body = json!({"outcome": "PASSED", "testcase": "t", "groups": ["shared"], "data": {"n": n % 7}});
            made.push(server.add(body).await["id"].as_i64().unwrap());
        }
        made
    };
    let retentions = month();
    let (gone, made) = tokio::join!(prune(&server.store, &retentions, NOW, false), writing);
    assert_eq!(gone, (1_200, 0));
    let mut there = server.ids("/results?groups=shared&limit=100").await;
    there.sort_unstable();
    assert_eq!(there, made);
    assert_eq!(server.get("/groups/shared").await.json()["results_count"], 60);
    assert_eq!(server.ids("/results?n:like=*3&limit=100").await.len(), 9);
}
