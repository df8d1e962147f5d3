//! Sections 5 and 10 of the contract: GET /results by outcome, testcase, group and time, and its pages.

use serde_json::{Value, json};

use crate::server::Server;

crate::on_both_engines!(
    outcomes_and_testcases_filter,
    since_has_both_its_ends,
    groups_filter_and_nest,
    the_newest_come_first_and_ties_by_id,
    pages_link_to_each_other,
    pages_far_down,
    page_and_limit_are_checked,
    many_testcases_are_merged,
);

async fn outcomes_and_testcases_filter(server: Server) {
    let a = server.add_at("w.one", "PASSED", 1).await;
    let b = server.add_at("w.one", "FAILED", 2).await;
    let c = server.add_at("w.two", "FAILED", 3).await;
    let d = server.add_at("W.two", "INFO", 4).await;
    for (query, want) in [
        ("testcases=w.one&outcome=FAILED", vec![b]),
        ("testcases=w.one,%20w.two&outcome=passed,%20failed", vec![c, b, a]),
        ("testcases:like=w.*&outcome=FAILED", vec![c, b]),
        ("testcases:like=*.two", vec![d, c]),
        ("testcases:like=w._wo", vec![c]),
        ("testcases:like=w", vec![]),
        ("testcases=W.two&testcases:like=*.one", vec![d, b, a]),
        ("testcases=w.one&testcases=w.two", vec![b, a]),
        ("testcases=&outcome=&groups=", vec![d, c, b, a]),
        ("testcases=nothing", vec![]),
        ("outcome=info", vec![d]),
        ("outcome:like=info", vec![]),
        ("_distinct_on=item", vec![d, c, b, a]),
        ("_auth_module=x", vec![]),
        ("testcases=w.one&outcome=QUEUED", vec![]),
    ] {
        assert_eq!(server.ids(&format!("/results?{query}")).await, want, "{query}");
    }
    let wrong = server.get("/results?outcome=PASSED,GOOD").await;
    assert_eq!(wrong.status, 400);
    assert_eq!(wrong.json()["validation_error"][0]["loc"], json!(["outcome"]));
    assert_eq!(server.ids("/testcases/w.one/results?outcome=FAILED&testcases=w.two").await, [b]);
    assert_eq!(server.ids("/testcases/w.one/results?testcases:like=w.t*").await, [c, b, a]);
    assert_eq!(server.get("/testcases/none/results").await.status, 404);
}

async fn since_has_both_its_ends(server: Server) {
    let mut ids = Vec::new();
    for day in 1..=3 {
        let time = format!("2020-01-0{day}T12:00:00.0");
        ids.push(
            server.add(json!({"outcome": "PASSED", "testcase": "t", "submit_time": time})).await["id"]
                .as_i64()
                .unwrap(),
        );
    }
    let [a, b, c] = ids[..] else { panic!() };
    for (since, want) in [
        ("2020-01-02", vec![c, b]),
        ("2020-01-01,2020-01-02T12:00:00", vec![b, a]),
        ("2020-01-02T12:00:00.000000", vec![c, b]),
        ("2020-01-02T12:00:00.000001", vec![c]),
        ("2020,2020-01-02,2030", vec![a]),
        ("20200103", vec![c]),
        ("2020-01-02T12:00:00%2B05:00", vec![c, b]),
        ("1900-01-01T00:00:00.000000,2020-01-01T12:00", vec![a]),
    ] {
        assert_eq!(server.ids(&format!("/results?since={since}")).await, want, "{since}");
        assert_eq!(server.ids(&format!("/results?since={since}&testcases=t")).await, want, "{since}");
    }
    for wrong in ["yesterday", ",2020", "2020,", "2020-01-02T12:00:00+05:00,x"] {
        let answer = server.get(&format!("/results?since={wrong}")).await;
        assert_eq!(answer.json()["validation_error"][0]["msg"], "Value error, must be in ISO8601 format", "{wrong}");
    }
}

async fn groups_filter_and_nest(server: Server) {
    let add = async |groups: Value| {
        server.add(json!({"outcome": "PASSED", "testcase": "t", "groups": groups})).await["id"].as_i64().unwrap()
    };
    let a = add(json!(["g", "h"])).await;
    let b = add(json!(["h"])).await;
    add(json!([])).await;
    assert_eq!(server.ids("/results?groups=g").await, [a]);
    assert_eq!(server.ids("/results?groups=g,%20h").await, [b, a]);
    assert_eq!(server.ids("/groups/h/results?groups=g").await, [b, a]);
    assert_eq!(server.ids("/groups/h/results?limit=1&page=1").await, [a]);
    let missing = server.get("/groups/none/results").await;
    assert_eq!((missing.status.as_u16(), missing.json()), (404, json!({"message": "Group not found: none"})));
}

async fn the_newest_come_first_and_ties_by_id(server: Server) {
    let old = server.add_at("t", "PASSED", 1).await;
    let new = server.add_at("t", "PASSED", 9).await;
    let middle = server.add_at("t", "PASSED", 5).await;
    let tie = server.add_at("t", "PASSED", 5).await;
    let newest_first = vec![new, tie, middle, old];
    let oldest_first: Vec<i64> = newest_first.iter().rev().copied().collect();
    for (query, want) in [
        ("", &newest_first),
        ("_sort=desc:submit_time", &newest_first),
        ("_sort=disable_sorting", &newest_first),
        ("_sort=asc:outcome", &newest_first),
        ("_sort=asc:submit_time", &oldest_first),
        ("_sort=asc:submit_time&testcases=t", &oldest_first),
    ] {
        assert_eq!(&server.ids(&format!("/results?{query}")).await, want, "{query}");
    }
}

async fn pages_link_to_each_other(server: Server) {
    let mut made = Vec::new();
    for second in 0..23 {
        made.push(server.add_at("a b", "PASSED", second).await);
    }
    made.reverse();
    let first = server.get("/results?testcases=a%20b").await;
    assert_eq!((first.ids(), &first.json()["prev"]), (made[..20].to_vec(), &Value::Null));
    let next = first.json()["next"].as_str().unwrap().to_owned();
    assert_eq!(next, "http://h/api/v2.0/results?testcases=a%20b&page=1");
    let second = server.get(&next).await;
    assert_eq!((second.ids(), &second.json()["next"]), (made[20..].to_vec(), &Value::Null));
    assert_eq!(server.get(second.json()["prev"].as_str().unwrap()).await.ids(), made[..20]);
    assert_eq!(server.ids("/results?limit=4&page=2").await, made[8..12]);
    let beyond = server.get("/results?page=9").await.json();
    assert_eq!((&beyond["data"], &beyond["next"]), (&json!([]), &Value::Null));
    assert_eq!(beyond["prev"], "http://h/api/v2.0/results?page=8");
    let none = server.get("/results?limit=0").await.json();
    assert_eq!((&none["data"], &none["next"]), (&json!([]), &json!("http://h/api/v2.0/results?limit=0&page=1")));
    assert_eq!(server.ids("/results?limit=1000000000").await, made);
    assert_eq!(server.ids("/results?page=-3&limit=2").await, made[..2]);
    assert_eq!(server.ids("/results?page=1.0&limit=2").await, made[2..4]);
    assert_eq!(server.ids(&format!("/results?page={}&limit={}", i64::MAX, i64::MAX)).await, [] as [i64; 0]);
}

async fn page_and_limit_are_checked(server: Server) {
    for path in ["/results", "/results/latest", "/groups", "/testcases"] {
        for (query, kind) in [
            ("page=x", "int_parsing"),
            ("page=", "int_parsing"),
            ("limit=1.5", "int_parsing"),
            ("limit=99999999999999999999", "int_parsing"),
            ("limit=-2", "greater_than_equal"),
        ] {
            let answer = server.get(&format!("{path}?{query}")).await;
            assert_eq!(answer.status, 400, "{path}?{query}");
            assert_eq!(answer.json()["validation_error"][0]["type"], kind, "{path}?{query}");
        }
        assert_eq!(
            server.get(&format!("{path}?page=x&limit=x")).await.json()["validation_error"].as_array().unwrap().len(),
            2
        );
        assert_eq!(server.get(&format!("{path}?a=%00")).await.status, 400);
    }
}

async fn many_testcases_are_merged(server: Server) {
    let mut made = Vec::new();
    for i in 0..40_u32 {
        made.push(
            server.add_at(&format!("m{}", i % 7), if i % 3 == 0 { "FAILED" } else { "PASSED" }, i * 7 % 40).await,
        );
    }
    let all = server.ids("/results?limit=100").await;
    assert_eq!(all.len(), 40);
    for page in 0..5 {
        let want = &all[page * 9..(page * 9 + 9).min(40)];
        assert_eq!(server.ids(&format!("/results?testcases:like=m*&limit=9&page={page}")).await, want);
    }
    let failed = server.ids("/results?outcome=FAILED&limit=100").await;
    assert_eq!(server.ids("/results?testcases:like=m*&outcome=FAILED").await, failed);
}

async fn pages_far_down(server: Server) {
    // Some stretches are full, some empty, one lies before 1970, and many results are of one moment.
    for first in (0..2_400_u32).step_by(600) {
        let result = |i: u32| {
            let day = [1, 1, 2, 20][(first / 600) as usize];
            let year = if i.is_multiple_of(10) { 1969 } else { 2020 };
            let time = format!("{year}-01-{day:02}T{:02}:00:{:02}.0", i * 7 % 24, i % 3);
            json!({"outcome": "PASSED", "testcase": "t", "submit_time": time})
        };
        let batch: Vec<Value> = (first..first + 600).map(result).collect();
        assert_eq!(server.post("/batch", json!({"results": batch})).await.status, 200);
    }
    for sort in ["", "&_sort=asc:submit_time"] {
        let all = server.ids(&format!("/results?limit=3000{sort}")).await;
        assert_eq!(all.len(), 2_400);
        for page in [9, 10, 11, 17, 23] {
            let far = server.get(&format!("/results?limit=100&page={page}{sort}")).await;
            assert_eq!(far.ids(), all[page * 100..(page + 1) * 100], "{page}{sort}");
            assert_eq!(far.json()["next"].is_null(), page == 23);
        }
        assert_eq!(server.ids(&format!("/results?limit=100&page=24{sort}")).await, [] as [i64; 0]);
    }
}
