//! POST /batch and Idempotency-Key: what is sent again is not stored again.

use axum::http::HeaderValue;
use serde_json::{Value, json};

use crate::server::{Server, posting};

crate::on_both_engines!(
    a_batch_sent_again_creates_nothing,
    one_bad_result_blocks_nothing,
    the_same_batch_twice_at_once,
    a_key_in_the_header,
    a_repeated_result_changes_nothing_else,
    a_key_whose_result_is_gone_keeps_no_other_out,
);

fn keyed(key: &str, testcase: &str) -> Value {
    json!({"idempotency_key": key, "outcome": "PASSED", "testcase": testcase, "data": {"item": key}, "groups": ["g"]})
}

async fn a_batch_sent_again_creates_nothing(server: Server) {
    let batch = json!({"results": [keyed("k1", "a"), keyed("k2", "a"), keyed("k1", "b"), {"outcome": "INFO", "testcase": "c"}]});
    let first = server.post("/batch", batch.clone()).await;
    assert_eq!(first.status, 200);
    let first = first.json();
    let answers = first["answers"].as_array().unwrap();
    let created: Vec<bool> = answers.iter().map(|a| a["created"].as_bool().unwrap()).collect();
    assert_eq!(created, [true, true, false, true]);
    assert_eq!(answers[0]["id"], answers[2]["id"]);
    let again = server.post("/batch", batch).await.json();
    let created: Vec<bool> =
        again["answers"].as_array().unwrap().iter().map(|a| a["created"].as_bool().unwrap()).collect();
    assert_eq!(created, [false, false, false, true]);
    assert_eq!(again["answers"][1]["id"], first["answers"][1]["id"]);
    assert_eq!(server.ids("/results").await.len(), 4);
    assert_eq!(server.ids("/results?item=k1").await, [answers[0]["id"].as_i64().unwrap()]);
    assert_eq!(server.get("/groups/g").await.json()["results_count"], 2);
    assert_eq!(server.post("/batch", json!({"results": []})).await.json(), json!({"answers": []}));
}

async fn one_bad_result_blocks_nothing(server: Server) {
    let mut bad = keyed("k2", "a");
    bad["outcome"] = json!("GOOD");
    let answer = server
        .post("/batch", json!({"results": [keyed("k1", "a"), bad, 5, keyed("", "a"), {"outcome": "PASSED", "testcase": "a", "data": {"a:b": 1}}, keyed("k3", "a")]}))
        .await
        .json();
    let answers = answer["answers"].as_array().unwrap();
    assert_eq!(answers.len(), 6);
    assert!(answers[0]["id"].as_i64() < answers[5]["id"].as_i64());
    assert_eq!(answers[1]["error"]["validation_error"][0]["loc"], json!(["outcome"]));
    assert_eq!(answers[2]["error"]["validation_error"][0]["type"], "dict_type");
    assert_eq!(answers[3]["error"]["validation_error"][0]["loc"], json!(["idempotency_key"]));
    assert_eq!(answers[4]["error"]["message"], "Colon not allowed in key name: ['a:b']");
    assert_eq!(server.ids("/results").await.len(), 2);
    for wrong in [json!({}), json!({"results": 5})] {
        assert_eq!(server.post("/batch", wrong).await.status, 400);
    }
}

async fn the_same_batch_twice_at_once(server: Server) {
    for round in 0..5 {
        let batch: Vec<Value> = (0..20).map(|i| keyed(&format!("r{round}-{i}"), &format!("t{i}"))).collect();
        let batch = json!({"results": batch});
        let posts = (0..4).map(|_| server.post("/batch", batch.clone()));
        let answers: Vec<Value> = futures_util::future::join_all(posts).await.iter().map(|a| a.json()).collect();
        for i in 0..20 {
            let all: Vec<&Value> = answers.iter().map(|a| &a["answers"][i]).collect();
            assert!(all.iter().all(|a| a["id"] == all[0]["id"] && a["id"].is_i64()), "{all:?}");
            assert_eq!(all.iter().filter(|a| a["created"] == true).count(), 1, "{all:?}");
        }
        assert_eq!(server.ids("/results?limit=1000").await.len(), 20 * (round + 1));
    }
}

async fn a_key_whose_result_is_gone_keeps_no_other_out(server: Server) {
    server.post("/batch", json!({"results": [keyed("k1", "a")]})).await;
    server.execute("DELETE FROM results").await;
    let batch = json!({"results": [keyed("k1", "a"), {"outcome": "INFO", "testcase": "c"}]});
    let answer = server.post("/batch", batch).await.json();
    assert!(answer["answers"][0]["error"].is_object(), "{answer}");
    assert_eq!(answer["answers"][1]["created"], true, "{answer}");
    assert_eq!(server.ids("/results").await, [answer["answers"][1]["id"].as_i64().unwrap()]);
}

async fn a_key_in_the_header(server: Server) {
    let post = async |key: &str| {
        let mut request = posting("/results", r#"{"outcome": "PASSED", "testcase": "t", "data": {"a": "b"}}"#);
        request.headers_mut().insert("idempotency-key", HeaderValue::from_str(key).unwrap());
        server.send(request).await
    };
    let first = post("one").await;
    assert_eq!(first.status, 201);
    let again = post("one").await;
    assert_eq!((again.status.as_u16(), again.json()), (201, first.json()));
    assert_ne!(post("two").await.json()["id"], first.json()["id"]);
    assert_eq!(post("").await.status, 400);
    assert_eq!(post(&"x".repeat(256)).await.status, 400);
    let at_once = futures_util::future::join_all((0..8).map(|_| post("three"))).await;
    assert!(at_once.iter().all(|a| a.status == 201 && a.json() == at_once[0].json()));
    assert_eq!(server.ids("/results").await.len(), 3);
}

async fn a_repeated_result_changes_nothing_else(server: Server) {
    let mut first = keyed("k", "t");
    first["testcase"] = json!({"name": "t", "ref_url": "old"});
    server.post("/batch", json!({"results": [first]})).await;
    server.post("/testcases", json!({"name": "t", "ref_url": "new"})).await;
    server.post("/batch", json!({"results": [first]})).await;
    assert_eq!(server.get("/testcases/t").await.json()["ref_url"], "new");
}
