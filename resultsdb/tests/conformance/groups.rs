//! Section 7 of the contract.

use serde_json::{Value, json};

use crate::server::{BASE, Server};

crate::on_both_engines!(a_group_is_made_read_and_changed, groups_are_listed, groups_are_checked);

async fn a_group_is_made_read_and_changed(server: Server) {
    let made =
        server.post("/groups", json!({"uuid": "g 1", "description": "first", "ref_url": "https://j", "x": 1})).await;
    assert_eq!(made.status, 201);
    let want = json!({"uuid": "g 1", "description": "first", "ref_url": "https://j", "results_count": 0,
                      "href": format!("{BASE}/groups/g%201"), "results": format!("{BASE}/results?groups=g%201")});
    assert_eq!(made.json(), want);
    assert_eq!(server.get("/groups/g%201").await.json(), want);
    for change in [json!({"description": ""}), json!({"description": null, "ref_url": ""}), json!({})] {
        let mut body = change.clone();
        body["uuid"] = json!("g 1");
        assert_eq!(server.post("/groups", body).await.json(), want, "{change}");
    }
    assert_eq!(
        server.post("/groups", json!({"uuid": "g 1", "description": "second"})).await.json()["description"],
        "second"
    );
    for body in [json!({}), json!({"uuid": null}), json!({"uuid": ""})] {
        let uuid = server.post("/groups", body).await.json()["uuid"].as_str().unwrap().to_owned();
        assert_eq!((uuid.len(), uuid.as_bytes()[14]), (36, b'1'));
    }
    let missing = server.get("/groups/none").await;
    assert_eq!((missing.status.as_u16(), missing.json()), (404, json!({"message": "Group not found"})));
}

async fn groups_are_listed(server: Server) {
    for (uuid, description) in [("a", "x nightly"), ("b", "x weekly"), ("c", "y%z"), (" d", "x nightly")] {
        server.post("/groups", json!({"uuid": uuid, "description": description})).await;
    }
    server.add(json!({"outcome": "PASSED", "testcase": "t", "groups": ["b", "bare"]})).await;
    for (query, want) in [
        ("", vec!["bare", " d", "c", "b", "a"]),
        ("uuid=a,b", vec!["b", "a"]),
        ("uuid=a,%20d", vec![" d", "a"]),
        ("description=x%20nightly", vec![" d", "a"]),
        ("description=x%20nightly&uuid=a", vec!["a"]),
        ("description:like=x*ly", vec![" d", "b", "a"]),
        ("description:like=x*ly&description=y%25z", vec!["c"]),
        ("description:like=X*", vec![]),
        ("limit=2&page=1", vec!["c", "b"]),
    ] {
        assert_eq!(server.get(&format!("/groups?{query}")).await.column("uuid"), want, "{query}");
    }
    let first = server.get("/groups?limit=2").await.json();
    assert_eq!((&first["next"], &first["prev"]), (&json!(format!("{BASE}/groups?limit=2&page=1")), &Value::Null));
    assert_eq!(server.get("/groups?uuid=b").await.json()["data"][0]["results_count"], 1);
}

async fn groups_are_checked(server: Server) {
    for (body, field, kind) in [
        (json!({"uuid": "x".repeat(37)}), "uuid", "string_too_long"),
        (json!({"uuid": 5}), "uuid", "string_type"),
        (json!({"uuid": "a\u{0}"}), "uuid", "value_error"),
        (json!({"uuid": "a", "description": []}), "description", "string_type"),
        (json!({"uuid": "a", "ref_url": false}), "ref_url", "string_type"),
    ] {
        let answer = server.post("/groups", body).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        let fault = &answer.json()["validation_error"][0];
        assert_eq!((&fault["loc"], &fault["type"]), (&json!([field]), &json!(kind)));
    }
    assert_eq!(server.post("/groups", json!({"uuid": "é".repeat(36)})).await.status, 201);
    assert_eq!(server.get("/groups/a%00b").await.status, 404);
    assert_eq!(server.get("/groups").await.column("uuid").len(), 1);
}
