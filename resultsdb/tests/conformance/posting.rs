//! Section 4 of the contract: POST /results, and section 11: what is refused and how.

use serde_json::{Value, json};

use crate::server::{Answer, BASE, Server, posting};

crate::on_both_engines!(
    a_result_comes_back_as_it_was_posted,
    texts_are_what_python_prints,
    times_may_be_given,
    a_testcase_changes_only_where_it_is_told_to,
    groups_are_made_found_and_changed,
    what_is_wrong_is_said_all_at_once,
    bad_input_is_refused_and_leaves_nothing,
    sizes_have_no_limits_of_an_index,
);

async fn a_result_comes_back_as_it_was_posted(server: Server) {
    let made = server
        .add(json!({"outcome": " passed", "testcase": {"name": "a/b c?é", "ref_url": "https://t", "href": "x"},
            "groups": ["g-1"], "note": "fine", "ref_url": "https://l/1", "_auth_token": "x", "id": 77,
            "submit_time": "2021-02-03T04:05:06.789",
            "data": {"item": "a-1-1", "arch": ["x86_64", "noarch", "x86_64"], "none": []}}))
        .await;
    let id = made["id"].as_i64().unwrap();
    assert_ne!(id, 77);
    let want = json!({
        "id": id, "href": format!("{BASE}/results/{id}"), "outcome": "PASSED", "note": "fine", "ref_url": "https://l/1",
        "groups": ["g-1"], "submit_time": "2021-02-03T04:05:06.789000",
        "testcase": {"name": "a/b c?é", "ref_url": "https://t", "href": format!("{BASE}/testcases/a/b%20c%3F%C3%A9")},
        "data": {"item": ["a-1-1"], "arch": ["x86_64", "noarch", "x86_64"]}});
    assert_eq!(made, want);
    let read = server.get(&format!("/results/{id}")).await;
    assert_eq!(read.json(), want);
    assert_eq!(read.headers["content-type"], "application/json");
    assert!(read.text.starts_with(r#"{"data":{"arch":["x86_64","noarch","x86_64"],"item":"#), "{}", read.text);
    assert!(read.text.ends_with("}\n") && read.text.is_ascii());
    let bare =
        server.add(json!({"outcome": "INFO", "testcase": "t", "data": null, "groups": null, "note": null})).await;
    assert_eq!(
        (&bare["data"], &bare["groups"], &bare["note"], &bare["ref_url"]),
        (&json!({}), &json!([]), &Value::Null, &Value::Null)
    );
    assert!(bare["id"].as_i64().unwrap() > id);
}

async fn texts_are_what_python_prints(server: Server) {
    let made = server
        .add(json!({"outcome": "PASSED", "testcase": "t", "data": {
            "t": true, "f": [false], "n": null, "i": 5, "x": 1.5, "y": 3.0, "big": 1e16, "o": {"a": 1}, "l": [["a"]],
            "": "", "with space": "a,b"}}))
        .await;
    assert_eq!(
        made["data"],
        json!({"t": ["True"], "f": ["False"], "n": ["None"], "i": ["5"], "x": ["1.5"], "y": ["3.0"], "big": ["1e+16"],
               "o": ["{'a': 1}"], "l": ["['a']"], "": [""], "with space": ["a,b"]})
    );
}

async fn times_may_be_given(server: Server) {
    for (given, want) in [
        (json!("2021-02-03T04:05:06.789000"), "2021-02-03T04:05:06.789000"),
        (json!("2021-02-03T04:05:06.0"), "2021-02-03T04:05:06"),
        (json!("2021-02-03T06:05:06.789000+0200"), "2021-02-03T04:05:06.789000"),
        (json!(1_612_325_106_789_i64), "2021-02-03T04:05:06.789000"),
        (json!(1_612_325_106_789.0), "2021-02-03T04:05:06.789000"),
        (json!("1612325106789"), "2021-02-03T04:05:06.789000"),
        (json!(true), "1970-01-01T00:00:00.001000"),
    ] {
        let made = server.add(json!({"outcome": "INFO", "testcase": "t", "submit_time": given})).await;
        assert_eq!(made["submit_time"], want, "{given}");
    }
}

async fn a_testcase_changes_only_where_it_is_told_to(server: Server) {
    for (testcase, want) in [
        (json!("t"), Value::Null),
        (json!({"name": "t", "ref_url": "a"}), json!("a")),
        (json!("t"), json!("a")),
        (json!({"name": "t"}), json!("a")),
        (json!({"name": "t", "ref_url": null}), Value::Null),
    ] {
        let made = server.add(json!({"outcome": "PASSED", "testcase": testcase})).await;
        assert_eq!(made["testcase"]["ref_url"], want);
        assert_eq!(server.get("/testcases/t").await.json()["ref_url"], want);
    }
    assert_eq!(server.get("/testcases").await.column("name"), ["t"]);
}

async fn groups_are_made_found_and_changed(server: Server) {
    let made = server
        .add(json!({"outcome": "PASSED", "testcase": "t",
                    "groups": ["a", {"uuid": "b", "description": "B"}, {"description": "new"}, "a", {"uuid": "a"}]}))
        .await;
    let groups: Vec<&str> = made["groups"].as_array().unwrap().iter().map(|g| g.as_str().unwrap()).collect();
    assert_eq!(&groups[..2], ["a", "b"]);
    assert_eq!((groups.len(), groups[2].len(), groups[2].as_bytes()[14]), (3, 36, b'1'));
    for (given, description, count) in [
        (json!("b"), json!("B"), 2),
        (json!({"uuid": "b", "ref_url": "r"}), json!("B"), 3),
        (json!({"uuid": "b", "description": null}), Value::Null, 4),
    ] {
        server.add(json!({"outcome": "PASSED", "testcase": "t", "groups": [given]})).await;
        let group = server.get("/groups/b").await.json();
        assert_eq!((&group["description"], &group["results_count"]), (&description, &json!(count)));
    }
    // A whole group, as the API gives it, may be sent back.
    let whole = server.get("/groups/b").await.json();
    server.add(json!({"outcome": "PASSED", "testcase": "t", "groups": [whole]})).await;
    assert_eq!(server.get("/groups/b").await.json()["ref_url"], "r");
    assert_eq!(server.get("/groups/b/results").await.ids().len(), 5);
}

fn faults(answer: &Answer) -> Vec<(String, String, String)> {
    assert_eq!(answer.status, 400, "{}", answer.text);
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    let body = answer.json();
    let faults = body["validation_error"].as_array().unwrap_or_else(|| panic!("{}", answer.text));
    faults.iter().map(|f| (text(&f["loc"][0]), text(&f["type"]), text(&f["msg"]))).collect()
}

async fn what_is_wrong_is_said_all_at_once(server: Server) {
    let all = faults(&server.post("/results", json!({"data": [], "note": 5})).await);
    let brief: Vec<_> = all.iter().map(|(l, t, m)| (l.as_str(), t.as_str(), m.as_str())).collect();
    assert_eq!(
        brief,
        [
            ("outcome", "missing", "Field required"),
            ("testcase", "missing", "Field required"),
            ("data", "dict_type", "Input should be a valid dictionary"),
            ("note", "string_type", "Input should be a valid string"),
        ]
    );
    let answer = server.post("/results", json!({"outcome": "FINE", "testcase": "t"})).await;
    let fault = answer.json()["validation_error"][0].clone();
    assert_eq!(fault["input"], "FINE");
    assert_eq!(fault["url"], "https://errors.pydantic.dev/2.6/v/value_error");
    assert_eq!(
        fault["msg"],
        "Value error, must be one of: PASSED, INFO, FAILED, NEEDS_INSPECTION, QUEUED, RUNNING, ERROR"
    );
    let colons =
        server.post("/results", json!({"outcome": "PASSED", "testcase": "t", "data": {"x:y": 1, "z": 2}})).await;
    assert_eq!(
        (colons.status.as_u16(), colons.text.as_str()),
        (400, "{\"message\":\"Colon not allowed in key name: ['x:y']\"}\n")
    );
}

async fn bad_input_is_refused_and_leaves_nothing(server: Server) {
    let long = "x".repeat(37);
    for (member, value, kind) in [
        ("outcome", json!(5), "string_type"),
        ("outcome", json!(null), "string_type"),
        ("outcome", json!("GOOD"), "value_error"),
        ("testcase", json!(""), "value_error"),
        ("testcase", json!({"name": ""}), "value_error"),
        ("testcase", json!({}), "value_error"),
        ("testcase", json!(5), "string_type"),
        ("testcase", json!({"name": 5}), "string_type"),
        ("testcase", json!("a\u{0}b"), "value_error"),
        ("groups", json!("g"), "list_type"),
        ("groups", json!([5]), "string_type"),
        ("groups", json!([long]), "string_too_long"),
        ("groups", json!([{"uuid": 5}]), "string_type"),
        ("groups", json!([{"uuid": "g", "description": 5}]), "string_type"),
        ("groups", json!(["a\u{0}"]), "value_error"),
        ("data", json!("x"), "dict_type"),
        ("data", json!({"a": "b\u{0}"}), "value_error"),
        ("note", json!(5), "string_type"),
        ("note", json!("\u{0}"), "value_error"),
        ("ref_url", json!([]), "string_type"),
        ("submit_time", json!("yesterday"), "value_error"),
        ("submit_time", json!("2021-02-03T04:05:06"), "value_error"),
        ("submit_time", json!(1.5), "value_error"),
        ("submit_time", json!(i64::MAX), "value_error"),
        ("submit_time", json!([1]), "value_error"),
    ] {
        let mut body = json!({"outcome": "PASSED", "testcase": "refused", "groups": ["refused"]});
        body[member] = value.clone();
        let faults = faults(&server.post("/results", body).await);
        assert_eq!((faults.len(), faults[0].0.as_str(), faults[0].1.as_str()), (1, member, kind), "{member} {value}");
    }
    for body in ["", "{", "[]", "5", "null", "\"x\"", "{\"outcome\": \"\\ud800\"}", &"[".repeat(100_000)] {
        let answer = server.send(posting("/results", body)).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text.as_str()),
            (400, "{\"message\":\"Bad request\"}\n"),
            "{body:.40}"
        );
    }
    assert_eq!(server.get("/testcases").await.json()["data"], json!([]));
    assert_eq!(server.get("/groups").await.json()["data"], json!([]));
}

async fn sizes_have_no_limits_of_an_index(server: Server) {
    // Text that no index could compress.
    let noise: String =
        (0..20_000_u64).map(|i| char::from_u32(0x4e00 + ((i * i * 7919 + i * 31) % 20_000) as u32).unwrap()).collect();
    let mut data = json!({"long": noise, (noise.as_str()): "key"});
    for i in 0..1000 {
        data[format!("k{i}")] = json!(i);
    }
    let made = server
        .add(json!({"outcome": "PASSED", "testcase": noise, "note": "n".repeat(5_000_000), "data": data,
                    "groups": [{"uuid": "g", "description": noise}]}))
        .await;
    assert_eq!(made["data"]["long"][0], noise);
    let query = form(&[("long:like", &noise[..3000])]);
    assert_eq!(server.ids(&format!("/results?{query}")).await, [] as [i64; 0]);
    let query = form(&[("long:like", &format!("{}*", &noise[..3000]))]);
    assert_eq!(server.ids(&format!("/results?{query}")).await, [made["id"].as_i64().unwrap()]);
    let query = form(&[("testcases:like", &format!("*{}", &noise[noise.len() - 300..]))]);
    assert_eq!(server.ids(&format!("/results?{query}")).await, [made["id"].as_i64().unwrap()]);
}

fn form(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}
