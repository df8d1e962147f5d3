//! Sections 1, 3, 9 and 13 of the contract: methods, kinds of content, proxies, who may do what.

use axum::body::Body;
use axum::http::{Method, Request};
use resultsdb::WriteAccess;
use serde_json::json;

use crate::server::{BASE, Server, asking, posting, send};

crate::on_both_engines!(
    landing_and_health,
    what_is_not_there,
    methods,
    only_json_is_read,
    a_proxy_is_believed,
    tokens_guard_what_they_should,
    a_database_that_is_gone_is_told_as_such,
);

async fn landing_and_health(server: Server) {
    for path in ["", "/"] {
        let landing = server.get(path).await;
        assert_eq!(landing.status, 300);
        let body = landing.json();
        assert_eq!(
            body["outcomes"],
            json!(["PASSED", "INFO", "FAILED", "NEEDS_INSPECTION", "QUEUED", "RUNNING", "ERROR"])
        );
        for list in ["results", "groups", "testcases"] {
            assert_eq!(body[list], format!("{BASE}/{list}"));
        }
        assert!(body["message"].is_string() && body["documentation"].is_string());
    }
    let health = server.get("/healthcheck").await;
    assert_eq!((health.status.as_u16(), health.text.as_str()), (200, "{\"message\":\"Health check OK\"}\n"));
}

async fn what_is_not_there(server: Server) {
    for path in ["/results/", "/results/1/x", "/nothing", "/groups/", "/testcases/", "/groups/a/b", "/batch"] {
        let answer = server.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (404, "{\"message\":\"Not found\"}\n"), "{path}");
    }
    for id in ["1", "abc", "2147483648", "99999999999999999999", "-1"] {
        let answer = server.get(&format!("/results/{id}")).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (404, json!({"message": "Result not found"})), "{id}");
    }
    for (path, what) in [
        ("/results/%FF", "Result not found"),
        ("/groups/%FF", "Group not found"),
        ("/testcases/%FF", "Testcase not found"),
    ] {
        let answer = server.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (404, json!({"message": what})), "{path}");
    }
}

async fn methods(server: Server) {
    server.add_at("t", "PASSED", 1).await;
    for path in ["/api/v2.0/results", "/api/v2.0/results/1", "/api/v2.0/testcases/t", "/api/v2.0/results/latest"] {
        let head = server.send(asking(Method::HEAD, path)).await;
        assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""), "{path}");
        for method in [Method::PUT, Method::PATCH, Method::DELETE] {
            let answer = server.send(asking(method, path)).await;
            assert_eq!(answer.status, 405);
            assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/html"));
            assert!(answer.headers["allow"].to_str().unwrap().contains("GET"));
        }
        let options = server.send(asking(Method::OPTIONS, path)).await;
        assert_eq!(options.status, 200);
        assert_eq!(options.headers["allow"].to_str().unwrap().contains("POST"), path.ends_with("results"), "{path}");
    }
    let post = server.post("/results/latest", json!({})).await;
    assert_eq!(post.status, 405);
}

async fn only_json_is_read(server: Server) {
    let body = r#"{"name": "t"}"#;
    let with = async |kind: Option<&str>| {
        let mut request = Request::post("/api/v2.0/testcases").header("host", "h");
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        server.send(request.body(Body::from(body)).unwrap()).await
    };
    for kind in ["application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json"] {
        assert_eq!(with(Some(kind)).await.status, 201, "{kind}");
    }
    for kind in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("text/json")] {
        let answer = with(kind).await;
        assert_eq!(answer.status, 415, "{kind:?}");
        assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/html"));
    }
    let get =
        Request::get("/api/v2.0/testcases").header("content-type", "application/json").header("accept", "text/plain");
    assert_eq!(server.send(get.body(Body::empty()).unwrap()).await.status, 200);
}

async fn a_proxy_is_believed(server: Server) {
    let id = server.add_at("t", "PASSED", 1).await;
    for path in ["/prefix/api/v2.0/results?limit=0", "/api/v2.0/results?limit=0"] {
        let request = Request::get(path)
            .header("host", "inner")
            .header("x-forwarded-host", "outer")
            .header("x-forwarded-scheme", "https")
            .header("x-script-name", "/prefix");
        let answer = server.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.json()["next"], "https://outer/prefix/api/v2.0/results?limit=0&page=1", "{path}");
    }
    let request =
        Request::get(format!("/api/v2.0/results/{id}")).header("host", "a:81").header("x-forwarded-proto", "https");
    let answer = server.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.json()["href"], format!("https://a:81/api/v2.0/results/{id}"));
}

async fn tokens_guard_what_they_should(server: Server) {
    let guarded = Server::router(&server.store, WriteAccess::Token, true);
    let private = Server::router(&server.store, WriteAccess::Token, false);
    let post = |authorization: Option<&str>| {
        let mut request = posting("/results", r#"{"outcome": "PASSED", "testcase": "t", "_auth_token": "x"}"#);
        if let Some(value) = authorization {
            request.headers_mut().insert("authorization", value.parse().unwrap());
        }
        request
    };
    for (authorization, want) in [
        (None, 401),
        (Some("Bearer wrong"), 401),
        (Some("Bearer read"), 403),
        (Some("Bearer submit"), 201),
        // anyone:submit
        (Some("Basic YW55b25lOnN1Ym1pdA=="), 201),
    ] {
        let answer = send(guarded.clone(), post(authorization)).await;
        assert_eq!(answer.status.as_u16(), want, "{authorization:?}");
        assert!(answer.json().is_object());
    }
    assert_eq!(send(guarded.clone(), asking(Method::GET, "/api/v2.0/results")).await.status, 200);
    assert_eq!(send(private.clone(), asking(Method::GET, "/api/v2.0/results")).await.status, 401);
    assert_eq!(send(private, asking(Method::GET, "/results")).await.status, 401);
    // An open server does not mind what its clients bring.
    assert_eq!(server.send(post(Some("Basic Zm9vOmJhcg=="))).await.status, 201);
}

async fn a_database_that_is_gone_is_told_as_such(server: Server) {
    server.store.close().await;
    let health = server.get("/healthcheck").await;
    assert_eq!(
        (health.status.as_u16(), health.json()),
        (503, json!({"message": "Unable to communicate with database"}))
    );
    for answer in [
        server.get("/results").await,
        server.post("/results", json!({"outcome": "PASSED", "testcase": "t"})).await,
        server.post("/groups", json!({})).await,
        server.post("/batch", json!({"results": [{"outcome": "PASSED", "testcase": "t"}]})).await,
    ] {
        assert_eq!((answer.status.as_u16(), answer.json()), (503, json!({"message": "Service Unavailable"})));
        assert_eq!(answer.headers["retry-after"], "1");
    }
}
