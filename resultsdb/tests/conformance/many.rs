//! POST /batch/latest and /batch/results: each item is answered as a request of its own would be.

use serde_json::{Value, json};

use crate::server::Server;

crate::on_both_engines!(
    each_item_is_answered_as_if_asked_alone,
    an_item_of_very_many_results,
    pages_count_for_each_item,
    what_is_asked_wrongly
);

async fn fill(server: &Server) {
    for (testcase, data) in [
        ("dist.a", json!({"item": "x", "type": "koji_build", "scenario": "uefi"})),
        ("dist.a", json!({"item": "x", "type": "koji_build", "scenario": "bios"})),
        ("dist.b", json!({"item": "x", "type": "koji_build"})),
        ("other", json!({"item": ["x", "y"], "type": "koji_build"})),
        ("dist.a", json!({"item": "y", "type": "bodhi_update"})),
        ("dist.a", json!({"item": "with,comma", "type": "koji_build"})),
        ("dist.a", json!({"item": "not asked", "type": "koji_build"})),
    ] {
        server.add_data(testcase, data).await;
    }
}

/// The ids of each answer.
fn ids(answers: &Value) -> Vec<Vec<i64>> {
    let of = |a: &Value| a["data"].as_array().unwrap().iter().map(|r| r["id"].as_i64().unwrap()).collect();
    answers["answers"].as_array().unwrap().iter().map(of).collect()
}

async fn each_item_is_answered_as_if_asked_alone(server: Server) {
    fill(&server).await;
    let items = ["y", "x", "none", "x"];
    for (members, query) in [
        (json!({}), ""),
        (json!({"type": "koji_build"}), "&type=koji_build"),
        (json!({"type": ["koji_build", "bodhi_update"]}), "&type=koji_build,bodhi_update"),
        (json!({"_distinct_on": ["scenario", "arch"]}), "&_distinct_on=scenario,arch"),
        (json!({"testcases:like": "dist.*", "type": null}), "&testcases:like=dist.*"),
        (json!({"testcases": "other"}), "&testcases=other"),
        (json!({"testcases": "never"}), "&testcases=never"),
        (json!({"since": "2100"}), "&since=2100"),
        (json!({"type:like": "koji*"}), "&type:like=koji*"),
    ] {
        for list in ["latest", "results"] {
            let mut body = members.clone();
            body["items"] = json!(items);
            let many = server.post(&format!("/batch/{list}"), body).await;
            assert_eq!(many.status, 200, "{}", many.text);
            let many = many.json();
            let path = if list == "latest" { "/results/latest" } else { "/results" };
            for (answer, item) in many["answers"].as_array().unwrap().iter().zip(items) {
                let alone = server.get(&format!("{path}?item={item}{query}")).await.json();
                assert_eq!((&answer["item"], &answer["data"]), (&json!(item), &alone["data"]), "{list} {query}");
                assert_eq!(answer.get("more"), (list == "results").then_some(&json!(false)));
            }
            assert_eq!(many["answers"].as_array().unwrap().len(), items.len());
        }
    }
    let comma = server.post("/batch/latest", json!({"items": ["with,comma"]})).await.json();
    assert_eq!(comma["answers"][0]["data"][0]["data"]["item"], json!(["with,comma"]));
    assert_eq!(server.post("/batch/latest", json!({"items": []})).await.json(), json!({"answers": []}));
}

async fn an_item_of_very_many_results(server: Server) {
    let result = |i: usize| json!({"outcome": "PASSED", "testcase": format!("t{}", i % 3), "data": {"item": "big"}});
    let batch: Vec<Value> = (0..2_100).map(result).collect();
    server.post("/batch", json!({"results": batch})).await;
    let small = server.add_data("t0", json!({"item": "small"})).await;
    let latest = server.post("/batch/latest", json!({"items": ["big", "small"]})).await.json();
    assert_eq!(ids(&latest), [server.ids("/results/latest?item=big").await, vec![small]]);
    let page = server.post("/batch/results", json!({"items": ["small", "big"], "limit": 2})).await.json();
    assert_eq!(ids(&page), [vec![small], server.ids("/results?item=big&limit=2").await]);
    assert_eq!((&page["answers"][0]["more"], &page["answers"][1]["more"]), (&json!(false), &json!(true)));
}

async fn pages_count_for_each_item(server: Server) {
    let mut of = [Vec::new(), Vec::new()];
    for i in 0..9 {
        let item = if i % 2 == 0 { "a" } else { "b" };
        of[i % 2].push(server.add_data("t", json!({"item": item})).await);
    }
    let asked = async |more: Value| {
        let mut body = json!({"items": ["a", "b"], "limit": 2});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = server.post("/batch/results", body).await.json();
        let more = [0, 1].map(|i| answer["answers"][i]["more"].as_bool().unwrap());
        (ids(&answer), more)
    };
    let [a, b] = of;
    assert_eq!(asked(json!({})).await, (vec![vec![a[4], a[3]], vec![b[3], b[2]]], [true, true]));
    assert_eq!(asked(json!({"page": 1})).await, (vec![vec![a[2], a[1]], vec![b[1], b[0]]], [true, false]));
    assert_eq!(asked(json!({"page": "2"})).await, (vec![vec![a[0]], vec![]], [false, false]));
    assert_eq!(
        asked(json!({"_sort": "asc:submit_time"})).await,
        (vec![vec![a[0], a[1]], vec![b[0], b[1]]], [true, true])
    );
    assert_eq!(asked(json!({"limit": 0})).await, (vec![vec![], vec![]], [true, true]));
}

async fn what_is_asked_wrongly(server: Server) {
    for (body, field) in [
        (json!({}), "items"),
        (json!({"items": "x"}), "items"),
        (json!({"items": ["x", 5]}), "items"),
        (json!({"items": ["a\0b"]}), "items"),
        (json!({"items": vec!["x"; 1001]}), "items"),
        (json!({"items": ["x"], "type": {"a": 1}}), "parameters"),
        (json!({"items": ["x"], "type": [1]}), "parameters"),
        (json!({"items": ["x"], "outcome": "GOOD"}), "outcome"),
        (json!({"items": ["x"], "since": "yesterday"}), "since"),
        (json!({"items": ["x"], "limit": 1001}), "limit"),
        (json!({"items": vec!["x"; 200], "limit": 501}), "limit"),
        (json!({"items": ["x"], "_distinct_on": vec!["k"; 101]}), "_distinct_on"),
        (json!({"items": ["x"], "k:like": vec!["a*"; 401]}), "like"),
        (json!({"items": ["x"], "k:like": vec!["a*"; 201], "l:like": vec!["a*"; 201]}), "like"),
        (json!({"items": ["x"], "testcases:like": vec!["a*"; 401]}), "testcases:like"),
        (json!({"items": ["x"], "testcases:like": "\\?".repeat(17_000)}), "testcases:like"),
        (
            Value::from_iter((0..101).map(|n| (format!("k{n}"), json!("v"))).chain([("items".into(), json!(["x"]))])),
            "data",
        ),
    ] {
        let answer = server.post("/batch/results", body.clone()).await;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.json()["validation_error"][0]["loc"], json!([field]), "{body}");
    }
    for path in ["/batch/latest", "/batch/results"] {
        assert_eq!(server.get(path).await.status, 404);
        assert_eq!(server.post(path, json!({"items": ["x".repeat(1 << 20)]})).await.status, 413);
    }
    // As much as there may be is answered.
    let most = json!({"items": vec!["x"; 100], "limit": 1000, "_distinct_on": vec!["k"; 100], "k:like": vec!["a*"; 400],
                      "testcases:like": vec!["a*"; 400]});
    assert_eq!(server.post("/batch/results", most).await.status, 200);
}
