//! Section 8 of the contract.

use serde_json::{Value, json};

use crate::server::{BASE, Server};

crate::on_both_engines!(a_testcase_is_made_read_and_changed, testcases_are_listed_by_name, testcases_are_checked);

async fn a_testcase_is_made_read_and_changed(server: Server) {
    for (body, ref_url) in [
        (json!({"name": "a/b c", "ref_url": "https://a"}), json!("https://a")),
        (json!({"name": "a/b c"}), json!("https://a")),
        (json!({"name": "a/b c", "ref_url": null}), json!("https://a")),
        (json!({"name": "a/b c", "ref_url": ""}), json!("")),
    ] {
        let made = server.post("/testcases", body).await;
        assert_eq!(made.status, 201);
        let want = json!({"name": "a/b c", "ref_url": ref_url, "href": format!("{BASE}/testcases/a/b%20c")});
        assert_eq!(made.json(), want);
        assert_eq!(server.get("/testcases/a/b%20c").await.json(), want);
    }
    let missing = server.get("/testcases/a").await;
    assert_eq!((missing.status.as_u16(), missing.json()), (404, json!({"message": "Testcase not found"})));
    for name in ["x/results", "/slash", "100%+,"] {
        let made = server.post("/testcases", json!({"name": name})).await.json();
        let href = made["href"].as_str().unwrap();
        let read = server.get(href).await;
        // The list wins over a testcase of that name.
        assert_eq!(read.status.as_u16(), if name == "x/results" { 404 } else { 200 }, "{href}");
    }
}

async fn testcases_are_listed_by_name(server: Server) {
    for name in ["b", "a", "C", "a.x", "é"] {
        server.post("/testcases", json!({"name": name})).await;
    }
    for (query, want) in [
        ("", vec!["C", "a", "a.x", "b", "é"]),
        ("name=a,%20b", vec!["a", "b"]),
        ("name:like=a*", vec!["a", "a.x"]),
        ("name:like=A*,c", vec![]),
        ("name:like=_", vec!["C", "a", "b", "é"]),
        ("name:like=a*&name=b", vec!["b"]),
        ("name=a&name=b", vec!["a"]),
        ("limit=2&page=1", vec!["a.x", "b"]),
    ] {
        assert_eq!(server.get(&format!("/testcases?{query}")).await.column("name"), want, "{query}");
    }
    let first = server.get("/testcases?name:like=a*&limit=1").await.json();
    assert_eq!(first["next"], format!("{BASE}/testcases?name:like=a*&limit=1&page=1"));
    assert_eq!(first["prev"], Value::Null);
}

async fn testcases_are_checked(server: Server) {
    for (body, kind) in [
        (json!({}), "missing"),
        (json!({"name": ""}), "string_too_short"),
        (json!({"name": null}), "string_type"),
        (json!({"name": 5}), "string_type"),
        (json!({"name": "a\u{0}"}), "value_error"),
        (json!({"name": "a", "ref_url": 5}), "string_type"),
    ] {
        let answer = server.post("/testcases", body.clone()).await;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.json()["validation_error"][0]["type"], kind, "{body}");
    }
    assert_eq!(server.get("/testcases").await.column("name"), [] as [&str; 0]);
}
