//! The pages for people.

use axum::http::Method;
use serde_json::json;

use crate::server::{Server, asking};

crate::on_both_engines!(pages_show_results_and_lead_on);

async fn pages_show_results_and_lead_on(server: Server) {
    let hostile = "<img src=x onerror=alert(1)>";
    let made = server
        .add(json!({"outcome": "FAILED", "testcase": hostile, "note": hostile, "ref_url": "https://log/1", "groups": [hostile],
                    "data": {"item": "pkg-1", "type": "koji_build", "arch": ["x86_64", "s390x"], "k": hostile}}))
        .await;
    let id = made["id"].as_i64().unwrap();
    for (path, has) in [
        ("/results".to_owned(), "/items?item=pkg-1&#38;type=koji_build"),
        ("/results?item=pkg-1&type=&outcome=&testcases:like=&since=".to_owned(), "FAILED"),
        ("/results?item=none".to_owned(), "No result matches."),
        (format!("/results/{id}"), "https://log/1"),
        ("/items?item=pkg-1&type=koji_build".to_owned(), "<th>s390x</th><th>x86_64</th>"),
        ("/items?item=none".to_owned(), "There is no result of this item."),
        ("/items".to_owned(), "<form"),
    ] {
        let page = server.send(asking(Method::GET, &path)).await;
        assert_eq!(page.status, 200, "{path}: {}", page.text);
        assert!(page.text.contains(has), "{path}: {}", page.text);
        assert!(!page.text.contains("<img"), "{path}");
        assert!(page.headers.contains_key("content-security-policy"));
    }
    for (path, status) in
        [("/results/999", 404), ("/results/x", 404), ("/results?since=x", 400), ("/results?limit=x", 400)]
    {
        assert_eq!(server.send(asking(Method::GET, path)).await.status.as_u16(), status, "{path}");
    }
    for _ in 0..21 {
        server.add_data("t", json!({})).await;
    }
    let first = server.send(asking(Method::GET, "/results")).await.text;
    assert!(first.contains("href=\"?page=1\">Older") && !first.contains("Newer"));
}
