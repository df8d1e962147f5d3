//! Who may post: `write_access` and permissions by testcase, on every way to write.

use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode, header};
use model::Role;
use net::{Grant, Secret, Tokens};
use resultsdb::{Permissions, Settings, WriteAccess};
use serde_json::{Value, json};

use crate::server::{Answer, Server, posting, send};

crate::on_both_engines!(
    each_way_to_write_asks_for_permission,
    an_open_store_knows_who_has_a_token,
    without_permissions_a_token_is_enough,
    two_who_use_the_same_key_know_nothing_of_each_other,
);

fn permissions() -> Permissions {
    serde_json::from_value(json!([
        {"users": ["rpm-ci"], "testcases": ["dist.*"]},
        {"users": ["*"], "testcases": ["scratch.*"]},
    ]))
    .unwrap()
}

/// Posts to a store with these settings as the holder of a token, or of none.
async fn post(server: &Server, settings: &Settings, token: &str, path: &str, body: Value) -> Answer {
    let grant = |name: &str, role| Grant { name: name.into(), role, expires: None };
    let tokens = [
        (Secret::new("rpm"), grant("rpm-ci", Role::Submitter)),
        (Secret::new("other"), grant("other-ci", Role::Submitter)),
        (Secret::new("read"), grant("somebody", Role::Reader)),
    ];
    let router = resultsdb::router(server.store.clone(), settings, &Tokens::fixed(tokens, true));
    let mut request: Request<Body> = posting(path, &body.to_string());
    if !token.is_empty() {
        let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    send(router, request).await
}

fn result(testcase: &str) -> Value {
    json!({"outcome": "PASSED", "testcase": testcase, "groups": [{"uuid": "g", "description": "d"}]})
}

async fn each_way_to_write_asks_for_permission(server: Server) {
    let settings = Settings { permissions: permissions(), ..Settings::default() };
    for (token, testcase, want) in [
        ("rpm", "dist.rpmlint", 201),
        ("rpm", "else", 403),
        ("other", "dist.rpmlint", 403),
        ("other", "scratch.x", 201),
        ("read", "scratch.x", 403),
        ("", "scratch.x", 401),
    ] {
        let answer = post(&server, &settings, token, "/results", result(testcase)).await;
        assert_eq!(answer.status, want, "{token} {testcase} {}", answer.text);
        let answer = post(&server, &settings, token, "/testcases", json!({"name": testcase, "ref_url": "u"})).await;
        assert_eq!(answer.status, want, "{token} {testcase} {}", answer.text);
    }
    let refused = post(&server, &settings, "other", "/results", result("dist.rpmlint")).await;
    let said = "403 Forbidden: User other-ci is not authorized to submit results for the test case dist.rpmlint";
    assert_eq!(refused.json(), json!({ "message": said }));
    let batch = json!({"results": [result("scratch.y"), result("dist.rpmlint"), result("scratch.z")]});
    let answers = post(&server, &settings, "other", "/batch", batch).await.json();
    assert_eq!(answers["answers"][1], json!({"error": {"message": said}}), "{answers}");
    assert_eq!((&answers["answers"][0]["created"], &answers["answers"][2]["created"]), (&json!(true), &json!(true)));
    assert_eq!(server.ids("/results").await.len(), 4, "what was refused has left nothing");
    assert_eq!(server.get("/testcases/else").await.status, 404);
    assert_eq!(server.get("/testcases/dist.rpmlint").await.json()["ref_url"], "u");
    // A group belongs to no testcase.
    assert_eq!(post(&server, &settings, "other", "/groups", json!({"uuid": "g"})).await.status, 201);
}

async fn an_open_store_knows_who_has_a_token(server: Server) {
    let open = Settings { write_access: WriteAccess::Open, permissions: permissions(), ..Settings::default() };
    for (token, testcase, want) in [
        ("", "scratch.x", 201),
        ("", "dist.rpmlint", 403),
        ("rpm", "dist.rpmlint", 201),
        ("unknown", "scratch.x", 201),
        ("unknown", "dist.rpmlint", 403),
    ] {
        let answer = post(&server, &open, token, "/results", result(testcase)).await;
        assert_eq!(answer.status, want, "{token} {testcase} {}", answer.text);
    }
    let said = post(&server, &open, "", "/results", result("dist.x")).await.text;
    assert!(said.contains("User anonymous is not authorized"), "{said}");
}

async fn two_who_use_the_same_key_know_nothing_of_each_other(server: Server) {
    let settings = Settings { permissions: permissions(), ..Settings::default() };
    let keyed = |testcase: &str| json!({"results": [{"idempotency_key": "build-17", "outcome": "PASSED", "testcase": testcase}]});
    let mut ids = Vec::new();
    for (token, testcase, created) in
        [("other", "scratch.x", true), ("rpm", "dist.x", true), ("rpm", "dist.x", false), ("other", "scratch.x", false)]
    {
        let answer = post(&server, &settings, token, "/batch", keyed(testcase)).await.json()["answers"][0].clone();
        assert_eq!(answer["created"], created, "{token} {testcase} {answer}");
        ids.push(answer["id"].clone());
    }
    assert!(ids[0] != ids[1] && ids[1] == ids[2] && ids[0] == ids[3], "{ids:?}");
}

async fn without_permissions_a_token_is_enough(server: Server) {
    let settings = Settings::default();
    assert_eq!(post(&server, &settings, "other", "/results", result("anything")).await.status, StatusCode::CREATED);
    assert_eq!(post(&server, &settings, "", "/results", result("anything")).await.status, StatusCode::UNAUTHORIZED);
}
