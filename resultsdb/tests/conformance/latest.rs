//! Section 6 of the contract: GET /results/latest.

use serde_json::json;

use crate::server::Server;

crate::on_both_engines!(
    the_newest_of_each_testcase,
    filters_come_first,
    distinct_keys_tell_results_apart,
    a_lone_distinct_is_refused
);

async fn the_newest_of_each_testcase(server: Server) {
    server.add_at("one", "PASSED", 1).await;
    let b = server.add_at("one", "FAILED", 5).await;
    let c = server.add_at("two", "PASSED", 3).await;
    let d = server.add_at("two", "INFO", 3).await;
    server.post("/testcases", json!({"name": "without results"})).await;
    let all = server.get("/results/latest").await;
    assert_eq!(all.ids(), [b, d, c]);
    assert_eq!(all.json().as_object().unwrap().keys().collect::<Vec<_>>(), ["data"]);
    // Neither the outcome nor the page cut it.
    assert_eq!(server.ids("/results/latest?outcome=PASSED&limit=1&page=7&_sort=asc:submit_time").await, [b, d, c]);
    assert_eq!(server.get("/results/latest?outcome=GOOD").await.status, 400);
    assert_eq!(server.ids("/results/latest?testcases=two").await, [d, c]);
    assert_eq!(server.ids("/results/latest?testcases:like=o*").await, [b]);
    assert_eq!(server.ids("/results/latest?testcases=none").await, [] as [i64; 0]);
    assert_eq!(server.ids("/results/latest?since=2020-01-01T00:00:00,2020-01-01T00:00:03").await.len(), 3);
}

async fn filters_come_first(server: Server) {
    let a = server.add_data("one", json!({"item": "x", "arch": "a"})).await;
    let b = server.add_data("one", json!({"item": "x", "arch": "b"})).await;
    let c = server.add_data("two", json!({"item": "x"})).await;
    server.add_data("one", json!({"item": "y"})).await;
    assert_eq!(server.ids("/results/latest?item=x").await, [c, b]);
    assert_eq!(server.ids("/results/latest?item=x&arch=a").await, [a]);
    assert_eq!(server.ids("/results/latest?item=x&testcases=one").await, [b]);
    assert_eq!(server.ids("/results/latest?item:like=*&arch=a").await, [a]);
    assert_eq!(server.ids("/results/latest?item=x&testcases:like=t*,none").await, [c]);
    assert_eq!(server.ids("/results/latest?item=none").await, [] as [i64; 0]);
}

async fn distinct_keys_tell_results_apart(server: Server) {
    let a = server.add_data("t", json!({"item": "x", "scenario": "uefi", "Odd.key-A": "1"})).await;
    server.add_data("t", json!({"item": "x", "scenario": "bios"})).await;
    let c = server.add_data("t", json!({"item": "x", "scenario": "bios"})).await;
    let d = server.add_data("t", json!({"item": "x"})).await;
    let e = server.add_data("u", json!({"item": "x", "scenario": ["uefi", "bios"]})).await;
    assert_eq!(server.ids("/results/latest?item=x&_distinct_on=scenario").await, [e, d, c, a]);
    assert_eq!(server.ids("/results/latest?item=x&_distinct_on=scenario,system_variant").await, [e, d, c, a]);
    assert_eq!(server.ids("/results/latest?item=x&_distinct_on=Odd.key-A").await, [e, d, a]);
    assert_eq!(server.ids("/results/latest?item=x&_distinct_on=").await, [e, d]);
    assert_eq!(server.ids("/results/latest?testcases=t&_distinct_on=scenario").await, [d, c, a]);
    let since = "since=1900-01-01T00:00:00.000000,2900-01-01";
    let query = format!("_distinct_on=scenario,system_architecture,system_variant&item=x&type=&{since}");
    assert_eq!(server.ids(&format!("/results/latest?{query}")).await, [] as [i64; 0]);
}

async fn a_lone_distinct_is_refused(server: Server) {
    for query in ["", "&outcome=PASSED", "&limit=5", "&testcases="] {
        let answer = server.get(&format!("/results/latest?_distinct_on=scenario{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert_eq!(answer.json(), json!({"message": "Please, provide at least one filter beside '_distinct_on'"}));
    }
}
