//! ETag and If-None-Match: who has the answer already gets no other.

use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use crate::server::{Answer, Server, posting};

crate::on_both_engines!(what_is_unchanged_is_not_sent_again, what_has_changed_is_sent, what_has_no_tag);

async fn ask(server: &Server, method: &str, path: &str, known: &str) -> Answer {
    let request = Request::builder().method(method).uri(format!("/api/v2.0{path}")).header("host", "h");
    server.send(request.header("if-none-match", known).body(Body::empty()).unwrap()).await
}

async fn what_is_unchanged_is_not_sent_again(server: Server) {
    let id = server.add(json!({"outcome": "PASSED", "testcase": "t", "groups": ["g"], "data": {"item": "x"}})).await;
    let one = format!("/results/{}", id["id"]);
    for path in [
        "/results",
        &one,
        "/results/latest?item=x",
        "/groups/g",
        "/groups",
        "/testcases/t",
        "/testcases",
        "/openapi.json",
    ] {
        let first = server.get(path).await;
        let tag = first.headers["etag"].to_str().unwrap();
        assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
        for known in [tag.to_owned(), format!("\"other\", W/{tag}"), "*".to_owned()] {
            let again = ask(&server, "GET", path, &known).await;
            assert_eq!((again.status.as_u16(), again.text.as_str()), (304, ""), "{path}");
            assert_eq!(again.headers["etag"], tag);
        }
        let head = ask(&server, "HEAD", path, "\"other\"").await;
        assert_eq!((head.status.as_u16(), head.headers["etag"].to_str().unwrap()), (200, tag), "{path}");
        assert_eq!(ask(&server, "HEAD", path, tag).await.status, 304, "{path}");
    }
    for path in ["/api/v3/permissions", "/api/v3/openapi.json", "/api/v3/schemas/brew-builds"] {
        let get = |known: &str| {
            let request = Request::get(path).header("host", "h").header("if-none-match", known);
            server.send(request.body(Body::empty()).unwrap())
        };
        let tag = get("\"other\"").await.headers["etag"].to_str().unwrap().to_owned();
        assert_eq!(get(&tag).await.status, 304, "{path}");
    }
}

async fn what_has_changed_is_sent(server: Server) {
    let id = server.add_data("t", json!({"item": "x"})).await;
    let path = format!("/results/{id}");
    let tag = server.get(&path).await.headers["etag"].to_str().unwrap().to_owned();
    server.post("/testcases", json!({"name": "t", "ref_url": "new"})).await;
    let changed = ask(&server, "GET", &path, &tag).await;
    assert_eq!((changed.status.as_u16(), changed.json()["testcase"]["ref_url"].clone()), (200, json!("new")));
    assert_ne!(changed.headers["etag"], tag.as_str());
    // A link is part of the answer, so another host's answer is another.
    let request = Request::get("/api/v2.0/results").header("host", "other").body(Body::empty()).unwrap();
    assert_ne!(server.send(request).await.headers["etag"], server.get("/results").await.headers["etag"]);
}

async fn what_has_no_tag(server: Server) {
    let made = server.send(posting("/results", r#"{"outcome": "PASSED", "testcase": "t"}"#)).await;
    let missing = server.get("/results/99").await;
    let landing = server.get("").await;
    for answer in [made, missing, landing] {
        assert_eq!(answer.headers.get("etag"), None);
    }
    assert_eq!(ask(&server, "GET", "/results/99", "*").await.status, 404);
}
