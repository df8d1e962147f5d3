//! Everything that matches as JSON lines, in order of id.

use axum::http::Method;
use db::sqlx::{Connection as _, Executor as _, PgConnection};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::server::{Answer, Server, asking};

crate::on_both_engines!(
    an_export_is_whole_and_goes_on_where_it_was_left,
    an_export_has_the_filters_of_the_listings,
    testcases_and_groups_are_exported_in_the_order_in_which_they_were_made,
    what_an_export_cannot_do_is_said,
    a_group_that_goes_meanwhile_ends_no_export,
);

fn lines(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    assert!(answer.text.is_empty() || answer.text.ends_with('\n'));
    answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn ids(server: &Server, query: &str) -> Vec<i64> {
    let answer = server.get(&format!("/export/results{query}")).await;
    lines(&answer).iter().map(|line| line["id"].as_i64().unwrap()).collect()
}

/// So many results that an export reads them in several pieces.
const MANY: i64 = 450;

async fn an_export_is_whole_and_goes_on_where_it_was_left(server: Server) {
    assert_eq!(ids(&server, "").await, [0i64; 0]);
    let first = server
        .add(json!({"outcome": "FAILED", "testcase": {"name": "t", "ref_url": "https://t"}, "note": "é\n", "ref_url": "r",
                    "submit_time": "2020-01-01T00:00:01.5",
                    "groups": [{"uuid": "g", "description": "d", "ref_url": "https://g"}, "h"],
                    "data": {"item": ["a", "b"], "n": 1}}))
        .await;
    for second in 0..MANY {
        // Submitted in another order than that of their ids.
        server.add_at("t", "PASSED", 3000 - u32::try_from(second).unwrap()).await;
    }
    let all = lines(&server.get("/export/results").await);
    assert_eq!(
        all[0],
        json!({"id": first["id"], "outcome": "FAILED", "testcase": {"name": "t", "ref_url": "https://t"}, "note": "é\n",
               "ref_url": "r", "submit_time": "2020-01-01T00:00:01.500000", "data": {"item": ["a", "b"], "n": ["1"]},
               "groups": [{"uuid": "g", "description": "d", "ref_url": "https://g"},
                          {"uuid": "h", "description": null, "ref_url": null}]})
    );
    let all: Vec<i64> = all.iter().map(|line| line["id"].as_i64().unwrap()).collect();
    assert_eq!(all.len() as i64, MANY + 1);
    assert!(all.is_sorted());
    for (query, want) in [
        (format!("?_after={}", all[300]), &all[301..]),
        (format!("?_after={}&limit=3", all[300]), &all[301..304]),
        ("?limit=0".to_owned(), &[]),
        (format!("?_after={}", all[450]), &[]),
        ("?_after=9999999999".to_owned(), &[]),
    ] {
        assert_eq!(ids(&server, &query).await, want, "{query}");
    }
}

async fn an_export_has_the_filters_of_the_listings(server: Server) {
    for i in 0..12 {
        let data = json!({"item": format!("i{}", i % 3), "arch": if i % 2 == 0 { "x" } else { "y" }});
        let body = json!({"outcome": if i < 6 { "PASSED" } else { "FAILED" }, "testcase": format!("t{}", i % 4), "data": data,
                          "groups": [format!("g{}", i % 5)], "submit_time": format!("2020-01-{:02}T00:00:00.0", 20 - i)});
        server.add(body).await;
    }
    for query in [
        "item=i1",
        "item=i1,i2&arch=x",
        "item:like=i*",
        "item=none",
        "outcome=FAILED",
        "testcases=t1,t2",
        "testcases:like=t*&outcome=PASSED",
        "testcases=none",
        "groups=g1,g4",
        "since=2020-01-12,2020-01-15",
        "arch=x&testcases=t0&since=2020-01-12",
    ] {
        let mut want = server.ids(&format!("/results?{query}&limit=100")).await;
        want.sort_unstable();
        assert_eq!(ids(&server, &format!("?{query}")).await, want, "{query}");
        let after: Vec<i64> = want.iter().copied().filter(|id| *id > 6).collect();
        assert_eq!(ids(&server, &format!("?{query}&_after=6")).await, after, "{query}");
    }
}

async fn testcases_and_groups_are_exported_in_the_order_in_which_they_were_made(server: Server) {
    for name in ["z", "a/b", "m"] {
        server.post("/testcases", json!({"name": name, "ref_url": format!("https://{name}")})).await;
        server.post("/groups", json!({"uuid": name, "description": "d"})).await;
    }
    for i in 0..MANY {
        server.post("/groups", json!({"uuid": format!("u{i}")})).await;
    }
    let testcases = lines(&server.get("/export/testcases").await);
    assert_eq!(testcases[0], json!({"name": "z", "ref_url": "https://z"}));
    assert_eq!(testcases.iter().map(|t| t["name"].as_str().unwrap()).collect::<Vec<_>>(), ["z", "a/b", "m"]);
    let after = lines(&server.get("/export/testcases?_after=a%2Fb").await);
    assert_eq!(after, testcases[2..]);
    assert_eq!(lines(&server.get("/export/testcases?name:like=*%2F*").await), testcases[1..2]);
    let groups = lines(&server.get("/export/groups").await);
    assert_eq!(groups.len() as i64, MANY + 3);
    assert_eq!(groups[1], json!({"uuid": "a/b", "description": "d", "ref_url": null}));
    assert_eq!(lines(&server.get("/export/groups?_after=u9&limit=2").await), groups[13..15]);
    assert_eq!(lines(&server.get("/export/groups?description=d").await).len(), 3);
}

async fn a_group_that_goes_meanwhile_ends_no_export(server: Server) {
    for n in 0..MANY {
        server.post("/groups", json!({"uuid": format!("u{n}")})).await;
    }
    let answer = server.router.clone().oneshot(asking(Method::GET, "/api/v2.0/export/groups")).await.unwrap();
    let mut pieces = answer.into_body().into_data_stream();
    let mut text = pieces.next().await.unwrap().unwrap().to_vec();
    assert!(text.split(|byte| *byte == b'\n').count() < usize::try_from(MANY).unwrap(), "it is read in pieces");
    server.execute("DELETE FROM groups WHERE id <= 400").await;
    while let Some(piece) = pieces.next().await {
        text.extend(piece.unwrap());
    }
    assert!(String::from_utf8(text).unwrap().contains("\"u449\""), "what is there is still read to its end");
}

async fn what_an_export_cannot_do_is_said(server: Server) {
    for (path, status) in [
        ("/export/results?_after=x", 400),
        ("/export/results?outcome=x", 400),
        ("/export/results?limit=-1", 400),
        ("/export/testcases?_after=none", 404),
        ("/export/groups?_after=none", 404),
        ("/export/other", 404),
        ("/export", 404),
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.text);
        assert!(answer.json().is_object(), "{path}");
    }
    let head = server.send(asking(Method::HEAD, "/api/v2.0/export/results")).await;
    assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""));
}

/// An id that was given before it could be seen is not passed by: whoever goes on behind the last would never see it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_is_on_its_way_in_is_waited_for() {
    let server = Server::postgres().await;
    server.add_data("t", json!({})).await;
    let mut writer = PgConnection::connect(&server.url).await.unwrap();
    writer
        .execute(
            "BEGIN; INSERT INTO results (testcase, outcome, submit_time, data, groups)
             SELECT id, 'PASSED', 5, '{}', '[]' FROM testcases",
        )
        .await
        .unwrap();
    server.add_data("t", json!({})).await;
    let router = server.router.clone();
    let export = tokio::spawn(crate::server::send(router, asking(Method::GET, "/api/v2.0/export/results")));
    let mut watcher = PgConnection::connect(&server.url).await.unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let asked = "SELECT count(*) FROM pg_stat_activity
                 WHERE datname = current_database() AND query LIKE '%virtualtransaction FROM pg_locks%'
                   AND pid <> pg_backend_pid()";
    loop {
        let asked: i64 = db::sqlx::query_scalar(asked).fetch_one(&mut watcher).await.unwrap();
        if asked > 0 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "the export does not ask who is writing");
        tokio::task::yield_now().await;
    }
    assert!(!export.is_finished(), "the export did not wait");
    writer.execute("COMMIT").await.unwrap();
    let ids: Vec<i64> = lines(&export.await.unwrap()).iter().map(|line| line["id"].as_i64().unwrap()).collect();
    assert_eq!(ids, [1, 2, 3]);
}
