//! Many writers at once, also in two processes on one PostgreSQL.

use resultsdb::{Store, WriteAccess};
use serde_json::json;

use crate::server::{Server, posting, send};

crate::on_both_engines!(first_uses_of_testcases_and_groups_meet, readers_see_whole_results);

async fn first_uses_of_testcases_and_groups_meet(server: Server) {
    // A second store over the same database is as good as a second process: it shares no batches with the first.
    let second = Store::open(&server.url).await.unwrap();
    let routers = [server.router.clone(), Server::router(&second, WriteAccess::Open, true)];
    for round in 0..10 {
        let body = json!({"outcome": "PASSED", "testcase": {"name": format!("t{round}"), "ref_url": "r"},
                          "groups": [{"uuid": format!("g{round}"), "description": "d"}], "data": {"item": format!("i{round}")}});
        let testcase = json!({"name": format!("t{round}")});
        let group = json!({"uuid": format!("g{round}")});
        let posts = (0..16).map(|i| {
            let (path, body) = match i % 8 {
                6 => ("/testcases", &testcase),
                7 => ("/groups", &group),
                _ => ("/results", &body),
            };
            tokio::spawn(send(routers[i % 2].clone(), posting(path, &body.to_string())))
        });
        for post in futures_util::future::join_all(posts).await {
            let answer = post.unwrap();
            assert_eq!(answer.status, 201, "{}", answer.text);
        }
        let group = server.get(&format!("/groups/g{round}")).await.json();
        assert_eq!((&group["results_count"], &group["description"]), (&json!(12), &json!("d")));
        assert_eq!(server.get(&format!("/testcases/t{round}")).await.json()["ref_url"], "r");
    }
    assert_eq!(server.get("/testcases").await.column("name").len(), 10);
    assert_eq!(server.ids("/results?limit=1000").await.len(), 120);
    second.close().await;
}

async fn readers_see_whole_results(server: Server) {
    let writer = async {
        for i in 0..100 {
            server.add_data("t", json!({"item": "x", "n": i})).await;
        }
    };
    let reader = async {
        for _ in 0..50 {
            let all = server.get("/results?item=x&limit=1000").await.json();
            for result in all["data"].as_array().unwrap() {
                assert_eq!(result["data"]["item"], json!(["x"]));
            }
        }
    };
    tokio::join!(writer, reader);
    assert_eq!(server.ids("/results?item=x&limit=1000").await.len(), 100);
}
